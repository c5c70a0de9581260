"""What one scored directory adds to a leaderboard: its `scores.json`, checked, and its pictures' own scores."""

import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluation.measures import MEASURES
from evaluation.protocols import definition_hash, installed
from evaluation.record import SCORES_SCHEMA

SPOKEN = {"mean_color": "mean colour", "permuted_chroma": "permuted chroma"}
REQUIRED = {
    "": ("method", "kind", "source", "protocol", "set", "pictures", "metrics", "left_out"),
    "protocol": ("name", "description", "measures", "seed", "hash"),
    "set": ("label", "complete", "named", "keys_sha256"),
}
"""Entries that every record has, and its parts have."""


@dataclass(frozen=True)
class Row:
    """One method's scores by one protocol on one set.

    Attributes:
        folder: Where `scores.json` was found, with `pictures.csv` and `gallery/` beside it.
        scores: What it holds.
    """

    folder: Path
    scores: dict[str, Any]

    @property
    def method(self) -> str:
        """The method's name in words."""
        return SPOKEN.get(self.scores["method"], str(self.scores["method"]))

    @property
    def name(self) -> str:
        """The method, and its variant if it has one."""
        return ", ".join(filter(None, (self.method, self.scores.get("variant"))))

    @property
    def standing(self) -> bool:
        """Whether this is a check on the protocol, such as the truth itself, which is never ranked."""
        return bool(self.scores["kind"] == "baseline")

    @property
    def protocol(self) -> dict[str, Any]:
        """The protocol's definition and hash."""
        definition: dict[str, Any] = self.scores["protocol"]
        return definition

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Value, interval and number of pictures by measure."""
        metrics: dict[str, dict[str, Any]] = self.scores["metrics"]
        return metrics

    @property
    def stale(self) -> str | None:
        """What is amiss if the protocol of this name has changed since, in a sentence."""
        now = installed(self.protocol["name"])
        if now is None or now.hash == self.protocol["hash"]:
            return None
        return (
            f"scored by an older {now.name} (hash {self.protocol['hash']}, now {now.hash}); score it again to compare"
        )

    @cached_property
    def pictures(self) -> dict[str, dict[str, float]]:
        """Each picture's own score by its key, by measure; empty without the file.

        Only measures of which the set's score is the mean of these: of others, such as histogram intersection, the
        pictures' scores do not tell which set's is better. Where each pixel of the set counts the same, a picture's
        score bears its share of pixels.

        Raises:
            ValueError: If a score is no finite number.
        """
        path = self.folder / "pictures.csv"
        if not path.is_file():
            return {}
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        scores = {name: _picture_scores(path, lines, name) for name in self.metrics if lines and name in lines[0]}
        return {
            name: values
            for name, values in scores.items()
            if values and math.isclose(fmean(values.values()), self.metrics[name]["value"], rel_tol=1e-3, abs_tol=1e-6)
        }


def find_rows(paths: Iterable[Path]) -> list[Row]:
    """The rows below some paths, in the order of their places.

    Args:
        paths: Directories, which are searched for `scores.json` at any depth, or such files.

    Raises:
        FileNotFoundError: If a path is not there.
        ValueError: If nothing is found, or a record is not as it should be.
    """
    paths = list(paths)
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}; give directories that hold scores.json")
        files = [path] if path.is_file() else sorted(path.rglob("scores.json"))
        # the same file is often reached twice, through a directory and its parent
        found |= {file.resolve(): file for file in files}
    if not found:
        places = ", ".join(map(str, paths))
        raise ValueError(f"there is no scores.json in {places}; evaluate.py writes one for each method that it scores")
    return [read_row(file) for file in found.values()]


def read_row(path: Path) -> Row:
    """Read one `scores.json`.

    Raises:
        ValueError: If it is not whole, of another schema, holds NaN, or its protocol is not what its hash says.
    """
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no whole JSON file: {error}") from error
    schema = scores.get("schema") if isinstance(scores, dict) else None
    if schema != SCORES_SCHEMA:
        raise ValueError(f"{path} is of schema {schema}, and the leaderboard reads {SCORES_SCHEMA}; score it again")
    for part, keys in REQUIRED.items():
        if missing := [key for key in keys if key not in (scores[part] if part else scores)]:
            raise ValueError(f"{path} has no {' '.join((part, missing[0])).strip()}; score it again")
    # Python reads NaN and Infinity, which are no JSON, and 1e999 as infinity
    for place, number in _numbers(scores):
        if not math.isfinite(number):
            raise ValueError(f"{path} holds {number} as {place}, which is no score; score it again")
    if unknown := [measure for measure in scores["metrics"] if measure not in MEASURES]:
        raise ValueError(f"{path} holds {unknown[0]}, which is no measure here; was it scored by a newer version?")
    protocol = scores["protocol"]
    if (expected := definition_hash(protocol)) != protocol["hash"]:
        raise ValueError(
            f"{path} names the protocol {protocol['name']} {protocol['hash']}, but what it records hashes to "
            f"{expected}; it was changed by hand, so score it again"
        )
    return Row(path.parent, scores)


def _numbers(record: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a record, with the keys that lead to it."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield from _numbers(value, f"{place}.{key}" if place else key)
    elif isinstance(record, list):
        for index, value in enumerate(record):
            yield from _numbers(value, f"{place}[{index}]")
    elif isinstance(record, float):
        yield place, record


def _picture_scores(path: Path, lines: list[dict[str, str]], measure: str) -> dict[str, float]:
    scored = [line for line in lines if line[measure]]
    values = {}
    for line in scored:
        try:
            values[line["key"]] = float(line[measure])
        except ValueError:
            values[line["key"]] = math.nan
        if not math.isfinite(values[line["key"]]):
            raise ValueError(f"{path} holds {line[measure]} as {measure} of {line['key']}, which is no score")
    if "pixels" not in MEASURES[measure].statistics or not scored:
        return values
    mean_pixels = fmean(int(line["pixels"]) for line in scored)
    return {line["key"]: values[line["key"]] * int(line["pixels"]) / mean_pixels for line in scored}
