"""The data module of shards, on small sets that the tests write themselves."""

import re
import shutil
import tarfile
import warnings
from collections.abc import Callable
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab
from webdataset import TarWriter

from datamodules.images import Images, ShardedPictures
from datamodules.loader import ResumableLoader
from datamodules.picture_set import Visit
from datamodules.shards import catalogue as catalogue_module
from datamodules.shards import files as files_module
from datamodules.shards.index import sha256_of
from datamodules.shards.sources import Bytes, Source
from datamodules.shards.writer import Encoding, write
from datamodules.splits import keys_of as published_keys
from datamodules.transforms import Transform, squash
from tests.conftest import colourful_pictures

Pixels = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 24, 32
TRAINING, VALIDATION = 33, 10
SHARD = 8


def pixels_of(number: int) -> Pixels:
    """A smooth picture; the higher its number, up to 33, the more colour it has."""
    colour = colourful_pictures(1, WIDTH, seed=number)[0, :, :HEIGHT].permute(1, 2, 0).numpy().astype(float)
    grey = colour.mean(axis=2, keepdims=True)
    pixels: Pixels = np.round(grey + (colour - grey) * (number % TRAINING) / TRAINING).astype(np.uint8)
    return pixels


def mask_of(number: int) -> Pixels:
    """Classes 0 to 3 in a pattern of its own."""
    return np.random.default_rng(number).integers(0, 4, (HEIGHT, WIDTH)).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    """Pixels as PNG."""
    stored = BytesIO()
    Image.fromarray(pixels).save(stored, "PNG")
    return stored.getvalue()


def save(path: Path, pixels: Pixels) -> Bytes:
    """Write a PNG; returns where."""
    path.write_bytes(png(pixels))
    return Bytes(str(path))


def key_of(number: int) -> str:
    """The key of a picture."""
    return f"{'t' if number < TRAINING else 'v'}{number:03}"


def training_keys() -> list[str]:
    """Keys of the training split."""
    return [key_of(number) for number in range(TRAINING)]


def validation_keys() -> list[str]:
    """Keys of the validation split."""
    return [key_of(number) for number in range(TRAINING, TRAINING + VALIDATION)]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of shards: `train` in 8, 8, 8, 8 and 1 pictures, `val`, with classes and masks, in 8 and 2."""
    folder = tmp_path_factory.mktemp("pictures")
    splits: dict[str, list[Source]] = {"train": [], "val": []}
    for number in range(TRAINING + VALIDATION):
        key = key_of(number)
        picture = save(folder / f"{key}.png", pixels_of(number))
        if number < TRAINING:
            splits["train"].append(Source(f"{key}.png", picture))
        else:
            mask = save(folder / f"{key}_mask.png", mask_of(number))
            splits["val"].append(Source(f"{key}.png", picture, "cat" if number % 2 else "dog", mask))
    return write_set(splits, tmp_path_factory.mktemp("shards") / "set")


def write_set(splits: dict[str, list[Source]], out: Path, pictures_per_shard: int = SHARD) -> Path:
    """Write a set of shards in this process."""
    write(
        splits,
        out,
        command="test",
        encoding=Encoding(),
        pictures_per_shard=pictures_per_shard,
        seed=0,
        workers=1,
    )
    return out


@pytest.fixture
def shards(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the set that a test may break."""
    return Path(shutil.copytree(pristine, tmp_path / "set"))


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Images]:
    """Makes a data module, set up for training, with small numbers for all that is not given."""

    def make(root: Path | str, stage: str = "fit", **settings: Any) -> Images:
        defaults: dict[str, Any] = {
            "training": "train",
            "validation": "val",
            "test": "val",
            "transform": partial(squash, resolution=16),
            "minimum_colourness": 0,
            "minimum_chroma_range": 0,
            "reach": 20000,
            "on_error": "stop",
            "maximum_bad_share": 1.0,
            "cache": str(tmp_path / "cache"),
            "cache_gigabytes": 1,
            "batch_size": 11,
            "evaluation_batch_size": 4,
            "workers": 0,
            "start_method": None,
            "seed": 0,
        }
        module = Images(root=str(root), **(defaults | settings))
        module.prepare_data()
        module.setup(stage)
        return module

    return make


Make = Callable[..., Images]


def keys(loader: ResumableLoader) -> list[str]:
    """The keys of one epoch."""
    return [key for batch in loader for key in batch["key"]]


def held_by(module: Images, split: str, shard: str) -> set[str]:
    """Keys of the pictures in a shard, told by the tar itself."""
    place = next(place for place in getattr(module, split).catalogue.places if place.endswith(shard))
    with tarfile.open(place) as tar:
        return {name.split(".")[0] for name in tar.getnames()}


def reference(pixels: Pixels, resampling: Image.Resampling = Image.Resampling.BICUBIC) -> npt.NDArray[np.int64]:
    """Pixels, resized by Pillow."""
    return np.asarray(Image.fromarray(pixels).resize((16, 16), resampling)).astype(np.int64)


def test_the_contract_of_batches(pristine: Path, images: Make) -> None:
    module = images(pristine)
    for loader, size in ((module.train_dataloader(), 11), (module.val_dataloader(), 4), (module.test_dataloader(), 4)):
        batch = next(iter(loader))
        assert batch["rgb"].dtype == torch.uint8
        assert batch["rgb"].shape == (size, 3, 16, 16)
        assert len(batch["key"]) == size
        assert all(isinstance(key, str) for key in batch["key"])
    assert set(next(iter(module.train_dataloader()))) == {"rgb", "key"}


def test_protocols_that_resize_get_pictures_as_they_are_stored(pristine: Path, images: Make) -> None:
    module = images(pristine)
    assert isinstance(module.validation, ShardedPictures)
    stored = module.validation.as_stored()
    assert list(stored.keys) == list(module.validation.keys)
    for number in range(len(stored)):
        sample = stored.at(number)
        assert sample["key"] == stored.keys[number]
        row = module.validation.catalogue.index[module.validation.rows[number]]
        assert sample["rgb"].shape == (3, row["height"], row["width"])
    assert module.validation.at(0)["rgb"].shape == (3, 16, 16), "the set itself stays as it was"


def test_evaluation_shows_what_pillow_shows(pristine: Path, images: Make) -> None:
    module = images(pristine)
    numbers = list[int]()
    for batch in module.val_dataloader():
        for place, key in enumerate(batch["key"]):
            number = int(key[1:])
            numbers.append(number)
            rgb = batch["rgb"][place].permute(1, 2, 0).numpy()
            assert np.abs(rgb - reference(pixels_of(number))).mean() < 1
            assert batch["label"][place] == (0 if number % 2 else 1), "cat, dog"
            assert batch["mask"][place].dtype == torch.int64
            wanted = reference(mask_of(number), Image.Resampling.NEAREST)
            assert np.array_equal(batch["mask"][place].numpy(), wanted)
    assert sorted(numbers) == list(range(TRAINING, TRAINING + VALIDATION))


def test_training_shows_what_pillow_shows_or_its_mirror_image(pristine: Path, images: Make) -> None:
    batches = list(images(pristine).train_dataloader())
    mirrored = 0
    for batch in batches:
        for key, rgb in zip(batch["key"], batch["rgb"], strict=True):
            wanted = reference(pixels_of(int(key[1:])))
            plain, flipped = (np.abs(each.permute(1, 2, 0).numpy() - wanted).mean() for each in (rgb, rgb.flip(-1)))
            assert min(plain, flipped) < 1
            mirrored += bool(flipped < plain)
    assert 6 <= mirrored <= 27


@pytest.mark.parametrize("workers", [0, 2])
def test_every_picture_comes_once_an_epoch(pristine: Path, images: Make, workers: int) -> None:
    module = images(pristine, workers=workers)
    training, validation = module.train_dataloader(), module.val_dataloader()
    for _ in range(2):
        assert sorted(keys(training)) == training_keys()
        assert sorted(keys(validation)) == validation_keys()


@pytest.mark.parametrize("reach", [0, 4, 20000])
def test_the_order_is_fixed_by_seed_and_epoch(pristine: Path, images: Make, reach: int) -> None:
    first, same, other = (images(pristine, seed=seed, reach=reach).train_dataloader() for seed in (0, 0, 1))
    epochs = [keys(first) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert [keys(same) for _ in range(2)] == epochs
    assert keys(other) != epochs[0]
    assert sorted(epochs[1]) == training_keys()


def test_without_reach_shards_come_one_after_the_other(pristine: Path, images: Make) -> None:
    module = images(pristine, reach=0)
    order = keys(module.train_dataloader())
    held = {key: number for number in range(5) for key in held_by(module, "training", f"train-{number:06}.tar")}
    visited = [held[key] for key in order]
    changes = sum(before != after for before, after in pairwise(visited))
    assert changes == 4


def test_shards_hold_a_random_selection(pristine: Path, images: Make) -> None:
    module = images(pristine)
    assert held_by(module, "training", "train-000000.tar") != set(training_keys()[:SHARD])


def test_augmentation_is_fixed_by_seed_epoch_and_picture(pristine: Path, images: Make) -> None:
    def epoch(module: Images, number: int) -> torch.Tensor:
        return torch.stack([module.training[Visit(picture, number)]["rgb"] for picture in range(TRAINING)])

    first, same, other = images(pristine), images(pristine), images(pristine, seed=1)
    assert torch.equal(epoch(first, 0), epoch(same, 0))
    assert torch.equal(epoch(first, 3), epoch(first, 3))
    assert not torch.equal(epoch(first, 0), epoch(first, 1))
    assert not torch.equal(epoch(first, 0), epoch(other, 0))


def test_evaluation_is_the_same_every_time(pristine: Path, images: Make) -> None:
    module = images(pristine)
    loader = module.val_dataloader()
    first, second, third = (
        torch.cat([batch["rgb"] for batch in each]) for each in (loader, loader, module.val_dataloader())
    )
    assert torch.equal(first, second)
    assert torch.equal(first, third)


def colourness_of(pixels: Pixels) -> float:
    """PixColor's measure, from JFIF's definition."""
    red, green, blue = np.moveaxis(pixels.astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return float(np.maximum(np.abs(blue - luma) / 1.772, np.abs(red - luma) / 1.402).mean() / 128)


def chroma_range_of(pixels: Pixels) -> float:
    """Xu et al.'s measure, with scikit-image's CIELab."""
    chroma = rgb2lab(pixels)[..., 1:]
    return float(np.ptp(chroma[..., 0]) + np.ptp(chroma[..., 1]))


@pytest.mark.parametrize(
    ("setting", "measure"), [("minimum_colourness", colourness_of), ("minimum_chroma_range", chroma_range_of)]
)
def test_pictures_without_enough_colour_are_left_out_of_training(
    pristine: Path, images: Make, setting: str, measure: Callable[[Pixels], float]
) -> None:
    colour = {key_of(number): measure(pixels_of(number)) for number in range(TRAINING)}
    ranked = sorted(colour.values())
    minimum = 0.998 * ranked[12]
    assert ranked[11] < 0.998 * minimum, "the border is clear"
    module = images(pristine, batch_size=1, **{setting: minimum})
    assert sorted(keys(module.train_dataloader())) == sorted(key for key, value in colour.items() if value >= minimum)
    assert len(module.training) == TRAINING - 12
    assert module.provenance["training"]["too_little_colour"] == 12
    assert module.provenance["training"]["pictures"] == TRAINING - 12
    assert sorted(keys(module.val_dataloader())) == validation_keys(), "evaluation keeps all"


def test_two_minima_leave_out_what_fails_either(pristine: Path, images: Make) -> None:
    measured = {
        key_of(number): (colourness_of(pixels_of(number)), chroma_range_of(pixels_of(number)))
        for number in range(TRAINING)
    }
    colourness = sorted(first for first, _ in measured.values())[8] + 1e-6
    chroma_range = sorted(second for _, second in measured.values())[8] + 1e-3
    module = images(pristine, batch_size=1, minimum_colourness=colourness, minimum_chroma_range=chroma_range)
    enough = [key for key, (first, second) in measured.items() if first >= colourness and second >= chroma_range]
    assert sorted(keys(module.train_dataloader())) == sorted(enough)
    assert module.provenance["training"]["too_little_colour"] == TRAINING - len(enough)


def test_splits_go_by_their_names(pristine: Path, images: Make) -> None:
    module = images(pristine, training="val", validation="train", test="train", batch_size=10)
    assert sorted(keys(module.train_dataloader())) == validation_keys()
    assert sorted(keys(module.val_dataloader())) == training_keys()


def test_a_test_run_looks_at_the_test_split_alone(pristine: Path, images: Make) -> None:
    module = images(pristine, "test", training="val", test="train")
    assert sorted(keys(module.test_dataloader())) == training_keys()
    assert list(module.provenance) == ["test"]


def test_an_unknown_split_is_an_error_that_names_those_there_are(pristine: Path, images: Make) -> None:
    with pytest.raises(ValueError, match=r"data\.validation=nothing is no split of .*train, val, cval1k, ctest10k"):
        images(pristine, validation="nothing")


def test_shares_of_a_split_are_disjoint_and_cover_it(pristine: Path, images: Make) -> None:
    module = images(pristine, training="train@0-90%", validation="train@90-100%", test="val@0-50%", batch_size=1)
    parts = [set(keys(loader)) for loader in (module.train_dataloader(), module.val_dataloader())]
    assert [len(part) for part in parts] == [29, 4], "of 33, every picture's share rounded down"
    assert sorted(parts[0] | parts[1]) == training_keys()
    assert module.provenance["validation"]["pictures"] == 4
    thirds = [images(pristine, validation=f"train@{share}%") for share in ("0-33", "33-66", "66-100")]
    assert sorted(key for third in thirds for key in keys(third.val_dataloader())) == training_keys()


def test_shares_of_a_later_split_are_of_its_own_pictures(pristine: Path, images: Make) -> None:
    module = images(pristine, validation="val@0-30%", test="val@30-100%")
    first, second = keys(module.val_dataloader()), keys(module.test_dataloader())
    assert (len(first), len(second)) == (3, 7)
    assert sorted(first + second) == validation_keys()
    for key, rgb in zip(first, next(iter(module.val_dataloader()))["rgb"], strict=True):
        assert np.abs(rgb.permute(1, 2, 0).numpy() - reference(pixels_of(int(key[1:])))).mean() < 1


@pytest.mark.parametrize(
    "name",
    ["train@0-10", "train@-10%", "nosuch@0-10%"],
)
def test_a_share_that_is_none_is_an_error_that_shows_one(pristine: Path, images: Make, name: str) -> None:
    sentence = re.escape(f"data.validation={name} is no split of {pristine}; ") + r".*as train@0-90%"
    with pytest.raises(ValueError, match=sentence) as caught:
        images(pristine, validation=name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["train@90-10%", "train@50-50%", "train@0-0%", "train@0-101%"])
def test_a_share_without_a_meaning_is_an_error(pristine: Path, images: Make, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is no share of train; give one as train@0-90%"):
        images(pristine, validation=name)


def test_a_share_of_no_picture_is_an_error(pristine: Path, images: Make) -> None:
    with pytest.raises(ValueError, match=r"data\.validation=val@0-1% holds no picture; give a larger share of val"):
        images(pristine, validation="val@0-1%")


def test_a_folder_without_a_manifest_is_an_error_with_the_mend(tmp_path: Path, images: Make) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in .*python -m datamodules\.shards"):
        images(tmp_path / "nowhere")


def test_on_error_has_two_values(pristine: Path, images: Make) -> None:
    with pytest.raises(ValueError, match=r"data\.on_error is stop or skip, not ignore"):
        images(pristine, on_error="ignore")


def test_provenance_names_the_manifest(pristine: Path, images: Make) -> None:
    provenance = images(pristine).provenance
    manifest = pristine / "manifest.json"
    assert set(provenance) == {"training", "validation", "test"}
    for split, pictures in (("training", TRAINING), ("validation", VALIDATION), ("test", VALIDATION)):
        assert provenance[split]["manifest_sha256"] == sha256_of(manifest)
        assert provenance[split]["shards"] == str(manifest)
        assert provenance[split]["pictures"] == pictures
    assert provenance["training"]["too_little_colour"] == 0


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [
        ("{root}/train-000001.tar", [1]),
        ("{root}/train-*.tar", [0, 1, 2, 3, 4]),
        ("{root}/train-{{000000..000002}}.tar", [0, 1, 2]),
        ("pipe:cat {root}/train-000003.tar", [3]),
    ],
    ids=["path", "star", "braces", "pipe"],
)
def test_training_may_name_shards(pristine: Path, images: Make, pattern: str, numbers: list[int]) -> None:
    named = images(pristine)
    wanted = set[str]().union(*(held_by(named, "training", f"train-{number:06}.tar") for number in numbers))
    module = images(pristine, training=pattern.format(root=pristine), batch_size=1)
    loader = module.train_dataloader()
    assert sorted(keys(loader)) == sorted(wanted)
    assert sorted(keys(module.val_dataloader())) == validation_keys()
    assert sorted(path.name for path in pristine.iterdir()) == sorted(
        ["manifest.json", "index.npy", *(f"train-{n:06}.tar" for n in range(5)), *(f"val-{n:06}.tar" for n in range(2))]
    ), "nothing is written beside somebody's shards"


def test_a_pattern_of_nothing_is_an_error(pristine: Path, images: Make) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no shard .*other-\*\.tar"):
        images(pristine, training=f"{pristine}/other-*.tar")


def write_anybodys(folder: Path) -> None:
    """Two shards as WebDataset writes them, without a manifest."""
    folder.mkdir()
    for shard in range(2):
        with TarWriter(str(folder / f"{shard}.tar")) as tar:
            for number in range(3 * shard, 3 * shard + 3):
                sample = {"__key__": f"x/{number}", "png": png(pixels_of(number)), "cls": str(number).encode()}
                tar.write(sample | {"mask.png": png(mask_of(number))})


def test_shards_of_others_are_indexed_once(tmp_path: Path, images: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    write_anybodys(tmp_path / "theirs")
    pattern = f"{tmp_path}/theirs/*.tar"
    settings = {"training": pattern, "validation": pattern, "test": pattern, "batch_size": 3}
    first = images("nowhere", **settings)
    indexes = list((tmp_path / "cache" / "indexes").glob("*/manifest.json"))
    assert len(indexes) == 1
    before = indexes[0].stat().st_mtime_ns

    def never(*arguments: object) -> None:
        raise AssertionError("indexed again")

    monkeypatch.setattr(catalogue_module, "index_shards", never)
    second = images("nowhere", **settings)
    assert indexes[0].stat().st_mtime_ns == before
    for module in (first, second):
        seen = dict[str, tuple[Any, ...]]()
        for batch in module.val_dataloader():
            seen |= {
                key: (rgb, label, mask)
                for key, rgb, label, mask in zip(batch["key"], batch["rgb"], batch["label"], batch["mask"], strict=True)
            }
        assert sorted(seen) == [str(number) for number in range(6)]
        for key, (rgb, label, mask) in seen.items():
            assert np.abs(rgb.permute(1, 2, 0).numpy() - reference(pixels_of(int(key)))).mean() < 1
            assert int(label) == int(key)
            assert np.array_equal(mask.numpy(), reference(mask_of(int(key)), Image.Resampling.NEAREST))


def test_shards_of_others_that_change_are_indexed_anew(tmp_path: Path, images: Make) -> None:
    write_anybodys(tmp_path / "theirs")
    pattern = f"{tmp_path}/theirs/*.tar"
    settings = {"training": pattern, "validation": pattern, "test": pattern, "batch_size": 1}
    assert len(images("nowhere", **settings).validation) == 6
    with TarWriter(str(tmp_path / "theirs" / "0.tar")) as tar:
        tar.write({"__key__": "new", "png": png(pixels_of(20))})
    module = images("nowhere", **settings)
    assert sorted(keys(module.train_dataloader())) == ["3", "4", "5", "new"]


def test_a_batch_may_mix_pictures_with_and_without_labels_or_masks(tmp_path: Path, images: Make) -> None:
    (tmp_path / "theirs").mkdir()
    shard = tmp_path / "theirs" / "0.tar"
    with TarWriter(str(shard)) as tar:
        tar.write({"__key__": "a", "png": png(pixels_of(1)), "cls": b"1", "mask.png": png(mask_of(1))})
        tar.write({"__key__": "b", "png": png(pixels_of(2))})
    module = images("nowhere", training=str(shard), validation=str(shard), test=str(shard), batch_size=1)
    assert keys(module.val_dataloader()) == ["a", "b"]


def stems_in(folder: Path, stems: list[str]) -> list[Source]:
    """Pictures of 8x8 with these stems, all in one file."""
    sources, place = list[Source](), folder / "all.bin"
    with place.open("wb") as file:
        for number, stem in enumerate(stems):
            data = png(np.full((8, 8, 3), [number % 256, number // 256, 99], np.uint8))
            sources.append(Source(f"{stem}.png", Bytes(str(place), file.tell(), len(data))))
            file.write(data)
    return sources


def test_a_published_subset_is_picked_out_of_the_validation_pictures(tmp_path: Path, images: Make) -> None:
    wanted = published_keys("cval1k")
    others = [f"ILSVRC2012_val_{number:08}" for number in range(50_001, 50_011)]
    root = write_set({"val": stems_in(tmp_path, wanted + others)}, tmp_path / "set", 300)
    module = images(root, training="val", validation="cval1k", test="cval1k", evaluation_batch_size=100)
    assert len(module.training) == 1010
    assert sorted(keys(module.val_dataloader())) == sorted(wanted)


def test_a_published_subset_that_is_not_complete_is_an_error(tmp_path: Path, images: Make) -> None:
    wanted = sorted(published_keys("cval1k"))
    root = write_set({"val": stems_in(tmp_path, [*wanted[:1], *wanted[4:9]])}, tmp_path / "set")
    with pytest.raises(ValueError, match=r"cval1k wants 1,000 pictures; .* holds 6 of them") as caught:
        images(root, training="val", validation="cval1k")
    missing = str(caught.value).split("missing ")[1]
    assert missing == ", ".join([*wanted[1:4], *wanted[9:11]]) + ", ..."


def lose(shard: Path) -> None:
    """Delete a shard."""
    shard.unlink()


def cut(shard: Path) -> None:
    """Cut a shard short."""
    shard.write_bytes(shard.read_bytes()[:-3000])


def empty(shard: Path) -> None:
    """Leave nothing of a shard."""
    shard.write_bytes(b"")


@pytest.mark.parametrize("harm", [lose, cut, empty])
@pytest.mark.parametrize("shard", ["train-000002.tar", "val-000001.tar"])
def test_a_broken_shard_stops_the_set_up(shards: Path, images: Make, harm: Callable[[Path], None], shard: str) -> None:
    harm(shards / shard)
    with pytest.raises(OSError, match=rf"{shard} (is missing|has .* bytes where the manifest says).*skip"):
        images(shards)


def test_several_broken_shards_are_counted(shards: Path, images: Make) -> None:
    for number in (1, 2, 4):
        lose(shards / f"train-{number:06}.tar")
    with pytest.raises(OSError, match=r"train-000001\.tar is missing and 2 more"):
        images(shards)


def test_a_broken_shard_of_a_split_that_is_not_used_does_not_matter(shards: Path, images: Make) -> None:
    lose(shards / "val-000000.tar")
    module = images(shards, validation="train", test="train")
    assert sorted(keys(module.train_dataloader())) == training_keys()


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("harm", [lose, cut, empty])
def test_the_pictures_of_a_broken_shard_are_left_out_one_by_one(
    pristine: Path, shards: Path, images: Make, harm: Callable[[Path], None], workers: int
) -> None:
    broken = held_by(images(pristine), "training", "train-000002.tar")
    harm(shards / "train-000002.tar")
    module = images(shards, on_error="skip", workers=workers)
    loader = module.train_dataloader()
    for _ in range(2):
        assert sorted(keys(loader)) == sorted(set(training_keys()) - broken)
    assert len(loader.bad_pictures) == len(broken) == SHARD
    for key in broken:
        assert any(fault.endswith(f"train-000002.tar: {key}") for fault in loader.bad_pictures)


@pytest.mark.filterwarnings("ignore:left out")
def test_evaluation_leaves_out_a_broken_shard(pristine: Path, shards: Path, images: Make) -> None:
    broken = held_by(images(pristine), "validation", "val-000001.tar")
    lose(shards / "val-000001.tar")
    loader = images(shards, on_error="skip").val_dataloader()
    assert sorted(keys(loader)) == sorted(set(validation_keys()) - broken)
    assert len(loader.bad_pictures) == 2


@pytest.mark.filterwarnings("ignore:left out")
def test_a_broken_shard_of_too_many_pictures_stops_training(shards: Path, images: Make) -> None:
    lose(shards / "train-000002.tar")
    module = images(shards, on_error="skip", maximum_bad_share=0.1)
    with pytest.raises(ValueError, match=r"of the 33 pictures .*data\.maximum_bad_share=0\.1"):
        list(module.train_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_goes_between_epochs_stops_training(
    shards: Path, images: Make, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "OPEN_FILES", 1)
    loader = images(shards, workers=workers, start_method="fork" if workers else None).train_dataloader()
    assert sorted(keys(loader)) == training_keys()
    lose(shards / "train-000001.tar")
    with pytest.raises(OSError, match=r"^shard .*train-000001\.tar is gone") as caught:
        keys(loader)
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_goes_between_epochs_is_skipped(
    pristine: Path, shards: Path, images: Make, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "OPEN_FILES", 1)
    module = images(shards, workers=workers, start_method="fork" if workers else None, on_error="skip")
    gone = held_by(module, "training", "train-000001.tar")
    loader = module.train_dataloader()
    assert sorted(keys(loader)) == training_keys()
    lose(shards / "train-000001.tar")
    second, third = set(keys(loader)), set(keys(loader))
    assert set(training_keys()) - gone <= second, "a shard that is open stays readable"
    assert third == set(training_keys()) - gone
    assert {fault.split(": ")[1] for fault in loader.bad_pictures} == gone
    assert all("train-000001.tar" in fault for fault in loader.bad_pictures)


def flip_a_byte(shards: Path, number: int) -> str:
    """Change one byte in the middle of a training picture; returns its shard's name."""
    data = png(pixels_of(number))
    for shard in sorted(shards.glob("*.tar")):
        contents = bytearray(shard.read_bytes())
        place = contents.find(data)
        if place >= 0:
            contents[place + len(data) // 2] ^= 4
            shard.write_bytes(contents)
            return shard.name
    raise AssertionError("the picture is not there as it was written")


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_with_a_flipped_byte_is_left_out_by_name(
    shards: Path, images: Make, on_error: str, workers: int
) -> None:
    shard = flip_a_byte(shards, 5)
    loader = images(shards, on_error=on_error, workers=workers).train_dataloader()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert sorted(keys(loader)) == sorted(set(training_keys()) - {key_of(5)})
    (fault,) = loader.bad_pictures
    assert shard in fault
    assert fault.endswith(f": {key_of(5)}")
    wanted = f"left out: {fault}: its bytes are not those that were indexed"
    assert [str(each.message) for each in told if "left out" in str(each.message)] == [wanted]


def test_the_index_is_checked_against_its_manifest(shards: Path, images: Make) -> None:
    index = shards / "index.npy"
    contents = bytearray(index.read_bytes())
    contents[-1] ^= 1
    index.write_bytes(contents)
    with pytest.raises(ValueError, match=r"index\.npy is missing or not the one"):
        images(shards)


def drawn(layers: list[torch.Tensor], generator: torch.Generator | None, seen: list[bool]) -> list[torch.Tensor]:
    """A transform that notes whether it may draw."""
    seen.append(generator is not None)
    return layers


def test_only_training_draws(pristine: Path, images: Make) -> None:
    seen = list[bool]()
    transform: Transform = partial(drawn, seen=seen)
    module = images(pristine, transform=transform)
    for loader, draws in ((module.train_dataloader(), True), (module.val_dataloader(), False)):
        seen.clear()
        list(loader)
        assert set(seen) == {draws}
