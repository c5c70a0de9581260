"""What unit and integration tests share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from datamodules.base import PictureDataModule
from datamodules.cifar10 import SmallPictures

PROJECT = Path(__file__).resolve().parent.parent

# The networks here are so small that a second thread only waits for the first.
torch.set_num_threads(1)


def colourful_pictures(count: int, side: int, seed: int = 0) -> Tensor:
    """Smooth random colour pictures, uint8 (count, 3, side, side)."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1) * 255).byte()


def quiet_trainer(**settings: Any) -> pl.Trainer:
    """A trainer on the CPU that prints and writes nothing."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**defaults | settings)


class RandomPictures(PictureDataModule):
    """A data module of smooth random pictures."""

    def __init__(self, side: int, count: int = 8, batch_size: int = 2, seed: int = 0) -> None:
        super().__init__(batch_size=batch_size, evaluation_batch_size=4, workers=0, seed=seed)
        pictures = SmallPictures(
            colourful_pictures(count, side, seed), [f"{i}" for i in range(count)], torch.zeros(count).long(), seed
        )
        self.training, self.validation, self.test = pictures, pictures.part(0, 4), pictures.part(0, 4)


class GivenPictures(PictureDataModule):
    """Some pictures in their order, the same for all three purposes."""

    def __init__(self, rgb: Tensor, batch_size: int = 4) -> None:
        super().__init__(batch_size=batch_size, evaluation_batch_size=4, workers=0, seed=0)
        names = [str(number) for number in range(len(rgb))]
        self.training = self.validation = self.test = SmallPictures(rgb, names, torch.zeros(len(rgb)).long())


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """A folder with a picture of every kind that people have, and two that are broken."""
    folder = tmp_path / "photos"
    (folder / "album").mkdir(parents=True)
    colour = colourful_pictures(1, 40)[0].permute(1, 2, 0).numpy()[:, :30].copy()
    picture = Image.fromarray(colour)
    picture.save(folder / "colour.png")
    picture.save(folder / "album" / "colour.jpg", quality=95)
    picture.convert("L").save(folder / "grey.png")
    picture.convert("RGBA").save(folder / "transparent.png")
    picture.convert("CMYK").save(folder / "print.jpg")
    picture.convert("P").save(folder / "palette.png")
    picture.convert("1").save(folder / "bilevel.png")
    sixteen_bit = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(sixteen_bit).save(folder / "sixteen_bit.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "sideways.jpg", exif=exif, quality=95)
    whole = (folder / "album" / "colour.jpg").read_bytes()
    (folder / "cut_short.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "no_picture.png").write_bytes(b"this is text")
    return folder
