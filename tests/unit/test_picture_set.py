"""What every set of pictures promises: names that are known beforehand, and pictures by place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.cifar10 import SmallPictures
from datamodules.folders import Folder, Predicted
from datamodules.images import ShardedPictures
from datamodules.photos import CentreCrops, RandomCrops
from datamodules.picture_set import PictureSet, Visit
from datamodules.shards.catalogue import open_folder
from datamodules.shards.sources import find_sources
from datamodules.shards.writer import Encoding, write
from tests.conftest import colourful_pictures

NAMES = [f"picture{number}" for number in (3, 1, 4, 0, 5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, picture in zip(NAMES, colourful_pictures(5, 16), strict=True):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{name}.png")
    return folder


def sharded(folder: Path, out: Path) -> ShardedPictures:
    """Four of the pictures, in shards of two."""
    splits = find_sources(folder, folder.parent / "unpacked")
    write(splits, out, command="test", encoding=Encoding(), pictures_per_shard=2, seed=0, workers=1)
    catalogue = open_folder(str(out), out)
    files = catalogue.files(out, 1)
    rows = np.array([0, 1, 2, 4])
    return ShardedPictures(catalogue, files, rows, lambda layers, _: layers, reach=0, seed=None, broken={}, skips=False)


def set_of(kind: str, folder: Path) -> PictureSet:
    """A set of some kind."""
    pictures = colourful_pictures(5, 16)
    made: dict[str, PictureSet] = {
        "small": SmallPictures(pictures, NAMES, torch.zeros(5), mirror_seed=0),
        "centre crops": CentreCrops(list(pictures), NAMES, 8),
        "random crops": RandomCrops(list(pictures), NAMES, 8, visits=13, seed=0),
        "folder": Folder(folder),
        "predicted": Predicted(Folder(folder), folder, "stop"),
    }
    return made[kind] if kind in made else sharded(folder, folder.parent / "shards")


KINDS = ["small", "centre crops", "random crops", "folder", "predicted", "sharded"]


@pytest.mark.parametrize("kind", KINDS)
def test_keys_are_those_of_the_pictures(kind: str, folder: Path) -> None:
    pictures = set_of(kind, folder)
    assert list(pictures.keys) == [pictures.at(number)["key"] for number in range(len(pictures))]
    assert set(pictures.keys) <= set(NAMES)
    assert len(set(pictures.keys)) == (4 if kind == "sharded" else 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_at_a_place_is_that_of_the_first_epoch(kind: str, folder: Path) -> None:
    pictures = set_of(kind, folder)
    for number in range(len(pictures)):
        assert torch.equal(pictures.at(number)["rgb"], pictures[Visit(number, 0)]["rgb"])


@pytest.mark.parametrize("kind", ["folder", "predicted", "sharded"])
def test_keys_are_known_without_decoding(kind: str, folder: Path) -> None:
    pictures = set_of(kind, folder)
    for path in [*folder.iterdir(), *folder.parent.rglob("*.tar")]:
        path.unlink()
    assert set(pictures.keys) <= set(NAMES)
    assert len(pictures.keys) == len(pictures)
