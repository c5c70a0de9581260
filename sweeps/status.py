"""What has become of runs, and what repeats those that came to nothing.

python -m sweeps.status runs           every run below a folder
python -m sweeps.status runs --json    the same for a script
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import configs.process  # noqa: F401
from evaluation.curves import read_curves
from evaluation.record import read_run_record
from evaluation.run_directory import RECORD, is_alive

ON_SLURM = "trainer=ddp_slurm"
NOTHING_TO_DO = ("finished", "running", "waiting")
QUEUED = ("PENDING", "CONFIGURING", "REQUEUED", "RUNNING", "COMPLETING")
"""What SLURM calls a job that it starts in time, or goes on with."""
PIPE_WIDTH = 10_000
"""Columns of a table that is piped."""
COLOURS = {"finished": "green", "running": "cyan", "waiting": "cyan", "failed": "red", "crashed": "red"}


@dataclass(frozen=True)
class Run:
    """What is known of a run.

    Args:
        directory: The run's.
        state: `running`, `finished`, `failed`, `stopped` by Ctrl-C or an order to end, `crashed` without a word,
            `waiting` for SLURM to start its job again, `preempted` without such a job, or `unreadable`.
        why: Why it failed, or what it waits for.
        step: The last step that it logged.
        planned: How long it is to go on.
        monitor: The score by which its best checkpoint is chosen.
        last: Its last value.
        best: Its best value.
        quiet: For how many seconds the run has written nothing.
        command: What goes on with this run alone, or repeats it.
    """

    directory: str
    state: str
    why: str = ""
    step: int | None = None
    planned: str = ""
    monitor: str = ""
    last: float | None = None
    best: float | None = None
    quiet: float = 0
    command: str = ""


def find_runs(folders: list[Path]) -> Iterator[Path]:
    """The directories of all runs below folders, in their order.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}")
        for name, subfolders, files in os.walk(folder):
            if RECORD in files:
                yield Path(name)
            inner = () if RECORD in files else sorted(subfolders)
            subfolders[:] = [subfolder for subfolder in inner if not subfolder.startswith(".")]


def read_run(directory: Path) -> Run:
    """What a run's files, its process and its SLURM job tell of it, or why they cannot be read."""
    try:
        return run_of(directory, read_run_record(directory / RECORD))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:  # whatever damage may cause
        what = str(error) if str(directory) in str(error) else f"a file in {directory} is damaged: {error!r}"
        return Run(str(directory), "unreadable", what)


def run_of(directory: Path, record: dict[str, Any]) -> Run:
    """What is known of a run with a record that is whole."""
    state, why = state_of(record, directory)
    curves = read_curves(directory / "logs")
    config = record.get("config") or {}
    best = (config.get("callbacks") or {}).get("best") or {}
    scores = curves.get(best.get("monitor", ""), {})
    written = [directory / RECORD, *(directory / "logs").glob("version_*/metrics.csv")]
    return Run(
        directory=str(directory),
        state=state,
        why=why,
        step=max((step for points in curves.values() for step in points), default=None),
        planned=planned(config),
        monitor=best.get("monitor", ""),
        last=scores[max(scores)] if scores else None,
        best=(max if best.get("mode") == "max" else min)(scores.values(), default=None),
        quiet=time.time() - max(path.stat().st_mtime for path in written),
        command=command_of(record),
    )


def state_of(record: dict[str, Any], directory: Path) -> tuple[str, str]:
    """A run's state now, and the reason if there is one, whatever its `run.json` still says."""
    said, number = record.get("status", "running"), record.get("slurm_job")
    if said not in ("running", "preempted"):
        return said, record.get("failure") or ""
    job, detail = slurm_says(number)
    told = f"SLURM job {number} is {job}" + (f": {detail}" if detail != "None" else "") if job else ""
    if job in QUEUED and (said == "preempted" or job != "RUNNING"):
        return "waiting", told
    if said == "preempted":
        return "preempted", told
    if is_alive(record, directory) is not False:
        return "running", ""
    return "crashed", "its process is gone" if job in ("", *QUEUED) else told


def slurm_says(job: str | None) -> tuple[str, str]:
    """A SLURM job's state and reason or exit code, such as `TIMEOUT` and `TimeLimit`; empty where nobody knows it."""
    questions = (
        ["squeue", "--noheader", "--states=all", "--format=%T|%r", f"--jobs={job}"],
        # the controller forgets after some minutes what the accounts, where there are any, still hold
        ["sacct", "--noheader", "--allocations", "--parsable2", "-o", "State,ExitCode", "-j", str(job)],
    )
    for question in questions:
        if job and shutil.which(question[0]):
            answer = subprocess.run(question, capture_output=True, text=True, check=False).stdout.split("\n")[0]
            if answer:
                state, _, detail = answer.partition("|")
                return state, detail
    return "", ""


def command_of(record: dict[str, Any]) -> str:
    """What goes on with a run alone: its own command, or of a SLURM job's processes what submits as many again."""
    command = str(record.get("command", ""))
    if ON_SLURM not in record.get("overrides", []):
        return command
    trainer, gpus = record["config"]["trainer"], len(record["hardware"]["gpus"])
    options = [f"--nodes={trainer['num_nodes']}", f"--ntasks-per-node={trainer['devices']}"]
    options += [f"--gpus-per-node={gpus}"] if gpus else []
    arguments = [word for word in shlex.split(command)[2:] if word != ON_SLURM]
    return shlex.join(["sbatch", *options, "sweeps/train.sbatch", *arguments])


def planned(config: dict[str, Any]) -> str:
    """How long a run of this config goes on."""
    trainer = config.get("trainer") or {}
    for unit in ("steps", "epochs"):
        number = trainer.get(f"max_{unit}")
        if isinstance(number, int) and number > 0:
            return f"{number:,} {unit}"
    return ""


def print_runs(runs: list[Run]) -> None:
    """Print a table of the runs, and below it what is to be said and done of those that are not well."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:  # whoever reads a pipe wants a run in a line, however long
        console.width = PIPE_WIDTH
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    for heading in ("step", "of", "last", "best", "written"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("score", no_wrap=True)
    for run in runs:
        table.add_row(
            escape(run.directory),
            f"[{COLOURS.get(run.state, 'yellow')}]{escape(run.state)}",
            "" if run.step is None else f"{run.step:,}",
            run.planned,
            "" if run.last is None else f"{run.last:.4g}",
            "" if run.best is None else f"{run.best:.4g}",
            f"{in_words(run.quiet)} ago" if run.quiet else "",
            escape(run.monitor.removeprefix("validation/")),
        )
    console.print(table)
    for run in runs:
        if run.why or run.state not in NOTHING_TO_DO:
            console.print(f"\n{run.directory} {run.state}{': ' * bool(run.why)}{run.why}", markup=False)
            if run.command and run.state not in NOTHING_TO_DO:
                console.print(f"    {run.command}", markup=False)


def in_words(seconds: float) -> str:
    """A time in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.status", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="a folder with runs, or a run's directory")
    parser.add_argument("--json", action="store_true", help="print all that is known, as JSON")
    parsed = parser.parse_args(arguments)
    try:
        runs = [read_run(directory) for directory in find_runs(parsed.runs)]
    except OSError as error:
        sys.exit(f"error: {error}")
    if parsed.json:
        print(json.dumps([asdict(run) for run in runs], indent=2))
    elif runs:
        print_runs(runs)
    else:
        print(f"no runs in {', '.join(map(str, parsed.runs))}")


if __name__ == "__main__":
    main()
