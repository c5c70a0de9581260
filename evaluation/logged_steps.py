"""Keeps the steps of a log true in a run that was resumed."""

from typing import Any

import pytorch_lightning as pl


class LoggedSteps(pl.Callback):
    """Ties the step under which Lightning logs to the number of steps that the optimiser took.

    Lightning counts them apart, stores the one for loggers a step late in some checkpoints and mends it on resuming by
    a guess, which is wrong where training ended at `max_steps`: all later steps would be logged one too high.
    """

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """As many steps are behind as the optimiser took."""
        if pl_module.automatic_optimization:
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validation is logged under the step that ends with it, which Lightning counts behind it."""
        loop = trainer.fit_loop.epoch_loop
        if trainer.training and pl_module.automatic_optimization and trainer.global_step:
            loop._batches_that_stepped = trainer.global_step - (not loop._should_accumulate())
