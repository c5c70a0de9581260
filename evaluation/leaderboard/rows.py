"""What one scored directory adds to a leaderboard: its `scores.json`, checked, and its pictures' own scores."""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluation.leaderboard.records import Scores, check, complain, read_record
from evaluation.measures import MEASURES
from evaluation.protocols import definition_hash, installed
from evaluation.record import SCORES_SCHEMA

SPOKEN = {"mean_color": "mean colour", "permuted_chroma": "permuted chroma"}
SAME_COLOR = 0.002
"""How far the mean colours of one set may be apart, in [0, 1]: decoders of JPEG round differently."""
MEND = "score it again"


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
            with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                lines = list(csv.DictReader(file))
        except (csv.Error, OSError) as error:
            raise ValueError(f"{path} is no table of pictures: {error}; score it again") from error
        if not lines:
            raise ValueError(f"{path} is no table of pictures: it has no rows; score it again")
        found = {}
        for name, score in self.metrics.items():
            if MEASURES[name].mean_over and name in lines[0]:
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

    A record that is not as it should be is named on standard error, and left out.

    Raises:
        FileNotFoundError: If a path is not there.
        ValueError: If nothing is found, or no record is as it should be.
    """
    paths = list(paths)
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}; give directories that hold scores.json")
        files = sorted(path.rglob("scores.json")) if path.is_dir() else [path]
        # the same file is often reached twice, through a directory and its parent
        found |= {file.resolve(): file for file in files}
    if not found:
        places = ", ".join(map(str, paths))
        raise ValueError(f"there is no scores.json in {places}; evaluate.py writes one for each method that it scores")
    rows, complaints = list[Row](), list[str]()
    for file in found.values():
        try:
            row = read_row(file)
            _ = row.pictures
            rows.append(row)
        except ValueError as error:
            complaints.append(str(error))
    if not rows:
        raise ValueError(complaints[0])
    for sentence in complaints:
        complain(sentence)
    return rows


def read_row(path: Path) -> Row:
    """Read one `scores.json`.

    Raises:
        ValueError: If it is not whole, of another schema, holds what is no number, its protocol is not what its hash
            says, or it names a set whose pictures it does not have.
    """
    scores = read_record(path, MEND, schema=SCORES_SCHEMA)
    checked = check(path, scores, Scores, MEND)
    protocol = scores["protocol"]
    if (expected := definition_hash(protocol)) != protocol["hash"]:
        raise ValueError(
            f"{path} names the protocol {protocol['name']} {protocol['hash']}, but what it records hashes to "
            f"{expected}; it was changed by hand, so {MEND}"
        )
    if checked.set.named and checked.set.keys_sha256 != checked.protocol.keys_sha256:
        raise ValueError(
            f"{path} holds true as set.named, but set.keys_sha256 is not that of {protocol['name']}; {MEND}"
        )
    return Row(path.parent, scores)


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
