"""Counting into bins, a picture at a time."""

import torch
from torch import Tensor


def counts_by_row(indices: Tensor, bins: int, weights: Tensor | None = None) -> Tensor:
    """How often each bin occurs in each row.

    Args:
        indices: Bins, of any integers, (R, N), each in 0..bins - 1.
        bins: How many there are.
        weights: What each occurrence counts, (R, N); 1 if None.

    Returns:
        Float64 (R, bins): exact up to 2^53 occurrences.
    """
    counts = torch.empty(len(indices), bins, dtype=torch.float64, device=indices.device)
    for row, found in enumerate(indices):
        counts[row] = torch.bincount(found, None if weights is None else weights[row].double(), minlength=bins)
    return counts


def counts_between(values: Tensor, edges: Tensor) -> Tensor:
    """How many values lie in each bin.

    Args:
        values: (N,).
        edges: Rising, (E,). A bin holds its lower edge; the first and the last hold all that lies beyond them too, so
            that no value is lost.

    Returns:
        Float64 (E - 1,), which sums to N.
    """
    indices = torch.bucketize(values, edges[1:-1].to(values), right=True)
    return torch.bincount(indices, minlength=len(edges) - 1).double()


def shares_within(counts: Tensor) -> Tensor:
    """From counts by rising threshold, (..., T + 1), the last beyond them all, to the shares within each, (..., T)."""
    return counts.cumsum(dim=-1)[..., :-1] / counts.sum(dim=-1, keepdim=True)
