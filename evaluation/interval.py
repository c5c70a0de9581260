"""Means over pictures with 95% bootstrap intervals."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


class Score(TypedDict):
    """A mean over `n` pictures and its 95% interval."""

    value: float
    low: float
    high: float
    n: int


def mean_with_interval(values: Sequence[float], weights: Sequence[float] | None = None, seed: int = 0) -> Score:
    """The mean of one value a picture, and the interval that resampling the pictures gives.

    Args:
        values: One a picture.
        weights: Of the pictures, such as their pixel counts; equal if None.
        seed: Of the resampling.

    Raises:
        ValueError: If there is no value.
    """
    if not values:
        raise ValueError("no picture was scored, so there is nothing to average; check the set and its exclusions")
    sums = np.asarray(values, dtype=np.float64)
    counts = np.ones_like(sums) if weights is None else np.asarray(weights, dtype=np.float64)
    sums = sums * counts
    generator = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for resample in range(RESAMPLES):
        chosen = generator.integers(len(sums), size=len(sums))
        means[resample] = sums[chosen].sum() / counts[chosen].sum()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(value=float(sums.sum() / counts.sum()), low=float(low), high=float(high), n=len(sums))
