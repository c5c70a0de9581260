"""CIFAR-10, as a folder of pictures or as torchvision's own download."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.base import PictureDataModule, distinct
from datamodules.order import generator_of
from datamodules.picture_set import PictureSet, Visit
from datamodules.pictures import find_pictures, read_pictures

SIDE = 32


@dataclass(frozen=True)
class SmallPictures(PictureSet):
    """Pictures of one size, held in memory and mirrored at random in training.

    Attributes:
        rgb: uint8, (N, 3, H, W).
        keys: Their names.
        classes: int64, (N,).
        mirror_seed: Seed of the mirroring; None leaves pictures as they are.
    """

    rgb: Tensor
    keys: Sequence[str]
    classes: Tensor
    mirror_seed: int | None = None

    @cached_property
    def labels(self) -> Sequence[int]:  # type: ignore[override]
        """See `PictureSet`."""
        return self.classes.tolist()

    def __len__(self) -> int:
        return len(self.rgb)

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        rgb = self.rgb[visit.picture]
        if self.mirror_seed is not None:
            coin = torch.rand((), generator=generator_of(self.mirror_seed, visit.epoch, visit.picture))
            rgb = rgb.flip(-1) if coin < 0.5 else rgb
        return {"rgb": rgb, "key": self.keys[visit.picture], "label": self.classes[visit.picture]}

    def part(self, start: int | None, stop: int | None, mirror_seed: int | None = None) -> "SmallPictures":
        """The pictures from `start` to `stop`."""
        return SmallPictures(self.rgb[start:stop], self.keys[start:stop], self.classes[start:stop], mirror_seed)


class CIFAR10(PictureDataModule):
    """CIFAR-10: 32x32, 50,000 training and 10,000 test pictures.

    Args:
        root: A folder with `train/CLASS/*` and `test/CLASS/*`, or where torchvision keeps or puts its download.
        validation_pictures: How many training pictures are held out for validation, drawn by seed.
        download: Whether torchvision may fetch the set when `root` does not hold it.
        arguments: Those of `PictureDataModule`.
    """

    def __init__(self, root: str, validation_pictures: int, download: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.root, self.validation_pictures, self.download = Path(root), validation_pictures, download

    def prepare_data(self) -> None:
        """Fetch the set, once, if it may be fetched and is not there."""
        if not (self.root / "train").is_dir():
            self.torchvision_set(train=True, download=self.download)

    def setup(self, stage: str) -> None:
        """Read the pictures into memory."""
        if not hasattr(self, "test"):
            self.test = self.read("test")
        if stage == "fit" and not hasattr(self, "training"):
            training = self.read("train")
            order = torch.randperm(len(training), generator=generator_of(self.seed)).tolist()
            shuffled = SmallPictures(training.rgb[order], [training.keys[i] for i in order], training.classes[order])
            self.validation = shuffled.part(0, self.validation_pictures)
            self.training = shuffled.part(self.validation_pictures, None, mirror_seed=self.seed)

    def read(self, split: str) -> SmallPictures:
        """One split, from the folder or from torchvision's files."""
        if not (self.root / split).is_dir():
            pictures = self.torchvision_set(train=split == "train", download=False)
            rgb = torch.from_numpy(pictures.data).permute(0, 3, 1, 2).contiguous()
            return SmallPictures(rgb, [f"{split}_{i:05}" for i in range(len(rgb))], torch.tensor(pictures.targets))
        paths = find_pictures(self.root / split)
        classes = {name: label for label, name in enumerate(sorted({path.parent.name for path in paths}))}
        rgb = torch.empty(len(paths), 3, SIDE, SIDE, dtype=torch.uint8)
        for index, picture in enumerate(read_pictures(paths, f"reading {split}")):
            if isinstance(picture, ValueError):
                raise picture
            if picture.shape[1:] != (SIDE, SIDE):
                height, width = picture.shape[1:]
                raise ValueError(f"{paths[index]} is {width}x{height}; CIFAR-10's pictures are {SIDE}x{SIDE}")
            rgb[index] = picture
        labels = torch.tensor([classes[path.parent.name] for path in paths])
        return SmallPictures(rgb, distinct([f"{path.parent.name}_{path.stem}" for path in paths], paths), labels)

    def torchvision_set(self, train: bool, download: bool) -> Any:
        """torchvision's own reader.

        Raises:
            FileNotFoundError: If the set is not there and could not be fetched.
        """
        from torchvision import datasets

        made = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        try:
            return datasets.CIFAR10(str(self.root), train=train, download=download)
        except (RuntimeError, OSError) as error:
            for folder in made:  # torchvision makes them before it knows whether it can fill them
                with suppress(OSError):
                    folder.rmdir()
            advice = "" if download else ", or data.download=true to fetch its 170 MB from its authors"
            reason = f"could not be fetched to {self.root} ({error})" if download else f"is not at {self.root}"
            raise FileNotFoundError(
                f"CIFAR-10 {reason}; give data.root=FOLDER with train/CLASS/*.png and test/CLASS/*.png{advice}"
            ) from error
