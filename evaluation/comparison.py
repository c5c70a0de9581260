"""Whether one method scores better than another on the same pictures, or only by chance."""

import math
from collections.abc import Mapping
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from evaluation.interval import mean_with_interval

FLIPS = 10_000
CHUNK = 2**20
"""Signs that are drawn at once."""


class Comparison(TypedDict):
    """The mean of the first's scores minus that of the second's over `n` pictures, its 95% interval and p-value."""

    difference: float
    low: float
    high: float
    p_value: float
    n: int


def paired_comparison(first: Mapping[str, float], second: Mapping[str, float], seed: int) -> Comparison:
    """Compare two methods on the pictures that both scored, each picture with itself.

    Args:
        first: One method's score of each picture, by the picture's key.
        second: The other's.
        seed: Of the resampling and of the signs.

    Raises:
        ValueError: If no key is in both, or a score is not a finite number.
    """
    keys = sorted(first.keys() & second.keys())
    if not keys:
        raise ValueError("the two have no picture in common, so there is nothing to compare; were the sets the same?")
    for key in keys:
        if not (math.isfinite(first[key]) and math.isfinite(second[key])):
            raise ValueError(f"picture {key} scored {first[key]} and {second[key]}, which cannot be compared")
    differences = np.array([first[key] - second[key] for key in keys], dtype=np.float64)
    score = mean_with_interval(differences.tolist(), seed=seed)
    return Comparison(
        difference=score["value"],
        low=score["low"],
        high=score["high"],
        p_value=sign_flip_p_value(differences, seed),
        n=len(keys),
    )


def sign_flip_p_value(differences: NDArray[np.float64], seed: int) -> float:
    """The two-sided p-value of a mean under random signs: had the methods changed places in any picture.

    Args:
        differences: One a picture, (N,).
        seed: Of the 10,000 draws of N signs.

    Returns:
        The share of draws whose mean is as far from 0, the observed one among them, which keeps it above 0 (Phipson and
        Smyth 2010).
    """
    observed = abs(differences.sum())
    reached = observed - 1e-9 * np.abs(differences).sum()  # or rounding would hide a draw that equals the observed one
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // len(differences))
    extreme = 0
    for start in range(0, FLIPS, rows):
        flipped = generator.random((min(rows, FLIPS - start), len(differences)), dtype=np.float32) < 0.5
        sums = differences.sum() - 2 * (flipped @ differences)
        extreme += int((np.abs(sums) >= reached).sum())
    return (extreme + 1) / (FLIPS + 1)
