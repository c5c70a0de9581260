"""Means over pictures, and how sure they are: the bootstrap of Guadarrama et al. 2017, section 4."""

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from evaluation.interval import LEVEL, exactly_summable

RESAMPLES = 10_000


class Estimate(TypedDict):
    """A mean over `n` pictures.

    `deviation` is the standard deviation over resamples, which the paper prints after plus-minus; `low` and `high` end
    the 95% interval. One picture alone has neither.
    """

    value: float
    deviation: float | None
    low: float | None
    high: float | None
    n: int


def resample(pictures: int, seed: int) -> NDArray[np.float64]:
    """How often each picture is drawn in each resample, (RESAMPLES, pictures).

    All figures of a study are estimated on the same resamples.
    """
    generator = np.random.default_rng(seed)
    draws = np.empty((RESAMPLES, pictures), dtype=np.float64)
    for row in draws:
        row[:] = np.bincount(generator.integers(pictures, size=pictures), minlength=pictures)
    return draws


def estimate(values: NDArray[np.float64], draws: NDArray[np.float64]) -> Estimate | None:
    """The mean of one value a picture.

    Args:
        values: (pictures,), NaN where a picture has none: the mean is over the others.
        draws: From `resample`.

    Returns:
        None if no picture has a value.
    """
    known = np.isfinite(values)
    n = int(known.sum())
    if not n:
        return None
    value = float(values[known].mean())
    if n == 1:
        return Estimate(value=value, deviation=None, low=None, high=None, n=n)
    columns = np.stack([np.where(known, values, 0), known], axis=1)
    sums, counts = (draws @ exactly_summable(columns, len(values))).T
    means = sums[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, deviation=float(means.std()), low=float(low), high=float(high), n=n)


def share_with_interval(count: int, total: int) -> dict[str, Any]:
    """A share in percent with its 95% interval (Wilson 1927), which holds for small counts, too."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share = count / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    return {"value": 100 * share, "low": 100 * (centre - half), "high": 100 * (centre + half), "n": total}
