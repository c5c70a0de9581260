"""Sweep files with Weights & Biases' real client, against a stand-in for its server."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from evaluation.measures import MEASURES
from sweeps.sweep_file import Choices, Parameter, read_sweep_file
from tests.conftest import PROJECT
from tests.integration.test_sweeps_local import SMALL, write_pictures
from tests.integration.wandb_server import Server, environment, serving

FILES = sorted((PROJECT / "sweeps").glob("*.yaml"))
COMPOSING = """
import json, os, sys
from pathlib import Path
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

with initialize_config_module("configs", version_base="1.3"):
    config = compose("train", sys.argv[1:])
seen = {"arguments": sys.argv[1:], "config": OmegaConf.to_yaml(config), "python": sys.executable}
Path(os.environ["WANDB_RUN_ID"]).write_text(json.dumps(seen))
"""
"""In place of train.py: the real config, of the arguments that arrive."""
CLIENT = """
import os, sys
from wandb.cli.cli import cli

commands = [each.split() for each in sys.argv[2:]]
for command in commands:
    if sys.argv[1] == "in turn":
        cli.main(command, standalone_mode=False)
    elif not os.fork():
        cli.main(command, standalone_mode=False)
        os._exit(0)
if sys.argv[1] == "at once":
    ended = [os.wait()[1] for _ in commands]
    sys.exit(any(ended))
"""
"""The command `wandb`, several times, imported once."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The stand-in."""
    with serving() as started:
        yield started


def talking(server: Server, folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, for which the stand-in is W&B."""
    settings = environment(server, folder) | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)


def client(server: Server, folder: Path, how: str, *commands: str) -> str:
    """Give commands to the real client, `in turn` or `at once`; what they print."""
    result = talking(server, folder, [sys.executable, "-c", CLIENT, how, *commands])
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def a_value(parameter: Parameter) -> Any:
    """One of those that W&B's server could draw."""
    if isinstance(parameter, Choices):
        return parameter.values[-1]
    return int(parameter.high) if parameter.whole else 0.9 * parameter.low + 0.1 * parameter.high


@pytest.fixture(scope="module")
def seen(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What reached train.py of each sweep file: uploaded by `wandb sweep`, run by `wandb agent`."""
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "train.py").write_text(COMPOSING)
    before = len(server.sweeps)
    client(server, folder, "in turn", *(f"sweep {path}" for path in FILES))
    sweeps = list(server.sweeps)[before:]
    for sweep, path in zip(sweeps, FILES, strict=True):
        parameters = read_sweep_file(path).parameters
        server.drawn[sweep] = [(path.stem, {name: a_value(each) for name, each in parameters.items()})]
    client(server, folder, "at once", *(f"agent --count 1 {sweep}" for sweep in sweeps))
    return {path.stem: json.loads((folder / path.stem).read_text()) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_an_agent_is_told_reaches_the_config(path: Path, seen: dict[str, dict[str, Any]]) -> None:
    file, told = read_sweep_file(path), seen[path.stem]
    values = {name: a_value(parameter) for name, parameter in file.parameters.items()}
    config = OmegaConf.create(told["config"])
    assert isinstance(config, DictConfig)
    assert {name: OmegaConf.select(config, name) for name in file.parameters} == values
    assert [each for each in told["arguments"] if each != "logger=wandb"] == file.arguments(values)
    assert "logger=wandb" in told["arguments"]
    assert config.logger.wandb.project == "chromalab"
    assert config.resume == "auto"
    assert config.runs == f"runs/sweeps/{path.stem}"
    assert Path(told["python"]).parent == Path(sys.executable).parent


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_compared_is_measured(path: Path, seen: dict[str, dict[str, Any]]) -> None:
    file, config = read_sweep_file(path), OmegaConf.create(seen[path.stem]["config"])
    if file.metric.startswith("score/"):
        measure = file.metric.removeprefix("score/")
        assert measure in config.protocol.measures
        better = {"higher": "maximize", "lower": "minimize"}[MEASURES[measure].better or ""]
        assert file.goal == better
    else:
        assert config.trainer.max_steps / config.trainer.val_check_interval >= 5, "enough values to stop early by"
        swept = set(file.parameters)
        assert not swept & {"model.head", "model.loss.hint_weight", "model.head_settings.hue_weight"}, (
            "a loss that is weighed or made differently does not compare"
        )


def agent(server: Server, folder: Path, script: str, run: str) -> subprocess.CompletedProcess[str]:
    """Let a `wandb agent` start a script as the one run of a sweep."""
    (folder / "train.py").write_text(script)
    command = ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
    sweep = f"sweep{len(server.sweeps)}"
    server.sweeps[sweep] = {"program": "train.py", "method": "grid", "command": command}
    server.drawn[sweep] = [(run, {"seed": 1})]
    return talking(server, folder, ["wandb", "agent", "--count", "1", sweep])


def training(*more: str) -> str:
    """A script that is the real train.py with arguments of its own."""
    asked = ["+experiment=pic_tiny", "logger=wandb", "resume=auto", "runs=out", "data.root=pictures", *SMALL, *more]
    program = str(PROJECT / "train.py")
    return f"import runpy, sys\nsys.argv[1:1] = {asked}\nrunpy.run_path({program!r}, run_name='__main__')\n"


def test_a_real_run_reports_to_the_sweep_that_started_it(server: Server, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    result = agent(server, tmp_path, training(), "real")
    assert server.buckets["real"]["sweep"] == f"sweep{len(server.sweeps) - 1}", result.stderr
    history = server.history("real")
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("out/pic_tiny/[!.]*/run.json"))
    assert record["tracking_id"] == "real"
    curve = [row["validation/bits_per_dim"] for row in history if "validation/bits_per_dim" in row]
    assert len(curve) == 6
    assert min(curve) == pytest.approx(record["best"]["value"])
    (scores,) = (json.loads(path.read_text()) for path in tmp_path.glob("out/pic_tiny/[!.]*/scores.json"))
    (psnr,) = [row["score/psnr"] for row in history if "score/psnr" in row]
    assert psnr == pytest.approx(scores["metrics"]["psnr"]["value"])
    assert server.exit_code("real") == 0


@pytest.mark.slow
def test_a_run_that_fails_is_marked_so(server: Server, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    agent(server, tmp_path, training("protocol.guidance=nonsense"), "failed")
    assert server.history("failed"), "it failed only when it was scored"
    assert server.exit_code("failed") == 1


def test_a_run_that_fails_before_it_logs_anything_is_marked_so_too(server: Server, tmp_path: Path) -> None:
    agent(server, tmp_path, training("data.download=false"), "early")  # there are no pictures
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("out/pic_tiny/[!.]*/run.json"))
    assert record["status"] == "failed"
    assert "CIFAR-10 is not at pictures" in record["failure"]
    assert server.exit_code("early") == 1


CRASHING = "import os, wandb; wandb.init().log({'loss': 1}); os.kill(os.getpid(), 9)"


def test_a_run_that_is_killed_never_says_that_it_has_ended(server: Server, tmp_path: Path) -> None:
    # the server then calls it crashed, as it hears no more of it; that takes the real one five minutes
    agent(server, tmp_path, CRASHING, "killed")
    assert "killed" in server.buckets
    assert server.exit_code("killed") is None
    heard = len(server.streams.get("killed", []))
    time.sleep(2)
    assert len(server.streams.get("killed", [])) == heard
