"""How far a training is: a bar on a terminal, and elsewhere, as in a log, a line at each validation and epoch."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from rich.console import Console


def progress(refresh_rate: int) -> ProgressBar:
    """What shows progress here.

    Args:
        refresh_rate: Batches after which a bar is drawn anew.
    """
    return Bar(refresh_rate=refresh_rate, leave=False) if Console().is_terminal else Lines()


class Bar(RichProgressBar):
    """Lightning's bar without the number of the log's version."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """See Lightning."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class Lines(ProgressBar):
    """Prints a line at each validation, and at the end of an epoch that was not validated there."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.told = time.monotonic(), -1

    def disable(self) -> None:
        """Print nothing: Lightning asks for it on all ranks but the first."""
        self.told = 1 << 62

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See the class."""
        if not trainer.sanity_checking:
            self.tell(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See the class."""
        self.tell(trainer)

    def tell(self, trainer: pl.Trainer) -> None:
        """Print where training stands, once a step."""
        if self.told >= trainer.global_step:
            return
        self.told = trainer.global_step
        scores = [f"{name} {value:.4g}" for name, value in trainer.callback_metrics.items()]
        of = f" of {trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        minutes = (time.monotonic() - self.begun) / 60
        where = f"epoch {trainer.current_epoch + 1}{of}, step {trainer.global_step:,}"
        print(f"{where}, {minutes:.1f} min: {', '.join(scores)}", flush=True)
