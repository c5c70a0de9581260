"""Training that takes its time, so that something can happen to it."""

import time
from typing import Any

import pytorch_lightning as pl


class Slow(pl.Callback):
    """Waits before every step.

    Args:
        seconds: How long.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        """Wait."""
        time.sleep(self.seconds)
