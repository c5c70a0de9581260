"""Paired comparisons against SciPy's resampling and against all signs."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from evaluation import comparison
from evaluation.comparison import FLIPS, paired_comparison, sign_flip_p_value
from evaluation.leaderboard.rows import find_rows
from tests.unit.scored import change_record, record_of, write_scored


def scores(values: NDArray[np.float64]) -> Mapping[str, float]:
    """By keys that do not sort as they were made."""
    return {f"picture {index}": float(value) for index, value in enumerate(values)}


@pytest.fixture
def two_methods() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of 60 pictures, which differ a little."""
    generator = np.random.default_rng(0)
    difficulty = generator.normal(24, 4, 60)
    return difficulty + generator.normal(0.25, 1, 60), difficulty + generator.normal(0, 1, 60)


def test_comparison_agrees_with_scipy(two_methods: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    first, second = two_methods
    found = paired_comparison(scores(first), scores(second), seed=0)

    def mean_difference(one: NDArray[np.float64], other: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        difference: NDArray[np.float64] = np.mean(one - other, axis=axis)
        return difference

    test = scipy.stats.permutation_test(
        (first, second), mean_difference, permutation_type="samples", n_resamples=FLIPS, rng=1, vectorized=True
    )
    interval = scipy.stats.bootstrap((first - second,), np.mean, method="percentile", rng=1).confidence_interval
    assert found["n"] == 60
    assert found["difference"] == pytest.approx((first - second).mean())
    assert 0.02 < found["p_value"] < 0.5
    assert found["p_value"] == pytest.approx(test.pvalue, abs=0.02)
    assert found["low"] == pytest.approx(interval.low, abs=0.03)
    assert found["high"] == pytest.approx(interval.high, abs=0.03)


def test_p_value_of_few_pictures_is_that_of_all_signs() -> None:
    differences = np.array([0.5, -0.2, 0.9, 0.4, -0.1, 0.7, 0.3])
    means = [abs(np.mean(differences * signs)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    wanted = np.mean(np.array(means) >= abs(differences.mean()) - 1e-12)
    assert 0.02 < wanted < 0.2
    assert sign_flip_p_value(differences, seed=0) == pytest.approx(wanted, abs=4 * math.sqrt(wanted / FLIPS))


@pytest.mark.parametrize("difference", [0.1, 0.3, 0.7])
def test_rounding_hides_no_draw_that_equals_the_observed_one(difference: float) -> None:
    assert sign_flip_p_value(np.full(6, difference), seed=0) == pytest.approx(2 / 2**6, rel=0.25)


def test_the_p_value_has_two_sides_and_the_difference_a_sign(
    two_methods: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    one, other = (scores(values) for values in two_methods)
    forth, back = paired_comparison(one, other, seed=3), paired_comparison(other, one, seed=3)
    assert forth["difference"] > 0
    assert back["difference"] == -forth["difference"]
    assert back["p_value"] == forth["p_value"]
    assert paired_comparison(one, other, seed=3) == forth
    assert paired_comparison(one, other, seed=4) != forth


def test_pairing_finds_what_the_spread_over_pictures_hides() -> None:
    generator = np.random.default_rng(0)
    difficulty = generator.normal(24, 5, 100)
    better = difficulty + 0.1 + generator.normal(0, 0.05, 100)
    assert scipy.stats.ttest_ind(better, difficulty).pvalue > 0.5
    found = paired_comparison(scores(better), scores(difficulty), seed=0)
    assert found["p_value"] == pytest.approx(1 / (FLIPS + 1))
    assert 0 < found["low"] < found["difference"] < found["high"]


def test_a_method_does_not_differ_from_itself() -> None:
    same = scores(np.random.default_rng(0).normal(size=20))
    found = paired_comparison(same, same, seed=0)
    assert found == {"difference": 0, "low": 0, "high": 0, "p_value": 1, "n": 20}


def test_under_chance_p_values_are_uniform() -> None:
    generator = np.random.default_rng(0)
    found = [sign_flip_p_value(generator.normal(size=12), seed=seed) for seed in range(200)]
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(0).normal(0.2, 1, 50)
    whole = sign_flip_p_value(differences, seed=0)
    for chunk in (3 * 50, 7000):
        monkeypatch.setattr(comparison, "CHUNK", chunk)
        assert sign_flip_p_value(differences, seed=0) == whole


def test_only_shared_pictures_count() -> None:
    found = paired_comparison({"a": 3, "b": 5, "c": 100}, {"b": 4, "a": 1, "d": math.nan}, seed=0)
    assert found["n"] == 2
    assert found["difference"] == 1.5


def test_nothing_shared_is_an_error() -> None:
    with pytest.raises(ValueError, match="no picture in common"):
        paired_comparison({"a": 1.0}, {"b": 1.0}, seed=0)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_named(wrong: float) -> None:
    for first, second in ((1.0, wrong), (wrong, 1.0)):
        with pytest.raises(ValueError, match="picture b scored"):
            paired_comparison({"a": 1.0, "b": first}, {"a": 2.0, "b": second}, seed=0)


def test_two_directories_are_compared_by_every_measure_they_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    first, second = (write_scored(tmp_path / name, name, quality) for name, quality in (("LRAC", 0.9), ("CIC", 0.5)))
    comparison.main([str(first), str(second)])
    shown = capsys.readouterr().out
    one, other = record_of(first)["metrics"], record_of(second)["metrics"]
    assert "LRAC minus CIC by lrac_cval1k" in shown
    psnr = next(line for line in shown.splitlines() if "PSNR dB" in line)
    assert f"{one['psnr']['value'] - other['psnr']['value']:+.4f}" in psnr
    error = next(line for line in shown.splitlines() if "RMSE αβ " in line)
    assert f"{one['rmse_alpha_beta']['value'] - other['rmse_alpha_beta']['value']:+.4f}" in error
    assert "Intersection" not in shown
    assert psnr.split()[-2] == "60"


def test_what_was_scored_otherwise_is_not_compared(tmp_path: Path) -> None:
    first = write_scored(tmp_path / "a", "LRAC", 0.9)
    second = write_scored(tmp_path / "b", "LRAC", 0.9, "lrac_ctest10k")
    with pytest.raises(ValueError, match="differ in their protocol"):
        comparison.compare(*find_rows([first, second]))
    third = write_scored(tmp_path / "c", "LRAC", 0.9)
    whole = record_of(third)["set"]
    for change, complaint in (
        ({"keys_sha256": "cd" * 32, "named": False}, "differ in their set of pictures"),
        ({"complete": False}, "differ in their completeness"),
        ({"mean_rgb": [0.47, 0.45, 0.42]}, "have other pictures under the same names"),
    ):
        change_record(third, set=whole | change)
        with pytest.raises(ValueError, match=complaint):
            comparison.compare(*find_rows([first, third]))
    change_record(third, set=whole | {"mean_rgb": None})
    assert "psnr" in comparison.compare(*find_rows([first, third]))
    (third / "pictures.csv").unlink()
    with pytest.raises(ValueError, match="share no measure"):
        comparison.compare(*find_rows([first, third]))


def test_likelihoods_in_different_spaces_are_left_out_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    folders = []
    for name, space in (("LRAC", "RGB at 32x32"), ("CIC", "CIELab [0, 1] at 32x32")):
        folder = write_scored(tmp_path / name, name, 0.5)
        metrics = record_of(folder)["metrics"] | {"bits_per_dim": {"value": 2.5, "n": 60, "space": space}}
        change_record(folder, metrics=metrics)
        lines = (folder / "pictures.csv").read_text().splitlines()
        text = "\n".join([lines[0] + ",bits_per_dim", *(f"{line},2.5" for line in lines[1:])])
        (folder / "pictures.csv").write_text(text)
        folders.append(str(folder))
    comparison.main(folders)
    shown = capsys.readouterr().out
    sentence = "Bits/dim is left out: that of LRAC is of RGB at 32x32, that of CIC of CIELab [0, 1] at 32x32."
    assert sentence in shown
    assert "Bits/dim bits" not in shown
    comparison.main(folders[:1] * 2)
    shown = capsys.readouterr().out
    assert "left out" not in shown
    assert "Bits/dim" in shown


def test_the_command_of_a_comparison_ends_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: .*scores\.json"):
        comparison.main([str(tmp_path), str(tmp_path)])
