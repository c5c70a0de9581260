"""What raters answered: as files from pages that ran offline, as the server's table, and as the server stores it."""

import csv
import io
import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.vtt.study import PLAN, Study

COLUMNS = ("study", "rater", "block", "trial", "choice", "response_ms", "shown_ms", "dropped", "at")
SUFFIXES = (".json", ".csv", ".sqlite")
SQLITE = b"SQLite format 3\0"
"""Begins every file of SQLite."""
STORED = """SELECT study.name, rater, block, trial, choice, response_ms, shown_ms, dropped, at
    FROM answers JOIN sittings USING (sitting), study WHERE state != 'abandoned' OR ? ORDER BY sitting, at, trial"""


@dataclass(frozen=True)
class Answer:
    """One rater's answer to one trial.

    Attributes:
        study: Name of the study.
        rater: Who answered: a name that means nothing.
        block: In which block.
        trial: To which trial.
        choice: Which of the shown pictures, counted from 0 in the order shown; None if the trial was dropped.
        response_ms: From the question to the answer.
        shown_ms: For how long each picture was really shown; empty if as long as the rater liked.
        dropped: Why the trial does not count, such as `timing`; None if it does.
        at: When, in ISO 8601, by the clock of the page.
    """

    study: str
    rater: str
    block: str
    trial: str
    choice: int | None
    response_ms: float
    shown_ms: tuple[float, ...] = ()
    dropped: str | None = None
    at: str = ""


def answer_of(row: dict[str, Any]) -> Answer:
    """An answer from JSON or from a row of a table.

    Raises:
        ValueError: If it is none; it names the field.
    """
    fields: dict[str, Any] = {}
    for name, read in READ.items():
        if name not in row:
            raise ValueError(f"{name} is missing")
        try:
            fields[name] = read(row[name])
        except (TypeError, ValueError, AttributeError):
            raise ValueError(f"{name} cannot be {row[name]!r}") from None
    return Answer(**fields)


def text_in(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise TypeError
    return value


def choice_in(value: Any) -> int | None:
    """A whole number, or nothing."""
    if value in (None, ""):
        return None
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError
    return int(float(value))


def milliseconds_in(value: Any) -> float:
    """A finite number that is not negative."""
    if isinstance(value, bool) or not 0 <= float(value) < math.inf:
        raise ValueError
    return float(value)


def shown_in(value: Any) -> tuple[float, ...]:
    """Numbers, as a list or with blanks between."""
    return tuple(map(milliseconds_in, value.split() if isinstance(value, str) else value))


def reason_in(value: Any) -> str | None:
    """A text, or nothing."""
    return text_in(value or "") or None


READ: dict[str, Callable[[Any], Any]] = {
    "study": text_in,
    "rater": text_in,
    "block": text_in,
    "trial": text_in,
    "choice": choice_in,
    "response_ms": milliseconds_in,
    "shown_ms": shown_in,
    "dropped": reason_in,
    "at": text_in,
}
"""How the fields of an answer are read."""


def read_answers(paths: Sequence[Path], study: Study) -> list[Answer]:
    """All answers in files of results, and in folders of such; of a doubled one the earliest.

    Args:
        paths: Raters' own files (.json), tables (.csv), what the server has stored (.sqlite), and folders of these.
        study: That was answered.

    Raises:
        FileNotFoundError: If a file is not there, or there is none.
        ValueError: If one is of another study, or damaged, or names what the study has not.
    """
    files = [each for path in paths for each in (results_below(path) if path.is_dir() else [path])]
    if not files:
        raise FileNotFoundError(f"{' '.join(map(str, paths))} holds no results ({', '.join(SUFFIXES)})")
    found: list[Answer] = []
    for path in files:
        for answer in read_file(path):
            block = study.blocks.get(answer.block)
            if answer.study != study.name or block is None or answer.trial not in block.trials:
                raise ValueError(f"{path} holds answers of another study; give the results of this kit alone")
            if answer.choice is not None and not 0 <= answer.choice < len(study.trials[answer.trial].shown):
                raise ValueError(f"{path}: {answer.choice} is no choice of trial {answer.trial}")
            found.append(answer)
    found.sort(key=lambda answer: answer.at)
    return list({(answer.rater, answer.trial): answer for answer in reversed(found)}.values())[::-1]


def results_below(folder: Path) -> list[Path]:
    """The files of results in a folder, sorted, but hidden ones, as some systems put beside each, and a kit's plan."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.name != PLAN
    ]


def read_file(path: Path) -> list[Answer]:
    """The answers of one file."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")  # a pipe without a writer would never end
        with path.open("rb") as file:
            start = file.read(len(SQLITE))
        if start == SQLITE:
            return stored_answers(path)
        # spreadsheets put a mark before UTF-8, and some write UTF-16
        text = path.read_text(encoding="utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        return answers_of_page(text) if path.suffix.lower() == ".json" else answers_of_table(text)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}; give a rater's results or the server's table") from error
    except (ValueError, RecursionError, csv.Error, sqlite3.Error) as error:
        raise ValueError(f"{path} holds no results of raters: {error}") from error


def answers_of_page(text: str) -> list[Answer]:
    """The answers in the file that a rater's page has written."""
    results = json.loads(text)
    if not isinstance(results, dict) or not isinstance(results.get("answers"), list):
        raise ValueError("answers is no list")
    shared = {name: results[name] for name in ("study", "rater", "block") if name in results}
    answers = []
    for number, each in enumerate(results["answers"]):
        try:
            answers.append(answer_of({**shared, **(each if isinstance(each, dict) else {})}))
        except ValueError as error:
            raise ValueError(f"answers.{number}: {error}") from None
    return answers


def answers_of_table(text: str) -> list[Answer]:
    """The answers in the server's table, or in what a spreadsheet has made of it: rows that are blank are none."""
    delimiter = next((each for each in ";\t" if each in text.partition("\n")[0]), ",")
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    if missing := [name for name in COLUMNS if name not in (table.fieldnames or ())]:
        raise ValueError(f"the column {missing[0]} is missing")
    answers = []
    for number, row in enumerate(table, 2):
        if not any(isinstance(value, str) and value.strip() for value in row.values()):
            continue
        if delimiter != ",":  # where commas stand in numbers
            row |= {name: (row.get(name) or "").replace(",", ".") for name in ("response_ms", "shown_ms")}
        try:
            answers.append(answer_of(row))
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from None
    return answers


def stored_answers(path: Path, with_abandoned: bool = False) -> list[Answer]:
    """The answers in the server's file, as they were stored.

    Args:
        path: The SQLite file; a server may be writing it.
        with_abandoned: Take those of blocks that were abandoned, too.
    """
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        return [
            Answer(study, rater, block, trial, choice, response, tuple(json.loads(shown)), dropped, at)
            for study, rater, block, trial, choice, response, shown, dropped, at in database.execute(
                STORED, (with_abandoned,)
            )
        ]


def row_of(answer: Answer) -> dict[str, Any]:
    """An answer as a row of a table."""
    shown = " ".join(f"{each:.1f}" for each in answer.shown_ms)
    return {**answer.__dict__, "choice": "" if answer.choice is None else answer.choice, "shown_ms": shown}
