"""What every set of pictures promises, and how a worker makes batches of one."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from datamodules.buffers import Lender


class Visit(NamedTuple):
    """One look at one picture: what it shows depends on the picture and, through augmentation, on the epoch."""

    picture: int
    epoch: int


class BadPictureError(ValueError):
    """A picture that cannot be shown.

    Args:
        text: Which, and why.
        name: Which; without it, a picture is counted anew for every new text.
    """

    def __init__(self, text: str, name: str | None = None) -> None:
        super().__init__(text)
        self.name = name or text


class PictureSet(Dataset[dict[str, Any]]):
    """Pictures by visit. A subclass says how many and shows them.

    Attributes:
        keys: The name of the picture at each place, known without looking at a picture.
        labels: Its class, known likewise, negative for a picture without one; None if the set has none.
        reach: How far an epoch mixes pictures over the order that `order` gives, of which each rank takes a run; 0
            leaves that order as it is. None, where all pictures are equally near: ranks take turns in it.
    """

    keys: Sequence[str]
    labels: Sequence[int] | None = None
    reach: int | None = None

    def __len__(self) -> int:
        """How many pictures an epoch visits."""
        raise NotImplementedError

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        """`rgb`, uint8 `(3, H, W)`; `key`; perhaps `label` and `mask`.

        Raises:
            BadPictureError: If this picture must be left out.
            OSError: If the set cannot be read any more.
        """
        raise NotImplementedError

    def at(self, number: int) -> dict[str, Any]:
        """The picture at a place, as evaluation visits it."""
        return self[Visit(number, 0)]

    def digest(self, number: int) -> bytes:
        """SHA-256 that changes with the bytes of the picture at a place, and of all that comes with it."""
        try:
            rgb = self.at(number)["rgb"]
        except (BadPictureError, MemoryError) as error:
            return hashlib.sha256(str(error).encode(errors="surrogateescape")).digest()
        return hashlib.sha256(f"{tuple(rgb.shape)}".encode() + rgb.contiguous().numpy().tobytes()).digest()

    def as_stored(self) -> Self:
        """The same pictures, untransformed where this set transforms them: for protocols that say how to resize."""
        return self

    def order(self, generator: torch.Generator) -> Tensor:
        """A random order of all pictures that this set can read well."""
        return torch.randperm(len(self), generator=generator)

    def expect(self, pictures: Tensor) -> None:
        """Hear which pictures will be visited soon, in the process that trains."""

    def begin_epoch(self) -> None:
        """Hear, in the process that reads, that an epoch begins."""


class Fetch(Dataset[dict[str, Any]]):
    """Turns visits into a batch, in a worker. Pictures are kept channels-last, as decoders give them.

    Args:
        pictures: What to visit.
        fills: Whether a batch of which nothing can be read shows the next picture that can.
    """

    def __init__(self, pictures: PictureSet, fills: bool) -> None:
        self.pictures, self.fills = pictures, fills
        self.lender: Lender | None = None
        self.epoch: int | None = None

    def __getitems__(self, visits: list[Visit]) -> dict[str, Any]:
        """The batch; `faults` tells what had to be left out, `failure` that nothing more can be read."""
        batch: dict[str, Any] = {}
        others, faults = list[dict[str, Any]](), list[tuple[str, str]]()
        if visits[0].epoch != self.epoch:
            self.epoch = visits[0].epoch
            self.pictures.begin_epoch()
            if self.lender:
                self.lender.reclaim()
        for number, visit in enumerate(visits, 1):
            try:
                try:
                    sample = self.pictures[visit]
                except BadPictureError as error:
                    faults.append((error.name, str(error)))
                    if not self.fills or others or number < len(visits):
                        continue
                    sample = readable(self.pictures, visit)
            except OSError as error:
                return {"failure": str(error)}
            picture = sample.pop("rgb")
            if not others:
                batch, rgb = self.room((len(visits), *picture.shape[1:], 3))
            if picture.shape != rgb.shape[1:]:
                raise ValueError(
                    f"{sample['key']} is {tuple(picture.shape)}; its batch is of {tuple(rgb.shape[1:])}. Give a "
                    "data.transform that brings pictures to one size, or data.evaluation_batch_size=1"
                )
            rgb[len(others)] = picture
            others.append(sample)
        return batch | collated(others) | {"faults": faults}

    def room(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], Tensor]:
        """Room for pictures, `(B, 3, H, W)`, and how the batch shall carry it: a worker lends, this process gives."""
        worker = get_worker_info()
        if worker is None:
            rgb = torch.empty(shape, dtype=torch.uint8).permute(0, 3, 1, 2)
            return {"rgb": rgb}, rgb
        self.lender = self.lender or Lender(worker.id)
        loan, buffer = self.lender.lend(shape)
        return {"loan": loan}, buffer.permute(0, 3, 1, 2)


def collated(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """What all samples have, of all of them."""
    shared = set.intersection(*(set(sample) for sample in samples)) if samples else ()
    return {name: default_collate([sample[name] for sample in samples]) for name in shared}


def as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    """What `Fetch` made is a batch already."""
    return batch


def readable(pictures: PictureSet, visit: Visit) -> dict[str, Any]:
    """What a visit shows, or a visit to the next picture that can be read.

    Raises:
        OSError: If there is none.
    """
    for step in range(len(pictures)):
        try:
            return pictures[Visit((visit.picture + step) % len(pictures), visit.epoch)]
        except BadPictureError:
            continue
    raise OSError(f"none of {len(pictures)} pictures can be read")
