"""What the best of several samples scores, however many of them one looks at."""

from math import comb

import torch
from torch import Tensor


def best_of(values: Tensor) -> Tensor:
    """The largest of k of the values, the mean over all choices of k, for k = 1, 2, ..., S.

    Args:
        values: One a sample, (..., S).

    Returns:
        Float64 (..., S), from the mean of the values, rising, to their maximum.
    """
    samples = values.shape[-1]
    # Of the choices of k, those in which the value of a rank is the largest take the others from the ranks below it.
    shares = [[comb(rank, size - 1) / comb(samples, size) for size in range(1, samples + 1)] for rank in range(samples)]
    return values.double().sort(dim=-1).values @ torch.tensor(shares, dtype=torch.float64, device=values.device)
