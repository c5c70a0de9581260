"""Polyak averaging of a network's parameters (Polyak and Juditsky, 1992), as every PixelCNN++ descendant trains."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn


class ParameterAveraging(WeightAveraging):
    """Keeps an exponential moving average of the parameters, which validation, sampling and checkpoints use.

    Args:
        decay: What remains of the average after each step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep the average where training runs: at this point the module itself is still on the CPU."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
