"""Colourfulness of a set beside that of the truth."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric

from evaluation.functional.colorfulness import colorfulness


class Colorfulness(Metric):
    """Mean colourfulness of the predictions and of the truths, and how far apart the two are.

    Args:
        measure: `colorfulness`, or the `colorfulness_abs` of DDColor's table; RGB in [0, 1], (B, 3, H, W), to (B,).
    """

    full_state_update = False
    prediction: Tensor
    truth: Tensor
    pictures: Tensor

    def __init__(self, measure: Callable[[Tensor], Tensor] = colorfulness) -> None:
        super().__init__()
        self.measure = measure
        for name in ("prediction", "truth", "pictures"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add pictures, RGB in [0, 1], (B, 3, H, W)."""
        self.prediction += self.measure(prediction).double().sum()
        self.truth += self.measure(truth).double().sum()
        self.pictures += len(truth)

    def compute(self) -> dict[str, Tensor]:
        """The set's means.

        Returns:
            `prediction`, `truth`, and `delta`, the size of their difference, as published tables have it: of the set's
            means, not the mean over pictures. Float64 scalars, NaN if no picture was added.
        """
        prediction, truth = self.prediction / self.pictures, self.truth / self.pictures
        return {"prediction": prediction, "truth": truth, "delta": (prediction - truth).abs()}
