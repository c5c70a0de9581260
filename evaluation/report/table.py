"""Scores in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.report.run_report import TITLES, UNITS


def print_scores(scores: dict[str, Any]) -> None:
    """Print `scores.json` as a table: mean, 95% interval, number of pictures."""
    table = Table(title=f"{scores['method']} by {scores['protocol']['name']}", title_justify="left")
    for heading in ("measure", "mean", "95% interval", "pictures"):
        table.add_column(heading, justify="left" if heading == "measure" else "right")
    for name, score in scores["metrics"].items():
        mean = f"{score['value']:.3f} {UNITS.get(name, '')}".strip()
        table.add_row(TITLES.get(name, name), mean, f"{score['low']:.3f} to {score['high']:.3f}", str(score["n"]))
    Console().print(table)
