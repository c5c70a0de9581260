"""What a run has logged so far."""

import csv
from collections.abc import Iterator
from math import isfinite
from pathlib import Path

NO_CURVES = ("epoch", "step")
"""Columns of a log that number its rows."""


def read_curves(logs: Path) -> dict[str, dict[int, float]]:
    """Every curve of Lightning's CSV logs, value by step; where a resumed run repeats steps, its values count."""
    curves: dict[str, dict[int, float]] = {}
    versions = sorted(logs.glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    for path in versions:
        for name, step, value in logged(path):
            curves.setdefault(name, {})[step] = value
    return curves


def logged(path: Path) -> Iterator[tuple[str, int, float]]:
    """Name, step and finite value of everything in a log, but rows that are damaged or not yet whole."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(line.replace("\0", "") for line in file if line.endswith("\n")):
            try:
                step = int(row["step"])
                values = [(name, float(value)) for name, value in row.items() if value and name not in NO_CURVES]
            except (KeyError, TypeError, ValueError):
                continue
            yield from ((name, step, value) for name, value in values if isfinite(value))
