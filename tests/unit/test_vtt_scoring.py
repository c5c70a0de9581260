"""Scores of studies: every figure of a small one by hand, error bars, who counts, and what the leaderboard shows."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules.splits import keys_of
from evaluation.leaderboard.rows import find_rows
from evaluation.leaderboard.tables import Table, tables_of
from evaluation.vtt import __main__ as command_line
from evaluation.vtt import report, turing
from evaluation.vtt.answers import Answer
from evaluation.vtt.estimate import estimate, resample, share_with_interval
from evaluation.vtt.ratings import Ratings, tally
from evaluation.vtt.rows import write_rows
from evaluation.vtt.scoring import judge, sort_answers, write_ratings
from evaluation.vtt.simulation import simulate, write_results
from evaluation.vtt.study import CATCH, PUBLIC, TRUTH, Study
from tests.unit.studies import answer, preference_study, turing_study, write_kit

P, Q = "picture_000", "picture_001"
PIXCOLOR_500: Any = keys_of("pixcolor_500")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["vtt", *map(str, arguments)])
    command_line.main()


def judged(study: Study, answers: Sequence[Answer], least_caught: float = 0.8) -> dict[str, Any]:
    return judge(sort_answers(study, answers, least_caught))


# ---- a small study by hand


@pytest.fixture(scope="module")
def small() -> Study:
    """Two pictures, two samples, two ratings of each; a practice and two catch trials in each of four blocks."""
    return turing_study(2, {"M": 2}, raters=2, catch=2, practice=1)


@pytest.fixture(scope="module")
def answers(small: Study) -> list[Answer]:
    """Dora catches nothing; Cara's second trial was dropped."""
    one, two = "M#0", "M#1"
    choices = {"anna": (one, TRUTH), "ben": (two, one), "cara": (TRUTH, None), "dora": (two, one)}
    times = iter((500.0, 900.0, 600.0, 800.0, 700.0, 0.0, 9.0, 9.0))
    given = []
    for layer, (rater, chosen) in enumerate(choices.items()):
        given += [
            answer(small, f"t{layer}_{number}", choice, rater, response_ms=next(times))
            for number, choice in enumerate(chosen)
        ]
        caught = CATCH if rater == "dora" else TRUTH
        given += [answer(small, f"c{layer}_{number}", caught, rater) for number in range(2)]
        given.append(answer(small, f"e{layer}_0", CATCH, rater))
    return [replace(given[0], shown_ms=(1000.0, 1100.0)), *given[1:]]


def test_every_figure_of_a_small_study_is_as_by_hand(small: Study, answers: list[Answer]) -> None:
    found = judged(small, answers)
    figures, everyone = found["figures"], found["figures_of_all"]
    # kept: P fooled 1 of 2 and 1 of 1, Q 1 of 1 and 0 of 1
    assert {name: score["value"] for name, score in figures["samples"].items()} == {"M#0": 75, "M#1": 50}
    pooled = figures["methods"]["M"]
    assert pooled["value"] == pytest.approx((200 / 3 + 50) / 2)
    # a resample of two pictures is one of them twice in a quarter of the draws each
    assert (pooled["low"], pooled["high"]) == (pytest.approx(50), pytest.approx(200 / 3))
    assert pooled["deviation"] == pytest.approx((200 / 3 - 50) / 8**0.5, rel=0.02)
    assert pooled["n"] == 2
    # everyone: P 1 of 2 and 2 of 2, Q 2 of 2 and 0 of 1
    assert everyone["methods"]["M"]["value"] == pytest.approx((75 + 200 / 3) / 2)
    assert everyone["samples"]["M#0"]["value"] == 75
    # only P, sample 0, has two kept ratings, which differ: as many as chance has of two
    assert figures["agreement"]["all"] == pytest.approx(0)
    # units (1, 1), (2, 0), (2, 0): 1 - 2 * 5 / (36 - 25 - 1)
    assert everyone["agreement"] == {"all": pytest.approx(0), "methods": {"M": pytest.approx(0)}}
    assert "M" not in figures["oracle"]
    # of Q only one sample has two ratings, so the oracle is P's: 1/2 a tie, of which half scores 0
    assert everyone["oracle"]["M"]["n"] == 1
    assert everyone["oracle"]["M"]["value"] == pytest.approx(75, abs=4)
    assert everyone["oracle"]["M"]["deviation"] is None
    assert found["counts"] == {
        "raters": 4, "raters_excluded": 1, "answers": 20, "practice": 4, "catch": 8, "dropped": 1, "excluded": 2,
        "counted": 5, "pictures": 2, "items": 4, "items_with_fewer_ratings": 3, "items_without_rating": 0,
    }  # fmt: skip
    behaviour = found["behaviour"]
    assert behaviour["response_ms"] == {"median": 700, "low_quartile": 600, "high_quartile": 800}
    first, second = behaviour["order"]
    assert (first["value"], second["value"]) == (pytest.approx(20), pytest.approx(80))
    assert (first["low"], first["high"]) == (pytest.approx(3.622, abs=0.001), pytest.approx(62.447, abs=0.001))
    assert behaviour["shown_ms"] == {"wanted": 1000, "median": 1000, "percentile_99": pytest.approx(1091)}
    assert behaviour["dropped"] == {"value": 12.5, "reasons": {"timing": 1}}
    dora = {"name": "dora", "ratings": 2, "dropped": 0, "catch": 2, "right": 0, "excluded": True}
    assert found["raters"][-1] == dora
    assert found["raters"][2] == {"name": "cara", "ratings": 1, "dropped": 1, "catch": 2, "right": 2, "excluded": False}


def test_the_table_of_ratings_has_a_row_an_item(small: Study, answers: list[Answer], tmp_path: Path) -> None:
    write_ratings(tmp_path / "ratings.csv", tally(small, sort_answers(small, answers).kept))
    with (tmp_path / "ratings.csv").open(newline="") as file:
        lines = [tuple(line.values()) for line in csv.DictReader(file)]
    assert lines == [(P, "M", "0", "2", "1"), (P, "M", "1", "1", "1"), (Q, "M", "0", "1", "1"), (Q, "M", "1", "1", "0")]


def test_methods_are_compared_picture_by_picture() -> None:
    study = turing_study(2, {"A": 1, "B": 1}, raters=1, catch=0)
    given = [answer(study, "t0_0", "A#0"), answer(study, "t0_1", TRUTH), answer(study, "t1_0", TRUTH)]
    given.append(answer(study, "t1_1", "A#0"))
    (pair,) = judged(study, given)["figures"]["comparisons"]
    # A fools with both pictures, B with none; two signs agree by chance in half of all draws
    assert (pair["first"], pair["second"], pair["difference"], pair["n"]) == ("A", "B", 100, 2)
    assert pair["p_value"] == pytest.approx(0.5, abs=0.02)


# ---- error bars


def test_the_bootstrap_has_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(1).uniform(0, 100, 400)
    found = estimate(values, resample(400, seed=0))
    assert found is not None
    error = values.std() / 400**0.5
    assert found["deviation"] == pytest.approx(error, rel=0.03)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.04)  # type: ignore[operator]
    assert found["value"] == pytest.approx(values.mean())


def test_a_picture_without_a_value_changes_nothing() -> None:
    values = np.random.default_rng(1).uniform(0, 100, 300)
    gaps = np.concatenate([values, np.full(100, np.nan)])
    alone, beside = estimate(values, resample(300, 0)), estimate(gaps, resample(400, 0))
    assert alone is not None
    assert beside is not None
    assert beside["value"] == pytest.approx(alone["value"])
    assert beside["n"] == 300
    assert beside["deviation"] == pytest.approx(alone["deviation"], rel=0.05)
    assert estimate(np.full(3, np.nan), resample(3, 0)) is None


def test_a_share_has_the_score_interval() -> None:
    # both ends solve |share - p| = z sqrt(p (1 - p) / n)
    found = share_with_interval(30, 200)
    for end in (found["low"] / 100, found["high"] / 100):
        assert abs(0.15 - end) == pytest.approx(1.959964 * (end * (1 - end) / 200) ** 0.5, rel=1e-6)


# ---- the oracle


def test_the_oracle_is_unbiased_for_raters_who_choose_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turing, "SPLITS", 20)
    ratings = np.full((20_000, 3), 5)
    fooled = np.random.default_rng(0).binomial(5, 0.5, ratings.shape)
    scores = turing.oracle(fooled, ratings, seed=0)
    error = scores.std() / len(scores) ** 0.5
    assert scores.mean() == pytest.approx(50, abs=4 * error)
    assert error < 0.2
    # without a second panel the best of three looks much better than it is
    assert (20 * fooled.max(axis=1)).mean() > 65


def test_the_oracle_takes_the_sample_that_fools_most(monkeypatch: pytest.MonkeyPatch) -> None:
    fooled, ratings = np.array([[0, 5, 0], [1, 0, 1], [5, 5, 5]]), np.array([[5, 5, 5], [1, 6, 1], [5, 5, 5]])
    scores = turing.oracle(fooled, ratings, seed=0)
    assert scores[[0, 2]].tolist() == [100, 100]
    assert np.isnan(scores[1])  # a single rating cannot be in two panels, and one sample is no choice


# ---- who counts


@pytest.mark.parametrize(
    ("right", "asked", "least", "kept"),
    [
        (4, 5, 0.8, True),
        (3, 5, 0.8, False),
        (12, 15, 0.8, True),
        (0, 0, 0.8, True),
        (0, 5, 0.0, True),
        (4, 5, 1, False),
    ],
)
def test_a_rater_is_kept_by_the_share_of_catch_trials(right: int, asked: int, least: float, kept: bool) -> None:
    study = turing_study(2, {"M": 1}, raters=1, catch=15)
    given = [answer(study, f"c0_{number}", TRUTH if number < right else CATCH) for number in range(asked)]
    ratings = Ratings(study, [*given, answer(study, "t0_0", "M#0")], least)
    assert [len(ratings.everyone), len(ratings.kept)] == [1, int(kept)]


def test_a_dropped_catch_trial_is_not_held_against_a_rater() -> None:
    study = turing_study(2, {"M": 1}, raters=1, catch=2)
    given = [answer(study, "c0_0", TRUTH), answer(study, "c0_1", None), answer(study, "t0_0", "M#0")]
    assert not Ratings(study, given, 0.8).excluded


def test_raters_who_always_take_the_first_are_seen_and_do_not_move_the_score() -> None:
    study = turing_study(20, {"M": 1}, raters=4, catch=0)
    given = [
        answer(study, trial, study.trials[trial].meaning[0], block)
        for block, each in study.blocks.items()
        for trial in each.trials
    ]
    found = judged(study, given)
    assert found["figures"]["samples"]["M#0"]["value"] == 50
    assert [place["value"] for place in found["behaviour"]["order"]] == [100, 0]
    assert found["behaviour"]["order"][0]["low"] > 90


def test_items_with_few_ratings_count_with_those_they_have(small: Study, answers: list[Answer]) -> None:
    found = judged(small, [each for each in answers if each.rater == "anna"])
    assert found["figures"]["samples"] == {
        "M#0": {"value": 100, "deviation": None, "low": None, "high": None, "n": 1},
        "M#1": {"value": 0, "deviation": None, "low": None, "high": None, "n": 1},
    }
    assert found["counts"]["items_with_fewer_ratings"] == 2
    assert found["counts"]["items_without_rating"] == 2


# ---- preference


def test_a_preference_study_by_hand() -> None:
    study = preference_study(pictures=2, methods=("A", "B"), raters=4)
    chosen = {"b0": "AA", "b1": "AB", "b2": "AB", "b3": "BB"}
    given = [
        answer(study, f"t{block[1:]}_{number}", f"{method}#0", block)
        for block, methods in chosen.items()
        for number, method in enumerate(methods)
    ]
    found = judged(study, given)
    scores = found["figures"]["samples"]
    assert (scores["A#0"]["value"], scores["B#0"]["value"]) == (50, 50)  # 75 and 25, and the other way round
    assert (scores["A#0"]["low"], scores["A#0"]["high"]) == (25, 75)
    assert found["figures"]["clicks"]["A#0"] == {
        "mean": 2, "least": 1, "low_quartile": 1.5, "median": 2, "high_quartile": 2.5, "most": 3,
    }  # fmt: skip
    # units (3, 1) and (1, 3): 1 - (6/3 + 6/3) * 7 / (64 - 16 - 16)
    assert found["figures"]["agreement"]["all"] == pytest.approx(0.125)
    assert [pair["difference"] for pair in found["figures"]["comparisons"]] == [0]
    assert len(found["behaviour"]["order"]) == 2
    assert found["behaviour"]["shown_ms"]["median"] is None


# ---- the command


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with tiny pictures, answered in full by inattentive raters."""
    folder = tmp_path_factory.mktemp("kit")
    study = turing_study(6, {"PixColor": 2, "LRAC": 1}, raters=3, catch=2)
    write_kit(study, folder / "kit")
    pictures = folder / "kit" / PUBLIC / "pictures"
    pictures.mkdir(parents=True)
    for name in {name for trial in study.trials.values() for name in trial.shown}:
        Image.new("RGB", (24, 16), (200, 90, 40)).save(pictures / f"{name}.png")
    skill = dict.fromkeys(("PixColor#0", "PixColor#1", "LRAC#0"), 0.4)
    write_results(study, simulate(study, skill, spread=0.1, lapses=0.05, seed=1), folder / "results")
    return folder


def test_the_command_writes_figures_ratings_report_and_rows(
    kit: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "score", kit / "kit", kit / "results", "--out", kit / "out")
    shown = capsys.readouterr().out
    assert "oracle of 2" in shown
    assert "raters" in shown
    found = json.loads((kit / "out" / "vtt.json").read_text())
    assert found["study"]["name"] == "study"
    assert found["counts"]["answers"] == 9 * 8
    assert found["resamples"] == 10_000
    assert len((kit / "out" / "ratings.csv").read_text().splitlines()) == 1 + 6 * 3
    page = (kit / "out" / "report.html").read_text()
    assert "data:image/jpeg;base64," in page
    for foreign in ("http://", "https://", "<script", 'src="/'):
        assert foreign not in page.replace("http://www.w3.org", "")
    assert len(find_rows([kit / "out"])) == 3


def test_a_block_handed_in_twice_counts_once(kit: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in (kit / "results").iterdir():
        (tmp_path / f"again_{path.name}").write_text(path.read_text())
    run(monkeypatch, "score", kit / "kit", kit / "results", "--out", tmp_path / "once")
    run(monkeypatch, "score", kit / "kit", kit / "results", tmp_path, "--out", tmp_path / "twice")
    once, twice = (json.loads((tmp_path / name / "vtt.json").read_text()) for name in ("once", "twice"))
    assert once["figures"] == twice["figures"]
    assert once["counts"] == twice["counts"]


@pytest.mark.parametrize(
    ("case", "complaint"),
    [
        ("empty", "holds no results"),
        ("practice", "hold no answer to the study's own trials, so there is nothing to score"),
        ("inattentive", "each of the 1 raters answered less than 80% of the catch trials rightly"),
        ("share", "--least-caught 2.0 should be a share from 0 to 1"),
        ("file", "is a file; give a directory"),
    ],
)
def test_a_mistake_gets_one_sentence(
    case: str, complaint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = turing_study(2, {"M": 1}, raters=1, catch=1, practice=1)
    write_kit(study, tmp_path / "kit")
    results = tmp_path / "results"
    results.mkdir()
    given = {"practice": ["e0_0"], "inattentive": ["c0_0", "t0_0"]}.get(case, ["t0_0"])
    if case != "empty":
        write_results(study, [answer(study, trial, study.trials[trial].meaning[-1]) for trial in given], results)
    out = tmp_path / "out"
    if case == "file":
        out.write_text("")
    options = ["--least-caught", 2] if case == "share" else []
    with pytest.raises(SystemExit, match=complaint) as stop:
        run(monkeypatch, "score", tmp_path / "kit", results, "--out", out, *options)
    assert str(stop.value).startswith("error: ")
    assert "\n" not in str(stop.value)
    assert not out.is_dir()


def test_the_gallery_has_the_pictures_that_fool_most_and_least(kit: Path) -> None:
    study = turing_study(6, {"PixColor": 2, "LRAC": 1}, raters=3, catch=2)
    given = []
    for number, (block, each) in enumerate(study.blocks.items()):
        for trial in each.trials:
            shown = study.trials[trial]
            other = next((meaning for meaning in shown.meaning if "#" in meaning), TRUTH)
            # the first picture always fools, the last never, the others now and then
            fooled = shown.picture == P or (shown.picture != "picture_005" and number % 2 == 0)
            given.append(answer(study, trial, other if fooled and shown.role == "study" else TRUTH, block))
    galleries = report.galleries(tally(study, sort_answers(study, given).kept), study, kit / "kit")
    assert [heading for heading, _ in galleries] == [
        "PixColor: most fooled", "PixColor: least fooled", "LRAC: most fooled", "LRAC: least fooled",
    ]  # fmt: skip
    most, least = galleries[0][1], galleries[1][1]
    assert most[0].title == P
    assert [shown.caption for shown in most[0].pictures] == ["true", "PixColor 0: 3 of 3", "PixColor 1: 3 of 3"]
    assert least[0].title == "picture_005"
    assert least[0].pictures[1].caption == "PixColor 0: 0 of 3"
    assert all(shown.address for case in most for shown in case.pictures)
    assert report.galleries(tally(study, []), study, kit / "results") == []


# ---- the leaderboard


def tables(folder: Path, **changes: Any) -> list[Table]:
    """Tables of PixColor's 500 pictures, or others, judged by simulated raters."""
    study = turing_study(**{"samples": {"PixColor": 1}, "raters": 5, "catch": 0, "names": PIXCOLOR_500, **changes})
    kit = write_kit(study, folder / "kit")
    skill = {f"{name}#{number}": 0.33 for name, count in study.samples.items() for number in range(count)}
    ratings = sort_answers(study, simulate(study, skill, spread=0.1, lapses=0, seed=0))
    write_rows(folder / "scores", judge(ratings), tally(study, ratings.kept), kit)
    return tables_of(find_rows([folder / "scores"]))


def test_a_test_as_published_stands_beside_the_published_numbers(tmp_path: Path) -> None:
    (table,) = tables(tmp_path)
    assert table.label == "pixcolor_500"
    assert table.warning is None
    figure = next(published for published in table.published if published.place == "Figure 7")
    assert [line.cells[0].text for line in figure.published][:2] == ["25.8", "29.2"]
    (measured,) = figure.measured
    assert measured.name == "PixColor"
    assert 28 < float(measured.cells[0].text) < 38
    assert {published.place for published in table.published} == {"Figure 5", "Figure 7", "Section 5"}


@pytest.mark.parametrize("changes", [{"exposure_ms": 500}, {"raters": 3}, {"sources": {"short_side": 128}}])
def test_a_test_under_other_conditions_does_not(changes: dict[str, Any], tmp_path: Path) -> None:
    (table,) = tables(tmp_path, **changes)
    assert table.published == []
    assert table.warning is not None
    assert "do not compare with published numbers" in table.warning


def test_tests_under_different_conditions_are_not_ranked_together(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(10)]
    changes: list[dict[str, Any]] = [{}, {"exposure_ms": 500}, {"raters": 4}, {"question": "Which is not fake?"}]
    for number, change in enumerate(changes):
        tables(tmp_path / f"{number}", names=names, samples={"A": 2, "B": 1}, **change)
    found = tables_of(find_rows([tmp_path]))
    assert [len(table.rows) for table in found] == [3, 3, 3, 3]
    assert {table.protocol["name"] for table in found} == {"vtt"}
    assert {line.detail for line in found[0].lines} == {"sample 0", "sample 1", ""}
