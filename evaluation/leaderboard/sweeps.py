"""The runs of a sweep: all that lie below a directory, with their settings, validation scores and rows."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluation.leaderboard.records import Best, RunEntries, check, complain, read_record
from evaluation.leaderboard.rows import Row, find_rows
from evaluation.run_directory import CHOICES_OF_PLACE, RECORD

STATES = {"running": "unfinished", "finished": "not scored here"}
"""What a run is called that has no scores in a table; any other status is called by its own name."""


@dataclass(frozen=True)
class Validation:
    """By what a run chose its checkpoint.

    Attributes:
        monitor: The measure, such as `validation/loss`.
        better: Whether less of it is better, or more.
        value: Of the checkpoint; None if it is not finite, as where a run diverged.
    """

    monitor: str
    better: Literal["higher", "lower"]
    value: float | None

    @property
    def loss(self) -> float:
        """What is lowest for the best run, and infinite for one that diverged."""
        if self.value is None:
            return math.inf
        return self.value if self.better == "lower" else -self.value


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        name: Its place below the sweep's directory.
        settings: Its overrides that not all runs of the sweep have, as they are typed; empty if not known.
        label: The same with only the last part of their names, where that tells these apart.
        validation: Its validation score; None if its record has none.
        state: What it is called in a table where it has no scores.
        failure: Why it failed; empty if it did not.
    """

    name: str
    settings: str
    label: str
    validation: Validation | None
    state: str
    failure: str


@dataclass(frozen=True, kw_only=True)
class RunRow(Row):
    """A row that a run of a sweep adds."""

    run: Run


@dataclass(frozen=True)
class Sweep:
    """All runs below a directory.

    Attributes:
        directory: Of the sweep, as it was given.
        runs: Those that were scored and those that were not.
        rows: Of the runs, by whatever protocols.
    """

    directory: Path
    runs: list[Run]
    rows: list[RunRow]

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.directory.resolve().name


def read_sweep(directory: Path) -> Sweep:
    """Read the runs below a directory: each has a `run.json`, and `scores.json` beside or below it if it was scored.

    Raises:
        FileNotFoundError: If the directory is not there.
        NotADirectoryError: If it is a file.
        ValueError: If no run has scores, scores are of no run, or a record is not as it should be.
    """
    if directory.is_file():
        raise NotADirectoryError(f"--sweep {directory} is a file; give the directory that the sweep's runs lie in")
    rows = find_rows([directory])
    # a run's own scores come before those of later evaluations, which lie deeper
    rows.sort(key=lambda row: len(row.folder.parts))
    records = {
        path.parent: _read_record(path)
        for path in sorted(directory.rglob(RECORD))
        if not path.parent.name.startswith(".")
    }
    settings = _settings(records)
    shortened = _shortener(settings.values())
    runs = {
        folder: Run(
            name=str(folder.relative_to(directory)),
            settings=" ".join(settings[folder]),
            label=", ".join(map(shortened, settings[folder])),
            validation=_validation(record.best),
            state=_state(record),
            failure=record.failure or "",
        )
        for folder, record in records.items()
    }
    return Sweep(
        directory,
        list(runs.values()),
        [RunRow(row.folder, row.scores, run=_run_of(row, runs, directory)) for row in rows],
    )


def _read_record(path: Path) -> RunEntries:
    """A run's record; one that is damaged is named on standard error, and its run is called so."""
    mend = "mend or remove it"
    try:
        return check(path, read_record(path, mend), RunEntries, mend)
    except ValueError as error:
        complain(str(error))
        return RunEntries(status="damaged")


def _settings(records: Mapping[Path, RunEntries]) -> dict[Path, list[str]]:
    """Each run's overrides that not all have; where to write and whether to go on are no settings."""
    overrides = {
        folder: [text for text in record.overrides if _name(text) not in CHOICES_OF_PLACE]
        for folder, record in records.items()
        if record.overrides is not None
    }
    shared = set.intersection(*map(set, overrides.values())) if overrides else set()
    return {folder: [text for text in overrides.get(folder, []) if text not in shared] for folder in records}


def _shortener(settings: Iterable[Sequence[str]]) -> Callable[[str], str]:
    """What shortens an override to the last part of its name, unless two names in these settings end alike."""
    names = {_name(text) for texts in settings for text in texts}
    ends = Counter(_end(name) for name in names)

    def shorten(override: str) -> str:
        name = _name(override)
        return override.replace(name, _end(name), 1) if ends[_end(name)] == 1 else override

    return shorten


def _name(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _end(name: str) -> str:
    return name.rpartition(".")[2]


def _state(record: RunEntries) -> str:
    status = record.status or "running"
    return STATES.get(status, status)


def _validation(best: Best | None) -> Validation | None:
    if best is None:
        return None
    value = best.value if best.value is not None and math.isfinite(best.value) else None
    return Validation(best.monitor, "lower" if best.mode == "min" else "higher", value)


def _run_of(row: Row, runs: Mapping[Path, Run], directory: Path) -> Run:
    for folder in (row.folder, *row.folder.parents):
        if folder in runs:
            return runs[folder]
    raise ValueError(
        f"{row.folder / 'scores.json'} has no {RECORD} beside or above it, so it is of no run of the sweep in "
        f"{directory}; keep it elsewhere, and give it without --sweep"
    )
