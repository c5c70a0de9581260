"""A trial of a sweep: a process of `train.py`, what it has logged so far, and how it ends."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from configs.overrides import readable
from evaluation.curves import read_curves
from evaluation.record import read_json
from sweeps.sweep_file import SCORE, SweepFile

LOGS = "logs"
"""Folder in that of the runs, with what each trial printed."""
PR_SET_PDEATHSIG = 1


class RunningTrial:
    """A process of `train.py` for a trial, which ends when this process does.

    Args:
        trial: Of the study.
        file: The sweep.
        runs: The folder of its runs.
        overrides: Those that are appended to the command.
        lock: A file descriptor that the process is to hold open.
        device: What CUDA_VISIBLE_DEVICES is to be for it; None leaves it alone.

    Attributes:
        arguments: Behind the program, on the command line.
        step: The last training step that was logged; None before the first.
        value: The metric's last value; None before the first.
        pruned: Whether it was told to stop because others do better.
    """

    def __init__(
        self,
        trial: optuna.Trial,
        file: SweepFile,
        runs: Path,
        overrides: Sequence[str],
        lock: int,
        device: str | None,
    ) -> None:
        self.trial, self.file, self.runs, self.device = trial, file, runs, device
        self.arguments = [*file.arguments(trial.params), *overrides]
        self.step: int | None = None
        self.value: float | None = None
        self.pruned = False
        self.directory: Path | None = None
        self.begun = time.monotonic()
        self.reported = set(trial.study.trials[trial.number].intermediate_values)
        self.log = runs / LOGS / f"trial_{trial.number:04}.log"
        self.log.parent.mkdir(exist_ok=True)
        # by this name of its job Lightning knows that srun has not started it
        settings = {"SLURM_JOB_NAME": "interactive"} if "SLURM_JOB_ID" in os.environ else {}
        if device is not None:
            settings["CUDA_VISIBLE_DEVICES"] = device
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, file.program, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | settings,
                pass_fds=(lock,),
                process_group=0,  # Ctrl-C is for this process alone, which then stops its trials
                preexec_fn=ending_with_parent(),
            )

    @property
    def number(self) -> int:
        """Of the trial in its study."""
        return self.trial.number

    def look(self) -> None:
        """Report to the study what was logged since, and stop the process if others do better."""
        self.directory = self.directory or self.find_directory()
        if self.directory is None:
            return
        curves = read_curves(self.directory / "logs")
        self.step = max((step for curve in curves.values() for step in curve), default=None)
        curve = {} if self.file.metric.startswith(SCORE) else curves.get(self.file.metric, {})
        for step in sorted(curve.keys() - self.reported):
            self.trial.report(curve[step], step)
        self.reported |= curve.keys()
        if curve:
            self.value = curve[max(curve)]
        if not self.pruned and self.process.poll() is None and self.trial.should_prune():
            self.pruned = True
            self.process.terminate()

    def find_directory(self) -> Path | None:
        """Where the run is: the latest directory whose record has this command's overrides."""
        records = self.runs.glob("*/[!.]*/run.json")
        asked = [readable(argument) for argument in self.arguments]
        found = [path for path in records if entry(path, "overrides") == asked]
        if not found:
            return None
        directory = max(found, key=lambda path: path.stat().st_mtime).parent
        self.trial.set_user_attr("directory", str(directory))
        return directory

    def settle(self) -> None:
        """Tell the study how the process has ended: finished, stopped early, or failed, and why."""
        self.look()
        if self.directory:
            self.trial.set_user_attr("seconds", entry(self.directory / "run.json", "wall_seconds"))
        if self.pruned:
            self.trial.study.tell(self.number, state=TrialState.PRUNED)
            return
        failure = None if self.process.returncode == 0 else self.failure()
        value = None if failure else self.result()
        if value is None:
            self.trial.set_user_attr("failure", failure or self.no_value())
            self.trial.study.tell(self.number, state=TrialState.FAIL)
        else:
            self.trial.study.tell(self.number, value)

    def result(self) -> float | None:
        """The metric's best value over the run, that of the checkpoint that is kept, or the final score."""
        if self.directory is None:
            return None
        if self.file.metric.startswith(SCORE):
            scores = entry(self.directory / "scores.json", "metrics") or {}
            score = scores.get(self.file.metric.removeprefix(SCORE), {}).get("value")
            return None if score is None else float(score)
        curve = read_curves(self.directory / "logs").get(self.file.metric, {})
        best: Callable[..., float | None] = min if self.file.goal == "minimize" else max
        return best(curve.values(), default=None)

    def failure(self) -> str:
        """Why the process failed: what its record says, else the last that it printed."""
        if self.directory and (failure := entry(self.directory / "run.json", "failure")):
            return str(failure)
        if self.process.returncode < 0:
            return f"ended by {signal.Signals(-self.process.returncode).name}"
        printed = [line.strip() for line in self.log.read_text(errors="replace").splitlines()]
        said = [line for line in printed if line.startswith("error: ")] or [line for line in printed if line]
        return said[-1].removeprefix("error: ") if said else f"ended with status {self.process.returncode}"

    def no_value(self) -> str:
        """Why a run that ended well has no value."""
        if self.directory is None:
            return "it left no run.json; does the program in the sweep file train?"
        names = sorted(name for name in read_curves(self.directory / "logs") if not name.startswith("train/"))
        return f"it has no finite {self.file.metric}; it logged {', '.join(names) or 'nothing'}"

    def wait(self, seconds: float) -> None:
        """Let a process that was told to stop save its state and end, and kill it if it does not."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.look()


def entry(path: Path, name: str) -> Any:
    """An entry of a run's record; None of a record that is damaged or not there, which must not end a sweep."""
    try:
        return read_json(path).get(name)
    except (OSError, ValueError):
        return None


def ending_with_parent() -> Callable[[], object] | None:
    """What a new process does to be told to stop (SIGTERM) if this one dies, even by SIGKILL; Linux only."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return lambda: library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
