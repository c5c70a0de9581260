"""Whether raters agree: Krippendorff's alpha for nominal data."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def nominal_alpha(counts: NDArray[Any]) -> float | None:
    """Krippendorff's alpha: 1 if all agree, 0 if they agree as chance would have it, negative below.

    The exact formula for any number of raters and missing ratings (Krippendorff 2011, section E).

    Args:
        counts: How often each unit was given each value, (units, values). Units with fewer than two ratings say nothing
            about agreement, and are passed over.

    Returns:
        None if no unit has two ratings, or all ratings are the same: then nothing tells agreement from habit.
    """
    raters = counts.sum(axis=1)
    counts, raters = counts[raters > 1].astype(np.float64), raters[raters > 1].astype(np.float64)
    by_value, total = counts.sum(axis=0), raters.sum()
    by_chance = total**2 - (by_value**2).sum()
    if not by_chance:
        return None
    # ordered pairs of raters of one unit who differ, each unit weighted so that a rating counts once
    observed = ((raters**2 - (counts**2).sum(axis=1)) / (raters - 1)).sum()
    return float(1 - observed * (total - 1) / by_chance)
