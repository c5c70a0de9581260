"""What one scored directory adds to a leaderboard: its `scores.json`, checked, and its pictures' own scores."""

import csv
import json
import math
import reprlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluation.measures import MEASURES
from evaluation.protocols import definition_hash, installed
from evaluation.record import SCORES_SCHEMA

SPOKEN = {"mean_color": "mean colour", "permuted_chroma": "permuted chroma"}
SAME_COLOR = 0.002
"""How far the mean colours of one set may be apart, in [0, 1]: decoders of JPEG round differently."""

Shape = tuple[str, Callable[[Any], bool]]
"""What an entry should be, in words, and whether a value is that."""


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number: Python reads NaN, and whole numbers that no float can hold."""
    # to Python, true is an int
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_count(value: Any) -> bool:
    """Whether a value of JSON is a whole number from 0."""
    return isinstance(value, int) and value >= 0


def mapping_to(words: str, fits: Callable[[Any], bool]) -> Shape:
    """Names, each with a value that fits."""
    return f"a mapping to {words}", lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def optional(shape: Shape) -> Shape:
    """What may be null, or not there."""
    words, fits = shape
    return f"{words} or null", lambda value: value is None or fits(value)


TEXT: Shape = "text", lambda value: isinstance(value, str)
NAME: Shape = "a name", lambda value: isinstance(value, str | int | float)
FLAG: Shape = "true or false", lambda value: isinstance(value, bool)
NUMBER: Shape = "a finite number", is_number
COUNT: Shape = "a whole number", is_count
COLOR: Shape = "three numbers", lambda value: isinstance(value, list) and len(value) == 3 and all(map(is_number, value))
TEXTS: Shape = "a list of text", lambda value: isinstance(value, list) and all(map(TEXT[1], value))
MAPPING: Shape = "a mapping", lambda value: isinstance(value, dict)
SHAPES: dict[str, dict[str, Shape]] = {
    "": {
        "method": NAME,
        "variant": optional(NAME),
        "kind": TEXT,
        "source": MAPPING,
        "hyper_parameters": optional(MAPPING),
        "protocol": MAPPING,
        "set": MAPPING,
        "pictures": mapping_to("whole numbers", is_count),
        "metrics": mapping_to("mappings", MAPPING[1]),
        "left_out": mapping_to("text", TEXT[1]),
        "curves": optional(mapping_to("mappings", MAPPING[1])),
        "gallery": optional(TEXTS),
        "notes": optional(TEXTS),
        "packages": optional(MAPPING),
        "hardware": optional(MAPPING),
        "wall_seconds": optional(NUMBER),
    },
    "source": {"sha256": optional(TEXT)},
    "protocol": {
        "name": TEXT,
        "description": TEXT,
        "measures": TEXTS,
        "keys_sha256": optional(TEXT),
        "published": optional(TEXT),
        "seed": COUNT,
        "hash": TEXT,
    },
    "set": {"label": TEXT, "complete": FLAG, "named": FLAG, "keys_sha256": TEXT, "mean_rgb": optional(COLOR)},
}
"""What a record's entries should be, and those of its parts; it may have others, which are not read."""
SCORE: dict[str, Shape] = {
    "value": NUMBER,
    "low": optional(NUMBER),
    "high": optional(NUMBER),
    "n": COUNT,
    "space": optional(TEXT),
}
"""What the entries of a measure's score should be."""


@dataclass(frozen=True)
class Row:
    """One method's scores by one protocol on one set.

    Attributes:
        folder: Where `scores.json` was found, with `pictures.csv` and `gallery/` beside it.
        scores: What it holds.
        choice: Of what it is the best, if it was chosen.
        note: How it was chosen.
    """

    folder: Path
    scores: dict[str, Any]
    choice: str = ""
    note: str = ""

    @property
    def method(self) -> str:
        """The method's name in words."""
        return SPOKEN.get(self.scores["method"], str(self.scores["method"]))

    @property
    def variant(self) -> str:
        """Which of the method's variants, in words, and of what it is the best; empty if neither."""
        variant = self.scores.get("variant")
        return ", ".join(filter(None, ("" if variant is None else str(variant), self.choice)))

    @property
    def name(self) -> str:
        """The method, and its variant if it has one."""
        return ", ".join(filter(None, (self.method, self.variant)))

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
    def scored_on(self) -> tuple[str, str, bool]:
        """What rows that compare share: the protocol's hash, the sum of the pictures' names, whether all are there."""
        pictures = self.scores["set"]
        return self.protocol["hash"], pictures["keys_sha256"], pictures["complete"]

    @property
    def mean_rgb(self) -> list[float] | None:
        """The mean colour of the true pictures in [0, 1], if it is known: names alone do not make the same pictures."""
        color: list[float] | None = self.scores["set"].get("mean_rgb")
        return color

    def has_pictures_of(self, other: "Row") -> bool:
        """Whether two rows on sets of the same names have the same pictures, as far as mean colours tell."""
        if self.mean_rgb is None or other.mean_rgb is None:
            return True
        return all(abs(one - two) <= SAME_COLOR for one, two in zip(self.mean_rgb, other.mean_rgb, strict=True))

    @property
    def redefined(self) -> str | None:
        """What is amiss if the installed protocol of this name is another, in a sentence."""
        now = installed(self.protocol["name"])
        if now is None or now.hash == self.protocol["hash"]:
            return None
        hashes = f"hash {self.protocol['hash']}, the installed one is {now.hash}"
        return f"scored by another definition of {now.name} ({hashes})"

    @cached_property
    def pictures(self) -> dict[str, dict[str, float]]:
        """Each picture's own score by its key, by measure; empty without the file.

        Only measures of which the set's score is the mean of these: of others, such as histogram intersection, the
        pictures' scores do not tell which set's is better. Where each pixel of the set counts the same, a picture's
        score bears its share of pixels.

        Raises:
            ValueError: If a score is no finite number, or the file is not that of `scores.json`.
        """
        path = self.folder / "pictures.csv"
        if not path.is_file():
            return {}
        try:
            with path.open(newline="", encoding="utf-8") as file:
                lines = list(csv.DictReader(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no table of pictures: {error}; score it again") from error
        found = {}
        for name, score in self.metrics.items():
            if MEASURES[name].mean_over and lines and name in lines[0]:
                values = _picture_scores(path, lines, name)
                mean = fmean(values.values()) if values else math.nan
                if len(values) != score["n"] or not math.isclose(mean, score["value"], rel_tol=1e-3, abs_tol=1e-6):
                    record = self.folder / "scores.json"
                    raise ValueError(f"{path} and {record} disagree on {name}; score it again")
                found[name] = values
        return found


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
        ValueError: If it is not whole, of another schema, holds what is no number, its protocol is not what its hash
            says, or it names a set whose pictures it does not have.
    """
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no whole JSON file: {error}") from error
    schema = scores.get("schema") if isinstance(scores, dict) else None
    if schema != SCORES_SCHEMA:
        raise ValueError(f"{path} is of schema {schema}, and the leaderboard reads {SCORES_SCHEMA}; score it again")
    # Python reads NaN and Infinity, which are no JSON, and 1e999 as infinity
    for place, number in _numbers(scores):
        if not is_number(number):
            raise ValueError(f"{path} holds {reprlib.repr(number)} as {place}, which is no score; score it again")
    for part, shapes in SHAPES.items():
        _check(path, part, scores[part] if part else scores, shapes)
    protocol = scores["protocol"]
    if unknown := [measure for measure in (*scores["metrics"], *protocol["measures"]) if measure not in MEASURES]:
        raise ValueError(f"{path} holds {unknown[0]}, which is no measure here; was it scored by a newer version?")
    for measure, score in scores["metrics"].items():
        _check(path, f"metrics.{measure}", score, SCORE)
    if (expected := definition_hash(protocol)) != protocol["hash"]:
        raise ValueError(
            f"{path} names the protocol {protocol['name']} {protocol['hash']}, but what it records hashes to "
            f"{expected}; it was changed by hand, so score it again"
        )
    if scores["set"]["named"] and scores["set"]["keys_sha256"] != protocol.get("keys_sha256"):
        raise ValueError(
            f"{path} holds true as set.named, but set.keys_sha256 is not that of {protocol['name']}; score it again"
        )
    return Row(path.parent, scores)


def _check(path: Path, part: str, entries: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    for key, (words, fits) in shapes.items():
        place = f"{part}.{key}" if part else key
        if not fits(entries.get(key)):
            if key not in entries:
                raise ValueError(f"{path} has no {place}; score it again")
            raise ValueError(f"{path} holds {reprlib.repr(entries[key])} as {place}, not {words}; score it again")


def _numbers(record: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a record, with the keys that lead to it."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield from _numbers(value, f"{place}.{key}" if place else key)
    elif isinstance(record, list):
        for index, value in enumerate(record):
            yield from _numbers(value, f"{place}[{index}]")
    elif isinstance(record, int | float) and not isinstance(record, bool):
        yield place, record


def _picture_scores(path: Path, lines: list[dict[str, str]], measure: str) -> dict[str, float]:
    scored = [line for line in lines if line[measure]]
    values = {line.get("key", ""): _cell(path, line, measure) for line in scored}
    if MEASURES[measure].mean_over != "pixels" or not scored:
        return values
    pixels = {line.get("key", ""): _cell(path, line, "pixels") for line in scored}
    mean_pixels = fmean(pixels.values()) or 1.0  # without any pixel the mean is 0, and disagrees with the set's
    return {key: value * pixels[key] / mean_pixels for key, value in values.items()}


def _cell(path: Path, line: Mapping[str, str], column: str) -> float:
    try:
        number = float(line.get(column) or "nan")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{path} holds {line.get(column)} as {column} of {line.get('key')}, which is no score")
    return number
