"""Of a sweep's runs the best, which stands in a table, and beneath it all of them: so that nothing is hidden."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.leaderboard.lines import Cell, Column, Line, SweepLines, cell_of, decimals_of
from evaluation.leaderboard.rows import Row
from evaluation.leaderboard.sweeps import Run, RunRow, Sweep, Validation
from evaluation.leaderboard.tables import Table, tables_of


def tables_with_sweeps(rows: Sequence[Row], sweeps: Sequence[Sweep]) -> list[Table]:
    """The tables of some rows and of some sweeps, of which only the best run of each method stands there.

    Args:
        rows: Those of a sweep's runs are not taken twice.
        sweeps: Of different runs.

    Raises:
        ValueError: If two sweeps share a run.
    """
    places: dict[Path, Sweep] = {}
    for sweep in sweeps:
        for row in sweep.rows:
            other = places.setdefault(row.folder.resolve(), sweep)
            if other is not sweep:
                raise ValueError(
                    f"{row.folder} is in two sweeps, {other.directory} and {sweep.directory}; give it once"
                )
    alone = [row for row in rows if row.folder.resolve() not in places]
    tables = tables_of([*alone, *(row for sweep in sweeps for row in sweep.rows)])
    for sweep in sweeps:
        tables = [with_best(table, sweep) for table in tables]
    return tables


def with_best(table: Table, sweep: Sweep) -> Table:
    """A table in which the best run of each method stands for all of a sweep, with a list of all."""
    methods: dict[str, list[RunRow]] = defaultdict(list)
    for row in sweep.rows:
        if row in table.rows and not row.standing:
            methods[row.name].append(row)
    if not methods:
        return table
    scored = {row.run.name for rows in methods.values() for row in rows}
    unscored = [run for run in sweep.runs if run.name not in scored]
    states = Counter(run.state for run in unscored)
    counts = [f"{len(scored)} of {len(sweep.runs)} runs scored here", *(f"{states[state]} {state}" for state in states)]
    best, ordered = [], []
    for rows in methods.values():
        best_first, how = ranked(rows)
        ordered += best_first
        run, number = best_first[0].run, len({row.run.name for row in rows})
        note = "; ".join(filter(None, (run.settings, how, ", ".join(counts))))
        best.append(replace(best_first[0], choice=f"best of {number} in {sweep.name}", note=note))
    others = [row for row in table.rows if row not in ordered]
    listed = _all_runs(sweep, table.columns, ordered, {row.folder for row in best}, unscored)
    return replace(table, rows=[*others, *best], sweeps=[*table.sweeps, listed])


def ranked(rows: Sequence[RunRow]) -> tuple[list[RunRow], str]:
    """The runs of one method in one table, best first, and how they were ranked, in words.

    By their validation scores: to choose by the score that the table shows would be selection on the test set. Only
    where the runs have no validation scores that compare is it the first measure that ranks them. Scores of different
    monitors do not compare, nor do any where the likelihoods are of different spaces.
    """
    if len(rows) == 1:
        return list(rows), "the only one of its method"
    scores = [row.run.validation for row in rows]
    kinds = {score and (score.monitor, score.better) for score in scores}
    spaces = {row.metrics.get("bits_per_dim", {}).get("space") for row in rows}
    if len(kinds) == len(spaces) == 1 and None not in kinds:
        pairs = [(score, row) for score, row in zip(scores, rows, strict=True) if score]
        pairs.sort(key=lambda pair: pair[0].loss)
        return [row for _, row in pairs], f"chosen by {pairs[0][0].monitor}, {_text(pairs[0][0])}"
    why = "as the runs have no validation scores that compare"
    column = Table(rows).ranked_by
    how = f"chosen by its score here, {column.title}, {why}" if column else f"the first of them, {why}, nor scores here"
    return Table.ranked(rows, column), how


def _all_runs(
    sweep: Sweep, columns: Sequence[Column], ordered: Sequence[RunRow], best: set[Path], unscored: Sequence[Run]
) -> SweepLines:
    """Every run of a sweep: those that a table has scores of, in their order, then the others."""
    validation = _validation_column(sweep.runs)
    decimals = {
        measure: decimals_of([0.0, *(row.metrics[measure]["value"] for row in ordered if measure in row.metrics)])
        for measure in (column.measure for column in columns)
    }
    lines = []
    for row in ordered:
        cells = [cell_of(row, measure, digits, best=False) for measure, digits in decimals.items()]
        note = "in the table above" if row.folder in best else ""
        lines.append(_line(row.run, row.name, [_validation_cell(row.run, validation), *cells], note))
    for run in unscored:
        note = ": ".join(filter(None, (run.state, run.failure)))
        cells = [Cell(note=note)] * len(columns)
        lines.append(_line(run, "", [_validation_cell(run, validation), *cells], note))
    return SweepLines(f"All {len(sweep.runs)} runs of {sweep.name}", [validation, *columns], lines)


def _line(run: Run, method: str, cells: list[Cell], note: str) -> Line:
    return Line(run.label, ", ".join(filter(None, (method, run.name))), cells, note=note)


def _validation_column(runs: Sequence[Run]) -> Column:
    """The head of validation scores, which names their measure if there is one."""
    kinds = {(run.validation.monitor, run.validation.better) for run in runs if run.validation}
    monitor, better = kinds.pop() if len(kinds) == 1 else ("", None)
    note = "of the checkpoint that the run chose by it"
    return Column("validation", "Validation", monitor.removeprefix("validation/"), better, note)


def _validation_cell(run: Run, column: Column) -> Cell:
    """A run's validation score, with its measure if the head does not name it."""
    score = run.validation
    if score is None:
        return Cell(note="run.json holds no validation score")
    if score.value is None:
        return Cell(note=f"{score.monitor} is not finite")
    return Cell(_text(score), "" if column.unit else score.monitor, score.value)


def _text(score: Validation) -> str:
    return "not finite" if score.value is None else f"{score.value:.4g}"
