"""How errors are distributed, over pixels and over pictures (Larsson et al. 2016, Figures 6 and 7)."""

import torch
from torch import Tensor

from evaluation.functional.histogram import counts_by_row
from lightning_modules.color import full_precision, rgb_to_alpha_beta


@full_precision
def cumulative_error(prediction: Tensor, truth: Tensor, edges: Tensor) -> Tensor:
    """The share of each picture's pixels whose error in alpha-beta is at most each edge: Figure 6.

    A pixel's error is the root mean square over alpha and beta, of which `rmse_alpha_beta` is the mean.

    Args:
        prediction: RGB in [0, 1], (B, 3, H, W).
        truth: RGB in [0, 1], (B, 3, H, W).
        edges: Rising, (E,); the figure's go from 0 to 1.

    Returns:
        Float64 (B, E), rising to at most 1.
    """
    difference = rgb_to_alpha_beta(prediction) - rgb_to_alpha_beta(truth)
    error = difference.square().mean(dim=1).sqrt().flatten(1)
    counts = counts_by_row(torch.bucketize(error, edges.to(error)), len(edges) + 1)
    return counts.cumsum(dim=1)[:, :-1] / error.shape[1]


@full_precision
def psnr_histogram(values: Tensor, edges: Tensor) -> Tensor:
    """How many pictures have a PSNR in each bin: Figure 7.

    Args:
        values: PSNR of each picture in dB, (N,).
        edges: Rising, (E,). A bin holds its lower edge; the first and the last hold all that lies beyond them too, so
            that no picture is lost.

    Returns:
        Float64 (E - 1,), which sums to N.
    """
    indices = torch.bucketize(values, edges.to(values), right=True) - 1
    return counts_by_row(indices.clamp(0, len(edges) - 2).unsqueeze(0), len(edges) - 1).squeeze(0)
