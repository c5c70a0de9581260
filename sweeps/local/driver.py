"""The sweep's loop: start trials, look at them, settle what has ended."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from sweeps.local.study import counts, distribution_of, ranked, trials_of, value_of
from sweeps.local.trial import RunningTrial
from sweeps.local.words import described, ending, rounded, short_names
from sweeps.sweep_file import SweepFile

LOCK = "study.lock"
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 120.0
"""For processes that were told to stop."""


class Driver:
    """Runs a study's trials, a few at a time.

    Args:
        file: The sweep.
        study: Its study.
        runs: The folder of its runs.
        overrides: Those that are appended to each command.
        workers: How many trials run at a time.
        console: Where to tell of them.
        lock: A file descriptor that the trials are to hold open.
    """

    def __init__(
        self,
        file: SweepFile,
        study: optuna.Study,
        runs: Path,
        overrides: Sequence[str],
        *,
        workers: int,
        console: Console,
        lock: int,
    ) -> None:
        self.file, self.study, self.runs, self.overrides = file, study, runs, overrides
        self.workers, self.console, self.lock = workers, console, lock
        self.distributions = {name: distribution_of(each) for name, each in file.parameters.items()}
        self.short = short_names(file.parameters)
        self.devices = devices() if workers > 1 else []
        self.running: list[RunningTrial] = []
        cut_short = [each for each in trials_of(study) if each.state == TrialState.RUNNING]
        self.waiting = [optuna.Trial(study, each._trial_id) for each in cut_short]

    def run(self, count: int) -> None:
        """Run trials until there are so many in all.

        Raises:
            KeyboardInterrupt: By Ctrl-C or SIGTERM, after the trials have saved their state and ended.
        """
        signal.signal(signal.SIGTERM, interrupt)
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            try:
                self.start_trials(count)
                while self.running:
                    for running in [*self.running]:
                        self.look(running)
                    self.start_trials(count)
                    live.update(self.table(count), refresh=True)
                    time.sleep(POLL_SECONDS)
            finally:
                self.stop()

    def start_trials(self, count: int) -> None:
        """Start as many as there are workers for."""
        while len(self.running) < self.workers and (trial := self.next_trial(count)):
            used = [each.device for each in self.running]
            device = min(self.devices, key=used.count, default=None)
            what = "goes on" if "directory" in trial.user_attrs else "starts"
            self.tell(trial.number, what, described(trial.params, self.short))
            self.running.append(RunningTrial(trial, self.file, self.runs, self.overrides, self.lock, device))

    def next_trial(self, count: int) -> optuna.Trial | None:
        """One that was cut short, or a new one, while there are fewer than `count` in all; None if there is none.

        Two trials of the same values share a run, so that the later one waits for the other.
        """
        if not self.waiting and len(trials_of(self.study)) < count:
            self.waiting = [self.study.ask(self.distributions)]
        under_way = [each.trial.params for each in self.running]
        free = next((each for each in self.waiting if each.params not in under_way), None)
        self.waiting = [each for each in self.waiting if each is not free]
        return free

    def look(self, running: RunningTrial) -> None:
        """See how a trial does, and settle it if it has ended."""
        if running.process.poll() is None:
            pruned_before = running.pruned
            running.look()
            if running.pruned and not pruned_before:
                self.tell(running.number, "is stopped early", f"{self.file.metric} {rounded(running.value)}")
            return
        running.settle()
        self.running.remove(running)
        trial = self.study.trials[running.number]
        if trial.state == TrialState.FAIL:
            self.tell(trial.number, "failed", trial.user_attrs["failure"])
        elif trial.state == TrialState.COMPLETE:
            self.tell(trial.number, "finished", f"{self.file.metric} {rounded(trial.value)}")

    def stop(self) -> None:
        """Tell all trials to save their state and end, and wait until they have."""
        for running in self.running:
            running.process.terminate()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for running in self.running:
            running.wait(deadline - time.monotonic())

    def tell(self, number: int, what: str, more: str) -> None:
        """A line on the console."""
        self.console.print(f"trial {number} {what}: {more}", highlight=False, markup=False, soft_wrap=True)

    def table(self, count: int) -> Table:
        """What is running, and what has been."""
        done = ", ".join(f"{number} {state}" for state, number in counts(self.study).items())
        table = Table(title=escape(f"{self.file.name}: {done}, of {count}"), title_justify="left")
        for heading in ("trial", *self.short.values(), "step", self.file.metric, "minutes"):
            table.add_column(heading, justify="right")
        for each in self.running:
            values = [rounded(each.trial.params[name]) for name in self.short]
            minutes = f"{(time.monotonic() - each.begun) / 60:.1f}"
            table.add_row(str(each.number), *map(escape, values), rounded(each.step), rounded(each.value), minutes)
        return table


def print_trials(file: SweepFile, study: optuna.Study, console: Console) -> None:
    """A table of all trials, the best first."""
    short = short_names(file.parameters)
    table = Table(title=escape(f"{file.name}: {file.metric}, {file.goal}"), title_justify="left")
    for heading in ("trial", *short.values(), file.metric, "how it ended"):
        table.add_column(heading, justify="left" if heading == "how it ended" else "right")
    for trial in ranked(study, file.goal):
        values = [rounded(trial.params[name]) for name in short]
        table.add_row(
            str(trial.number), *map(escape, values), rounded(value_of(trial, file.goal)), escape(ending(trial))
        )
    console.print(table)


@contextmanager
def locked(runs: Path, console: Console) -> Iterator[int]:
    """Keep other drivers out of a sweep's folder; yields the descriptor by which its trials keep them out, too.

    A driver that was killed leaves trials that were told to stop; they are waited for.

    Raises:
        BlockingIOError: If another driver is at work, or such trials do not end.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / LOCK).open("a+") as file:
        deadline, told = time.monotonic() + PATIENCE_SECONDS, False
        while not acquired(file.fileno()):
            file.seek(0)
            if exists(number_in(file.read())) or time.monotonic() > deadline:
                raise BlockingIOError(f"another python -m sweeps.local, or what it has started, is at work in {runs}")
            if not told:
                console.print("waiting for the trials of the driver before this one to save their state and end")
                told = True
            time.sleep(POLL_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


def number_in(text: str) -> int:
    """The process that a lock's file names; 0 if it is empty or damaged."""
    return int(text) if text.isascii() and text.isdigit() else 0


def acquired(file: int) -> bool:
    """Whether the lock on a file is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def exists(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process > 0


def devices() -> list[str]:
    """The GPUs that this process may use, each as CUDA_VISIBLE_DEVICES names it."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [each for each in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if each]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def interrupt(*_: object) -> NoReturn:
    """What a signal does that is to do as Ctrl-C does."""
    raise KeyboardInterrupt
