"""The mean of any measure of one picture."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanOverPictures(Metric):
    """The mean over a set of a measure that gives one value a picture.

    Args:
        measure: Of a prediction and its truth, RGB in [0, 1], (B, 3, H, W), to (B,): a function or a module.
        pixel_weighted: Weigh each picture by its pixels, as LRAC's alpha-beta error is averaged (section 5.1).
    """

    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self, measure: Callable[[Tensor, Tensor], Tensor], pixel_weighted: bool = False) -> None:
        super().__init__()
        self.measure = measure
        self.pixel_weighted = pixel_weighted
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add pictures, RGB in [0, 1], (B, 3, H, W)."""
        weight = truth.shape[2] * truth.shape[3] if self.pixel_weighted else 1
        self.total += weight * self.measure(prediction, truth).double().sum()
        self.weight += weight * len(truth)

    def compute(self) -> Tensor:
        """The mean, a float64 scalar; NaN if no picture was added."""
        return self.total / self.weight
