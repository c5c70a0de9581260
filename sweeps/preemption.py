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

from evaluation.run_directory import slurm_job
from sweeps.signals import REQUEUE, STOP, let_through


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

    A signal in validation ends the run at once: it goes on from its last checkpoint, and validates whole. Outside
    training a signal ends it where it is.

    As Lightning lets every `Checkpoint` run after all other callbacks, averages are those of the same step.

    Args:
        checkpoint: Where it is written.
        agrees_every_n_steps: How often several ranks ask each other, since it costs time.
    """

    def __init__(self, checkpoint: Path, agrees_every_n_steps: int) -> None:
        self.checkpoint, self.agrees_every_n_steps = checkpoint, agrees_every_n_steps
        self.heard, self.training = 0, False
        self.others: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.others = {number: signal.getsignal(number) for number in (REQUEUE, STOP)}
        self.listen()
        let_through()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.others.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Take the signals, from whoever has them."""
        for number in (REQUEUE, STOP):
            signal.signal(number, self.hear)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        self.heard = max(self.heard, number)
        if not self.training:
            raise Preempted(self.heard)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on there is something to lose, and Lightning has put in handlers that would end in mid-step."""
        self.listen()
        self.training = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and end, if a rank has heard a signal."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and (heard := self.heard_by_any(trainer)):
            trainer.save_checkpoint(self.checkpoint)
            raise Preempted(heard)

    def heard_by_any(self, trainer: pl.Trainer) -> int:
        """The signal that any rank has heard."""
        if trainer.world_size == 1:
            return self.heard
        if trainer.global_step % self.agrees_every_n_steps:
            return 0
        heard = torch.tensor(self.heard, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(heard, reduce_op="max"))

    def on_validation_batch_end(self, *arguments: Any, **named: Any) -> None:
        """End: what validation has seen so far would not go into a checkpoint."""
        if self.heard and self.training:
            raise Preempted(self.heard)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What is left is to score, which can be ended anywhere."""
        self.training = False
        if self.heard:
            raise Preempted(self.heard)


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
