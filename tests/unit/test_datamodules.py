"""The data modules: contract of a batch, held-out pictures, reproducible augmentation, bad input."""

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from datamodules.base import PictureDataModule
from datamodules.cifar10 import CIFAR10
from datamodules.photos import SHOWN, Photos
from datamodules.photos import main as copy_bundled
from datamodules.picture_set import Visit
from datamodules.pictures import read_picture
from evaluation.report.sheet import to_image
from tests.conftest import colourful_pictures
from tests.unit.test_picture_set import sharded


def photos(root: Path | None = None, seed: int = 0, resolution: int = 16, held_out: float = 0.25) -> Photos:
    """The photos module, set up for training."""
    module = Photos(
        root=str(root) if root else None,
        resolution=resolution,
        crops_per_epoch=24,
        validation_fraction=held_out,
        batch_size=4,
        evaluation_batch_size=4,
        workers=0,
        seed=seed,
    )
    module.setup("fit")
    return module


def save_pictures(folder: Path, count: int, side: int = 32) -> None:
    """Write smooth random pictures as PNG."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(colourful_pictures(count, side)):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{number:04}.png")


def cifar(root: Path, validation_pictures: int = 2, download: bool = False) -> CIFAR10:
    """The CIFAR-10 module, not set up."""
    return CIFAR10(
        root=str(root),
        validation_pictures=validation_pictures,
        download=download,
        batch_size=2,
        evaluation_batch_size=3,
        workers=0,
        seed=0,
    )


def assert_contract(module: PictureDataModule, side: int) -> None:
    """A batch is uint8 pictures and their keys."""
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        batch = next(iter(loader))
        assert batch["rgb"].dtype == torch.uint8
        assert batch["rgb"].shape[1:] == (3, side, side)
        assert len(batch["key"]) == len(batch["rgb"])
        assert all(isinstance(key, str) for key in batch["key"])


def test_bundled_photos_hold_three_out() -> None:
    module = photos()
    assert_contract(module, 16)
    training = {key for batch in module.train_dataloader() for key in batch["key"]}
    held_out = {key for batch in module.val_dataloader() for key in batch["key"]}
    assert held_out == {"chelsea", "coffee", "rocket"}
    assert len(training) == 8
    assert not training & held_out


def test_crops_depend_on_seed_epoch_and_picture_alone() -> None:
    module, same, other = photos(), photos(), photos(seed=1)
    first = module.training[Visit(3, 0)]["rgb"]
    assert torch.equal(first, same.training[Visit(3, 0)]["rgb"])
    assert not torch.equal(first, module.training[Visit(3, 1)]["rgb"])
    assert not torch.equal(first, module.training[Visit(11, 0)]["rgb"]), "another crop of the same picture"
    assert not torch.equal(first, other.training[Visit(3, 0)]["rgb"])


def test_a_folder_of_photos_names_what_it_leaves_out(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = photos(photo_folder)
    assert_contract(module, 16)
    told = " ".join(capsys.readouterr().err.split())
    for name in ("cut_short.jpg", "no_picture.png", "grey.png", "sixteen_bit.png", "bilevel.png"):
        assert name in told.replace(" ", "")


def test_names_of_photos_are_told_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "[red]holiday [bold]"
    save_pictures(folder, 8)
    (folder / "broken [red].jpg").write_bytes(b"")
    photos(folder)
    assert f"left out: {folder / 'broken [red].jpg'}" in capsys.readouterr().err


def test_photos_of_equal_names_keep_apart(tmp_path: Path) -> None:
    for place in ("a/x.png", "b/x.png", "b/x.jpg", "b/y.png", "c/x.png", "c/z.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        to_image(colourful_pictures(1, 20)[0]).save(tmp_path / place)
    keys = photos(tmp_path, held_out=0.2).training.keys
    assert len(set(keys)) == 5
    assert {"y", "z"} & set(keys)


def test_a_folder_of_one_photo_is_refused(tmp_path: Path) -> None:
    save_pictures(tmp_path / "one", 1)
    with pytest.raises(ValueError, match="one picture"):
        photos(tmp_path / "one")


def test_pictures_smaller_than_the_crop_are_enlarged(tmp_path: Path) -> None:
    save_pictures(tmp_path / "small", 4, side=5)
    assert_contract(photos(tmp_path / "small"), 16)


def test_cifar10_reads_a_folder(tmp_path: Path) -> None:
    for name in ("cat", "ship"):
        save_pictures(tmp_path / "train" / name, 5)
        save_pictures(tmp_path / "test" / name, 2)
    module = cifar(tmp_path)
    module.prepare_data()
    module.setup("fit")
    assert_contract(module, 32)
    training = {key for epoch in range(3) for batch in module.train_dataloader() for key in batch["key"]}
    validation = {key for batch in module.val_dataloader() for key in batch["key"]}
    assert len(training) == 8
    assert len(validation) == 2
    assert not training & validation
    test = list(module.test_dataloader())
    assert torch.cat([batch["label"] for batch in test]).tolist() == [0, 0, 1, 1]
    assert module.test.labels == [0, 0, 1, 1]
    assert torch.equal(torch.cat([batch["rgb"] for batch in test])[:2], colourful_pictures(2, 32))


def test_cifar10_mirrors_half_of_the_training_pictures(tmp_path: Path) -> None:
    save_pictures(tmp_path / "train" / "cat", 200)
    save_pictures(tmp_path / "test" / "cat", 1)
    module = cifar(tmp_path, validation_pictures=0)
    module.setup("fit")
    originals = dict(zip(module.training.keys, module.training.rgb, strict=True))  # type: ignore[attr-defined]
    visited = [module.training[Visit(picture, 0)] for picture in range(200)]
    mirrored = [not torch.equal(each["rgb"], originals[each["key"]]) for each in visited]
    assert 70 < sum(mirrored) < 130
    first = next(each for each, flag in zip(visited, mirrored, strict=True) if flag)
    assert torch.equal(first["rgb"], originals[first["key"]].flip(-1))


def test_cifar10_reads_what_torchvision_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    pictures = colourful_pictures(2 * len(names), 32)
    for place, name in enumerate(names):
        batch = {"data": pictures[2 * place : 2 * place + 2].flatten(1).numpy(), "labels": [place, 9]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *arguments: True)
    module = cifar(tmp_path)
    module.prepare_data()
    module.setup("fit")
    assert_contract(module, 32)
    assert [picture.tolist() for picture in module.test_dataloader().spread(2)] == pictures[-2:].tolist()
    assert next(iter(module.test_dataloader()))["label"].tolist() == [5, 9]
    seen = torch.cat([module.training.rgb, module.validation.rgb])  # type: ignore[attr-defined]
    assert sorted(map(str, seen.tolist())) == sorted(map(str, pictures[:-2].tolist()))


def test_labels_of_shards_are_those_of_the_pictures(tmp_path: Path) -> None:
    for name in ("cat", "ship"):
        save_pictures(tmp_path / "classes" / name, 3)
    save_pictures(tmp_path / "plain", 5)
    labelled = sharded(tmp_path / "classes", tmp_path / "labelled")
    assert labelled.labels == [labelled.at(number)["label"] for number in range(4)]
    assert set(labelled.labels) == {0, 1}
    assert sharded(tmp_path / "plain", tmp_path / "unlabelled").labels is None


def test_cifar10_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"CIFAR-10 is not at .*data\.download=true"):
        cifar(tmp_path / "nowhere").prepare_data()


def test_a_download_that_fails_leaves_no_folder_and_is_not_recommended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(root: str, **settings: Any) -> None:
        Path(root, "half").mkdir(parents=True)
        Path(root, "half").rmdir()
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fetch)
    with pytest.raises(FileNotFoundError, match=r"could not be fetched .*no network") as error:
        cifar(tmp_path / "data" / "cifar10", download=True).prepare_data()
    assert "download=true" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_cifar10_refuses_other_sizes(tmp_path: Path) -> None:
    save_pictures(tmp_path / "test" / "cat", 1, side=31)
    with pytest.raises(ValueError, match="31x31"):
        cifar(tmp_path).setup("test")


@pytest.mark.parametrize(
    ("batch_size", "ranks", "accumulated", "of_a_rank"), [(64, 1, 1, 64), (64, 8, 1, 8), (64, 8, 4, 2), (8, 8, 1, 1)]
)
def test_ranks_and_accumulated_batches_share_the_pictures_of_a_step(
    batch_size: int, ranks: int, accumulated: int, of_a_rank: int
) -> None:
    data = PictureDataModule(batch_size=batch_size, evaluation_batch_size=1, workers=0, seed=0)
    assert data.batch_size_of_rank == batch_size, "without a trainer"
    data.trainer = SimpleNamespace(world_size=ranks, accumulate_grad_batches=accumulated)  # type: ignore[assignment]
    assert data.batch_size_of_rank == of_a_rank


@pytest.mark.parametrize(("batch_size", "ranks", "accumulated"), [(7, 2, 1), (8, 16, 1), (64, 8, 3)])
def test_pictures_of_a_step_that_cannot_be_shared_are_refused(batch_size: int, ranks: int, accumulated: int) -> None:
    data = PictureDataModule(batch_size=batch_size, evaluation_batch_size=1, workers=0, seed=0)
    data.trainer = SimpleNamespace(world_size=ranks, accumulate_grad_batches=accumulated)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=f"{ranks} ranks with .* give a multiple of {ranks * accumulated}"):
        _ = data.batch_size_of_rank


def test_bundled_photographs_are_copied(tmp_path: Path) -> None:
    copy_bundled([str(tmp_path / "photos")])
    copied = sorted((tmp_path / "photos").iterdir())
    assert [path.name for path in copied] == sorted(Path(name).name for name in SHOWN)
    assert all(read_picture(path).shape[0] == 3 for path in copied)
    with pytest.raises(SystemExit, match=r"error: .*china.jpg"):
        copy_bundled([str(copied[2])])
