"""Sums that are the same in every order, and intervals that they give."""

from fractions import Fraction

import numpy as np
import pytest

from evaluation.interval import RESAMPLES, exactly_summable, resampled_sums, significant

GENERATOR = np.random.default_rng(0)
VALUES = GENERATOR.normal(size=(300, 3)) * [1e-9, 1, 1e6] + [0, 1, 0]
SINGLE = VALUES.astype(np.float32)


def test_sums_of_rounded_values_are_exact_in_every_order() -> None:
    rounded = exactly_summable(VALUES, 1000)
    counts = GENERATOR.multinomial(1000, np.full(300, 1 / 300))
    wanted = [float(sum(Fraction(value) * int(count) for value, count in zip(column, counts, strict=True)))
              for column in rounded.T.tolist()]  # fmt: skip
    for _ in range(20):
        order = GENERATOR.permutation(300)
        one_by_one = np.add.accumulate(counts[order, None] * rounded[order])[-1]
        assert one_by_one.tolist() == (counts[order].astype(float) @ rounded[order]).tolist() == wanted
    plain = [np.add.accumulate(VALUES[GENERATOR.permutation(300), 0])[-1] for _ in range(20)]
    assert len(set(plain)) > 1, "without rounding, sums depend on the order"


def test_rounding_for_a_sum_hardly_changes_values() -> None:
    rounded = exactly_summable(SINGLE, 1000)
    assert (np.abs(rounded - SINGLE) <= 1000 * np.abs(SINGLE).max(axis=0) / 2**52).all()
    large = np.abs(SINGLE) > np.abs(SINGLE).max(axis=0) / 2**18
    assert (rounded == SINGLE)[large].all()
    assert exactly_summable(np.zeros((5, 2)), 10).tolist() == [[0.0, 0.0]] * 5


def test_parts_may_name_their_statistics_in_any_order() -> None:
    columns = {"pictures": np.ones((300, 1), np.float32), "double": 2 * SINGLE[:, 1:2], "value": SINGLE[:, 1:2]}
    parts = [{name: values[:200] for name, values in columns.items()},
             {name: values[200:] for name, values in sorted(columns.items())[::-1]}]  # fmt: skip
    found = resampled_sums(parts, [200, 100], seed=0)
    assert found["pictures"].tolist() == [[300.0]] * RESAMPLES
    assert (found["double"] == 2 * found["value"]).all()
    assert found["value"].mean() == pytest.approx(SINGLE[:, 1].sum(), rel=0.01)


@pytest.mark.parametrize(
    ("value", "rounded"), [(2 / 3, 0.6666666667), (0.1 + 0.2, 0.3), (-12345678912.3, -12345678910.0), (0.0, 0.0)]
)
def test_a_score_has_ten_digits(value: float, rounded: float) -> None:
    assert significant(value) == rounded
