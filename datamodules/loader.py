"""A loader that can stop at any batch and go on from there, on any number of ranks."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler


class Visit(NamedTuple):
    """One look at one picture: what it shows depends on the picture and, through augmentation, on the epoch."""

    picture: int
    epoch: int


class PictureSet(Protocol):
    """Pictures by visit."""

    def __len__(self) -> int:
        """How many pictures an epoch visits."""

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        """`rgb`, uint8 `(3, H, W)`; `key`; perhaps `label`."""


class Batches(Sampler[list[Visit]]):
    """The batches of one rank, from the current position on."""

    def __init__(
        self,
        pictures: int,
        batch_size: int,
        shuffle: bool,
        seed: int,
        rank: int,
        world_size: int,
        limit: int | None,
    ) -> None:
        self.pictures, self.batch_size, self.shuffle, self.seed = pictures, batch_size, shuffle, seed
        self.rank, self.world_size, self.limit = rank, world_size, limit
        self.epoch, self.batch = 0, 0

    def __len__(self) -> int:
        """Batches in a whole epoch: in training the same on every rank, and only whole ones."""
        if self.shuffle:
            batches = self.pictures // self.world_size // self.batch_size
        else:
            batches = -(-len(range(self.rank, self.pictures, self.world_size)) // self.batch_size)
        return batches if self.limit is None else min(batches, self.limit)

    def __iter__(self) -> Iterator[list[Visit]]:
        """Batches of visits."""
        order = torch.arange(self.pictures)
        if self.shuffle:
            order = torch.randperm(self.pictures, generator=generator_of(self.seed, self.epoch))
        mine = order[self.rank :: self.world_size].tolist()
        for batch in range(self.batch, len(self)):
            start = batch * self.batch_size
            yield [Visit(picture, self.epoch) for picture in mine[start : start + self.batch_size]]


class ResumableLoader:
    """Batches of pictures in an order fixed by (seed, epoch), which Lightning can checkpoint at any batch.

    Lightning stores `state_dict` in its checkpoints and restores it. What went before is skipped, not decoded. The
    state is the same on every rank, since all have taken as many batches.

    Args:
        pictures: What to visit.
        batch_size: Pictures in a batch of this rank.
        shuffle: Visit in a new order each epoch and drop the incomplete last batch, as training wants; otherwise
            visit every picture once, in order.
        seed: Of the order.
        workers: Processes that decode; 0 decodes in this one.
        rank: Of this process.
        world_size: How many processes share an epoch.
        limit: Batches after which an epoch ends early.

    Raises:
        ValueError: If training would have no batch at all.
    """

    def __init__(
        self,
        pictures: PictureSet,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        limit: int | None = None,
    ) -> None:
        self.pictures, self.batch_size = pictures, batch_size
        self.batches = Batches(len(pictures), batch_size, shuffle, seed, rank, world_size, limit)
        if shuffle and not len(self.batches):
            raise ValueError(
                f"{len(pictures)} training pictures do not fill one batch of {batch_size} on each of {world_size} "
                f"ranks; lower data.batch_size to {max(1, len(pictures) // world_size)} or add pictures"
            )
        # Its own generator, or starting an epoch would draw from the global one.
        self.loader: DataLoader[dict[str, Any]] = DataLoader(
            pictures,  # type: ignore[arg-type]
            batch_sampler=self.batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
        )
        self.epoch, self.batch, self.resumed = -1, 0, False

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The next epoch, or what is left of one that was resumed."""
        if not self.resumed or self.batch >= len(self):
            self.epoch, self.batch = self.epoch + 1, 0
        self.resumed = False
        self.batches.epoch, self.batches.batch = self.epoch, self.batch
        for batch in self.loader:
            self.batch += 1
            yield batch

    def spread(self, count: int) -> Tensor:
        """So many pictures from all over the set, uint8 `(count, 3, H, W)`, to be looked at."""
        last = len(self.pictures) - 1
        places = torch.linspace(0, last, min(count, last + 1)).round().long().tolist()
        return torch.stack([self.pictures[Visit(place, 0)]["rgb"] for place in places])

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from where another loader stood."""
        self.epoch, self.batch, self.resumed = state["epoch"], state["batch"], True


def generator_of(*numbers: int) -> torch.Generator:
    """A generator whose stream is fixed by these numbers."""
    return torch.Generator().manual_seed(hash(numbers) % 2**63)
