"""Numbers that papers print, with where they stand and who has read them there."""

import math
from dataclasses import dataclass, field, fields
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

STATUSES = ("verified", "transcribed")


@dataclass(frozen=True)
class Paper:
    """Where numbers stand.

    Attributes:
        title: In full.
        authors: Their family names.
        venue: With the year.
    """

    title: str
    authors: str
    venue: str

    @property
    def citation(self) -> str:
        """First author and venue, as in a running text."""
        return f"{self.authors.split(',')[0]} et al., {self.venue}"


@dataclass(frozen=True)
class PublishedRow:
    """One row of a paper's table, or one number of its text.

    Attributes:
        method: What the number is of.
        paper: The key of the paper that prints it; not always the method's own.
        place: Table, figure or section of that paper.
        protocol: What it was measured on; rows compare within one protocol only.
        status: `verified` if it was read in that paper, `transcribed` if it is second-hand.
        metrics: The numbers by measure; empty only where the paper prints a failure, which the note then gives.
        variant: Of the method, if the paper has several.
        source: For second-hand rows, the key of the paper that they are said to stand in.
        errors: What the paper prints after plus-minus, by measure.
        note: What one should know beside the numbers.
    """

    method: str
    paper: str
    place: str
    protocol: str
    status: str
    metrics: dict[str, float]
    variant: str | None = None
    source: str | None = None
    errors: dict[str, float] = field(default_factory=dict)
    note: str | None = None


class Document(BaseModel):
    """`published.yaml`: the papers by their keys, and the rows, which are looked at one by one."""

    papers: dict[str, Paper]
    rows: list[dict[str, Any]]


def published_rows() -> list[PublishedRow]:
    """All rows of `published.yaml`, in its order.

    Raises:
        ValueError: If a row is not as it should be.
    """
    return parse_rows(_published_text())


def published_papers() -> dict[str, Paper]:
    """The papers that the rows name, by their keys."""
    return _document(_published_text()).papers


def _published_text() -> str:
    return resources.files("evaluation").joinpath("published.yaml").read_text(encoding="utf-8")


def parse_rows(text: str) -> list[PublishedRow]:
    """The rows that YAML of the form of `published.yaml` holds.

    Raises:
        ValueError: If a row is not as it should be; the message names the row.
    """
    document = _document(text)
    return [_parse_row(place, row, set(document.papers)) for place, row in enumerate(document.rows, start=1)]


def _document(text: str) -> Document:
    try:
        return Document.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"the published numbers are no whole YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        entry = ".".join(map(str, first["loc"])) or "all of it"
        wrong = "is missing" if first["type"] == "missing" else first["msg"].removeprefix("Input ")
        raise ValueError(f"of the published numbers, {entry} {wrong}") from error


def _parse_row(number: int, row: dict[str, Any], papers: set[str]) -> PublishedRow:
    keys = ("method", "variant", "paper", "place")
    name = f"row {number} ({', '.join(str(row[key]) for key in keys if row.get(key))})"
    for entry in fields(PublishedRow):
        if entry.name in ("metrics", "errors"):
            continue
        required = entry.name in ("method", "paper", "place", "protocol", "status")
        value = row.get(entry.name)
        if required and not value:
            raise ValueError(f"{name} of the published numbers has no {entry.name}.")
        # YAML reads a bare 0.04 or 2017 as a number, which a reader of notes would not expect
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} of the published numbers has {value!r} as {entry.name}, which is no text.")
    # a misspelt key would otherwise drop a note or an error bar without a word
    if unknown := sorted(row.keys() - {entry.name for entry in fields(PublishedRow)}):
        raise ValueError(f"{name} of the published numbers has the unknown key {unknown[0]}.")
    if row["paper"] not in papers:
        raise ValueError(f"{name} of the published numbers stands in the unknown paper {row['paper']}.")
    if row["status"] not in STATUSES:
        raise ValueError(f"{name} of the published numbers is {row['status']}, and not {' or '.join(STATUSES)}.")
    if row["status"] == "transcribed" and row.get("source") not in papers:
        raise ValueError(f"{name} of the published numbers is transcribed, but names no known paper as its source.")
    metrics, errors = _numbers(name, row.get("metrics")), _numbers(name, row.get("errors", {}))
    if not metrics and not row.get("note"):
        raise ValueError(f"{name} of the published numbers has neither a metric nor a note that says why.")
    if stray := sorted(errors.keys() - metrics.keys()):
        raise ValueError(f"{name} of the published numbers has an error of {stray[0]}, but no such metric.")
    return PublishedRow(**{**row, "metrics": metrics, "errors": errors})


def _numbers(name: str, values: Any) -> dict[str, float]:
    if not isinstance(values, dict):
        raise ValueError(f"{name} of the published numbers has {values!r} where metrics by name belong.")
    for metric, value in values.items():
        # YAML's true is an int to Python
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name} of the published numbers has {value!r} as {metric}, which is no number.")
    return {metric: float(value) for metric, value in values.items()}
