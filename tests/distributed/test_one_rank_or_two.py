"""Two real processes that share a global batch learn what one process learns of it, whatever the method."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules import METHODS
from tests.conftest import PROJECT

Trained = dict[str, dict[str, Any] | None]


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a process that trains."""
    command = [sys.executable, "-m", "tests.distributed.train_methods", str(folder), *arguments]
    own = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.Popen(command, cwd=PROJECT, env=own | environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """What came of one rank, of each of two, and of one that accumulates two batches."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "NODE_RANK": "0"}
    alone = start(folder)
    errors = alone.communicate()[1]
    assert alone.returncode == 0, errors
    two = [start(folder, **meeting, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]
    for process in two:
        errors = process.communicate()[1]
        assert process.returncode == 0, errors
    accumulating = start(folder, "2")
    errors = accumulating.communicate()[1]
    assert accumulating.returncode == 0, errors
    names = {"one": "1_0_1", "first": "2_0_1", "second": "2_1_1", "accumulated": "1_0_2"}
    return {name: torch.load(folder / f"trained_{file}.pt", weights_only=True) for name, file in names.items()}


@pytest.fixture(params=[name for name in METHODS if name != "Welsh"])  # it learns nothing
def method(request: pytest.FixtureRequest) -> str:
    """A method's name."""
    return str(request.param)


def of(trained: Trained, method: str) -> dict[str, Any]:
    """What came of a method."""
    found = trained[method]
    assert found is not None
    return found


def changes(trained: dict[str, Any]) -> torch.Tensor:
    """By how much training changed each parameter, (N,)."""
    before, after = trained["before"], trained["weights"]
    return torch.cat([(after[name] - before[name]).flatten() for name in before if before[name].is_floating_point()])


def distance(trained: dict[str, Any], other: dict[str, Any]) -> float:
    """How far two trainings are apart, in the length of the one."""
    return float((changes(trained) - changes(other)).norm() / changes(trained).norm())


def test_the_loss_curve_is_that_of_one_process(trained: dict[str, Trained], method: str) -> None:
    alone, shared = (of(trained[name], method)["losses"] for name in ("one", "first"))
    assert len(alone) == 5
    assert alone[0].keys() == shared[0].keys()
    assert any(name.startswith("train/") for name in alone[0])
    for ours, theirs in zip(alone, shared, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4), method
    curve = [next(iter(step.values())) for step in alone]
    assert len(set(curve)) == 5, "it does learn"


def test_both_ranks_end_with_the_weights_of_one_process(trained: dict[str, Trained], method: str) -> None:
    alone, first, second = (of(trained[name], method) for name in ("one", "first", "second"))
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    assert distance(alone, first) < 1e-3


@pytest.mark.parametrize("method", ["PIC", "PICEmbedding"])  # the others normalise over what a rank sees at a time
def test_accumulated_batches_learn_what_a_whole_one_does(trained: dict[str, Trained], method: str) -> None:
    assert distance(of(trained["one"], method), of(trained["accumulated"], method)) < 1e-3
