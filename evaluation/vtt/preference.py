"""The figures of a preference study: how often raters choose each method's result (Xu et al. 2020, section 4.3)."""

from typing import Any

import numpy as np

from evaluation.vtt.agreement import nominal_alpha
from evaluation.vtt.estimate import estimate, resample
from evaluation.vtt.ratings import Tally, comparisons, method_of


def figures(found: Tally, seed: int) -> dict[str, Any]:
    """Everything that is estimated from the counts.

    Args:
        found: Counts of how often each result was shown and chosen.
        seed: Of resamples and signs.

    Returns:
        `samples`: the mean over pictures of the percent of raters who chose a method's result, by name. `clicks`: how
        often it was chosen, over pictures: mean, quartiles and extremes (Figure 9). `comparisons`: of methods, in
        pairs. `agreement`: Krippendorff's alpha, a picture being a unit and its values what was chosen.
    """
    draws = resample(len(found.pictures), seed)
    each = {name: [place] for place, name in enumerate(found.conditions)}
    shares = {name: estimate(found.shares(places), draws) for name, places in each.items()}
    rated = found.ratings.any(axis=1)
    spread = np.quantile(found.chosen[rated], [0, 0.25, 0.5, 0.75, 1], axis=0).T.tolist()
    means = found.chosen[rated].mean(axis=0).tolist()
    names = ("least", "low_quartile", "median", "high_quartile", "most")
    several = len(found.conditions) > len(found.methods)
    groups = each if several else {method_of(name): places for name, places in each.items()}
    return {
        "samples": {name: share for name, share in shares.items() if share is not None},
        "clicks": {
            name: {"mean": mean, **dict(zip(names, values, strict=True))}
            for name, mean, values in zip(found.conditions, means, spread, strict=True)
        },
        "comparisons": comparisons(found, groups, seed),
        "agreement": {"all": nominal_alpha(found.chosen)},
    }
