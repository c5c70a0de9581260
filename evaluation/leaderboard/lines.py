"""How values are shown: the heads, cells and lines of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.leaderboard.rows import Row
from evaluation.measures import MEASURES
from evaluation.published import Paper, PublishedRow

DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Column:
    """A measure at the head of a table; `note` says what it is."""

    measure: str
    title: str
    unit: str
    better: Literal["higher", "lower"] | None
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """A value as it is shown.

    Attributes:
        text: The value, or a dash.
        interval: Its 95% interval, if it has one.
        value: By which it is sorted; None for a dash.
        best: Whether it is marked.
        note: What to know of it: for a dash, why there is no value.
    """

    text: str = DASH
    interval: str = ""
    value: float | None = None
    best: bool = False
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A row as it is shown: of `row` where it was measured, of a paper otherwise."""

    name: str
    detail: str
    cells: list[Cell]
    row: Row | None = None
    note: str = ""


@dataclass(frozen=True)
class SweepLines:
    """All runs of a sweep, as a table lists them beneath it: each line is called by the run's settings."""

    title: str
    columns: list[Column]
    lines: list[Line]


PUBLISHED_ONLY = {
    "mean_intersection_over_union": Column("mean_intersection_over_union", "Mean IoU", "%", "higher"),
    "seconds": Column("seconds", "Time", "s", "lower"),
}
"""What papers print and nothing here measures."""


def column_of(measure: str) -> Column:
    """A measure's column."""
    if measure in MEASURES:
        known = MEASURES[measure]
        return Column(measure, known.title, known.unit, known.better, known.note)
    return PUBLISHED_ONLY[measure]


def decimals_of(values: Sequence[float]) -> int:
    """Digits behind the point at which a column of values is shown."""
    largest = max(map(abs, values))
    return 1 if largest >= 100 else 2 if largest >= 10 else 3


def cell_of(row: Row, measure: str, decimals: int, best: bool) -> Cell:
    """What a measured row has of a measure."""
    if measure not in row.metrics:
        return Cell(note=row.scores["left_out"].get(measure, "not measured for this row"))
    score = row.metrics[measure]
    known = score.get("low") is not None and score.get("high") is not None
    interval = f"{score['low']:.{decimals}f}{DASH}{score['high']:.{decimals}f}" if known else ""
    return Cell(f"{score['value']:.{decimals}f}", interval, score["value"], best, score.get("space", ""))


def published_lines(rows: Sequence[PublishedRow], columns: Sequence[Column]) -> list[Line]:
    """Published rows, every value as printed."""
    # YAML drops the zeros that papers print at the end
    decimals = {
        name: max(len(f"{row.metrics[name]}".partition(".")[2]) for row in rows if name in row.metrics)
        for name in (column.measure for column in columns)
    }
    lines = []
    for row in rows:
        cells = []
        for name, digits in decimals.items():
            if (value := row.metrics.get(name)) is None:
                cells.append(Cell(note=row.note or "not printed there"))
            else:
                error = f"± {row.errors[name]}" if name in row.errors else ""
                cells.append(Cell(f"{value:.{digits}f}", error, value))
        lines.append(Line(row.method, row.variant or "", cells, note=row.note or ""))
    return lines


def status_of(row: PublishedRow, papers: dict[str, Paper]) -> str:
    """Who has read a published row."""
    if row.status == "verified" or row.source is None:
        return "verified in the paper"
    return f"transcribed from {papers[row.source].citation}"
