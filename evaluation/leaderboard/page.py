"""`leaderboard.html`: every table, its plots and pictures on one page that stands alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from evaluation.leaderboard.gallery import Strip, gallery, sheets
from evaluation.leaderboard.plots import Curves, Plot, plots
from evaluation.leaderboard.rows import Row
from evaluation.leaderboard.tables import Table
from evaluation.report.template import template_of

COLOURS = (
    "#3b7dd8", "#dd7a33", "#37995b", "#c9506f", "#8a69d1",
    "#a3822f", "#23999b", "#c759b3", "#73872c", "#6c80aa",
)  # fmt: skip
"""Of methods, in turn; each stands out from white and from black."""
GREY = "#8b8f96"
DASHES = ((5, 2), (1.5, 1.5), (5, 2, 1.5, 2), (9, 3))
"""Of standing rows, in turn."""


@dataclass(frozen=True)
class Section:
    """A table with the looks of its rows."""

    table: Table
    colours: dict[tuple[str, str], str]

    def look(self, row: Row) -> tuple[str, Sequence[float]]:
        """Colour and dashes of a row's line."""
        if row.standing:
            return GREY, DASHES[self.table.standing.index(row) % len(DASHES)]
        return self.colours[identity(row)], ()

    @property
    def drawn(self) -> list[Row]:
        """All rows but the check by the truth itself, which is beyond every axis."""
        return [*self.table.measured, *(row for row in self.table.standing if row.scores["method"] != "truth")]

    @cached_property
    def curves(self) -> list[Curves]:
        """Of the rows that are drawn."""
        return [
            Curves(self.table.full_name(row), *self.look(row), row.scores.get("curves") or {}, row.metrics)
            for row in self.drawn
        ]

    @cached_property
    def plots(self) -> list[Plot]:
        """Every plot that the rows have curves for."""
        return plots(self.curves, self.table.ranked_by)

    @cached_property
    def gallery(self) -> list[Strip]:
        """The few pictures that all show, by each method."""
        rows = self.table.measured
        return gallery(rows, [self.table.full_name(row) for row in rows])


def identity(row: Row) -> tuple[str, str]:
    """What has one colour on the whole page: a method's variant, from one checkpoint or folder."""
    return row.name, str(row.scores["source"].get("sha256", ""))


def render(tables: Sequence[Table]) -> str:
    """The page's HTML."""
    methods = list(dict.fromkeys(identity(row) for table in tables for row in table.measured))
    colours = {method: COLOURS[number % len(COLOURS)] for number, method in enumerate(methods)}
    return template_of("evaluation.leaderboard", "leaderboard.html").render(
        sections=[Section(table, colours) for table in tables], sheets=sheets
    )
