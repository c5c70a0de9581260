"""A SLURM for all tests here, and somebody who uses it."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluation.curves import read_curves
from sweeps.status import Run
from tests.conftest import PROJECT
from tests.slurm.cluster import Cluster, cluster, missing, wait_until

SMALL = [
    "model.embedding=[{width:8,stride:2,blocks:1},{width:16,stride:2}]",
    "model.mixtures=2",
    "model.width=8",
    "model.blocks=1",
    "model.resolution=16",
    "data.crops_per_epoch=96",
    "data.batch_size=8",
    "data.workers=1",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=2",
    "protocol.samples=1",
]
STEPS_PER_EPOCH = 12


@dataclass(frozen=True)
class User:
    """Somebody at work in a folder that holds the project.

    Args:
        folder: The folder.
        cluster: Where jobs run.
    """

    folder: Path
    cluster: Cluster

    def sbatch(self, *arguments: str, options: tuple[str, ...] = ("--ntasks-per-node=2",)) -> str:
        """Submit a small run, and give the job's number."""
        return self.submit(["sbatch", *options, "sweeps/train.sbatch", *SMALL, *arguments])

    def submit(self, command: list[str]) -> str:
        """The number of the job that an `sbatch` command submits."""
        return self.cluster.run(*command, folder=self.folder).split()[-1]

    def launch(self, *arguments: str, tasks: int = 1) -> "subprocess.Popen[str]":
        """Start a small grid through Hydra's launcher, which waits for its members."""
        launcher = [
            "hydra/launcher=slurm",
            "hydra.launcher.gpus_per_node=null",
            f"hydra.launcher.tasks_per_node={tasks}",
        ]
        command = [sys.executable, "train.py", *SMALL, "trainer=ddp_slurm", *launcher, *arguments, "-m"]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.cluster.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def jobs(self) -> list[str]:
        """The numbers of all jobs in the queue, those of an array as `NUMBER_MEMBER`."""
        return sorted(self.cluster.run("squeue", "--noheader", "--array", "--format=%i").split())

    def status(self) -> list[Run]:
        """What `sweeps.status` says of all runs here."""
        command = [sys.executable, "-m", "sweeps.status", "runs", "--json"]
        return [Run(**run) for run in json.loads(self.cluster.run(*command, folder=self.folder))]

    def only_run(self) -> Run:
        """What `sweeps.status` says of the one run here."""
        (run,) = self.status()
        return run

    def record(self, run: Run) -> dict[str, Any]:
        """A run's `run.json`."""
        record: dict[str, Any] = json.loads((self.folder / run.directory / "run.json").read_text())
        return record

    def checkpoint(self, run: Run) -> dict[str, Any]:
        """A run's last checkpoint."""
        path = self.folder / run.directory / "checkpoints" / "last.ckpt"
        checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
        return checkpoint

    def wait_for_step(self, step: int, runs: int = 1) -> None:
        """Wait until so many runs here have logged a step."""

        def reached() -> bool:
            logs = [read_curves(path) for path in (self.folder / "runs").glob("*/*/logs")]
            return sum(any(max(points) >= step for points in curves.values()) for curves in logs) >= runs

        wait_until(reached, f"{runs} runs did not reach step {step}", 300)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for as long as tests run."""
    if why := missing():
        pytest.skip(why)
    with cluster(tmp_path_factory.mktemp("slurm")) as running:
        kept = {name: value for name, value in running.environment.items() if not name.startswith("WANDB_")}
        running.environment.clear()
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        running.environment.update(kept, PATH=path, PYTHONPATH=str(PROJECT), OMP_NUM_THREADS="1", NETRC=os.devnull)
        yield running


def user_in(folder: Path, running: Cluster) -> User:
    """A user in an empty folder."""
    for name in ("train.py", "sweeps"):
        (folder / name).symlink_to(PROJECT / name)
    return User(folder, running)


@pytest.fixture
def user(slurm: Cluster, tmp_path: Path) -> User:
    """A user in a folder of the test's own."""
    return user_in(tmp_path, slurm)


@pytest.fixture(scope="session")
def undisturbed(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[User, Run]:
    """A run of two processes that nothing disturbed, and whose it is."""
    user = user_in(tmp_path_factory.mktemp("undisturbed"), slurm)
    assert slurm.wait(user.sbatch("logger=wandb"), "COMPLETED", "FAILED") == "COMPLETED"
    return user, user.only_run()


def slow(seconds: float) -> str:
    """An argument that makes a run wait so long before every step."""
    return f"+callbacks.slow={{_target_:tests.slurm.slow.Slow,seconds:{seconds}}}"


def alone(run: Run) -> list[str]:
    """The command that `sweeps.status` gives for a run."""
    return shlex.split(run.command)


def assert_same_weights(first: dict[str, Any], second: dict[str, Any]) -> None:
    """That two checkpoints hold equal weights and equal averages of them, after as many steps."""
    assert first["global_step"] == second["global_step"] == 2 * STEPS_PER_EPOCH
    for weights in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, second[weights][name]) for name, value in first[weights].items())
