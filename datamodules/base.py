"""What the data modules share: three sets of pictures and their loaders."""

import pytorch_lightning as pl

from datamodules.loader import PictureSet, ResumableLoader


class PictureDataModule(pl.LightningDataModule):
    """Serves `training`, `validation` and `test`, which a subclass's `setup` fills.

    Args:
        batch_size: Training pictures a step on each rank.
        evaluation_batch_size: Pictures at a time in validation and test.
        workers: Processes that decode, on each rank.
        seed: Of the order and of augmentation.
    """

    training: PictureSet
    validation: PictureSet
    test: PictureSet

    def __init__(self, batch_size: int, evaluation_batch_size: int, workers: int, seed: int) -> None:
        super().__init__()
        self.batch_size, self.evaluation_batch_size = batch_size, evaluation_batch_size
        self.workers, self.seed = workers, seed

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled, augmented batches; where an epoch stands is part of a checkpoint."""
        return self.loader(self.training, self.batch_size, shuffle=True)

    def val_dataloader(self) -> ResumableLoader:
        """Every validation picture once."""
        return self.loader(self.validation, self.evaluation_batch_size)

    def test_dataloader(self) -> ResumableLoader:
        """Every test picture once."""
        return self.loader(self.test, self.evaluation_batch_size)

    def loader(self, pictures: PictureSet, batch_size: int, shuffle: bool = False) -> ResumableLoader:
        """A loader for this rank's share."""
        rank, world_size, limit = 0, 1, None
        if self.trainer:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            # An epoch that Lightning cuts short must end for the loader too, or a resumed run would go on in it.
            if shuffle and isinstance(self.trainer.limit_train_batches, int):
                limit = self.trainer.limit_train_batches
        return ResumableLoader(
            pictures,
            batch_size,
            shuffle=shuffle,
            seed=self.seed,
            workers=self.workers,
            rank=rank,
            world_size=world_size,
            limit=limit,
        )
