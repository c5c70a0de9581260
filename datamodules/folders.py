"""Folders of training and validation pictures of any size, such as ImageNet unpacked."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from datamodules.base import PictureDataModule
from datamodules.loader import Visit, generator_of
from datamodules.pictures import find_pictures, read_picture, squash


@dataclass(frozen=True)
class SquashedPictures:
    """Picture files, each resized to a square whatever its aspect, and mirrored at random in training.

    A file that cannot be read is named in a warning, and the next one stands in for it.

    Attributes:
        paths: The files.
        resolution: Side of the squares.
        mirror_seed: Seed of the mirroring; None leaves pictures as they are.
    """

    paths: Sequence[Path]
    resolution: int
    mirror_seed: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        for step in range(len(self.paths)):
            path = self.paths[(visit.picture + step) % len(self.paths)]
            try:
                rgb = squash(read_picture(path), self.resolution)
            except ValueError as error:
                warnings.warn(f"{error}; the next picture stands in for it", stacklevel=1)
                continue
            if self.mirror_seed is not None:
                coin = torch.rand((), generator=generator_of(self.mirror_seed, visit.epoch, visit.picture))
                rgb = rgb.flip(-1) if coin < 0.5 else rgb
            return {"rgb": rgb, "key": path.stem}
        raise ValueError(f"none of the {len(self.paths)} pictures below {self.paths[0].parent} can be read")


class Folders(PictureDataModule):
    """Pictures in `root/train` and `root/val`, at any depth.

    Args:
        root: The folder of both.
        resolution: Side of the squares to which pictures are resized.
        arguments: Those of `PictureDataModule`.
    """

    def __init__(self, root: str, resolution: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.root, self.resolution = Path(root), resolution

    def setup(self, stage: str) -> None:
        """List the files."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"there is no folder {self.root}; data.root=FOLDER names one with train/ and val/")
        if stage == "fit":
            self.training = SquashedPictures(find_pictures(self.root / "train"), self.resolution, self.seed)
        self.validation = self.test = SquashedPictures(find_pictures(self.root / "val"), self.resolution)
