"""Rows that compare, in tables: which are the best of each measure, and what papers print on the same pictures."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from evaluation.comparison import Comparison, paired_comparison, paired_differences, sign_flip_p_value
from evaluation.leaderboard.lines import (
    Cell,
    Column,
    Line,
    SweepLines,
    cell_of,
    column_of,
    decimals_of,
    published_lines,
    status_of,
)
from evaluation.leaderboard.rows import Row
from evaluation.published import Paper, PublishedRow, published_papers, published_rows

SIGNIFICANT = 0.05
AnyRow = TypeVar("AnyRow", bound=Row)


@dataclass(frozen=True)
class PublishedTable:
    """One table, figure or section of a paper, with the measured rows that have its measures.

    Attributes:
        paper: That prints it.
        place: In the paper.
        status: Who has read it there.
        columns: The measures that it prints.
        published: Its rows, in its order.
        measured: The rows measured here, best first.
    """

    paper: Paper
    place: str
    status: str
    columns: list[Column]
    published: list[Line]
    measured: list[Line]


@dataclass(frozen=True)
class Table:
    """All rows of one protocol on one set of pictures.

    Attributes:
        rows: Of the table.
        namesakes: Tables above it that have other pictures under the same names.
        sweeps: Of whose runs only the best stand among the rows.
    """

    rows: Sequence[Row]
    namesakes: int = 0
    sweeps: Sequence[SweepLines] = ()

    @property
    def protocol(self) -> dict[str, Any]:
        """The protocol's definition and hash."""
        return self.rows[0].protocol

    @property
    def label(self) -> str:
        """What the set is called, and what methods were told of its pictures, if anything."""
        label, guidance = self.rows[0].scores["set"]["label"], self.protocol.get("guidance")
        return f"{label}, guided by {guidance}" if guidance else str(label)

    @property
    def anchor(self) -> str:
        """The table's name in addresses, unlike that of every other."""
        hash_, keys_sha256, complete = self.rows[0].scored_on
        ends = [*([] if complete else ["subset"]), *([str(self.namesakes)] if self.namesakes else [])]
        return "-".join([self.protocol["name"], hash_, keys_sha256[:8], *ends])

    @property
    def redefined(self) -> str | None:
        """What is amiss if the installed protocol of this name is another."""
        return self.rows[0].redefined

    @property
    def of_named_set(self) -> bool:
        """Whether the pictures are the whole set that the protocol names, by their names."""
        return all(row.scores["set"]["complete"] and row.scores["set"]["named"] for row in self.rows)

    @property
    def beside_published(self) -> bool:
        """Whether the rows compare with what papers print: on the named set, by the protocol as it is installed."""
        return self.of_named_set and not self.redefined and not self.namesakes

    @property
    def warning(self) -> str | None:
        """With what the rows do not compare, if they do not, in sentences."""
        sentences = []
        if self.redefined:
            sentences.append(f"These rows were {self.redefined}.")
        elif not self.of_named_set:
            label = f"{self.label[:1].upper()}{self.label[1:]}"
            sentences.append(f"{label}: these rows do not compare with published numbers.")
        if self.namesakes:
            sentences.append("Other pictures under the same names: these rows do not compare with the table above.")
        return " ".join(sentences) or None

    @cached_property
    def measured(self) -> list[Row]:
        """The methods, best first."""
        return self.ranked([row for row in self.rows if not row.standing], self.ranked_by)

    @cached_property
    def standing(self) -> list[Row]:
        """The checks on the protocol, such as the truth itself."""
        return [row for row in self.rows if row.standing]

    @cached_property
    def columns(self) -> list[Column]:
        """The protocol's measures, in its order, that any row has."""
        order = dict.fromkeys([*self.protocol["measures"], *(name for row in self.rows for name in row.metrics)])
        return [column_of(measure) for measure in order if any(measure in row.metrics for row in self.rows)]

    @property
    def absent(self) -> dict[str, str]:
        """The protocol's measures that no row has: the reason, by title."""
        shown = {column.measure for column in self.columns}
        reasons = {name: reason for row in self.rows for name, reason in row.scores["left_out"].items()}
        return {
            column_of(name).title: reasons.get(name, "not measured")
            for name in self.protocol["measures"]
            if name not in shown
        }

    @cached_property
    def ranked_by(self) -> Column | None:
        """The protocol's first measure that ranks the rows."""
        return next((column for column in self.columns if self.ranks(column)), None)

    def ranks(self, column: Column) -> bool:
        """Whether a measure has a better and a worse, and is one quantity in all rows.

        Bits per dimension of different colour spaces or resolutions are not.
        """
        spaces = {row.metrics[column.measure].get("space") for row in self.rows if column.measure in row.metrics}
        return column.better is not None and len(spaces) == 1

    @cached_property
    def names(self) -> dict[int, tuple[str, str]]:
        """Method and detail of each row by its identity: the variant, and the source where two would look alike."""
        alike = Counter(row.name for row in self.rows)
        sources = Counter((row.name, _source(row)) for row in self.rows)
        names = {}
        for row in self.rows:
            parts = [row.variant]
            if alike[row.name] > 1:
                parts.append(_source(row) if sources[row.name, _source(row)] == 1 else str(row.folder))
            names[id(row)] = (row.method, ", ".join(filter(None, parts)))
        return names

    def full_name(self, row: Row) -> str:
        """Method and detail in one."""
        return ", ".join(filter(None, self.names[id(row)]))

    @staticmethod
    def ranked(rows: Sequence[AnyRow], column: Column | None) -> list[AnyRow]:
        """Rows by a measure, best first; those without it last, in their own order."""
        if column is None:
            return list(rows)
        scored = [row for row in rows if column.measure in row.metrics]
        best_first = sorted(
            scored, key=lambda row: row.metrics[column.measure]["value"], reverse=column.better == "higher"
        )
        return best_first + [row for row in rows if column.measure not in row.metrics]

    def leaders(self, column: Column) -> list[Row]:
        """The best measured row, and those that a paired test does not tell from it; none where nothing is compared."""
        scored = [row for row in self.measured if column.measure in row.metrics]
        if not self.ranks(column) or len(scored) < 2:
            return []
        best, *others = self.ranked(scored, column)
        return [best, *(row for row in others if not self._differs(best, row, column.measure))]

    def _differs(self, one: Row, other: Row, measure: str) -> bool:
        if measure not in one.pictures or measure not in other.pictures:
            return bool(one.metrics[measure]["value"] != other.metrics[measure]["value"])
        differences = paired_differences(one.pictures[measure], other.pictures[measure])
        return sign_flip_p_value(differences, self.protocol["seed"]) < SIGNIFICANT

    @cached_property
    def compared_by(self) -> Column | None:
        """The first measure that ranks the rows and that the pictures of two have."""
        return next(
            (
                column
                for column in self.columns
                if self.ranks(column) and sum(column.measure in row.pictures for row in self.measured) > 1
            ),
            None,
        )

    @cached_property
    def comparisons(self) -> list[tuple[Row, Row, Comparison]]:
        """Each measured row, the one that is best by that measure, and the first minus the second by picture."""
        if self.compared_by is None:
            return []
        measure, seed = self.compared_by.measure, self.protocol["seed"]
        best, *others = self.ranked([row for row in self.measured if measure in row.pictures], self.compared_by)
        return [(row, best, paired_comparison(row.pictures[measure], best.pictures[measure], seed)) for row in others]

    @cached_property
    def lines(self) -> list[Line]:
        """The measured rows as they are shown."""
        return self._lines(self.measured, self.columns)

    @cached_property
    def standing_lines(self) -> list[Line]:
        """The standing rows as they are shown."""
        return self._lines(self.standing, self.columns)

    @cached_property
    def _leaders(self) -> dict[str, list[Row]]:
        return {column.measure: self.leaders(column) for column in self.columns}

    def _lines(self, rows: Sequence[Row], columns: Sequence[Column]) -> list[Line]:
        # the truth's PSNR of 100 dB must not cost the methods a digit
        decimals = {
            name: decimals_of(_values(self.measured, name) or _values(self.rows, name))
            for name in (column.measure for column in columns)
        }
        lines = []
        for row in rows:
            marked = {name for name, leaders in self._leaders.items() if any(row is leader for leader in leaders)}
            cells = [cell_of(row, name, digits, name in marked) for name, digits in decimals.items()]
            lines.append(Line(*self.names[id(row)], cells, row, row.note))
        return lines

    @cached_property
    def published(self) -> list[PublishedTable]:
        """What papers print of this protocol, a table each; none unless the rows compare with it."""
        if not self.beside_published:
            return []
        papers = published_papers()
        other = self.protocol.get("published")
        places: dict[tuple[str, str], list[PublishedRow]] = defaultdict(list)
        for row in published_rows():
            if row.protocol == (other or self.protocol["name"]):
                places[row.paper, row.place].append(row)
        tables = [self._published_table(papers, place, rows) for (_, place), rows in places.items()]
        # a Visual Turing Test on another protocol's set has one measure: what else was printed of the set is not shown
        return [table for table in tables if table.measured or not other]

    def _published_table(self, papers: dict[str, Paper], place: str, rows: list[PublishedRow]) -> PublishedTable:
        columns = [column_of(name) for name in dict.fromkeys(name for row in rows for name in row.metrics)]
        shared = [column for column in columns if column in self.columns]
        measured = [row for row in self.measured if any(column.measure in row.metrics for column in shared)]
        beside = {
            id(line.row): dict(zip((column.measure for column in shared), line.cells, strict=True))
            for line in self._lines(measured, shared)
        }
        none = Cell(note="not measured here")
        return PublishedTable(
            paper=papers[rows[0].paper],
            place=place,
            status=", ".join(dict.fromkeys(status_of(row, papers) for row in rows)),
            columns=columns,
            published=published_lines(rows, columns),
            measured=[
                Line(*self.names[id(row)], [beside[id(row)].get(column.measure, none) for column in columns], row)
                for row in self.ranked(measured, next((column for column in shared if column.better), None))
            ],
        )


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """Rows by protocol and set: whole named sets first, then others, then what another definition scored."""
    groups: dict[tuple[str, str, bool], list[list[Row]]] = defaultdict(list)
    for row in rows:
        same_names = groups[row.scored_on]
        for group in same_names:
            if all(row.has_pictures_of(other) for other in group):
                group.append(row)
                break
        else:
            same_names.append([row])
    # of other pictures under the same names, those that most rows have stand first
    tables = [
        [Table(group, number) for number, group in enumerate(sorted(same_names, key=len, reverse=True))]
        for same_names in groups.values()
    ]
    tables.sort(
        key=lambda alike: (
            bool(alike[0].redefined),
            not alike[0].beside_published,
            alike[0].protocol["name"],
            alike[0].label,
        )
    )
    return [table for alike in tables for table in alike]


def _values(rows: Sequence[Row], measure: str) -> list[float]:
    return [row.metrics[measure]["value"] for row in rows if measure in row.metrics]


def _source(row: Row) -> str:
    return str(row.scores["source"].get("sha256", ""))[:7]
