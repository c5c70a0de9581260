"""Pictures in tar shards, here or on a server: ImageNet, Tiny-ImageNet, SUN, anybody's."""

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from datamodules.base import PictureDataModule
from datamodules.order import generator_of
from datamodules.picture_set import BadPictureError, PictureSet, Visit
from datamodules.pictures import decode_picture
from datamodules.shards.catalogue import Catalogue, open_folder, open_pattern
from datamodules.shards.files import ShardFiles, is_remote
from datamodules.shards.index import Row, reason_of
from datamodules.splits import SHA256 as PUBLISHED_SPLITS
from datamodules.splits import keys_of
from datamodules.transforms import Transform, as_stored

SHARE = re.compile(r"(?P<split>.+)@(?P<start>\d+)-(?P<stop>\d+)%")
"""Of a split, as `train@0-90%`: shards are written in random order, so every share is a fair one."""
LISTED = 5
"""Missing pictures that an error names."""


class ShardedPictures(PictureSet):
    """Some pictures of a set of shards, each read where it lies.

    An epoch's order goes through the shards in a random order and mixes pictures over `reach` places, so that only a
    few shards are in use at a time and each rank reads its own.

    Args:
        catalogue: The set of shards.
        files: Reads them.
        rows: Places of the pictures in the index, in the order of the index.
        transform: What is done to a picture.
        reach: How far an epoch mixes pictures.
        seed: Of what the transform draws; None treats pictures as evaluation does.
        broken: Shards that cannot be read, and why: their pictures are left out one by one.
        skips: Whether a shard that can be read no more is left out rather than an error.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        files: ShardFiles,
        rows: npt.NDArray[np.int64],
        transform: Transform,
        *,
        reach: int,
        seed: int | None,
        broken: dict[int, str],
        skips: bool,
    ) -> None:
        self.catalogue, self.files, self.rows, self.transform = catalogue, files, rows, transform
        self.reach, self.seed, self.broken, self.skips = reach, seed, broken, skips

    @cached_property
    def keys(self) -> Sequence[str]:  # type: ignore[override]
        """From the index."""
        return [key.decode() for key in self.catalogue.index["key"][self.rows].tolist()]

    @cached_property
    def labels(self) -> Sequence[int] | None:  # type: ignore[override]
        """From the index."""
        labels = self.catalogue.index["label"][self.rows]
        return labels.tolist() if (labels >= 0).any() else None

    def __len__(self) -> int:
        return len(self.rows)

    def as_stored(self) -> Self:
        """See `PictureSet`."""
        stored = copy(self)
        stored.transform = as_stored
        return stored

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        row = Row(*self.catalogue.index[self.rows[visit.picture]].item())
        layers = [self.layer(decode_picture, row, row.offset, row.length, row.checksum)]
        if row.mask_length:
            layers.append(self.layer(decode_mask, row, row.mask_offset, row.mask_length, row.mask_checksum))
        generator = None if self.seed is None else generator_of(self.seed, visit.epoch, visit.picture)
        rgb, *masks = self.transform(layers, generator)
        sample: dict[str, Any] = {"rgb": rgb, "key": row.key.decode()}
        if row.label >= 0:
            sample["label"] = row.label
        if masks:
            sample["mask"] = masks[0][0].long()
        return sample

    def digest(self, number: int) -> bytes:
        """Of what the index says, which includes the sum of the picture's bytes: they are compared when it is read."""
        return hashlib.sha256(repr(self.catalogue.index[self.rows[number]].item()).encode()).digest()

    def layer(self, decode: Callable[[bytes], Tensor], row: Row, offset: int, length: int, checksum: int) -> Tensor:
        """What `decode` makes of some bytes of a picture, once they are known to be the right ones."""
        try:
            if row.shard in self.broken:
                raise ValueError(self.broken[row.shard])
            data = self.files.read(row.shard, offset, length)
            if zlib.crc32(data) != checksum:
                raise ValueError("its bytes are not those that were indexed")
            return decode(data)
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and not self.skips:
                raise OSError(f"{error}; put it back, or give data.on_error=skip") from error
            name = f"{self.catalogue.places[row.shard]}: {row.key.decode()}"
            raise BadPictureError(f"{name}: {error}", name) from error

    def order(self, generator: torch.Generator) -> Tensor:
        """Shard after shard, the shards at random."""
        shards = self.catalogue.shards_of(self.rows)
        starts = torch.from_numpy(np.flatnonzero(np.diff(shards, prepend=-1)))
        pieces = torch.arange(len(shards)).tensor_split(starts[1:])
        return torch.cat([pieces[piece] for piece in torch.randperm(len(pieces), generator=generator).tolist()])

    def begin_epoch(self) -> None:
        """Give shards that could not be had another chance."""
        self.files.lost.clear()

    def expect(self, pictures: Tensor) -> None:
        """Fetch the shards that will be needed, if they are far."""
        shards = self.catalogue.shards_of(self.rows[pictures.numpy()])
        self.files.expect(list(dict.fromkeys(shards.tolist())))


def decode_mask(data: bytes) -> Tensor:
    """A mask's class numbers, uint8 `(1, H, W)`.

    Raises:
        ValueError: If this is no picture of class numbers.
    """
    try:
        with Image.open(BytesIO(data)) as mask:
            return torch.from_numpy(np.array(mask)).view(1, mask.height, mask.width)
    except Exception as error:  # on damaged files Pillow raises anything
        raise ValueError(f"its mask cannot be read: {reason_of(error)}") from error


class Images(PictureDataModule):
    """Pictures in shards.

    `training`, `validation` and `test` each name a split of the set at `root`, or a share of it (`train@0-90%`,
    `train@90-100%`), a published subset (`cval1k`, `ctest10k`) of the pictures there, or shards of their own: a path,
    `*` or `{000..146}` pattern, URL or `pipe:` command.

    Args:
        root: Folder or URL of a set of shards with its manifest.
        training: What to train on.
        validation: What to validate on.
        test: What to test on.
        transform: What is done to a picture: a function of `datamodules.transforms`, its numbers filled in.
        minimum_colourness: Training pictures of less are left out (PixColor's filter).
        minimum_chroma_range: Training pictures of less are left out (Xu et al.'s filter).
        reach: How far an epoch mixes pictures, beyond the mixing that the shards were written with.
        on_error: `stop` when a shard is missing or cut short, or `skip` its pictures and count them.
        cache: Folder for what is fetched, and for indexes of shards without a manifest.
        cache_gigabytes: How much of what is fetched may lie there.
        arguments: Those of `PictureDataModule`.
    """

    def __init__(
        self,
        root: str,
        training: str,
        validation: str,
        test: str,
        transform: Transform,
        minimum_colourness: float,
        minimum_chroma_range: float,
        reach: int,
        on_error: Literal["stop", "skip"],
        cache: str,
        cache_gigabytes: float,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        if on_error not in ("stop", "skip"):
            raise ValueError(f"data.on_error is stop or skip, not {on_error}")
        self.root, self.names = root, {"training": training, "validation": validation, "test": test}
        self.transform, self.reach, self.on_error = transform, reach, on_error
        self.minima = {"colourness": minimum_colourness, "chroma_range": minimum_chroma_range}
        self.cache, self.cache_gigabytes = Path(cache).expanduser(), cache_gigabytes
        self.left_out: dict[str, int] = {}

    @cached_property
    def catalogue(self) -> Catalogue:
        """The set of shards at `root`."""
        return open_folder(self.root, self.cache)

    def setup(self, stage: str) -> None:
        """Find the pictures; look at no picture yet."""
        for split in {"fit": self.names, "validate": ("validation",)}.get(stage, ("test",)):
            if not hasattr(self, split):
                setattr(self, split, self.pictures(split))

    def pictures(self, split: str) -> ShardedPictures:
        """The pictures of one of the three splits.

        Raises:
            OSError: If shards are missing or cut short, and are not to be skipped.
        """
        catalogue, rows = self.find(split)
        if split == "training":
            rows = self.colourful(catalogue, rows)
        broken = catalogue.missing_shards(np.unique(catalogue.shards_of(rows)).tolist())
        if broken and self.on_error == "stop":
            several = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
            raise OSError(f"{next(iter(broken.values()))}{several}; mend it, or give data.on_error=skip")
        seed = self.seed if split == "training" else None
        return ShardedPictures(
            catalogue,
            catalogue.files(self.cache, self.cache_gigabytes),
            rows,
            self.transform,
            reach=self.reach,
            seed=seed,
            broken=broken,
            skips=self.on_error == "skip",
        )

    def find(self, split: str) -> tuple[Catalogue, npt.NDArray[np.int64]]:
        """The shards that a split's name stands for, and its pictures there.

        Raises:
            OSError: If they are not there.
            ValueError: If the name stands for nothing, or a published subset is not complete.
        """
        name = self.names[split]
        if is_remote(name) or name.endswith(".tar") or "/" in name:
            catalogue = open_pattern(name, self.cache, self.cache_gigabytes, max(1, self.workers))
            return catalogue, np.arange(len(catalogue.index))
        catalogue = self.catalogue
        whole, percent = name, (0, 100)
        if share := SHARE.fullmatch(name):
            whole, percent = share["split"], (int(share["start"]), int(share["stop"]))
        if share and not 0 <= percent[0] < percent[1] <= 100:
            raise ValueError(f"data.{split}={name} is no share of {whole}; give one as train@0-90%")
        if whole in catalogue.manifest.splits:
            splits = list(catalogue.manifest.splits)
            before = sum(map(catalogue.manifest.pictures, splits[: splits.index(whole)]))
            start, stop = (catalogue.manifest.pictures(whole) * each // 100 for each in percent)
            if start == stop:
                raise ValueError(f"data.{split}={name} holds no picture; give a larger share of {whole}")
            return catalogue, before + np.arange(start, stop)
        if name in PUBLISHED_SPLITS:
            wanted = np.array([key.encode() for key in keys_of(name)])
            rows = np.flatnonzero(np.isin(catalogue.index["key"], wanted))
            if len(rows) != len(wanted):
                missing = sorted(set(wanted) - set(catalogue.index["key"][rows]))
                raise ValueError(
                    f"{name} wants {len(wanted):,} pictures; {self.root} holds {len(rows):,} of them: missing "
                    f"{', '.join(key.decode() for key in missing[:LISTED])}{', ...' if len(missing) > LISTED else ''}"
                )
            return catalogue, rows
        names = ", ".join([*catalogue.manifest.splits, *PUBLISHED_SPLITS])
        raise ValueError(
            f"data.{split}={name} is no split of {self.root}; it has {names}, or give a share, "
            "as train@0-90%, or shards: PATH.tar, URL"
        )

    def colourful(self, catalogue: Catalogue, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The pictures with enough colour to learn from; the others are counted."""
        enough = np.ones(len(rows), bool)
        for measure, minimum in self.minima.items():
            if minimum > 0:
                enough &= catalogue.index[measure][rows] >= minimum
        self.left_out = {"too_little_colour": int((~enough).sum())}
        if not enough.any():
            raise ValueError(
                f"none of the {len(rows):,} training pictures has as much colour as data.minimum_colourness="
                f"{self.minima['colourness']} and data.minimum_chroma_range={self.minima['chroma_range']} ask for"
            )
        return rows[enough]

    @property
    def provenance(self) -> dict[str, Any]:
        """The pictures of each split, and the hash of the manifest that they are from."""
        sets = {split: getattr(self, split) for split in self.names if hasattr(self, split)}
        return {
            split: {
                "pictures": len(pictures),
                "shards": pictures.catalogue.place,
                "manifest_sha256": pictures.catalogue.manifest.sha256,
                **(self.left_out if split == "training" else {}),
            }
            for split, pictures in sets.items()
        }
