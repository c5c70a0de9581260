"""How errors are distributed over a set's pixels and pictures (Larsson et al. 2016, Figures 6 and 7)."""

import torch
from torch import Tensor
from torchmetrics import Metric

from evaluation.functional.alpha_beta import alpha_beta_distance
from evaluation.functional.error_distribution import ERROR_EDGES, PSNR_EDGES, error_counts
from evaluation.functional.histogram import counts_between, shares_within
from evaluation.functional.psnr import psnr


class ErrorDistribution(Metric):
    """The cumulative histogram of the pixels' alpha-beta error, and the histogram of the pictures' PSNR."""

    full_state_update = False
    pixels: Tensor
    pictures: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("pixels", torch.zeros(len(ERROR_EDGES) + 1, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pictures", torch.zeros(len(PSNR_EDGES) - 1, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add pictures, RGB in [0, 1], (B, 3, H, W)."""
        self.pixels += error_counts(alpha_beta_distance(prediction, truth)).sum(dim=0)
        self.pictures += counts_between(psnr(prediction, truth), PSNR_EDGES)

    def compute(self) -> dict[str, Tensor]:
        """What the two figures draw.

        Returns:
            `shares` of the pixels within each of `error_edges`, float64, NaN if no picture was added; the counts
            `pictures`, float64, in the bins between `psnr_edges`.
        """
        return {
            "shares": shares_within(self.pixels),
            "error_edges": ERROR_EDGES,
            "pictures": self.pictures,
            "psnr_edges": PSNR_EDGES,
        }
