"""A loader that can stop at any batch and go on from there, on any number of ranks."""

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from datamodules.buffers import Borrower
from datamodules.order import Stretch, generator_of, rank_order, remaining
from datamodules.picture_set import Fetch, PictureSet, Visit, as_it_is, readable

PREFETCHED_BATCHES = 2
"""Batches that a worker makes ahead of the one in use."""

EXPECTED_PICTURES = 2048
"""How far ahead of its visits a set hears of a picture."""


class Batches(Sampler[list[Visit]]):
    """The batches of one rank, from the current position on.

    Attributes:
        epoch: The epoch to visit.
        done: What earlier set-ups did of this epoch.
        batch: What this one did of it.
    """

    def __init__(
        self,
        pictures: PictureSet,
        batch_size: int,
        shuffle: bool,
        seed: int,
        rank: int,
        world_size: int,
        limit: int | None,
        accumulated: int = 1,
    ) -> None:
        self.pictures, self.batch_size, self.shuffle, self.seed = pictures, batch_size, shuffle, seed
        self.rank, self.world_size, self.limit, self.accumulated = rank, world_size, limit, accumulated
        self.epoch, self.batch, self.done = 0, 0, list[Stretch]()

    @property
    def whole(self) -> int:
        """Batches in a whole epoch: in training the same on every rank, and those of whole steps only."""
        return self.limited(self.of(len(self.pictures)))

    def __len__(self) -> int:
        """Batches in this epoch, those of earlier stretches too."""
        left = len(self.pictures) - sum(ranks * size * batches for ranks, size, batches in self.done)
        return self.limited(sum(stretch.batches for stretch in self.done) + self.of(left))

    def of(self, pictures: int) -> int:
        """Batches that so many pictures make."""
        if self.shuffle:
            return pictures // (self.world_size * self.batch_size * self.accumulated) * self.accumulated
        return -(-len(range(self.rank, pictures, self.world_size)) // self.batch_size)

    def limited(self, batches: int) -> int:
        """What the limit leaves of so many batches."""
        if self.limit is None:
            return batches
        return min(batches, max(self.limit // self.accumulated, 1) * self.accumulated)

    def __iter__(self) -> Iterator[list[Visit]]:
        """Batches of visits."""
        order, reach, seeds = torch.arange(len(self.pictures)), self.pictures.reach, (self.seed, self.epoch)
        if self.shuffle:
            order = self.pictures.order(generator_of(*seeds))
        elif reach is not None:
            reach = 0
        order = remaining(order, reach, seeds, self.done)
        mine = rank_order(order, reach, (*seeds, len(self.done)), self.rank, self.world_size)
        heard = self.batch * self.batch_size
        for batch in range(self.batch, len(self) - sum(stretch.batches for stretch in self.done)):
            start, end = batch * self.batch_size, (batch + 1) * self.batch_size
            self.pictures.expect(mine[heard : end + EXPECTED_PICTURES])
            heard = end + EXPECTED_PICTURES
            yield [Visit(picture, self.epoch) for picture in mine[start:end].tolist()]


class ResumableLoader:
    """Batches of pictures in an order fixed by (seed, epoch), which Lightning can checkpoint at any batch.

    Lightning stores `state_dict` in its checkpoints and restores it. What went before is skipped, not decoded. The
    state is the same on every rank, since all have taken as many batches. On another number of ranks, or with another
    batch size, an epoch goes on with what is left of it: no picture comes twice, none is lost but the incomplete last
    step.

    Pictures that cannot be read are left out of their batch, which is then smaller, and counted.

    Args:
        pictures: What to visit.
        batch_size: Pictures in a batch of this rank.
        shuffle: Visit in a new order each epoch and drop the incomplete last step, as training wants; otherwise
            visit every picture once, in order.
        seed: Of the order.
        workers: Processes that decode; 0 decodes in this one.
        rank: Of this process.
        world_size: How many processes share an epoch.
        limit: Batches after which an epoch ends early.
        accumulated: Batches of each rank that make a step of the optimiser.
        start_method: How workers start: fork, spawn or forkserver; None leaves it to the system.
        maximum_bad_share: Share of an epoch's pictures that this rank may find unreadable.
        log: File to which unreadable pictures are appended.

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
        accumulated: int = 1,
        start_method: str | None = None,
        maximum_bad_share: float = 0.01,
        log: Path | None = None,
    ) -> None:
        self.pictures, self.batch_size = pictures, batch_size
        self.maximum_bad_share, self.log, self.bad_pictures = maximum_bad_share, log, set[str]()
        self.batches = Batches(pictures, batch_size, shuffle, seed, rank, world_size, limit, accumulated)
        if shuffle and not len(self.batches):
            raise ValueError(
                f"{len(pictures)} training pictures do not fill a batch of {batch_size * world_size * accumulated}; "
                "lower data.batch_size or add pictures"
            )
        # Its own generator, or starting an epoch would draw from the global one.
        self.loader: DataLoader[dict[str, Any]] = DataLoader(
            Fetch(pictures, fills=shuffle),
            batch_sampler=self.batches,
            collate_fn=as_it_is,  # type: ignore[arg-type]
            num_workers=workers,
            prefetch_factor=PREFETCHED_BATCHES if workers else None,
            persistent_workers=workers > 0,
            multiprocessing_context=start_method if workers else None,
            generator=torch.Generator(),
            worker_init_fn=be_apart if workers else None,
        )
        self.borrower = Borrower()
        self.epoch, self.goes_on = 0, True

    @property
    def _iterator(self) -> Any:
        """Lightning looks here for the workers that it ends when a run does."""
        return self.loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self.loader._iterator = iterator

    def __len__(self) -> int:
        """Batches in an epoch; in one that other ranks began, their batches too."""
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The next epoch, or what is left of one that was resumed."""
        if not self.goes_on:
            self.epoch, self.batches.batch, self.batches.done = self.epoch + 1, 0, []
        self.goes_on = False
        self.batches.epoch = self.epoch
        faults = 0
        for batch in self.loader:
            if "failure" in batch:
                raise OSError(batch["failure"])
            faults += self.count(batch.pop("faults"), faults)
            if "loan" in batch:
                batch["rgb"] = self.borrower.borrow(batch.pop("loan")).permute(0, 3, 1, 2)
            self.batches.batch += 1
            if not self.unfinished:  # a finished epoch leaves no trace of who began it
                self.batches.done, self.batches.batch = [], self.batches.whole
            if "rgb" in batch:
                yield batch | {"rgb": batch.pop("rgb")[: len(batch["key"])]}

    @property
    def unfinished(self) -> bool:
        """Whether the current epoch has batches left."""
        return sum(stretch.batches for stretch in self.batches.done) + self.batches.batch < len(self)

    def count(self, faults: list[tuple[str, str]], before: int) -> int:
        """Count, warn of and log unreadable pictures; returns how many.

        Raises:
            ValueError: If they are more than the share that is allowed.
        """
        new = {name: text for name, text in faults if name not in self.bad_pictures}
        self.bad_pictures |= new.keys()
        for text in new.values():
            warnings.warn(f"left out: {text}", stacklevel=2)
        if new and self.log:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a", encoding="utf-8") as log:
                log.writelines(f"{text}\n" for text in new.values())
        if faults and before + len(faults) > self.maximum_bad_share * len(self.pictures):
            raise ValueError(
                f"{before + len(faults)} of the {len(self.pictures)} pictures of an epoch cannot be read, more than "
                f"data.maximum_bad_share={self.maximum_bad_share} allows; the last: {faults[-1][1]}"
            )
        return len(faults)

    def spread(self, count: int) -> Tensor:
        """So many pictures from all over the set, uint8 `(count, 3, H, W)`, to be looked at."""
        last = len(self.pictures) - 1
        places = torch.linspace(0, last, min(count, last + 1)).round().long().tolist()
        return torch.stack([readable(self.pictures, Visit(place, 0))["rgb"] for place in places])

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: the epoch and, of one that is unfinished, `(ranks, batch size, batches)` so far."""
        current = Stretch(self.batches.world_size, self.batch_size, self.batches.batch)
        done = self.batches.done
        stretches = [*done, *([current] if current.batches or not done else [])] if self.unfinished else []
        return {
            "epoch": self.epoch,
            "pictures": len(self.pictures),
            "stretches": [list(stretch) for stretch in stretches],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where another loader stood.

        Raises:
            ValueError: If that was in the middle of an epoch of another set.
        """
        began_with = state.get("pictures", len(self.pictures))
        if state["stretches"] and began_with != len(self.pictures):
            raise ValueError(
                f"the run stopped in the middle of an epoch of {began_with:,} pictures, and this set has "
                f"{len(self.pictures):,}; go on with the same data"
            )
        if state == self.state_dict():
            return
        stretches = [Stretch(*stretch) for stretch in state["stretches"]]
        self.epoch, self.goes_on = state["epoch"], bool(stretches)
        self.batches.batch = 0 if stretches else self.batches.whole
        ours = (self.batches.world_size, self.batch_size)
        if stretches and stretches[-1][:2] == ours:
            self.batches.batch = stretches.pop().batches
        self.batches.done = [stretch for stretch in stretches if stretch.batches]
        if self.changed_ranks and self.batches.rank == 0:
            ranks, size, _ = self.batches.done[-1]
            if self.pictures.reach is None and ranks * size == ours[0] * ours[1]:
                return  # ranks take turns: together they see what those before them would have seen
            warnings.warn(
                f"epoch {self.epoch} began on {ranks} ranks with batches of {size} and goes on on {ours[0]} with "
                f"batches of {ours[1]}: each picture that is left comes once, but in other batches than it would have",
                stacklevel=2,
            )

    @property
    def changed_ranks(self) -> bool:
        """Whether other ranks, or other batch sizes, began the current epoch."""
        return bool(self.batches.done)


def be_apart(_: int) -> None:
    """Hear no signal that is for the training: it ends its workers itself."""
    os.setpgid(0, 0)  # Ctrl-C and SLURM signal whole groups
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
