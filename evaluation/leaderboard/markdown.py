"""`leaderboard.md`: the tables as GitHub shows them."""

import html
import re
from collections.abc import Sequence

from evaluation.leaderboard.lines import Cell, Column, Line, SweepLines
from evaluation.leaderboard.tables import PublishedTable, Table

ARROWS = {"higher": "↑", "lower": "↓", None: ""}


def render(tables: Sequence[Table]) -> str:
    """The tables in Markdown, with a final newline."""
    text = [
        "# Leaderboard",
        "Values with their 95% bootstrap intervals over pictures; ↑ higher is better, ↓ lower. **Bold**: the best that "
        "was measured, and what a paired test on the same pictures does not tell from it (p ≥ 0.05). Without a paired "
        "test (FID, intersections and the like) only the best is bold. *Italics*: as printed in a paper.",
    ]
    for table in tables:
        text += _section(table)
    return "\n\n".join(text) + "\n"


def _section(table: Table) -> list[str]:
    name, label, description = map(_plain, (table.protocol["name"], table.label, table.protocol["description"]))
    text = [f"## {name}: {label}", description]
    if table.warning:
        text.append(f"> {_plain(table.warning)}")
    rows = [_line(line) for line in table.lines] + [_line(line, "check") for line in table.standing_lines]
    text.append(_table(table.columns, rows))
    text += [f"{_plain(table.full_name(row))}: {_plain(row.note)}." for row in table.measured if row.note]
    for sweep in table.sweeps:
        text += _sweep(sweep)
    text.append(f"Protocol hash `{table.protocol['hash']}`.")
    text += [f"Without {title}: {_plain(reason)}." for title, reason in table.absent.items()]
    if table.comparisons and table.compared_by:
        best = table.full_name(table.comparisons[0][1])
        text.append(f"{table.compared_by.title} of each row minus that of {_plain(best)}, picture by picture:")
        lines = [
            [
                _plain(table.full_name(row)),
                f"{found['difference']:+.4f}",
                f"{found['low']:+.4f} to {found['high']:+.4f}",
                f"{found['p_value']:.4f}",
            ]
            for row, _, found in table.comparisons
        ]
        text.append(_grid(["method", "difference", "95% interval", "p"], lines))
    for published in table.published:
        text += _published(published)
    return text


def _published(table: PublishedTable) -> list[str]:
    rows = [_line(line, "published") for line in table.published] + [_line(line, "measured") for line in table.measured]
    head = f"### {table.paper.citation}, {table.place}"
    return [head, f"*{table.paper.title}*, {table.status}.", _table(table.columns, rows)]


def _sweep(sweep: SweepLines) -> list[str]:
    rows = []
    for line in sweep.lines:
        validation, *cells = line.cells
        name = f"{_called(line)} ({_plain(line.note)})" if line.note else _called(line)
        rows.append([name, _value(validation), *(cell.text for cell in cells)])
    return [f"<details><summary>{html.escape(sweep.title)}</summary>", _table(sweep.columns, rows, "run"), "</details>"]


def _called(line: Line) -> str:
    return ", ".join(filter(None, map(_plain, (line.name, line.detail))))


def _line(line: Line, tag: str = "") -> list[str]:
    name = _called(line)
    if tag == "published":
        return [
            f"*{name}* (published)",
            *(f"*{_value(cell)}*" if cell.interval == "" else _value(cell) for cell in line.cells),
        ]
    return [name + (f" ({tag})" if tag else ""), *map(_value, line.cells)]


def _value(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    if not cell.interval:
        return text
    return f"{text} {cell.interval}" if cell.interval.startswith("±") else f"{text} ({cell.interval})"


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]], first: str = "method") -> str:
    heads = [f"{column.title} {column.unit} {ARROWS[column.better]}".split() for column in columns]
    return _grid([first, *map(" ".join, heads)], rows)


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows))


def _plain(text: str) -> str:
    """Text on one line whose characters mean nothing to Markdown; `_` within a word means nothing anyway."""
    return re.sub(r"[\\`*|<>\[\]&$~]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", " ".join(text.split()))
