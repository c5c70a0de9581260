"""Sweep files of Weights & Biases, as far as they mean the same with and without it.

What they hold is documented at https://docs.wandb.ai/models/sweeps/sweep-config-keys.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

Goal = Literal["minimize", "maximize"]
Value = bool | int | float | str

KEYS = {"program", "name", "description", "project", "entity", "method", "metric", "parameters"} | {
    "early_terminate", "command", "run_cap"
}  # fmt: skip
SCORE = "score/"
"""What a metric begins with that is a final score, from `scores.json`, and no curve."""
METHODS = ("grid", "random", "bayes")
GOALS: tuple[Goal, ...] = ("minimize", "maximize")
PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
"""As W&B has it: a key that is not in the config yet, `+key`, has to stand in the command instead."""
ENVIRONMENT_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
DISTRIBUTIONS = {
    "constant": {"value"},
    "categorical": {"values"},
    "uniform": {"min", "max"},
    "int_uniform": {"min", "max"},
    "q_uniform": {"min", "max", "q"},
    "log_uniform": {"min", "max"},
    "log_uniform_values": {"min", "max"},
}
"""Those that are run here, and the keys of each."""


@dataclass(frozen=True)
class Choices:
    """A parameter that takes one of some values."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Range:
    """A parameter that takes any number from `low` to `high`.

    Attributes:
        low: The least.
        high: The greatest.
        whole: Whether only whole numbers.
        logarithmic: Whether each power of ten is as likely as the next.
        step: Between the numbers that it takes; None for all of them.
    """

    low: float
    high: float
    whole: bool = False
    logarithmic: bool = False
    step: float | None = None


Parameter = Choices | Range


@dataclass(frozen=True)
class Hyperband:
    """When a run is stopped early: see `is_behind`.

    Attributes:
        bands: How many values of the metric come before each comparison, ascending.
        eta: One run in so many goes on.
    """

    bands: tuple[int, ...]
    eta: float

    def is_behind(self, curve: list[float], curves: list[list[float]]) -> bool:
        """Whether a run should stop: its best is worse than the value that leads the last band's best 1 / eta.

        This is the rule of W&B's own engine (hyperband_stopping.py of github.com/wandb/sweeps).

        Args:
            curve: Of the run, the metric's values in order; the smaller, the better.
            curves: Of all runs, itself included.
        """
        reached = [band for band in self.bands if band < len(curve)]
        if not reached:
            return False
        rivals = sorted(other[reached[-1]] for other in curves if len(other) > reached[-1])
        return min(curve) > rivals[int(len(rivals) / self.eta)]


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says.

    Attributes:
        path: Of the file.
        name: Of the sweep.
        description: What it asks, in a sentence; empty if it does not say.
        method: `grid`, `random` or `bayes`.
        metric: A curve that training logs, or `score/MEASURE` for one of the final scores.
        goal: `minimize` or `maximize`.
        parameters: What is swept, by the config's dotted name.
        hyperband: When runs are stopped early; None for never.
        program: The script, relative to where the sweep is started.
        command: With W&B's macros.
        run_cap: How many runs there are to be; None for no limit.
    """

    path: Path
    name: str
    description: str
    method: str
    metric: str
    goal: Goal
    parameters: dict[str, Parameter]
    hyperband: Hyperband | None
    program: str
    command: tuple[str, ...]
    run_cap: int | None

    def arguments(self, values: Mapping[str, Value]) -> list[str]:
        """What stands behind the program on a run's command line, as W&B's agent writes it, but for `logger=`.

        Args:
            values: Of the parameters.
        """
        behind = self.command[self.command.index("${program}") + 1 : -1]
        own = [ENVIRONMENT_VARIABLE.sub(lambda found: os.environ.get(found[1], found[1]), each) for each in behind]
        return [
            *(argument for argument in own if not argument.startswith("logger=")),
            *(f"{name}={values[name]}" for name in self.parameters),
        ]

    def runs(self, overrides: Sequence[str] = ()) -> Path:
        """The folder of the sweep's runs, if these overrides are appended to the command."""
        folders = [each.removeprefix("runs=") for each in (*self.command, *overrides) if each.startswith("runs=")]
        return Path(folders[-1])

    @property
    def combinations(self) -> int | None:
        """How many a grid has; None of other methods."""
        if self.method != "grid":
            return None
        return math.prod(len(each.values) for each in self.parameters.values() if isinstance(each, Choices))


def read_sweep_file(path: Path) -> SweepFile:
    """Read a sweep file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If something in it is not as it should be, or is not run here; with the file's name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no sweep file {path}")
    try:
        return _sweep_of(path, yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _sweep_of(path: Path, content: Any) -> SweepFile:
    if not isinstance(content, dict):
        raise ValueError("it holds no sweep; see the files beside it")
    if missing := [key for key in ("program", "method", "metric", "parameters", "command") if not content.get(key)]:
        raise ValueError(f"it has no {', '.join(missing)}")
    if unknown := content.keys() - KEYS:
        raise ValueError(f"{', '.join(sorted(unknown))} has no meaning here; a sweep has {', '.join(sorted(KEYS))}")
    metric, goal = _metric_of(content["metric"])
    if content["method"] not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}, not {content['method']}")
    parameters = {str(name): _parameter_of(str(name), said) for name, said in content["parameters"].items()}
    if content["method"] == "grid" and (
        ranges := [name for name, each in parameters.items() if isinstance(each, Range)]
    ):
        raise ValueError(f"a grid wants values: of {', '.join(ranges)}; a range wants method: random or bayes")
    hyperband = _hyperband_of(content["early_terminate"]) if "early_terminate" in content else None
    if hyperband and metric.startswith(SCORE):
        raise ValueError(f"{metric} is known only at the end, so early_terminate has nothing to go by; leave it out")
    return SweepFile(
        path,
        str(content.get("name", path.stem)),
        str(content.get("description", "")),
        content["method"],
        metric,
        goal,
        parameters,
        hyperband,
        str(content["program"]),
        _command_of(content["command"]),
        content.get("run_cap"),
    )


def _metric_of(said: Any) -> tuple[str, Goal]:
    if not isinstance(said, dict) or not said.get("name"):
        raise ValueError("metric wants a name, such as validation/bits_per_dim, and a goal")
    goal = said.get("goal", "minimize")
    if goal not in GOALS:
        raise ValueError(f"metric.goal is minimize or maximize, not {goal}")
    if "target" in said:
        raise ValueError("metric.target is not known here; leave it out")
    return said["name"], goal


def _parameter_of(name: str, said: Any) -> Parameter:
    if not PARAMETER_NAME.fullmatch(name):
        raise ValueError(f"{name} cannot be a parameter's name; write {name}=VALUE into the command")
    if not isinstance(said, dict):
        raise ValueError(f"{name} wants value, values, or min and max")
    if "parameters" in said:
        raise ValueError(f"{name} holds nested parameters; write dotted names, such as {name}.learning_rate")
    if "probabilities" in said:
        raise ValueError(f"{name} has probabilities, which are not known here; leave them out")
    distribution = said.get("distribution", _usual_distribution(said))
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"{name} is distributed {distribution}; known here are {', '.join(DISTRIBUTIONS)}")
    keys = DISTRIBUTIONS[distribution]
    if unknown := said.keys() - keys - {"distribution"}:
        raise ValueError(f"{name} has {', '.join(sorted(unknown))}; {distribution} takes {', '.join(sorted(keys))}")
    if missing := keys - said.keys() - {"q"}:
        raise ValueError(f"{name} has no {', '.join(sorted(missing))}; {distribution} takes {', '.join(sorted(keys))}")
    if keys <= {"value", "values"}:
        return Choices(_choices_of(name, said["values"] if "values" in said else [said["value"]]))
    return _range_of(name, distribution, said)


def _usual_distribution(said: dict[str, Any]) -> str:
    if "value" in said:
        return "constant"
    if "values" in said:
        return "categorical"
    whole = isinstance(said.get("min"), int) and isinstance(said.get("max"), int)
    return "int_uniform" if whole else "uniform"


def _choices_of(name: str, values: Any) -> tuple[Value, ...]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"{name} wants a list of values")
    for value in values:
        if value is None:
            raise ValueError(
                f'{name} has null, which would reach the command line as None; write "null", with the quotes'
            )
        if not isinstance(value, bool | int | float | str):
            raise ValueError(
                f"{name} has {value}; write lists and mappings as text in Hydra's syntax: '[1,2]', '{{a:1}}'"
            )
    if len(set(values)) < len(values):
        raise ValueError(f"{name} has a value twice")
    return tuple(values)


def _range_of(name: str, distribution: str, said: dict[str, Any]) -> Range:
    numbers = {key: said[key] for key in ("min", "max", "q") if key in said}
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError(f"{name}.{key} is no number to YAML: {number!r}; write 1.0e-4, with a point, for 1e-4")
    low, high = numbers["min"], numbers["max"]
    if distribution == "log_uniform":
        low, high = math.exp(low), math.exp(high)
    if low >= high or (distribution.startswith("log") and low <= 0):
        raise ValueError(f"{name} goes from {low} to {high}; min is below max, and above 0 if it is logarithmic")
    if distribution == "int_uniform":
        return Range(int(low), int(high), whole=True)
    if distribution == "q_uniform":
        return Range(low, high, step=numbers.get("q", 1))
    return Range(low, high, logarithmic=distribution.startswith("log"))


def _hyperband_of(said: Any) -> Hyperband:
    if not isinstance(said, dict) or said.get("type") != "hyperband":
        raise ValueError("early_terminate.type is hyperband")
    if unknown := said.keys() - {"type", "min_iter", "max_iter", "s", "eta"}:
        raise ValueError(f"early_terminate.{', '.join(sorted(unknown))} is not known here; leave it out")
    eta = said.get("eta", 3)
    if eta <= 1:
        raise ValueError(f"early_terminate.eta is {eta}; one run in eta goes on, so it is above 1")
    if "min_iter" in said:
        bands = [int(said["min_iter"] * eta**power) for power in range(30)]
    elif {"max_iter", "s"} <= said.keys():
        bands = [int(said["max_iter"] / eta**power) for power in range(said["s"], 0, -1)]
    else:
        raise ValueError("early_terminate wants min_iter, or max_iter and s")
    return Hyperband(tuple(band for band in bands if band >= 1), eta)


def _command_of(said: Any) -> tuple[str, ...]:
    if not isinstance(said, list):
        raise ValueError("command is a list")
    command = tuple(str(each) for each in said)
    macros = [each for each in command if re.fullmatch(r"\$\{\w+\}", each)]
    if macros != ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"] or command[-1] != macros[-1]:
        raise ValueError(
            "command is ${env}, ${interpreter}, ${program}, then Hydra's overrides, and at its end ${args_no_hyphens}: "
            "the other ways of W&B to write values are none that Hydra reads"
        )
    if not any(each.startswith("runs=") for each in command):
        raise ValueError("command has no runs=FOLDER, where its runs are kept apart from others")
    if "resume=auto" not in command:
        raise ValueError("command has no resume=auto, so that a run which was cut short would start anew")
    return command
