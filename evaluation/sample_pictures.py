"""Shows, while a method trains, what it makes of a few validation pictures."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from evaluation.report.sheet import method_sheet
from lightning_modules.color import to_float
from lightning_modules.colorizer import Colorizer


class SamplePictures(pl.Callback):
    """Colours the first validation pictures at every validation, into the run's directory and its loggers.

    What does not colour shows nothing.

    Args:
        directory: Where `step_<n>.png` go.
        pictures: How many pictures, a row each.
        samples: Draws of each.
    """

    def __init__(self, directory: str, pictures: int, samples: int) -> None:
        self.directory, self.pictures, self.samples = Path(directory), pictures, samples

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Inside validation, where the averaged weights are in place."""
        first = batch_idx == 0 and trainer.is_global_zero and not trainer.sanity_checking
        if not first or not isinstance(pl_module, Colorizer):
            return
        sheet = method_sheet(pl_module, to_float(batch["rgb"][: self.pictures]), self.samples, seed=0)
        self.directory.mkdir(parents=True, exist_ok=True)
        sheet.save(self.directory / f"step_{trainer.global_step:06}.png")
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("samples", [sheet], step=trainer.global_step)
