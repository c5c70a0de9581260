"""`sweep.html`: what a sweep found, on one page that stands alone."""

import shlex
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import optuna
from markupsafe import Markup
from optuna.trial import FrozenTrial, TrialState

from evaluation.report.template import template_of
from sweeps.local.plots import Plots, Point
from sweeps.local.study import counts, ranked, value_of
from sweeps.local.words import ending, rounded, short_names
from sweeps.sweep_file import Choices, Parameter, SweepFile

FEWEST = 4
"""Finished trials for telling which parameter matters."""


@dataclass(frozen=True)
class Row:
    """A trial in the page's table.

    Attributes:
        trial: Of the study.
        value: What it reached; None if nothing.
        command: What runs it again.
        report: The address of its report, seen from the page; None if there is none.
    """

    trial: FrozenTrial
    value: float | None
    command: str
    report: str | None

    @property
    def ending(self) -> str:
        """How it ended."""
        return ending(self.trial)

    @property
    def minutes(self) -> str:
        """How long it trained."""
        seconds = self.trial.user_attrs.get("seconds")
        return "" if seconds is None else f"{seconds / 60:.1f}"


class Page:
    """What the template shows.

    Args:
        file: The sweep.
        study: Its study.
        runs: The folder of its runs.
        overrides: Those that were appended to each command.
    """

    def __init__(self, file: SweepFile, study: optuna.Study, runs: Path, overrides: list[str]) -> None:
        self.file, self.study, self.overrides = file, study, overrides
        self.names = short_names(file.parameters)
        self.counts = counts(study)
        self.rows = [self.row(trial, runs) for trial in ranked(study, file.goal)]

    def row(self, trial: FrozenTrial, runs: Path) -> Row:
        """A trial's."""
        command = shlex.join(["python", self.file.program, *self.file.arguments(trial.params), *self.overrides])
        directory = trial.user_attrs.get("directory")
        report = Path(directory) / "report.html" if directory else None
        address = report.relative_to(runs).as_posix() if report and report.is_file() else None
        return Row(trial, value_of(trial, self.file.goal), command, address)

    @property
    def best(self) -> Row | None:
        """The best that has finished."""
        return self.rows[0] if self.rows and self.rows[0].trial.state == TrialState.COMPLETE else None

    @property
    def command(self) -> str:
        """What runs the sweep again."""
        call = ["python", "-m", "sweeps.local", str(self.file.path), "--count", str(len(self.rows))]
        return shlex.join([*call, *self.overrides])

    @property
    def range_of(self) -> dict[str, str]:
        """What each parameter was drawn from, in words."""
        return {name: in_words(parameter) for name, parameter in self.file.parameters.items()}

    @cached_property
    def importance(self) -> dict[str, float]:
        """Each parameter's share of the variance of what finished trials reached (fANOVA); empty if it has none."""
        if self.no_importance:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(self.study, evaluator=evaluator, params=self.varied)

    @property
    def varied(self) -> list[str]:
        """The parameters of which finished trials had several values."""
        finished = [row.trial.params for row in self.rows if row.trial.state == TrialState.COMPLETE]
        return [name for name in self.names if len({params[name] for params in finished}) > 1]

    @property
    def no_importance(self) -> str | None:
        """Why there is no importance to tell; None if there is."""
        reached = [row.value for row in self.rows if row.trial.state == TrialState.COMPLETE]
        if len(reached) < FEWEST:
            return f"It takes {FEWEST} finished trials to tell which parameter matters."
        if len(set(reached)) == 1:
            return "All finished trials reached the same."
        if len(self.varied) < 2:
            return f"Only {self.names[self.varied[0]]} was varied, so all difference is due to it."
        return None

    @cached_property
    def plots(self) -> Plots | None:
        """None if no trial has reached anything."""
        points = [
            Point(
                row.trial.number,
                row.trial.params,
                row.value,
                row.trial.state == TrialState.COMPLETE,
                row.trial.intermediate_values,
            )
            for row in self.rows
            if row.value is not None
        ]
        return Plots(points, self.file.parameters, self.names, self.file.metric, self.file.goal) if points else None


def in_words(parameter: Parameter) -> str:
    """What a parameter is drawn from."""
    if isinstance(parameter, Choices):
        return ", ".join(map(str, parameter.values))
    kind = "whole numbers" if parameter.whole else "evenly in the logarithm" if parameter.logarithmic else ""
    step = "" if parameter.step is None else f"in steps of {rounded(parameter.step)}"
    more = ", ".join(each for each in (kind, step) if each)
    return f"{rounded(parameter.low)} to {rounded(parameter.high)}" + (f", {more}" if more else "")


def write_page(file: SweepFile, study: optuna.Study, runs: Path, overrides: list[str]) -> Path:
    """Write a sweep's page into the folder of its runs.

    Returns:
        The page's path.
    """
    style = files("evaluation.leaderboard").joinpath("leaderboard.css").read_text(encoding="utf-8")
    variables: dict[str, Any] = {"page": Page(file, study, runs, overrides), "file": file, "rounded": rounded}
    html = template_of("sweeps.local", "sweep.html").render(**variables, style=Markup(style))
    path = runs / "sweep.html"
    path.write_text(html, encoding="utf-8")
    return path
