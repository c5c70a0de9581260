"""What raters answered: as files from pages that ran offline, and as the table that the server exports."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.vtt.study import Study

COLUMNS = ("study", "rater", "block", "trial", "choice", "response_ms", "shown_ms", "dropped", "at")


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
        ValueError: If it is none.
    """
    try:
        shown, choice = row["shown_ms"], row["choice"]
        return Answer(
            study=str(row["study"]),
            rater=str(row["rater"]),
            block=str(row["block"]),
            trial=str(row["trial"]),
            choice=None if choice in (None, "") else int(choice),
            response_ms=float(row["response_ms"]),
            shown_ms=tuple(float(each) for each in (shown.split() if isinstance(shown, str) else shown)),
            dropped=row["dropped"] or None,
            at=str(row["at"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is no answer: {row}") from error


def read_answers(paths: Sequence[Path], study: Study) -> list[Answer]:
    """All answers in results files (.json) and tables (.csv), and in folders of such; of a doubled one the earliest.

    Raises:
        FileNotFoundError: If a file is not there, or there is none.
        ValueError: If one is of another study, or damaged, or names what the study has not.
    """
    files = [each for path in paths for each in (sorted(path.iterdir()) if path.is_dir() else [path])]
    files = [path for path in files if path.suffix in (".json", ".csv")]
    if not files:
        raise FileNotFoundError(f"{' '.join(map(str, paths))} holds no results (.json, .csv)")
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


def read_file(path: Path) -> Iterable[Answer]:
    """The answers of one file."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            return [answer_of(row) for row in csv.DictReader(text.splitlines())]
        results = json.loads(text)
        shared = {name: results[name] for name in ("study", "rater", "block")}
        return [answer_of({**shared, **each}) for each in results["answers"]]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}; give a rater's results or the server's table") from error
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError, ValueError) as error:
        raise ValueError(f"{path} holds no results of raters: {error}") from error


def row_of(answer: Answer) -> dict[str, Any]:
    """An answer as a row of a table."""
    shown = " ".join(f"{each:.1f}" for each in answer.shown_ms)
    return {**answer.__dict__, "choice": "" if answer.choice is None else answer.choice, "shown_ms": shown}
