"""Scores in the terminal."""

from typing import Any

from rich.table import Table

from evaluation.measures import MEASURES
from evaluation.terminal import plain_console


def print_scores(scores: dict[str, Any], grey: dict[str, Any] | None = None) -> None:
    """Print `scores.json` as a table: mean, 95% interval, number of images; and below it what is missing, and why.

    Args:
        scores: What the file holds.
        grey: The same of no colour at all, for another column.
    """
    table = Table(title=f"{scores['method']} by {scores['protocol']['name']}", title_justify="left")
    for heading in ("measure", "mean", "95% interval", *(["grey"] if grey else []), "pictures"):
        table.add_column(heading, justify="left" if heading == "measure" else "right")
    for name, score in scores["metrics"].items():
        measure = MEASURES[name]
        interval = "" if score["low"] is None else f"{score['low']:.3f} to {score['high']:.3f}"
        baseline = [value_of(grey, name)] if grey else []
        value = f"{score['value']:.3f} {measure.unit}".strip()
        table.add_row(measure.title, value, interval, *baseline, f"{score['n']:,}")
    console = plain_console()
    console.print(table)
    counts = scores["pictures"]
    console.print(
        f"{scores['set']['label']}: {counts['coloured']:,} coloured, {counts['grey']:,} grey, "
        f"{counts['unreadable']:,} unreadable",
    )
    for note in [*scores["notes"], *(f"without {name}: {why}" for name, why in scores["left_out"].items())]:
        console.print(note, style="yellow", soft_wrap=True)


def value_of(scores: dict[str, Any], name: str) -> str:
    """A score as tables show it; empty if there is none."""
    return f"{scores['metrics'][name]['value']:.3f}" if name in scores["metrics"] else ""
