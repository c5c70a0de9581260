"""A sweep file as an Optuna study: what is drawn, what is stopped early, and which trials there are."""

import hashlib
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from sweeps.sweep_file import Choices, Goal, Hyperband, Parameter, SweepFile

DATABASE = "study.db"
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped early",
    TrialState.RUNNING: "unfinished",
    TrialState.FAIL: "failed",
}
"""What is said of a trial."""

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class EarlyStopping(optuna.pruners.BasePruner):
    """Prunes as W&B stops: by a sweep file's hyperband."""

    def __init__(self, hyperband: Hyperband) -> None:
        self.hyperband = hyperband

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial should stop; see `Hyperband.is_behind`."""
        sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
        curves = [
            [sign * value for _, value in sorted(each.intermediate_values.items())]
            for each in [trial, *(each for each in study.get_trials(deepcopy=False) if each.number != trial.number)]
        ]
        return self.hyperband.is_behind(curves[0], curves)


def open_study(file: SweepFile, runs: Path, overrides: Sequence[str]) -> optuna.Study:
    """The study of a sweep that lies with its runs, made if it is not there.

    Args:
        file: What is swept.
        runs: The folder of its runs.
        overrides: Those that are appended to each run's command.

    Raises:
        ValueError: If the study there is of another sweep.
    """
    runs.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{runs / DATABASE}"
    pruner = EarlyStopping(file.hyperband) if file.hyperband else optuna.pruners.NopPruner()
    study = optuna.create_study(
        storage=storage, study_name="sweep", direction=file.goal, pruner=pruner, load_if_exists=True
    )
    identity = identity_of(file, overrides)
    if study.user_attrs.get("identity", identity) != identity:
        raise ValueError(
            f"{runs / DATABASE} is of another sweep: {file.path} or what was given behind it has changed since; give "
            f"runs=ANOTHER_FOLDER for a new one, or delete that file to forget the old one (its runs stay)"
        )
    study.set_user_attr("identity", identity)
    # a sampler that began anew with its seed would repeat what it drew before a stop
    study.sampler = sampler_of(file.method, seed=len(study.trials))
    if file.method == "grid":
        for values in product(*(each.values for each in file.parameters.values() if isinstance(each, Choices))):
            study.enqueue_trial(dict(zip(file.parameters, values, strict=True)), skip_if_exists=True)
    return study


def identity_of(file: SweepFile, overrides: Sequence[str]) -> str:
    """A digest of what makes trials of one study comparable."""
    swept = {name: asdict(each) for name, each in file.parameters.items()}
    stopping = file.hyperband and asdict(file.hyperband)
    what = (file.method, file.metric, file.goal, swept, stopping, file.program, file.command, tuple(overrides))
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def sampler_of(method: str, seed: int) -> optuna.samplers.BaseSampler:
    """What draws values by a sweep file's method; a grid's are all queued."""
    if method == "bayes":
        return optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """A parameter of a sweep file, as Optuna has it."""
    if isinstance(parameter, Choices):
        return CategoricalDistribution(parameter.values)
    if parameter.whole:
        return IntDistribution(int(parameter.low), int(parameter.high))
    return FloatDistribution(parameter.low, parameter.high, log=parameter.logarithmic, step=parameter.step)


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """Those that were started, without failed ones that another has taken the place of."""
    trials = study.get_trials(deepcopy=False)
    replaced = {each.user_attrs.get("instead_of") for each in trials}
    return [each for each in trials if each.state in STATES and each.number not in replaced]


def queue_failed(study: optuna.Study) -> None:
    """Let each failed trial be tried again, with its values, before others."""
    for trial in trials_of(study):
        if trial.state == TrialState.FAIL:
            study.enqueue_trial(trial.params, user_attrs={"instead_of": trial.number})


def counts(study: optuna.Study) -> dict[str, int]:
    """How many trials there are, by what is said of them; only what there is."""
    states = [STATES[each.state] for each in trials_of(study)]
    return {state: states.count(state) for state in STATES.values() if state in states}


def ranked(study: optuna.Study, goal: Goal) -> list[FrozenTrial]:
    """Finished trials, the best first, then those stopped early, unfinished and failed ones."""
    order, sign = list(STATES), 1 if goal == "minimize" else -1

    def place(trial: FrozenTrial) -> tuple[int, float, int]:
        value = value_of(trial, goal)
        return order.index(trial.state), math.inf if value is None else sign * value, trial.number

    return sorted(trials_of(study), key=place)


def value_of(trial: FrozenTrial, goal: Goal) -> float | None:
    """What a trial reached: its value if it has finished, else its best so far, if any."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    values = trial.intermediate_values.values()
    return min(values, default=None) if goal == "minimize" else max(values, default=None)
