"""How trials and their values are put into words."""

from collections.abc import Iterable, Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweeps.local.study import STATES


def short_names(names: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted name, or the whole where two would be the same."""
    names = list(names)
    last = [name.rpartition(".")[2] for name in names]
    return {name: part if last.count(part) == 1 else name for name, part in zip(names, last, strict=True)}


def rounded(value: Any) -> str:
    """A value to four digits, if it is a number with a point; nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def described(values: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """A trial's values, under other names."""
    return ", ".join(f"{other} {rounded(values[name])}" for name, other in names.items())


def ending(trial: FrozenTrial) -> str:
    """How a trial ended, and why if it failed."""
    if trial.state == TrialState.FAIL:
        return f"failed: {trial.user_attrs.get('failure', 'it was cut short')}"
    if trial.state == TrialState.PRUNED:
        return f"stopped early, at step {trial.last_step}"
    return STATES[trial.state]
