"""Means over images with 95% bootstrap intervals, the same on every processor.

A matrix product adds up in an order that depends on the processor and on the number of threads, and each order rounds
differently. So what is summed here is rounded first, to where no sum of it is rounded (`exactly_summable`), and what is
computed from the sums is written with `DIGITS` digits.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
DIGITS = 10
"""Significant digits of a score. Processors differ in the 15th or 16th, by their logarithms and vectorised sums."""


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


def significant(value: float) -> float:
    """Round to `DIGITS` significant digits.

    >>> significant(2 / 3)
    0.6666666667
    """
    return float(f"{value:.{DIGITS}g}")


def exactly_summable(values: NDArray[Any], terms: int) -> NDArray[np.float64]:
    """Round values so that sums of them are exact in float64, and hence the same in every order of summation.

    Each column is rounded to multiples of a power of two, so large that its sums are below 2^53 of them: by less than
    terms * max / 2^52. Of float32 values and a thousand terms, those above 1/2^18 of the largest do not change.

    Args:
        values: (N, K) or (N,).
        terms: The largest number of values in a sum, repeated ones counted each time.
    """
    largest = terms * np.abs(values).max(axis=0).astype(np.float64)
    step = np.ldexp(1.0, np.frexp(largest)[1] - 52)  # 2^52, not 2^53: rounding may enlarge every term by half a step
    rounded: NDArray[np.float64] = np.rint(values / step) * step
    return rounded


def resampled_sums(
    parts: Iterable[Mapping[str, NDArray[np.float32]]], sizes: Sequence[int], seed: int
) -> dict[str, NDArray[np.float64]]:
    """Sums of statistics over `RESAMPLES` sets of pictures, drawn with replacement from the set.

    The set passes by in parts: how often each part is drawn from is drawn first, then how often each of its pictures,
    which is the same as drawing pictures from the whole set. Memory does not grow with it. Large parts take less time.

    Args:
        parts: A row a picture of each statistic, (N, K), part after part.
        sizes: Pictures of each part.
        seed: Of the draws.

    Returns:
        Sums by statistic, (RESAMPLES, K).

    Raises:
        ValueError: If there is no picture.
    """
    pictures = sum(sizes)
    if not pictures:
        raise ValueError("no picture was scored, so there is nothing to average; check the set and its exclusions")
    draws_of_parts = np.random.default_rng(seed).multinomial(pictures, np.array(sizes) / pictures, size=RESAMPLES)
    found = np.zeros(1)
    ends: dict[str, int] = {}
    for number, (statistics, size) in enumerate(zip(parts, sizes, strict=True)):
        if not size:
            continue
        drawn = np.random.default_rng((seed, number)).integers(size, size=draws_of_parts[:, number].sum())
        resample = np.repeat(np.arange(RESAMPLES), draws_of_parts[:, number])
        draws = np.bincount(size * resample + drawn, minlength=size * RESAMPLES).reshape(RESAMPLES, size)
        # All at once: one large product takes less time than many small ones
        names = sorted(statistics)  # processes that scored parts of a set may each have had another order
        values = np.concatenate([statistics[name] for name in names], axis=1, dtype=np.float64)
        found = found + draws.astype(np.float64) @ exactly_summable(values, draws_of_parts[:, number].max())
        ends = dict(zip(names, np.cumsum([statistics[name].shape[1] for name in names]), strict=True))
    return dict(zip(ends, np.split(found, list(ends.values())[:-1], axis=1), strict=True))


def interval_around(value: float, resampled: NDArray[np.float64], absolute: bool = False) -> tuple[float, float]:
    """The 95% interval of a measure from its values on resamples.

    Resampling adds noise, which lowers an intersection of histograms; so quantiles are taken from the resamples' own
    mean, and laid around the value. For means of pictures that changes nothing. What is never negative gets no negative
    bound.

    Args:
        value: Of the set.
        resampled: Of the resamples, (RESAMPLES,); those on which it is not defined are passed over.
        absolute: Whether the size of the value is meant: then the interval is folded at 0.
    """
    found = resampled[np.isfinite(resampled)]
    low, high = (float(end) for end in value + np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - found.mean())
    if absolute:
        near, far = sorted((abs(low), abs(high)))
        return (0.0 if low <= 0 <= high else near), far
    return (max(low, 0.0) if found.min() >= 0 else low), high
