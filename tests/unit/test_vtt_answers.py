"""Results of raters in every form in which they come: pages' files, tables from spreadsheets, the server's own file."""

import json
import os
from pathlib import Path

import pytest

from evaluation.vtt.answers import COLUMNS, Answer, read_answers, row_of, stored_answers
from evaluation.vtt.store import LostError, Store
from evaluation.vtt.study import PLAN, Study, read_study
from tests.unit.vtt_kits import small_study, write_kit

STUDY = small_study()
BLOCK = STUDY.blocks["block0-0"]


def answer(trial: str = BLOCK.trials[1], rater: str = "r") -> Answer:
    return Answer(STUDY.name, rater, "block0-0", trial, 1, 400.5, (1000.1, 999.9), None, "2026-01-01T00:00:00Z")


def table(*answers: Answer, delimiter: str = ",") -> str:
    """The server's table."""
    rows = [COLUMNS, *([str(value or "") for value in row_of(each).values()] for each in answers)]
    return "".join(delimiter.join(row) + "\r\n" for row in rows)


@pytest.mark.parametrize(
    "saved",
    [
        table(answer()).encode(),
        b"\xef\xbb\xbf" + table(answer()).encode(),
        (table(answer()) + ",,,,,,,,\r\n\r\n").encode(),
        table(answer(), delimiter=";").replace("400.5", "400,5").encode(),
        table(answer(), delimiter="\t").encode("utf-16"),
    ],
    ids=["plain", "byte order mark", "blank rows", "semicolons", "utf-16"],
)
def test_a_table_that_a_spreadsheet_has_saved_is_read(saved: bytes, tmp_path: Path) -> None:
    (tmp_path / "answers.CSV").write_bytes(saved)
    (tmp_path / "._answers.csv").write_bytes(b"\x00\x05\x16\x07")
    assert read_answers([tmp_path], STUDY) == [answer()]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("400.5", "nan"), "row 2: response_ms cannot be 'nan'"),
        (("400.5", "-1"), "row 2: response_ms"),
        ((",1,400.5", ",1.5,400.5"), "row 2: choice cannot be '1.5'"),
        (("choice", "chosen"), "the column choice is missing"),
        ((",1,400.5", ",7,400.5"), "7 is no choice of trial"),
    ],
)
def test_a_damaged_table_is_one_sentence_with_file_and_field(
    change: tuple[str, str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "answers.csv").write_text(table(answer()).replace(*change))
    with pytest.raises(ValueError, match=words) as error:
        read_answers([tmp_path / "answers.csv"], STUDY)
    assert str(tmp_path / "answers.csv") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[]", "{}", '{"answers": [1]}', "[" * 100_000, "\xff"])
def test_a_damaged_file_of_a_page_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ValueError, match=r"results\.json holds no results of raters: [^\n]*$"):
        read_answers([tmp_path / "results.json"], STUDY)


def sat(path: Path) -> tuple[Store, str]:
    """A store in which one rater has answered one trial of the first block."""
    store = Store(path, STUDY, 600)
    rater = store.rater_of(store.new_rater("")) or ""
    assert store.block_of(rater) == ("block0-0", [])
    store.keep(answer(rater=rater))
    return store, rater


def test_what_the_server_has_stored_is_read_while_it_runs(tmp_path: Path) -> None:
    kit = write_kit(tmp_path / "kit", STUDY)
    store, rater = sat(kit / "results.sqlite")
    assert read_answers([kit / "results.sqlite"], STUDY) == read_answers([kit], STUDY) == [answer(rater=rater)]
    store.close()


@pytest.mark.parametrize("lost", ["results.sqlite", "results.sqlite-wal"])
@pytest.mark.parametrize("moved", [False, True])
def test_no_answer_is_acknowledged_into_a_lost_file_and_what_it_held_is_rescued(
    lost: str, moved: bool, tmp_path: Path
) -> None:
    store, rater = sat(tmp_path / "results.sqlite")
    assert not store.lost
    if moved:
        (tmp_path / lost).rename(tmp_path / "elsewhere")
        (tmp_path / lost).write_bytes(b"")
    else:
        (tmp_path / lost).unlink()
    with pytest.raises(LostError, match="deleted, moved or replaced"):
        store.keep(answer(BLOCK.trials[2], rater))
    with pytest.raises(LostError):
        store.answers()
    copy = store.rescue()
    store.close()
    assert answer(rater=rater) in stored_answers(copy)
    assert oct(copy.stat().st_mode)[-3:] == "600"
    again = Store(copy, STUDY, 600)
    assert again.owner == store.owner
    again.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exposure_ms": "abc"}, "exposure_ms: Input should be a valid integer"),
        ({"blocks": {}}, "blocks is empty"),
        ({"blocks": {"b": {"group": 0, "trials": ["none"]}}}, r"blocks\.b\.trials"),
        ({"trials": {"t": {"role": "study", "picture": "p", "shown": ["../p"], "meaning": ["truth"]}}}, "trials"),
        ({"schema": 7}, "schema is 7"),
    ],
)
def test_a_damaged_plan_is_one_sentence_with_file_and_field(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    kit = write_kit(tmp_path / "kit", STUDY)
    plan = json.loads((kit / PLAN).read_text())
    (kit / PLAN).write_text(json.dumps(plan | change))
    with pytest.raises(ValueError, match=words) as error:
        read_study(kit)
    assert str(kit / PLAN) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plan_cannot_show_files_outside_its_folder(tmp_path: Path) -> None:
    kit = write_kit(tmp_path / "kit", STUDY)
    shown = next(iter(STUDY.trials.values())).shown[0]
    (kit / PLAN).write_text((kit / PLAN).read_text().replace(shown, f"../../{shown}"))
    with pytest.raises(ValueError, match="no name of a picture"):
        read_study(kit)


def test_a_kit_is_read_as_it_was_written(tmp_path: Path) -> None:
    found: Study = read_study(write_kit(tmp_path / "kit", STUDY))
    assert found == STUDY


def test_a_pipe_that_nobody_writes_to_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "answers.csv")
    with pytest.raises(ValueError, match="no regular file"):
        read_answers([tmp_path / "answers.csv"], STUDY)
