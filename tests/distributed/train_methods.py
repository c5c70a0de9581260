"""Trains every method for a few steps, on one rank or as one of several, and keeps losses and weights.

    RANK=0 WORLD_SIZE=2 ... python -m tests.distributed.train_methods FOLDER [ACCUMULATED]

What is drawn at random for a picture is fixed here, and dropout off, since each rank draws its own. Batch normalisation
over a few cells blows rounding up from step to step, so that networks with it learn slowly here.
"""

import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_gather

from lightning_modules.colorizer import Colorizer
from lightning_modules.layers.averaging import ParameterAveraging
from tests.conftest import RandomPictures
from tests.integration.test_conformance import SMALL, learns

STEPS, BATCH = 5, 4
CHANGES = {
    "CIC": ["model.optimization.learning_rate=1e-5"],
    "Exemplar": [f"model.optimization.{part}.learning_rate=1e-5" for part in ("colorization", "transfer")],
    "LRAC": ["model.optimization.learning_rate=1e-5"],
    "PIC": ["model.dropout=0"],
    "PICEmbedding": ["model.dropout=0"],
    "PixColor": ["model.optimization.learning_rate=1e-5"],
    "SIGGRAPH17": ["model.optimization.learning_rate=1e-5", "model.hints.whole_share=0"],
}


class AllRanksBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the pictures of all ranks, by the definition: PyTorch's own wants GPUs."""

    def forward(self, picture: Tensor) -> Tensor:
        """Normalise everybody's, and give back one's own."""
        if not self.training:
            return super().forward(picture)
        everybodys = super().forward(torch.cat(all_gather(picture.contiguous())))
        return everybodys.chunk(distributed.get_world_size())[distributed.get_rank()].clone()


class AllRanksLayerSync(LayerSync):
    """Has a network normalise over all ranks."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Change the class of what normalises."""
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = AllRanksBatchNorm
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Change it back."""
        for module in model.modules():
            if isinstance(module, AllRanksBatchNorm):
                module.__class__ = nn.BatchNorm2d  # type: ignore[assignment]
        return model


class Losses(pl.Callback):
    """What each step logs."""

    def __init__(self) -> None:
        self.curves: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Take what was logged in this step."""
        self.curves.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def method(name: str) -> Colorizer:
    """A small one with fixed weights."""
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("train", [*SMALL[name], *CHANGES.get(name, [])])
    torch.manual_seed(0)
    made = instantiate(config.model, _convert_="all")
    assert isinstance(made, Colorizer)
    return made


def train(name: str, ranks: int, accumulated: int) -> dict[str, Any] | None:
    """Losses, and weights before and after, of a method; None if it learns nothing."""
    model, losses = method(name), Losses()
    if not learns(model):
        return None
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        plugins=[AllRanksLayerSync()] if ranks > 1 else [],
        accumulate_grad_batches=accumulated,
        use_distributed_sampler=False,
        max_steps=STEPS,
        num_sanity_val_steps=0,
        callbacks=[losses, ParameterAveraging(decay=0.9)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, RandomPictures(int(model.hparams["resolution"]), count=12, batch_size=BATCH))
    return {"losses": losses.curves, "before": before, "weights": model.state_dict()}


def main() -> None:
    """Train them all, and save what came of it."""
    torch.set_num_threads(1)
    folder, accumulated = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    ranks, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))

    def same_locations(pictures: Tensor, count: int, _: Any) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randint(min(pictures.shape[2:]), (1, count, 2), generator=generator).expand(len(pictures), -1, -1)

    def same_patches(pictures: int, *_: Any) -> Tensor:
        return torch.tensor([[2, 3, 4], [9, 8, 3]]).expand(pictures, -1, -1)

    with (
        patch("lightning_modules.lrac.module.random_locations", same_locations),
        patch("lightning_modules.exemplar.module.random_patches", same_patches),
        patch("lightning_modules.siggraph17.module.random_patches", same_patches),
    ):
        trained = {name: train(name, ranks, accumulated) for name in SMALL}
    torch.save(trained, folder / f"trained_{ranks}_{rank}_{accumulated}.pt")


if __name__ == "__main__":
    main()
