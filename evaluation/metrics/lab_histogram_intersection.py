"""How alike the colours of two sets are distributed (Guadarrama et al. 2017, Figures 7 and 8)."""

import torch
from torch import Tensor
from torchmetrics import Metric

from evaluation.functional.lab_histogram import LARGEST_AB, histogram_intersection, lab_histogram, number_of_bins


class LabHistogramIntersection(Metric):
    """The intersection of the histograms of a, and of b, over all pixels of the predictions and of the truths.

    Args:
        bin_width: In Lab units; the score depends on it.

    Raises:
        ValueError: If the bins do not fill -110..110.
    """

    full_state_update = False
    prediction: Tensor
    truth: Tensor

    def __init__(self, bin_width: float = 1.0) -> None:
        super().__init__()
        self.bin_width = bin_width
        bins = number_of_bins(bin_width)
        self.add_state("prediction", torch.zeros(2, bins, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("truth", torch.zeros(2, bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add pictures, RGB in [0, 1], (B, 3, H, W)."""
        self.prediction += lab_histogram(prediction, self.bin_width).sum(dim=0)
        self.truth += lab_histogram(truth, self.bin_width).sum(dim=0)

    def compute(self) -> dict[str, Tensor]:
        """The scores and what they stand on.

        Returns:
            `a` and `b`, scalars in [0, 1]; the counts `prediction` and `truth`, float64 (2, bins), and the bins'
            `edges`, float64 (bins + 1,), for plots.

        Raises:
            ValueError: If no picture was added.
        """
        a, b = histogram_intersection(self.prediction, self.truth)
        edges = torch.linspace(-LARGEST_AB, LARGEST_AB, self.truth.shape[1] + 1, dtype=torch.float64)
        return {"a": a, "b": b, "prediction": self.prediction, "truth": self.truth, "edges": edges}
