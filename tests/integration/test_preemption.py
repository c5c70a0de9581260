"""Signals: a run ends at the end of a step, goes on exactly, and SLURM is asked to requeue its job."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_modules.layers.averaging import ParameterAveraging
from sweeps.preemption import Preempted, Preemption, requeue
from sweeps.signals import REQUEUE, STOP
from tests.conftest import PROJECT, RandomPictures, quiet_trainer
from tests.distributed.train_methods import method

EPOCHS, BATCHES = 2, 4


class Signals(pl.Callback):
    """Sends this process a signal in some place."""

    def __init__(self, number: int, *, step: int | None = None, validation: bool = False) -> None:
        self.number, self.step, self.validation = number, step, validation

    def on_before_optimizer_step(self, trainer: pl.Trainer, *_: Any) -> None:
        """In the middle of a step."""
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)

    def on_validation_batch_start(self, *_: Any) -> None:
        """In the middle of validation."""
        if self.validation:
            os.kill(os.getpid(), self.number)


def train(checkpoint: Path, *callbacks: pl.Callback, **settings: Any) -> tuple[pl.Trainer, dict[str, torch.Tensor]]:
    """Train a small PIC, from a checkpoint if there is one; returns its weights, too."""
    model = method("PIC")
    with Preemption(checkpoint) as preemption:
        trainer = quiet_trainer(
            max_epochs=EPOCHS,
            enable_checkpointing=True,
            callbacks=[preemption, ParameterAveraging(decay=0.9), *callbacks],
            **settings,
        )
        pl.seed_everything(0, verbose=False)
        pictures = RandomPictures(16, count=8, batch_size=2)
        resume = checkpoint if checkpoint.is_file() else None
        trainer.fit(model, pictures, ckpt_path=resume, weights_only=True)
    return trainer, model.state_dict()


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of this process, put back."""
    before = {number: signal.getsignal(number) for number in (REQUEUE, STOP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def in_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A member of an array, and a `scontrol` that notes how it is called."""
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    command = tmp_path / "scontrol"
    command.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ntest "$2" = 12_1 || {{ echo no such job >&2; exit 1; }}\n'
    )
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return tmp_path / "asked"


@pytest.mark.parametrize("step", [0, 2, 3, 4, 6])
def test_a_run_that_is_preempted_ends_with_the_weights_of_one_that_is_not(tmp_path: Path, step: int) -> None:
    _, wanted = train(tmp_path / "none.ckpt")
    checkpoint = tmp_path / "last.ckpt"
    with pytest.raises(Preempted):
        train(checkpoint, Signals(REQUEUE, step=step))
    assert torch.load(checkpoint, weights_only=True)["global_step"] == step + 1
    trainer, weights = train(checkpoint)
    assert trainer.global_step == EPOCHS * BATCHES
    assert all(torch.equal(weights[name], value) for name, value in wanted.items())


def test_it_ends_where_all_batches_of_a_step_are_through(tmp_path: Path) -> None:
    _, wanted = train(tmp_path / "none.ckpt", accumulate_grad_batches=2)
    with pytest.raises(Preempted):
        train(tmp_path / "last.ckpt", Signals(STOP, step=1), accumulate_grad_batches=2)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2
    _, weights = train(tmp_path / "last.ckpt", accumulate_grad_batches=2)
    assert all(torch.equal(weights[name], value) for name, value in wanted.items())


def test_in_validation_it_ends_and_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    _, wanted = train(tmp_path / "none.ckpt")
    last = ModelCheckpoint(tmp_path, "last", every_n_train_steps=3, enable_version_counter=False)
    with pytest.raises(Preempted):
        train(tmp_path / "last.ckpt", last, Signals(STOP, validation=True))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3
    _, weights = train(tmp_path / "last.ckpt")
    assert all(torch.equal(weights[name], value) for name, value in wanted.items())


def test_outside_training_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    with Preemption(tmp_path / "last.ckpt"), pytest.raises(Preempted):
        os.kill(os.getpid(), STOP)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_signal_that_comes_early_waits_until_it_can_be_heard(tmp_path: Path) -> None:
    code = """if True:
        import os
        from pathlib import Path
        from sweeps.signals import REQUEUE, held

        with held():
            os.kill(os.getpid(), REQUEUE)
            from sweeps.preemption import Preempted, Preemption  # this takes seconds
            try:
                Preemption(Path("last.ckpt")).__enter__()
            except Preempted as end:
                print("heard", end.code)
        """
    ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ended.stdout == f"heard {128 + REQUEUE}\n"


def test_other_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(REQUEUE), signal.getsignal(STOP)
    train(tmp_path / "last.ckpt")
    assert (signal.getsignal(REQUEUE), signal.getsignal(STOP)) == before


def test_only_a_warning_inside_a_slurm_job_requeues_it(in_slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Preempted(REQUEUE).requeues
    assert Preempted(REQUEUE).status == "preempted"
    assert Preempted(REQUEUE).code == 128 + signal.SIGUSR1
    assert not Preempted(STOP).requeues
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name)
    assert not Preempted(REQUEUE).requeues
    assert Preempted(REQUEUE).status == "stopped"


@pytest.mark.parametrize(("first", "second", "status"), [(STOP, REQUEUE, "stopped"), (REQUEUE, STOP, "preempted")])
def test_the_first_signal_counts(tmp_path: Path, in_slurm: Path, first: int, second: int, status: str) -> None:
    class Both(Signals):
        def on_before_optimizer_step(self, trainer: pl.Trainer, *_: Any) -> None:
            for number in (first, second):
                os.kill(os.getpid(), number)

    with pytest.raises(Preempted) as end:
        train(tmp_path / "last.ckpt", Both(first))
    assert end.value.status == status


def test_nothing_cuts_short_what_is_done_after_a_signal(tmp_path: Path) -> None:
    with pytest.raises(Preempted), Preemption(tmp_path / "last.ckpt"):
        os.kill(os.getpid(), STOP)
    os.kill(os.getpid(), STOP)
    os.kill(os.getpid(), REQUEUE)


def test_slurm_is_asked_for_the_arrays_member(in_slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requeue()
    assert in_slurm.read_text() == "requeue 12_1\n"
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with pytest.raises(OSError, match="does not requeue job 12_2: no such job; submit it again with resume=auto"):
        requeue()


def test_outside_slurm_nothing_can_be_requeued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(OSError, match="inside a SLURM job only"):
        requeue()
