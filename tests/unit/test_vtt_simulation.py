"""Simulated raters: the plans they give, the answers they hand in, and whether scoring finds what they were told."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.vtt import __main__ as command_line
from evaluation.vtt.answers import read_answers
from evaluation.vtt.scoring import judge, sort_answers
from evaluation.vtt.simulation import error_of_picture, parse, rates_of, simulate
from evaluation.vtt.study import TRUTH, Study
from tests.unit.studies import preference_study, turing_study, write_kit


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["vtt", "simulate", *map(str, arguments)])
    command_line.main()


# ---- planning


@pytest.mark.parametrize(("raters", "spread", "lapses"), [(1, 0.0, 0.0), (5, 0.15, 0.0), (3, 0.2, 0.1)])
def test_the_error_bar_is_that_of_the_closed_form(raters: int, spread: float, lapses: float) -> None:
    mean = 0.33 + lapses * (1 - 2 * 0.33)
    between = (spread * (1 - 2 * lapses)) ** 2
    expected = 100 * (between + (mean * (1 - mean) - between) / raters) ** 0.5
    assert error_of_picture(raters, 0.33, spread, lapses, seed=0) == pytest.approx(expected, rel=0.01)


def test_a_plan_says_what_to_expect_and_what_is_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--pictures", 500, "--raters", 5, "--fooled", 0.33, "--wanted", 1)
    shown = capsys.readouterr().out
    # sqrt(0.33 * 0.67 / 2500) = 0.94 %
    assert "500 pictures, 5 raters each: 33.0 ± 0.94 % (standard deviation), 95% interval ± 1.84 %" in shown
    # 0.33 * 0.67 / 0.01^2 = 2211 ratings by one rater
    smallest = [line.split("│") for line in shown.partition("smallest")[2].splitlines() if "│" in line]
    plans = {int(line[1]): int(line[2].replace(",", "")) for line in smallest}
    assert plans[1] == pytest.approx(2211, rel=0.01)
    assert plans[5] == pytest.approx(443, rel=0.02)


@pytest.mark.parametrize("spread", [0.05, 0.3, 0.46])
def test_shares_differ_between_pictures_as_stated(spread: float) -> None:
    shares = rates_of(np.array([0.33, 0.67]), spread, 100_000, np.random.default_rng(0))[:, 0]
    assert shares.mean() == pytest.approx(0.33, abs=0.005)
    assert shares.std() == pytest.approx(spread, rel=0.02)
    assert 0 <= shares.min() <= shares.max() <= 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "give one --fooled SHARE"),
        (["--fooled", 1.2], "--fooled 1.2 should end in a number from 0 to 1"),
        (["--fooled", "often"], "--fooled often should end in a number"),
        (["--fooled", 0.33, "--spread", 0.48], "--spread 0.48 is too large"),
        (["--fooled", 0.33, "--lapses", 0.7], "--lapses 0.7 should be a share from 0 to 0.5"),
        (["--fooled", 0.33, "--wanted", 0], "--wanted 0.0 should be a percentage above 0"),
        (["--fooled", 0.33, "--raters", 0], "should be 1 or more"),
    ],
)
def test_a_plan_that_makes_no_sense_gets_one_sentence(
    options: list[object], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=complaint) as stop:
        run(monkeypatch, *options)
    assert str(stop.value).startswith("error: ")
    assert "\n" not in str(stop.value)


# ---- answering


def test_results_files_are_as_raters_hand_them_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study = turing_study(10, {"A": 1, "B": 1}, raters=2, catch=2, practice=1)
    kit = write_kit(study, tmp_path / "kit")
    run(monkeypatch, "--kit", kit, "--fooled", "A=1", "--fooled", "B#0=0", "--out", tmp_path / "results")
    files = list((tmp_path / "results").iterdir())
    assert len(files) == len(study.blocks)
    for path in files:
        results = json.loads(path.read_text())
        assert [each["trial"] for each in results["answers"]] == list(study.blocks[results["block"]].trials)
        assert all(abs(shown - 1000) < 17 for each in results["answers"] for shown in each["shown_ms"])
    answers = read_answers([tmp_path / "results"], study)
    assert len({answer.rater for answer in answers}) == len(files)
    for answer in answers:
        assert answer.choice is not None
        trial = study.trials[answer.trial]
        assert trial.meaning[answer.choice] == ("A#0" if "A#0" in trial.meaning else TRUTH)


def test_lapses_are_as_frequent_as_stated() -> None:
    study = turing_study(1, {"A": 1}, raters=20, catch=100)
    answers = simulate(study, {"A#0": 0}, spread=0, lapses=0.2, seed=0)
    wrong = [study.trials[each.trial].meaning[each.choice or 0] != TRUTH for each in answers]
    assert np.mean(wrong) == pytest.approx(0.2, abs=3 * (0.16 / len(wrong)) ** 0.5)


def test_a_sample_may_differ_from_its_method() -> None:
    study = turing_study(2, {"A": 3, "B": 1})
    found = parse(["A#1=0.5", "A=0.3", "B=1"], study, "--fooled")
    assert found == {"A#0": 0.3, "A#1": 0.5, "A#2": 0.3, "B#0": 1}
    with pytest.raises(ValueError, match="--fooled is missing for A#1, A#2"):
        parse(["A#0=0.5", "B=1"], study, "--fooled")
    with pytest.raises(ValueError, match="--fooled C=1 names nothing in the study, which has A#0"):
        parse(["A=0.5", "C=1"], study, "--fooled")


def test_the_wrong_option_for_a_kit_gets_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kit = write_kit(preference_study(2, raters=2), tmp_path / "kit")
    with pytest.raises(SystemExit, match="is a preference study: give --prefers for its methods, and no --fooled"):
        run(monkeypatch, "--kit", kit, "--fooled", "A=0.5", "--out", tmp_path / "results")
    with pytest.raises(SystemExit, match="--kit wants --out DIR"):
        run(monkeypatch, "--kit", kit, "--prefers", "A=0.5")


# ---- recovery


def recovered(study: Study, seed: int) -> dict[str, bool]:
    """Whether the intervals of a simulated study hold what its raters were told."""
    study = replace(study, seed=seed)
    skill = {"PixColor#0": 0.33, "PixColor#1": 0.36, "PixColor#2": 0.30, "LRAC#0": 0.25}
    figures = judge(sort_answers(study, simulate(study, skill, spread=0.15, lapses=0, seed=seed)))["figures"]
    known = {name: (figures["samples"][name], 100 * share) for name, share in skill.items()}
    known["PixColor"] = figures["methods"]["PixColor"], 33.0
    return {name: score["low"] <= share <= score["high"] for name, (score, share) in known.items()}


def test_scoring_finds_what_the_raters_were_told() -> None:
    study = turing_study(60, {"PixColor": 3, "LRAC": 1}, raters=5)
    held = [recovered(study, seed) for seed in range(3)]
    assert np.mean([list(each.values()) for each in held]) > 0.75


@pytest.mark.slow
def test_stated_intervals_hold_the_truth_in_93_of_100_studies() -> None:
    study = turing_study(100, {"PixColor": 3, "LRAC": 1}, raters=5)
    held = [recovered(study, seed) for seed in range(100)]
    counts = {name: sum(each[name] for each in held) for name in held[0]}
    assert counts["PixColor"] >= 93, counts
    # of five intervals the luckless one may have a few less by chance
    assert min(counts.values()) >= 89, counts


@pytest.mark.slow
def test_a_preference_is_found_in_93_of_100_studies() -> None:
    study = preference_study(pictures=40, raters=20)
    held = 0
    for seed in range(100):
        study = replace(study, seed=seed)
        answers = simulate(study, {"A#0": 3, "B#0": 2, "C#0": 1}, spread=0.1, lapses=0, seed=seed)
        score = judge(sort_answers(study, answers))["figures"]["samples"]["A#0"]
        held += score["low"] <= 50 <= score["high"]
    assert held >= 91
