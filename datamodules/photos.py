"""A folder of anybody's photographs, or the ones that scikit-image and scikit-learn ship: no network needed."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from datamodules.base import PictureDataModule, distinct
from datamodules.order import generator_of
from datamodules.picture_set import PictureSet, Visit
from datamodules.pictures import find_pictures, read_pictures
from datamodules.transforms import squash
from lightning_modules.color import is_grey

BUNDLED_TRAINING = (
    "skimage.data/astronaut.png",
    "skimage.data/hubble_deep_field.jpg",
    "skimage.data/ihc.png",
    "skimage.data/motorcycle_left.png",
    "skimage.data/motorcycle_right.png",
    "skimage.data/retina.jpg",
    "sklearn.datasets.images/china.jpg",
    "sklearn.datasets.images/flower.jpg",
)
BUNDLED_HELD_OUT = ("skimage.data/chelsea.png", "skimage.data/coffee.png", "skimage.data/rocket.jpg")
SHOWN = (
    "sklearn.datasets.images/china.jpg",
    "sklearn.datasets.images/flower.jpg",
    "skimage.data/astronaut.png",
    "skimage.data/motorcycle_left.png",
    *BUNDLED_HELD_OUT,
)
"""Those that show what anybody photographs."""
LONGEST_KEPT_SIDE = 1024


@dataclass(frozen=True)
class RandomCrops(PictureSet):
    """Square crops of pictures of any size, mirrored at random: each side length between two bounds is as likely.

    Attributes:
        pictures: uint8, (3, H, W) each.
        names: Theirs; they are visited in turn.
        resolution: Side of the crops once resized.
        visits: Crops in an epoch.
        seed: Of the crops.
    """

    pictures: Sequence[Tensor]
    names: Sequence[str]
    resolution: int
    visits: int
    seed: int

    @cached_property
    def keys(self) -> Sequence[str]:  # type: ignore[override]
        """Of each crop, that of its picture."""
        return [self.names[visit % len(self.names)] for visit in range(self.visits)]

    def __len__(self) -> int:
        return self.visits

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        generator = generator_of(self.seed, visit.epoch, visit.picture)
        which = visit.picture % len(self.pictures)
        picture = self.pictures[which]
        height, width = picture.shape[1:]
        longest = min(height, width)
        shortest = min(self.resolution, longest)
        scale, down, across, coin = torch.rand(4, generator=generator).tolist()
        side = shortest + round(scale * (longest - shortest))
        top, left = int(down * (height - side + 1)), int(across * (width - side + 1))
        (crop,) = squash([picture[:, top : top + side, left : left + side]], None, resolution=self.resolution)
        return {"rgb": crop.flip(-1) if coin < 0.5 else crop, "key": self.names[which]}


@dataclass(frozen=True)
class CentreCrops(PictureSet):
    """The largest centred square of each picture, resized.

    Attributes:
        pictures: uint8, (3, H, W) each.
        keys: Their names.
        resolution: Side of the squares once resized.
    """

    pictures: Sequence[Tensor]
    keys: Sequence[str]
    resolution: int

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        picture = self.pictures[visit.picture]
        height, width = picture.shape[1:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        (crop,) = squash([picture[:, top : top + side, left : left + side]], None, resolution=self.resolution)
        return {"rgb": crop, "key": self.keys[visit.picture]}


class Photos(PictureDataModule):
    """Photographs of any size.

    Args:
        root: A folder; null takes the bundled pictures, three of which are held out.
        resolution: Side of the square crops.
        crops_per_epoch: Training crops an epoch.
        validation_fraction: Share of a folder's pictures that is held out, one at least.
        arguments: Those of `PictureDataModule`.
    """

    def __init__(
        self,
        root: str | None,
        resolution: int,
        crops_per_epoch: int,
        validation_fraction: float,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.root, self.resolution = root, resolution
        self.crops_per_epoch, self.validation_fraction = crops_per_epoch, validation_fraction

    def setup(self, stage: str) -> None:
        """Read the pictures; those that cannot be read, and grey ones, are named and left out."""
        training, held_out = self.paths()
        if stage == "fit" and not hasattr(self, "training"):
            pictures, keys = self.read(training)
            self.training = RandomCrops(pictures, keys, self.resolution, self.crops_per_epoch, self.seed)
        if not hasattr(self, "test"):
            self.validation = self.test = CentreCrops(*self.read(held_out), self.resolution)

    def paths(self) -> tuple[list[Path], list[Path]]:
        """The training files and the held-out ones."""
        if self.root is None:
            return bundled(BUNDLED_TRAINING), bundled(BUNDLED_HELD_OUT)
        paths = find_pictures(Path(self.root))
        if len(paths) < 2:
            raise ValueError(f"{self.root} holds one picture; training and validation need one each at least")
        order = torch.randperm(len(paths), generator=generator_of(self.seed)).tolist()
        held_out = max(1, round(self.validation_fraction * len(paths)))
        return [paths[i] for i in sorted(order[held_out:])], [paths[i] for i in sorted(order[:held_out])]

    def read(self, paths: Sequence[Path]) -> tuple[list[Tensor], list[str]]:
        """The pictures, at most `LONGEST_KEPT_SIDE` a side, and their names."""
        pictures, kept = [], []
        console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
        for path, picture in zip(paths, read_pictures(paths, "reading photographs", LONGEST_KEPT_SIDE), strict=True):
            if isinstance(picture, ValueError):
                console.print(f"left out: {picture}", style="yellow", markup=False, soft_wrap=True)
            elif is_grey(picture):
                sentence = f"left out: {path} is grey and teaches no colour"
                console.print(sentence, style="yellow", markup=False, soft_wrap=True)
            else:
                pictures.append(picture)
                kept.append(path)
        if not pictures:
            raise ValueError(f"none of the {len(paths)} pictures from {paths[0].parent} can be used")
        return pictures, distinct([path.stem for path in kept], kept)


def bundled(names: Sequence[str]) -> list[Path]:
    """Where the packages keep these pictures."""
    return [Path(str(files(package) / name)) for package, name in (full.split("/") for full in names)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy bundled photographs to a folder, to have something to colour."""
    parser = argparse.ArgumentParser(
        prog="python -m datamodules.photos",
        description="Copy a few photographs that scikit-image and scikit-learn ship.",
        epilog="example: python -m datamodules.photos demo/photos",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder to write to")
    folder = parser.parse_args(arguments).folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in bundled(SHOWN):
            shutil.copy(path, folder)
    except OSError as error:
        sys.exit(f"error: {folder}: {error.strerror}")
    print(f"{len(SHOWN)} photographs: {folder}")


if __name__ == "__main__":
    main()
