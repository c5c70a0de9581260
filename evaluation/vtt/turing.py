"""The figures of a Visual Turing Test: how often raters take a method's picture for the true one, in percent."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.vtt.agreement import nominal_alpha
from evaluation.vtt.estimate import estimate, resample
from evaluation.vtt.ratings import Tally, comparisons

SPLITS = 1000
"""Into two panels, over which the oracle is averaged."""


def figures(found: Tally, seed: int) -> dict[str, Any]:
    """Everything that is estimated from the counts.

    Args:
        found: Counts of ratings and of those that were fooled.
        seed: Of resamples, panels and signs.

    Returns:
        `samples`, `methods` (all samples together) and `oracle` (methods with several samples): estimates by name.
        `comparisons`: of methods, in pairs. `agreement`: Krippendorff's alpha of all and of each method.
    """
    draws = resample(len(found.pictures), seed)
    methods = found.methods
    samples = {name: estimate(found.shares([place]), draws) for place, name in enumerate(found.conditions)}
    oracles = {
        name: estimate(oracle(found.chosen[:, places], found.ratings[:, places], seed), draws)
        for name, places in methods.items()
        if len(places) > 1
    }
    pooled = {name: estimate(found.shares(places), draws) for name, places in methods.items()}
    every = list(range(len(found.conditions)))
    return {
        "samples": known(samples),
        "methods": known(pooled),
        "oracle": known(oracles),
        "comparisons": comparisons(found, methods, seed),
        "agreement": {
            "all": agreement(found, every),
            "methods": {name: agreement(found, places) for name, places in methods.items()},
        },
    }


def known(estimates: dict[str, Any]) -> dict[str, Any]:
    """Those of which there are ratings."""
    return {name: found for name, found in estimates.items() if found is not None}


def agreement(found: Tally, places: list[int]) -> float | None:
    """Krippendorff's alpha; a unit is one sample of one picture, its values are fooled or not."""
    fooled, ratings = found.chosen[:, places].ravel(), found.ratings[:, places].ravel()
    return nominal_alpha(np.stack([fooled, ratings - fooled], axis=1))


def oracle(fooled: NDArray[np.int64], ratings: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """What each picture would score if somebody chose its best sample: section 4 of Guadarrama et al. 2017.

    The ratings of every sample are split at random into a panel that chooses and a panel that scores, so that a lucky
    sample is not scored by its luck. The sample that fools the largest share of the choosing panel is taken, ties at
    random, and its score is the share of the other panel that it fools. For raters who choose at random that is 50%.
    Raters who favour a place lower it, since each picture is at each place equally often: what a place adds to one
    panel the other lacks. A slight habit hardly matters; if all took the first, it would be 33%.

    Args:
        fooled: How many ratings took each sample for the true picture, (pictures, samples).
        ratings: How many each sample has, (pictures, samples); the choosing panel has half, or one more than the other.
        seed: Of splits and ties.

    Returns:
        Percent, the mean over 1,000 splits, (pictures,); NaN where fewer than two samples have two ratings.
    """
    generator = np.random.default_rng(seed)
    able = ratings > 1
    choosers = np.where(able, (ratings + 1) // 2, 0)
    scorers = np.where(able, ratings - choosers, 1)
    every = np.arange(len(ratings))
    total = np.zeros(len(ratings))
    for _ in range(SPLITS):
        # Of a panel's members only the number that was fooled matters, which is a hypergeometric draw
        liked = generator.hypergeometric(fooled, ratings - fooled, choosers)
        share = np.where(able, liked / np.maximum(choosers, 1), -1.0)
        ties = generator.random(share.shape) * (share == share.max(axis=1, keepdims=True))
        best = ties.argmax(axis=1)
        total += (fooled - liked)[every, best] / scorers[every, best]
    return np.where(able.sum(axis=1) > 1, 100 * total / SPLITS, np.nan)
