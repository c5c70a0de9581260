"""What a run has logged so far."""

import csv
from math import isfinite
from pathlib import Path


def read_curves(logs: Path) -> dict[str, dict[int, float]]:
    """Every curve of Lightning's CSV logs, value by step; where a resumed run repeats steps, its values count."""
    curves: dict[str, dict[int, float]] = {}
    versions = sorted(logs.glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    for path in versions:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value and name not in ("epoch", "step") and isfinite(float(value)):
                        curves.setdefault(name, {})[int(row["step"])] = float(value)
    return curves
