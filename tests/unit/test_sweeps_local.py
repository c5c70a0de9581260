"""Sweeps without an account: what is drawn, what is counted, and what the page says."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from markupsafe import escape

pytest.importorskip("optuna", reason="sweeps without an account want Optuna")
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from rich.console import Console

from sweeps.local.driver import devices, number_in, print_trials
from sweeps.local.page import Page, write_page
from sweeps.local.plots import limits
from sweeps.local.study import (
    EarlyStopping,
    counts,
    distribution_of,
    open_study,
    queue_failed,
    ranked,
    trials_of,
    value_of,
)
from sweeps.local.trial import entry
from sweeps.local.words import short_names
from sweeps.sweep_file import Choices, Range, SweepFile, read_sweep_file

COMMAND = ["${env}", "${interpreter}", "${program}", "resume=auto", "runs=out", "${args_no_hyphens}"]
RATE = {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}


def sweep(folder: Path, **changes: Any) -> SweepFile:
    """A sweep over a rate and a depth."""
    content = {
        "program": "train.py",
        "method": "random",
        "metric": {"name": "validation/loss", "goal": "minimize"},
        "parameters": {"model.rate": RATE, "model.depth": {"min": 1, "max": 4}},
        "command": COMMAND,
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return read_sweep_file(path)


def drawn(file: SweepFile, study: Any, count: int) -> list[dict[str, Any]]:
    """The values of trials that end at once."""
    distributions = {name: distribution_of(each) for name, each in file.parameters.items()}
    trials = [study.ask(distributions) for _ in range(count)]
    for number, trial in enumerate(trials):
        study.tell(trial.number, float(number))
    return [trial.params for trial in trials]


def add(study: Any, file: SweepFile, value: float | None, state: Any, values: dict[str, Any], **more: Any) -> None:
    """Give a study a trial that has ended."""
    distributions = {name: distribution_of(each) for name, each in file.parameters.items()}
    study.add_trial(create_trial(state=state, value=value, params=values, distributions=distributions, **more))


def test_parameters_become_optunas() -> None:
    assert distribution_of(Choices(("a", 2, True))) == CategoricalDistribution(("a", 2, True))
    assert distribution_of(Range(1, 5, whole=True)) == IntDistribution(1, 5)
    assert distribution_of(Range(1e-4, 0.1, logarithmic=True)) == FloatDistribution(1e-4, 0.1, log=True)
    assert distribution_of(Range(0, 1, step=0.25)) == FloatDistribution(0, 1, step=0.25)


def test_a_grid_is_drawn_once_in_its_order_and_not_again_after_a_stop(tmp_path: Path) -> None:
    parameters = {"a": {"values": [1, 2]}, "b": {"values": ["x", "y"]}}
    file = sweep(tmp_path, method="grid", parameters=parameters)
    first = drawn(file, open_study(file, tmp_path, []), 3)
    study = open_study(file, tmp_path, [])
    second = drawn(file, study, 1)
    assert first + second == [{"a": a, "b": b} for a in (1, 2) for b in ("x", "y")]
    assert counts(open_study(file, tmp_path, [])) == {"finished": 4}
    assert len(open_study(file, tmp_path, []).trials) == 4


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_what_is_drawn_after_a_stop_is_new(tmp_path: Path, method: str) -> None:
    file = sweep(tmp_path, method=method)
    before = drawn(file, open_study(file, tmp_path, []), 3)
    after = drawn(file, open_study(file, tmp_path, []), 3)
    assert len({values["model.rate"] for values in before + after}) == 6


def test_a_sweep_that_has_changed_is_refused_in_one_sentence(tmp_path: Path) -> None:
    open_study(sweep(tmp_path), tmp_path, ["seed=1"])
    open_study(sweep(tmp_path, description="Another word?", run_cap=3), tmp_path, ["seed=1"])
    with pytest.raises(ValueError, match=r"is of another sweep: .*; give runs=ANOTHER_FOLDER for a new one"):
        open_study(sweep(tmp_path), tmp_path, ["seed=2"])
    with pytest.raises(ValueError, match="is of another sweep"):
        open_study(sweep(tmp_path, parameters={"model.rate": RATE}), tmp_path, ["seed=1"])


def test_a_failed_trial_that_is_tried_again_counts_once(tmp_path: Path) -> None:
    file = sweep(tmp_path)
    study = optuna.create_study()
    values = {"model.rate": 0.01, "model.depth": 2}
    add(study, file, None, TrialState.FAIL, values)
    add(study, file, 1.0, TrialState.COMPLETE, {"model.rate": 0.02, "model.depth": 3})
    assert counts(study) == {"finished": 1, "failed": 1}
    queue_failed(study)
    queue_failed(study)
    assert counts(study) == {"finished": 1}, "there is room for one"
    assert drawn(file, study, 1) == [values]
    assert counts(study) == {"finished": 2}
    assert [trial.number for trial in trials_of(study)] == [1, 2]


@pytest.mark.parametrize(("goal", "order"), [("minimize", [1, 0, 3, 4, 2]), ("maximize", [0, 1, 3, 4, 2])])
def test_finished_trials_come_first_the_best_of_them_before_all(tmp_path: Path, goal: str, order: list[int]) -> None:
    file = sweep(tmp_path, metric={"name": "validation/loss", "goal": goal})
    study = optuna.create_study(direction=file.goal)
    values = {"model.rate": 0.01, "model.depth": 2}
    add(study, file, 3.0, TrialState.COMPLETE, values)
    add(study, file, 2.0, TrialState.COMPLETE, values, intermediate_values={1: 1.0, 2: 9.0})
    add(study, file, None, TrialState.FAIL, values)
    add(study, file, None, TrialState.PRUNED, values, intermediate_values={1: 1.0, 2: 0.5, 3: 4.0})
    study.ask({name: distribution_of(each) for name, each in file.parameters.items()})
    assert [trial.number for trial in ranked(study, file.goal)] == order
    assert value_of(study.trials[1], file.goal) == 2.0, "what was told, whatever the curve"
    assert value_of(study.trials[3], file.goal) == (0.5 if goal == "minimize" else 4.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_trial_that_is_behind_is_pruned_whatever_the_goal(tmp_path: Path, sign: int) -> None:
    metric = {"name": "validation/loss", "goal": "minimize" if sign == 1 else "maximize"}
    file = sweep(tmp_path, metric=metric, early_terminate={"type": "hyperband", "min_iter": 2, "eta": 3})
    assert file.hyperband
    study = optuna.create_study(direction=file.goal, pruner=EarlyStopping(file.hyperband))
    distributions = {name: distribution_of(each) for name, each in file.parameters.items()}
    good, poor = study.ask(distributions), study.ask(distributions)
    for step, value in {10: 3.0, 20: 2.0, 30: 1.0}.items():
        good.report(sign * value, step)
        assert not good.should_prune()
    for step, value in {10: 5.0, 20: 4.0}.items():
        poor.report(sign * value, step)
        assert not poor.should_prune(), "two values come before the first comparison"
    poor.report(sign * 1.5, 30)
    assert poor.should_prune()


def test_an_axis_holds_the_best_and_most_of_the_rest() -> None:
    low, high = limits([3.0, 3.1, 3.2, 3.4, 50.0], "minimize")
    assert low < 3.0
    assert 3.4 < high < 10
    low, high = limits([-50.0, 20.0, 21.0, 22.0], "maximize")
    assert high > 22.0
    assert -50.0 < low < 20.0
    assert limits([2.0, 2.0], "minimize")[0] < 2.0 < limits([2.0, 2.0], "minimize")[1]
    assert limits([0.0], "minimize")[0] < 0.0 < limits([0.0], "minimize")[1]


def test_names_are_short_where_that_is_clear() -> None:
    assert short_names(["model.width", "data.size", "a.b.size"]) == {
        "model.width": "width",
        "data.size": "data.size",
        "a.b.size": "a.b.size",
    }


def test_gpus_are_those_that_the_environment_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f")
    assert devices() == ["3", "GPU-5f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices() == []


def test_the_page_tells_which_parameter_matters(tmp_path: Path) -> None:
    file = sweep(tmp_path)
    study = optuna.create_study()
    for number in range(12):
        values = {"model.rate": 10 ** -(1 + number / 4), "model.depth": 1 + number % 4}
        add(study, file, float(values["model.depth"]), TrialState.COMPLETE, values)
    page = Page(file, study, tmp_path, [])
    assert page.no_importance is None
    assert page.importance["model.depth"] > 0.9
    assert sum(page.importance.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("trials", "sentence"),
    [
        ([(1, 1.0), (2, 2.0), (3, 3.0)], "It takes 4 finished trials"),
        ([(1, 2.0), (2, 2.0), (3, 2.0), (4, 2.0)], "All finished trials reached the same."),
        ([(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)], "Only depth was varied"),
    ],
)
def test_the_page_says_why_it_cannot_tell_what_matters(
    tmp_path: Path, trials: list[tuple[int, float]], sentence: str
) -> None:
    file = sweep(tmp_path)
    study = optuna.create_study()
    for depth, value in trials:
        add(study, file, value, TrialState.COMPLETE, {"model.rate": 0.01, "model.depth": depth})
    assert sentence in write_page(file, study, tmp_path, []).read_text()


def test_the_page_holds_its_own_whatever_has_happened(tmp_path: Path) -> None:
    parameters = {"model.rate": RATE, "model.kind": {"value": "a<b"}}
    file = sweep(tmp_path, parameters=parameters)
    study = optuna.create_study()
    assert "No trial has finished." in write_page(file, study, tmp_path, []).read_text()
    values = {"model.rate": 0.01, "model.kind": "a<b"}
    add(study, file, None, TrialState.FAIL, values, user_attrs={"failure": "no <memory> left"})
    assert "failed: no &lt;memory&gt; left" in write_page(file, study, tmp_path, []).read_text()
    add(study, file, None, TrialState.PRUNED, values, intermediate_values={5: 2.0, 10: 1.5})
    assert "stopped early, at step 10" in write_page(file, study, tmp_path, []).read_text()
    add(study, file, 0.25, TrialState.COMPLETE, values, user_attrs={"seconds": 90.0})
    html = write_page(file, study, tmp_path, ["data.root=my pictures"]).read_text()
    assert "a&lt;b" in html
    assert "<b>0.25</b> validation/loss" in html
    assert "1 finished, 1 stopped early, 1 failed" in html
    command = "python train.py resume=auto runs=out 'model.kind=a<b' model.rate=0.01 'data.root=my pictures'"
    assert str(escape(command)) in html
    assert html.count("<svg") == 3, "a slice of what varies, all together, the curves"
    assert "http" not in html.replace("http://www.w3.org/", ""), "nothing is fetched"


@pytest.mark.parametrize("text", ['{"overrides": ', "[]", "\0"])
def test_a_damaged_record_does_not_end_a_sweep(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert entry(tmp_path / "run.json", "overrides") is None
    assert entry(tmp_path / "nowhere.json", "overrides") is None


@pytest.mark.parametrize(("text", "number"), [("123", 123), ("", 0), ("12\0", 0), ("x", 0), ("\u0663", 0)])
def test_a_damaged_lock_names_nobody(text: str, number: int) -> None:
    assert number_in(text) == number


def test_failures_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sweep(tmp_path, name="a [b] sweep", method="grid", parameters={"model.head": {"values": ["[/x]"]}})
    study = open_study(file, tmp_path, [])
    trial = study.ask({"model.head": distribution_of(file.parameters["model.head"])})
    trial.set_user_attr("failure", "no folder [red]")
    study.tell(trial.number, state=TrialState.FAIL)
    print_trials(file, study, Console(width=200))
    told = capsys.readouterr().out
    for words in ("a [b] sweep", "[/x]", "no folder [red]"):
        assert words in told
