"""How errors are distributed, over pixels and over pictures (Larsson et al. 2016, Figures 6 and 7)."""

import torch
from torch import Tensor

from evaluation.functional.alpha_beta import alpha_beta_distance
from evaluation.functional.histogram import counts_by_row, shares_within
from lightning_modules.color import full_precision

ERROR_STEPS = 100
ERROR_EDGES = torch.arange(ERROR_STEPS + 1, dtype=torch.float64) / ERROR_STEPS
"""Errors in alpha-beta at which Figure 6 is drawn."""
PSNR_EDGES = torch.arange(61, dtype=torch.float64)
"""Of the bins of Figure 7, in dB."""


@full_precision
def cumulative_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """The share of each picture's pixels whose error in alpha-beta is at most 0, 0.01, ..., 1: Figure 6.

    A pixel's error is the root mean square over alpha and beta, of which `rmse_alpha_beta` is the mean.

    Args:
        prediction: RGB in [0, 1], (B, 3, H, W).
        truth: RGB in [0, 1], (B, 3, H, W).

    Returns:
        Float64 (B, 101), rising to at most 1.
    """
    return shares_within(error_counts(alpha_beta_distance(prediction, truth)))


def error_counts(distance: Tensor) -> Tensor:
    """How many pixels have each of the errors 0, 0.01, ..., 1, rounded up, and how many a larger one.

    Args:
        distance: `alpha_beta_distance`, (B, H, W).

    Returns:
        Float64 (B, 102).
    """
    indices = (distance * (ERROR_STEPS / 2**0.5)).ceil_().clamp_(max=ERROR_STEPS + 1).int()
    return counts_by_row(indices.flatten(1), ERROR_STEPS + 2)
