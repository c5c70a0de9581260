"""Scores belong to what was scored: bytes, names and whole sets; and one image's failure costs that image."""

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from evaluation.parts import PART, Parts
from evaluation.plan import Plan
from evaluation.protocols import digest, distinct, keys_sha256
from evaluation.report.cases import file_of
from evaluation.report.table import print_scores
from evaluation.scorer import Entry
from evaluation.terminal import progress
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance
from tests.conftest import colourful_pictures
from tests.unit.test_scoring import ENTRY, RULES, Few, few, score


def plan_of(pictures: Few, entry: Entry = ENTRY, data: dict[str, Any] | None = None) -> Plan:
    return Plan.of(entry, pictures, RULES, data or {}, whole=None, likelihoods=False, limit=None)


def test_an_identity_changes_with_all_that_is_scored_and_with_nothing_else() -> None:
    same = plan_of(few(5)).identity
    assert plan_of(few(5), replace(ENTRY, source=ENTRY.source | {"path": "elsewhere"})).identity == same
    assert plan_of(few(5), data={"root": "elsewhere", "workers": 9}).identity == same
    of_truth, of_prediction = few(5), few(5)
    of_truth.truths[3].view(-1)[7] ^= 1
    of_prediction.predictions[3].view(-1)[7] ^= 1
    others = {
        plan_of(of_truth).identity,
        plan_of(of_prediction).identity,
        plan_of(few(5), replace(ENTRY, method="nobody")).identity,
        plan_of(few(5), replace(ENTRY, variant="b")).identity,
        plan_of(few(5), replace(ENTRY, kind="baseline")).identity,
        plan_of(few(5), replace(ENTRY, source={"sha256": "abd"})).identity,
        plan_of(few(5), data={"resolution": 9}).identity,
        plan_of(few(4)).identity,
    }
    assert len(others - {same}) == 8


def test_parts_are_not_used_where_the_truth_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, save = few(PART + 8), Parts.save

    def stop_at_the_second(parts: Parts, number: int, part: Any) -> None:
        if number == 1:
            raise KeyboardInterrupt
        save(parts, number, part)

    with monkeypatch.context() as stopped:
        stopped.setattr(Parts, "save", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            score(pictures, tmp_path / "again")
    pictures.truths = [255 - truth for truth in pictures.truths]
    again, fresh = score(pictures, tmp_path / "again"), score(pictures, tmp_path / "fresh")
    assert again["metrics"] == fresh["metrics"]


def test_nothing_of_an_earlier_scoring_stays_in_the_gallery(tmp_path: Path) -> None:
    score(few(9, samples=3), tmp_path, entry=replace(ENTRY, samples=3), rules=replace(RULES, samples=3))
    scores = score(few(2), tmp_path)
    kept = sorted(path.name for path in (tmp_path / "gallery").iterdir())
    assert kept == sorted(f"{key}_{what}.png" for key in scores["gallery"] for what in ("0", "grey", "truth"))


def test_pictures_of_one_name_stay_several(tmp_path: Path) -> None:
    pictures = few(5)
    names = ["a", "a", "a_2", "b", "a"]
    assert distinct(names) == ["a", "a_3", "a_2", "b", "a_4"]
    shared = type("Shared", (Few,), {"keys": names})(pictures.truths, pictures.predictions)
    scores = score(shared, tmp_path)
    with (tmp_path / "pictures.csv").open(newline="") as file:
        assert [row["key"] for row in csv.DictReader(file)] == distinct(names)
    assert sorted(scores["gallery"]) == sorted(distinct(names))
    assert scores["metrics"] == score(pictures, tmp_path / "apart")["metrics"]


def test_only_all_that_the_protocol_wants_is_complete(tmp_path: Path) -> None:
    pictures, rules = few(10), replace(RULES, sampled_pictures=3)
    for limit, complete, label in (
        (1, False, "subset of 1 picture"),
        (3, True, "10 pictures, 3 coloured"),
        (None, True, "10 pictures, 3 coloured"),
    ):
        found = score(pictures, tmp_path / f"{limit}", rules, limit=limit)["set"]
        assert (found["complete"], found["label"], found["pictures"]) == (complete, label, min(limit or 3, 3))
    found = score(pictures, tmp_path / "all", limit=9)["set"]
    assert (found["complete"], found["label"]) == (False, "subset of 9 pictures")


class Hungry(Colorizer):
    """A method for which two pictures at once are too many, and pictures of one size too large."""

    stochastic = False

    def luminance(self, rgb: Tensor) -> Tensor:
        """Any."""
        return rgb[:, :1]

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: Any) -> Tensor:
        """Grey, if there is memory."""
        if len(luminance) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes.")
        if luminance.shape[-1] == 12:
            raise MemoryError
        return luminance.expand(-1, 3, -1, -1).unsqueeze(1)


def test_a_picture_that_is_too_large_for_memory_costs_itself_alone(tmp_path: Path) -> None:
    truths = [*colourful_pictures(6, 16)]
    truths[2] = truths[2][:, :, :12]
    pictures = Few(truths)
    scores = score(pictures, tmp_path, entry=Entry("Hungry", "checkpoint", {}, Hungry()))
    assert [scores["pictures"][name] for name in ("all", "coloured", "unreadable")] == [5, 5, 1]
    assert list(scores["unreadable"]) == ["picture_002"]
    assert "too large" in scores["unreadable"]["picture_002"]
    assert any("1 pictures could not be scored" in note and "picture_002" in note for note in scores["notes"])
    assert not scores["set"]["complete"]
    others = Few([truth for number, truth in enumerate(pictures.truths) if number != 2])
    alone = score(others, tmp_path / "others", entry=Entry("Hungry", "checkpoint", {}, Hungry()))
    assert scores["metrics"]["psnr"] == alone["metrics"]["psnr"]


def test_any_other_failure_of_a_method_is_raised(tmp_path: Path) -> None:
    method = Hungry()
    method.draw = lambda *_, **__: torch.zeros(1, 2) @ torch.zeros(3, 1)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="shapes"):
        score(Few([*colourful_pictures(2, 16)]), tmp_path, entry=Entry("Hungry", "checkpoint", {}, method))


def test_two_commands_do_not_score_in_one_place_at_once(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    with FileLock(tmp_path / "parts" / ".lock"), pytest.raises(OSError, match="another command is scoring in"):
        score(few(2), tmp_path)
    assert score(few(2), tmp_path)["set"]["complete"]


def test_names_that_are_no_utf8_or_very_long_are_scored(tmp_path: Path) -> None:
    latin = "caf\udce9"
    assert keys_sha256([latin]) == keys_sha256([latin])
    assert digest("0", latin) != digest("0", "cafe")
    long = "x" * 300
    pictures = few(2)
    named = type("Named", (Few,), {"keys": [latin, long]})(pictures.truths, pictures.predictions)
    score(named, tmp_path)
    with (tmp_path / "pictures.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert [row["key"] for row in csv.DictReader(file)] == [latin, long]
    assert json.loads((tmp_path / "scores.json").read_text())["gallery"] == [latin, long]
    for key in (latin, long):
        assert (tmp_path / file_of(key, "truth")).is_file()
    assert len(file_of(long, "truth")) < 255
    assert file_of(long, "0") != file_of(long + "x", "0")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_scores_are_printed_where_the_terminal_has_few_characters(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = score(few(3), tmp_path, entry=replace(ENTRY, method="[red]Ω[/] :smile: [1]"))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, "backslashreplace"))
    print_scores(scores)
    sys.stdout.flush()
    text = written.getvalue().decode(encoding)
    assert "[red]\\u03a9[/] :smile: [1]" in text
    assert "RMSE \\u03b1\\u03b2" in text


def test_progress_without_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 11))
    monkeypatch.setattr("evaluation.terminal.time.monotonic", lambda: next(clock))
    assert list(progress(range(7), "scoring by [mine]", 7)) == list(range(7))
    assert capsys.readouterr().err.splitlines() == ["scoring by [mine]: 3 of 7", "scoring by [mine]: 6 of 7"]
