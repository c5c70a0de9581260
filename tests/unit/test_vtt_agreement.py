"""Krippendorff's alpha against its author's worked example, and against all pairs of ratings, one by one."""

from itertools import permutations

import numpy as np
import pytest

from evaluation.vtt.agreement import nominal_alpha

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve units
OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


def counts_of(units: list[list[int]], values: int) -> np.ndarray:
    return np.array([[unit.count(value) for value in range(1, values + 1)] for unit in units])


def by_pairs(units: list[list[int]]) -> float:
    """Observed and expected disagreement, pair by pair of ratings (the same paper's equation for alpha)."""
    units = [unit for unit in units if len(unit) > 1]
    ratings = [value for unit in units for value in unit]
    observed = sum(
        (one != other) / (len(unit) - 1) for unit in units for one, other in permutations(unit, 2)
    ) / len(ratings)  # fmt: skip
    expected = sum(one != other for one, other in permutations(ratings, 2)) / (len(ratings) * (len(ratings) - 1))
    return 1 - observed / expected


def test_the_published_example() -> None:
    units = [[int(each) for each in column if each != "."] for column in zip(*map(str.split, OBSERVERS), strict=True)]
    assert len(units) == 12
    assert nominal_alpha(counts_of(units, 5)) == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_that_of_all_pairs_of_ratings(seed: int) -> None:
    generator = np.random.default_rng(seed)
    units = []
    for _ in range(15):
        common = generator.integers(1, 4)
        ratings = [int(common if generator.random() < 0.5 else generator.integers(1, 4)) for _ in range(5)]
        units.append(ratings[: generator.integers(0, 6)])
    assert nominal_alpha(counts_of(units, 3)) == pytest.approx(by_pairs(units), abs=1e-12)


def test_full_agreement_is_1_and_full_disagreement_below_0() -> None:
    assert nominal_alpha(np.array([[3, 0], [0, 3]])) == 1
    # two raters who always differ: of 8 ratings 4 are of each kind, so 1 - 8 * 7 / 32
    assert nominal_alpha(np.array([[1, 1]] * 4)) == pytest.approx(-0.75)


def test_single_ratings_say_nothing() -> None:
    paired = np.array([[2, 1], [0, 3], [3, 0]])
    assert nominal_alpha(np.concatenate([paired, [[1, 0], [0, 1], [0, 0]]])) == nominal_alpha(paired)
    assert nominal_alpha(np.array([[1, 0], [0, 1]])) is None


def test_one_value_alone_has_no_alpha() -> None:
    assert nominal_alpha(np.array([[0, 4], [0, 3]])) is None
