"""Sweep files: what they say, and what is refused in one sentence."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.sweep_file import Choices, Hyperband, Range, read_sweep_file
from tests.conftest import PROJECT

FILES = sorted((PROJECT / "sweeps").glob("*.yaml"))
COMMAND = ["${env}", "${interpreter}", "${program}", "logger=wandb", "resume=auto", "runs=out", "${args_no_hyphens}"]


def sweep(**changes: Any) -> dict[str, Any]:
    """A sweep file's content; what is None is left out."""
    usual = {
        "program": "train.py",
        "method": "random",
        "metric": {"name": "validation/loss", "goal": "minimize"},
        "parameters": {"model.width": {"values": [16, 32]}},
        "command": COMMAND,
    }
    return {key: value for key, value in (usual | changes).items() if value is not None}


def write(folder: Path, content: Any) -> Path:
    """Write a sweep file."""
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_named_after_its_sweep_and_keeps_its_runs_apart(path: Path) -> None:
    file = read_sweep_file(path)
    assert file.name == path.stem
    assert file.runs() == Path("runs/sweeps") / path.stem
    assert file.description.endswith("?")
    assert file.program == "train.py"


def test_every_method_of_searching_and_every_paper_has_a_file() -> None:
    files = [read_sweep_file(path) for path in FILES]
    assert {file.method for file in files} == {"grid", "random", "bayes"}
    assert {file.name.split("_")[0] for file in files} == {"pic", "lrac", "pixcolor", "exemplar"}
    assert any(file.hyperband for file in files)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"value": 3}, Choices((3,))),
        ({"values": ["a", 1.5, False]}, Choices(("a", 1.5, False))),
        ({"distribution": "categorical", "values": [1]}, Choices((1,))),
        ({"min": 1, "max": 5}, Range(1, 5, whole=True)),
        ({"min": 1, "max": 5.0}, Range(1, 5.0)),
        ({"distribution": "int_uniform", "min": 2, "max": 9}, Range(2, 9, whole=True)),
        ({"distribution": "uniform", "min": 0, "max": 1}, Range(0, 1)),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, Range(0, 1, step=0.25)),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2}, Range(1e-4, 1e-2, logarithmic=True)),
        ({"distribution": "log_uniform", "min": 0, "max": 1}, Range(1, math.e, logarithmic=True)),
    ],
)
def test_parameters_mean_what_wandb_documents(tmp_path: Path, said: dict[str, Any], meant: Any) -> None:
    file = read_sweep_file(write(tmp_path, sweep(parameters={"model.width": said})))
    assert file.parameters == {"model.width": meant}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"program": None, "metric": None}, "it has no program, metric"),
        ({"scheduler": {"engine": "optuna"}}, "scheduler has no meaning here"),
        ({"method": "annealing"}, "method is one of grid, random, bayes, not annealing"),
        ({"metric": {"name": "validation/loss", "goal": "small"}}, "goal is minimize or maximize, not small"),
        ({"metric": {"name": "validation/loss", "target": 3}}, "metric.target is not known"),
        ({"parameters": {"+experiment": {"values": ["pic_tiny"]}}}, "write +experiment=VALUE into the command"),
        ({"parameters": {"a": {"parameters": {"b": {"value": 1}}}}}, "a holds nested parameters; write dotted names"),
        ({"parameters": {"a": {"values": [1, 2], "probabilities": [0.1, 0.9]}}}, "a has probabilities"),
        ({"parameters": {"a": {"distribution": "beta"}}}, "a is distributed beta; known here are constant,"),
        ({"parameters": {"a": {"min": 1, "max": 3, "q": 2}}}, "a has q; int_uniform takes max, min"),
        ({"parameters": {"a": {"min": 1}}}, "a has no max"),
        ({"parameters": {"a": {"min": 3, "max": 1}}}, "a goes from 3 to 1; min is below max"),
        ({"parameters": {"a": {"distribution": "log_uniform_values", "min": 0, "max": 1}}}, "above 0 if"),
        ({"parameters": {"a": {"values": [1, None]}}}, 'write "null", with the quotes'),
        ({"parameters": {"a": {"values": [[1, 2]]}}}, "write lists and mappings as text in Hydra's syntax"),
        ({"parameters": {"a": {"values": [1, 1]}}}, "a has a value twice"),
        ({"method": "grid", "parameters": {"a": {"min": 1, "max": 3}}}, "a grid wants values: of a"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate wants min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 2, "strict": True}}, "early_terminate.strict is not"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 1}}, "eta is 1"),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 2}, "metric": {"name": "score/psnr"}},
            "score/psnr is known only at the end",
        ),
        ({"command": [*COMMAND[:-1], "${args}"]}, "command is ${env}, ${interpreter}, ${program}"),
        ({"command": [*COMMAND, "seed=1"]}, "at its end ${args_no_hyphens}"),
        ({"command": [each for each in COMMAND if each != "runs=out"]}, "command has no runs=FOLDER"),
        ({"command": [each for each in COMMAND if each != "resume=auto"]}, "command has no resume=auto"),
    ],
)
def test_what_is_not_run_here_gets_one_sentence(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    path = write(tmp_path, sweep(**changes))
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        read_sweep_file(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_number_that_yaml_takes_for_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep()).replace("values:\n    - 16\n    - 32", "min: 1e-4\n    max: 1.0e-2"))
    with pytest.raises(ValueError, match=r"model\.width\.min is no number to YAML: '1e-4'; write 1\.0e-4"):
        read_sweep_file(path)


def test_a_file_that_is_missing_or_no_yaml_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no sweep file"):
        read_sweep_file(tmp_path / "sweep.yaml")
    (tmp_path / "sweep.yaml").write_text("a: [b")
    with pytest.raises(ValueError, match="is no YAML"):
        read_sweep_file(tmp_path / "sweep.yaml")


def test_arguments_are_the_commands_own_and_then_the_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTURES", "my/pictures")
    command = [*COMMAND[:3], "+experiment=pic_tiny", "data.root=${envvar:PICTURES}", *COMMAND[3:]]
    parameters = {"b.rate": {"min": 0.0, "max": 1.0}, "a.on": {"values": [True, False]}}
    file = read_sweep_file(write(tmp_path, sweep(command=command, parameters=parameters)))
    assert file.arguments({"a.on": True, "b.rate": 1e-05}) == [
        "+experiment=pic_tiny",
        "data.root=my/pictures",
        "resume=auto",
        "runs=out",
        "a.on=True",
        "b.rate=1e-05",
    ]
    assert file.runs(["seed=1", "runs=elsewhere"]) == Path("elsewhere")


def test_a_grid_knows_its_size(tmp_path: Path) -> None:
    parameters = {"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}, "c": {"value": 5}}
    assert read_sweep_file(write(tmp_path, sweep(method="grid", parameters=parameters))).combinations == 6
    assert read_sweep_file(write(tmp_path, sweep(parameters=parameters))).combinations is None


def test_bands_are_those_of_wandbs_engine(tmp_path: Path) -> None:
    def bands(**settings: Any) -> tuple[int, ...]:
        file = read_sweep_file(write(tmp_path, sweep(early_terminate={"type": "hyperband", **settings})))
        assert file.hyperband
        return file.hyperband.bands

    # https://docs.wandb.ai/models/sweeps/sweep-config-keys: "the brackets for this example are [27/eta, 27/eta/eta]",
    # and "[3, 3*eta, 3*eta*eta, 3*eta*eta*eta]"
    assert bands(max_iter=27, s=2) == (3, 9)
    assert bands(min_iter=3)[:4] == (3, 9, 27, 81)
    assert bands(min_iter=3, eta=2)[:4] == (3, 6, 12, 24)


def test_hyperband_stops_as_wandbs_engine_does() -> None:
    # the example of hyperband_stop_runs in github.com/wandb/sweeps: max_iter 5, eta 2, s 2, so bands of 1 and 2
    hyperband = Hyperband((1, 2), 2)
    histories = {"a": [10, 9], "b": [10, 10], "c": [10, 8, 8], "d": [10, 7, 7], "e": [10, 6, 6]}
    curves = [list(map(float, history)) for history in histories.values()]
    stopped = [name for name, curve in zip(histories, curves, strict=True) if hyperband.is_behind(curve, curves)]
    assert stopped == ["a", "b", "c"]
    assert not hyperband.is_behind([10.0], curves), "no band is reached"
    assert not hyperband.is_behind([5.0, 9.0], curves), "the best so far counts"
