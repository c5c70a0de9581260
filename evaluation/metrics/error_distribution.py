"""How errors are distributed over a set's pixels and pictures (Larsson et al. 2016, Figures 6 and 7)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from evaluation.functional.error_distribution import cumulative_error, psnr_histogram
from evaluation.functional.psnr import psnr

ERROR_EDGES = tuple(step / 100 for step in range(101))
PSNR_EDGES = tuple(float(decibel) for decibel in range(61))


class ErrorDistribution(Metric):
    """The cumulative histogram of the pixels' alpha-beta error, and the histogram of the pictures' PSNR.

    Args:
        error_edges: Errors at which to count the pixels that have at most so much, rising.
        psnr_edges: Of the histogram's bins, in dB, rising; the first and the last hold what lies beyond.
    """

    full_state_update = False
    pixels_within: Tensor
    pixels: Tensor
    pictures: Tensor
    error_edges: Tensor
    psnr_edges: Tensor

    def __init__(self, error_edges: Sequence[float] = ERROR_EDGES, psnr_edges: Sequence[float] = PSNR_EDGES) -> None:
        super().__init__()
        self.register_buffer("error_edges", torch.tensor(error_edges), persistent=False)
        self.register_buffer("psnr_edges", torch.tensor(psnr_edges), persistent=False)
        self.add_state("pixels_within", torch.zeros(len(error_edges), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pixels", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pictures", torch.zeros(len(psnr_edges) - 1, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add pictures, RGB in [0, 1], (B, 3, H, W)."""
        pixels = truth.shape[2] * truth.shape[3]
        self.pixels_within += pixels * cumulative_error(prediction, truth, self.error_edges).sum(dim=0)
        self.pixels += pixels * len(truth)
        self.pictures += psnr_histogram(psnr(prediction, truth), self.psnr_edges)

    def compute(self) -> dict[str, Tensor]:
        """What the two figures draw.

        Returns:
            `shares` of the pixels within each of `error_edges`, float64, NaN if no picture was added; the counts
            `pictures`, float64, in the bins between `psnr_edges`.
        """
        return {
            "shares": self.pixels_within / self.pixels,
            "error_edges": self.error_edges,
            "pictures": self.pictures,
            "psnr_edges": self.psnr_edges,
        }
