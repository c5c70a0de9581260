"""Ends a run at a signal, at the end of a step, with nothing lost; under SLURM its job then waits for its next turn."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from evaluation.run_directory import slurm_job
from sweeps.signals import REQUEUE, STOP, let_through

AGREES_EVERY = 5
"""Steps, or batches of validation, after which several ranks ask each other what they have heard; it costs time."""


class Preempted(SystemExit):
    """A run was ended by a signal.

    Args:
        number: Of the signal.

    Attributes:
        requeues: Whether the run's job is to be queued again.
        status: What the run's record says.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.requeues = number == REQUEUE and slurm_job() is not None
        self.status = "preempted" if self.requeues else "stopped"


class Preemption(Checkpoint):
    """Hears the signals, as a context. In training, all ranks write a checkpoint at the end of one step and end.

    In validation they end without: the run goes on from its last checkpoint, and validates whole. Outside training a
    signal ends a run where it is. The first signal counts.

    As Lightning lets every `Checkpoint` run after all other callbacks, averages are those of the same step.

    Args:
        checkpoint: Where it is written.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.heard, self.training, self.batches_of_all = 0, False, 0
        self.launcher: Any = None
        self.others: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.others = {number: signal.getsignal(number) for number in (REQUEUE, STOP)}
        self.listen()
        let_through()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.others.items():
            # what is still to be done must not be cut short by the next one
            signal.signal(number, signal.SIG_IGN if self.heard else handler)

    def listen(self) -> None:
        """Take the signals, from whoever has them."""
        for number in (REQUEUE, STOP):
            signal.signal(number, self.hear)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if self.heard:
            return
        self.heard = number
        if isinstance(self.launcher, _SubprocessScriptLauncher):  # whoever signals may know this process only
            self.launcher.kill(signal.Signals(number))
        if not self.training:
            raise Preempted(number)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on there is something to lose, and Lightning has put in handlers that would end in mid-step."""
        self.launcher = trainer.strategy.launcher
        self.listen()
        self.training = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and end, if a rank has heard a signal."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and (heard := self.agreed(trainer, trainer.global_step)):
            trainer.save_checkpoint(self.checkpoint)
            raise Preempted(heard)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find out how many batches every rank has."""
        self.batches_of_all = over_ranks(trainer, int(sum(trainer.num_val_batches)), "min")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """End: what validation has seen so far would not go into a checkpoint."""
        if self.training and batch_idx < self.batches_of_all and (heard := self.agreed(trainer, batch_idx + 1)):
            raise Preempted(heard)

    def agreed(self, trainer: pl.Trainer, count: int) -> int:
        """The signal that a rank has heard, the same on all ranks; 0 for none, or while they do not ask each other."""
        if trainer.world_size > 1 and count % AGREES_EVERY:
            return 0
        return over_ranks(trainer, self.heard, "max")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What is left is to score, which can be ended anywhere."""
        self.training = False
        if self.heard:
            raise Preempted(self.heard)


def over_ranks(trainer: pl.Trainer, number: int, choice: str) -> int:
    """The `min` or `max` of a number over all ranks."""
    if trainer.world_size == 1:
        return number
    return int(trainer.strategy.reduce(torch.tensor(number, device=trainer.strategy.root_device), reduce_op=choice))


def requeue() -> None:
    """Have SLURM queue this job again, which ends it here.

    Raises:
        OSError: If it will not.
    """
    job = slurm_job()
    if job is None or shutil.which("scontrol") is None:
        raise OSError("a run is queued again inside a SLURM job only, by scontrol")
    answer = subprocess.run(["scontrol", "requeue", job], env=os.environ, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise OSError(f"SLURM does not requeue job {job}: {answer.stderr.strip()}; submit it again with resume=auto")
