"""Counting into bins, a picture at a time."""

import torch
from torch import Tensor


def counts_by_row(indices: Tensor, bins: int, weights: Tensor | None = None) -> Tensor:
    """How often each bin occurs in each row.

    Args:
        indices: Bins, int64 (R, N), each in 0..bins - 1.
        bins: How many there are.
        weights: What each occurrence counts, (R, N); 1 if None.

    Returns:
        Float64 (R, bins): exact up to 2^53 occurrences.
    """
    rows = len(indices)
    shifted = indices + bins * torch.arange(rows, device=indices.device).unsqueeze(1)
    counted = torch.bincount(
        shifted.flatten(), None if weights is None else weights.double().flatten(), minlength=rows * bins
    )
    return counted.double().view(rows, bins)
