"""What the data modules share: three sets of pictures and their loaders."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from datamodules.loader import ResumableLoader
from datamodules.order import generator_of, rank_order
from datamodules.picture_set import PictureSet, Visit, readable

BAD_PICTURES = "bad_pictures"
"""Folder, in a run's directory, in which each rank names the pictures that it had to leave out."""


class PictureDataModule(pl.LightningDataModule):
    """Serves `training`, `validation` and `test`, which a subclass's `setup` fills.

    Args:
        batch_size: Training pictures in a step of the optimiser, over all ranks and accumulated batches.
        evaluation_batch_size: Pictures at a time in validation and test, on each rank.
        workers: Processes that decode, on each rank.
        seed: Of the order and of augmentation.
        start_method: How workers start: fork, spawn or forkserver; None leaves it to the system.
        maximum_bad_share: Share of an epoch's pictures that a rank may find unreadable before it stops.
    """

    training: PictureSet
    validation: PictureSet
    test: PictureSet

    def __init__(
        self,
        batch_size: int,
        evaluation_batch_size: int,
        workers: int,
        seed: int,
        start_method: str | None = None,
        maximum_bad_share: float = 0.01,
    ) -> None:
        super().__init__()
        self.batch_size, self.evaluation_batch_size = batch_size, evaluation_batch_size
        self.workers, self.seed, self.start_method = workers, seed, start_method
        self.maximum_bad_share = maximum_bad_share
        self.training_loader: ResumableLoader | None = None
        self.position: dict[str, Any] | None = None

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled, augmented batches; where an epoch stands is part of a checkpoint."""
        if self.training_loader is None:
            self.training_loader = self.loader(self.training, self.batch_size_of_rank, shuffle=True)
        if self.position:
            self.training_loader.load_state_dict(self.position)
            self.position = None
            if self.trainer and self.training_loader.changed_ranks:
                # Lightning asks for an epoch's length only when it asks for a loader, and the next one's differs.
                self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]
        return self.training_loader

    @property
    def batch_size_of_rank(self) -> int:
        """Training pictures that a rank takes at a time.

        Raises:
            ValueError: If `batch_size` does not divide.
        """
        if not self.trainer:
            return self.batch_size
        ranks, accumulated = self.trainer.world_size, self.trainer.accumulate_grad_batches
        size, left = divmod(self.batch_size, ranks * accumulated)
        if left or not size:
            raise ValueError(
                f"data.batch_size={self.batch_size} counts the pictures of a whole step, and {ranks} ranks with "
                f"trainer.accumulate_grad_batches={accumulated} cannot share them; give a multiple of "
                f"{ranks * accumulated}, or change those"
            )
        return size

    def first_pictures(self, count: int) -> Tensor:
        """What training on one rank begins with, uint8 `(count, 3, H, W)`, fewer if the set has no more."""
        seeds = (self.seed, 0)
        order = rank_order(self.training.order(generator_of(*seeds)), self.training.reach, (*seeds, 0), 0, 1)
        return torch.stack([readable(self.training, Visit(picture, 0))["rgb"] for picture in order[:count].tolist()])

    def val_dataloader(self) -> ResumableLoader:
        """Every validation picture once."""
        return self.loader(self.validation, self.evaluation_batch_size)

    def test_dataloader(self) -> ResumableLoader:
        """Every test picture once."""
        return self.loader(self.test, self.evaluation_batch_size)

    def loader(self, pictures: PictureSet, batch_size: int, shuffle: bool = False) -> ResumableLoader:
        """A loader for this rank's share."""
        rank, world_size, accumulated, limit, log = 0, 1, 1, 1.0, None
        if self.trainer:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            accumulated = self.trainer.accumulate_grad_batches
            log = Path(self.trainer.default_root_dir) / BAD_PICTURES / f"rank_{rank}.txt"
            limit = self.trainer.limit_train_batches
        if len(pictures) < world_size:
            raise ValueError(f"{len(pictures)} pictures are too few for {world_size} ranks; use fewer, or add pictures")
        loader = ResumableLoader(
            pictures,
            batch_size,
            shuffle=shuffle,
            seed=self.seed,
            workers=self.workers,
            rank=rank,
            world_size=world_size,
            accumulated=accumulated,
            start_method=self.start_method,
            maximum_bad_share=self.maximum_bad_share,
            log=log,
        )
        # An epoch that Lightning cuts short must end for the loader too, or a resumed run would go on in it.
        if shuffle and isinstance(limit, int):
            loader.batches.limit = limit
        elif shuffle and limit < 1:
            raise ValueError(f"trainer.limit_train_batches={limit} is a share; give a number of batches")
        return loader

    def state_dict(self) -> dict[str, Any]:
        """Where the training epoch stands: Lightning asks its length before it restores its loader."""
        return self.training_loader.state_dict() if self.training_loader else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, whatever the number of ranks."""
        self.position = state_dict

    @property
    def provenance(self) -> dict[str, Any]:
        """What `run.json` says of the pictures; a subclass may say more."""
        return {
            split: len(getattr(self, split)) for split in ("training", "validation", "test") if hasattr(self, split)
        }


def distinct(keys: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Keys of image files; those that several files would share are made of their folders and suffixes, too."""
    shared = {key for key, count in Counter(keys).items() if count > 1}
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    longer = ["_".join(path.relative_to(folder).parts) for path in paths]
    return [long if key in shared else key for key, long in zip(keys, longer, strict=True)]


def bad_pictures(directory: Path) -> int:
    """How many different pictures the ranks of a run have had to leave out."""
    logs = (directory / BAD_PICTURES).glob("rank_*.txt")
    return len({line for log in logs for line in log.read_text(encoding="utf-8").splitlines()})
