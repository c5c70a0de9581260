"""Writing shards, against webdataset, hashlib, zlib, tarfile, Pillow and scikit-image as independent readers."""

import hashlib
import io
import json
import resource
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab

from datamodules.shards.index import Manifest
from datamodules.shards.sources import find_sources
from datamodules.shards.writer import Encoding, write
from tests.conftest import PROJECT, colourful_pictures


def pixels(seed: int = 0, height: int = 24, width: int = 32) -> Image.Image:
    """A smooth random colour picture."""
    side = max(height, width)
    return Image.fromarray(colourful_pictures(1, side, seed)[0].permute(1, 2, 0).numpy()[:height, :width].copy())


def save_picture(path: Path, picture: Image.Image, **settings: Any) -> bytes:
    """Write a picture and the folders above it; returns its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **settings)
    return path.read_bytes()


def write_shards(
    source: Path,
    out: Path,
    short_side: int | None = None,
    quality: int | None = None,
    per_shard: int = 1000,
    seed: int = 0,
    workers: int = 1,
) -> Manifest:
    """Write a source as shards."""
    return write(
        find_sources(source, out / "unpacked"),
        out,
        command="test",
        encoding=Encoding(short_side, quality),
        pictures_per_shard=per_shard,
        seed=seed,
        workers=workers,
    )


def samples_of(path: Path) -> list[dict[str, Any]]:
    """The samples of a shard, undecoded, as plain webdataset reads them."""
    return list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))


def all_samples(out: Path) -> dict[str, dict[str, Any]]:
    """The samples of all shards of a folder by key."""
    samples = [sample for path in sorted(out.glob("*.tar")) for sample in samples_of(path)]
    assert len({sample["__key__"] for sample in samples}) == len(samples)
    return {sample["__key__"]: sample for sample in samples}


def index_of(out: Path) -> dict[str, Any]:
    """The rows of the index by key."""
    return {row["key"].decode(): row for row in np.load(out / "index.npy")}


def stored(out: Path, key: str, extension: str) -> Image.Image:
    """A picture as it lies in the shards."""
    picture = Image.open(io.BytesIO(all_samples(out)[key][extension]))
    picture.load()
    return picture


def files_of(out: Path) -> dict[str, bytes]:
    """Everything in a folder."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Seven pictures, JPEG and PNG, of two classes."""
    for number in range(4):
        save_picture(tmp_path / "animals" / "cat" / f"cat{number}.jpg", pixels(number), quality=95)
    for number in range(3):
        save_picture(tmp_path / "animals" / "dog" / f"dog{number}.png", pixels(10 + number, 16, 12))
    return tmp_path / "animals"


@pytest.fixture
def segmented(tmp_path: Path) -> Path:
    """COCO-Stuff-like pictures, 60 x 40, with masks that hold five values."""
    folder = tmp_path / "coco"
    values = np.array([0, 1, 7, 200, 255], np.uint8)
    for number in range(3):
        save_picture(folder / "images" / "val2017" / f"{number}.jpg", pixels(number, 40, 60), quality=95)
        blocks = np.roll(values, number)[np.add.outer(np.arange(40) // 8, np.arange(60) // 12) % 5]
        save_picture(folder / "annotations" / "val2017" / f"{number}.png", Image.fromarray(blocks))
    return folder


def test_webdataset_reads_the_same_keys_bytes_and_labels(animals: Path, tmp_path: Path) -> None:
    manifest = write_shards(animals, tmp_path / "out", per_shard=3)
    samples = all_samples(tmp_path / "out")
    assert set(samples) == {path.stem for path in animals.rglob("*.*")}
    assert manifest.classes == ["cat", "dog"]
    for path in animals.rglob("*.*"):
        sample = samples[path.stem]
        assert {name for name in sample if not name.startswith("__")} == {path.suffix[1:], "cls"}
        assert sample[path.suffix[1:]] == path.read_bytes()
        assert manifest.classes[int(sample["cls"])] == path.parent.name


def test_pictures_without_a_class_have_no_label(tmp_path: Path) -> None:
    data = save_picture(tmp_path / "flat" / "a.jpg", pixels())
    write_shards(tmp_path / "flat", tmp_path / "out")
    (sample,) = samples_of(tmp_path / "out" / "all-000000.tar")
    assert {name: value for name, value in sample.items() if not name.startswith("__")} == {"jpg": data}
    assert index_of(tmp_path / "out")["a"]["label"] == -1


def test_masks_are_stored_beside_their_pictures(segmented: Path, tmp_path: Path) -> None:
    write_shards(segmented, tmp_path / "out")
    samples, index = all_samples(tmp_path / "out"), index_of(tmp_path / "out")
    shard = (tmp_path / "out" / "val-000000.tar").read_bytes()
    for key in ("0", "1", "2"):
        mask = (segmented / "annotations" / "val2017" / f"{key}.png").read_bytes()
        assert samples[key]["mask.png"] == mask
        assert shard[index[key]["mask_offset"] :][: index[key]["mask_length"]] == mask
        assert index[key]["mask_checksum"] == zlib.crc32(mask)


def test_the_index_points_at_exactly_the_bytes_of_each_picture(animals: Path, tmp_path: Path) -> None:
    manifest = write_shards(animals, tmp_path / "out", per_shard=3)
    shards = [(tmp_path / "out" / shard.name).read_bytes() for shard in manifest.shards]
    index = index_of(tmp_path / "out")
    assert len(index) == 7
    for path in animals.rglob("*.*"):
        row = index[path.stem]
        data = shards[row["shard"]][row["offset"] : row["offset"] + row["length"]]
        assert data == path.read_bytes()
        assert row["checksum"] == zlib.crc32(data)
        assert manifest.classes[row["label"]] == path.parent.name
        assert (row["width"], row["height"]) == Image.open(path).size
        assert row["mask_length"] == 0


def test_rows_of_the_index_are_in_the_order_of_the_shards(animals: Path, tmp_path: Path) -> None:
    manifest = write_shards(animals, tmp_path / "out", per_shard=2)
    in_shards = [
        (number, sample["__key__"])
        for number, shard in enumerate(manifest.shards)
        for sample in samples_of(tmp_path / "out" / shard.name)
    ]
    index = np.load(tmp_path / "out" / "index.npy")
    assert [(row["shard"], row["key"].decode()) for row in index] == in_shards


def test_splits_have_their_own_shards_numbered_on_in_the_index(tmp_path: Path) -> None:
    for place in ("train/1.png", "train/2.png", "train/3.png", "val/4.png"):
        save_picture(tmp_path / "set" / place, pixels(int(place[-5])))
    manifest = write_shards(tmp_path / "set", tmp_path / "out", per_shard=2)
    assert {split: [(shard.name, shard.pictures) for shard in shards] for split, shards in manifest.splits.items()} == {
        "train": [("train-000000.tar", 2), ("train-000001.tar", 1)],
        "val": [("val-000000.tar", 1)],
    }
    assert index_of(tmp_path / "out")["4"]["shard"] == 2


def test_the_manifest_agrees_with_hashlib(animals: Path, tmp_path: Path) -> None:
    write_shards(animals, tmp_path / "out", per_shard=3)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    shards = manifest["splits"]["all"]
    assert sorted(shard["name"] for shard in shards) == sorted(path.name for path in (tmp_path / "out").glob("*.tar"))
    for shard in shards:
        data = (tmp_path / "out" / shard["name"]).read_bytes()
        assert shard["bytes"] == len(data)
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()
    assert [shard["pictures"] for shard in shards] == [3, 3, 1]
    assert manifest["index_sha256"] == hashlib.sha256((tmp_path / "out" / "index.npy").read_bytes()).hexdigest()


def test_the_same_is_written_whenever_and_by_however_many_workers(animals: Path, tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("again", 1), ("two", 2)):
        write_shards(animals, tmp_path / name, short_side=12, per_shard=2, workers=workers)
    assert files_of(tmp_path / "again") == files_of(tmp_path / "one")
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def test_pictures_are_shuffled_by_the_seed(tmp_path: Path) -> None:
    for number in range(20):
        save_picture(tmp_path / "flat" / f"{number:02}.png", pixels(number, 8, 8))
    orders = []
    for seed in (0, 1):
        write_shards(tmp_path / "flat", tmp_path / f"out{seed}", seed=seed)
        orders.append([sample["__key__"] for sample in samples_of(tmp_path / f"out{seed}" / "all-000000.tar")])
    assert sorted(orders[0]) == sorted(orders[1]) == [f"{number:02}" for number in range(20)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) not in orders


def test_only_the_shards_the_manifest_and_the_index_remain(animals: Path, tmp_path: Path) -> None:
    write_shards(animals, tmp_path / "out")
    assert set(files_of(tmp_path / "out")) == {"all-000000.tar", "index.npy", "manifest.json"}
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("encoding", [(None, None), (12, None), (12, 90)])
@pytest.mark.parametrize(("mode", "suffix"), [("L", "jpg"), ("L", "png"), ("LA", "png"), ("1", "png"), ("I;16", "png")])
def test_grey_pictures_are_counted_however_they_are_stored(
    tmp_path: Path, mode: str, suffix: str, encoding: tuple[int | None, int | None]
) -> None:
    grey = pixels().convert("L")
    if mode == "I;16":
        grey = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    save_picture(tmp_path / "set" / f"grey.{suffix}", grey if mode == "I;16" else grey.convert(mode))
    save_picture(tmp_path / "set" / f"colour.{suffix}", pixels(1))
    manifest = write_shards(tmp_path / "set", tmp_path / "out", *encoding)
    assert manifest.grey == ["grey"]
    assert {key: bool(row["grey"]) for key, row in index_of(tmp_path / "out").items()} == {
        "grey": True,
        "colour": False,
    }


def test_duplicates_are_grouped(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "c", "d", "e")):
        save_picture(tmp_path / "set" / f"{name}.png", pixels(number % 2 if name != "e" else 7))
    manifest = write_shards(tmp_path / "set", tmp_path / "out", per_shard=2)
    assert sorted(sorted(group) for group in manifest.duplicates) == [["a", "c"], ["b", "d"]]
    assert len(all_samples(tmp_path / "out")) == 5


@pytest.mark.parametrize("encoding", [(None, None), (12, None), (None, 90)])
def test_unreadable_files_are_left_out_and_named(
    tmp_path: Path, animals: Path, encoding: tuple[int | None, int | None]
) -> None:
    (animals / "cat" / "text.jpg").write_bytes(b"this is text")
    for path in (animals / "cat" / "half.jpg", animals / "dog" / "part.png"):
        whole = save_picture(path, Image.effect_noise((40, 40), 90).convert("RGB"))
        path.write_bytes(whole[: len(whole) // 2])  # the header is whole, half of the pixels are not
    (animals / "dog" / "empty.png").write_bytes(b"")
    manifest = write_shards(animals, tmp_path / "out", *encoding, per_shard=4)
    assert {message.partition(":")[0] for message in manifest.unreadable} == {
        "text.jpg",
        "half.jpg",
        "part.png",
        "empty.png",
    }
    assert len(manifest.unreadable) == 4
    kept = {path.stem for path in animals.rglob("*.*")} - {"text", "half", "part", "empty"}
    assert set(all_samples(tmp_path / "out")) == set(index_of(tmp_path / "out")) == kept
    assert sum(shard.pictures for shard in manifest.shards) == 7


def colour_facts(rgb: NDArray[np.uint8]) -> tuple[float, float]:
    """Colourness by the JFIF formula, and the range of a plus that of b by scikit-image."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    blueness, redness = (blue - luma) / 1.772, (red - luma) / 1.402
    lab = rgb2lab(rgb)
    return (
        float(np.maximum(np.abs(blueness), np.abs(redness)).mean() / 128),
        float(np.ptp(lab[..., 1]) + np.ptp(lab[..., 2])),
    )


def test_colourness_and_chroma_range_agree_with_references(tmp_path: Path) -> None:
    pale = Image.blend(pixels(1), Image.new("RGB", (32, 24), (128, 128, 128)), 0.9)
    for name, picture in (("drawing.png", pixels(0)), ("photo.jpg", pixels(2)), ("pale.bmp", pale)):
        save_picture(tmp_path / "set" / name, picture)
    save_picture(tmp_path / "set" / "pure.png", Image.new("RGB", (5, 5), (255, 0, 0)))
    save_picture(tmp_path / "set" / "grey.png", pixels(3).convert("L"))
    write_shards(tmp_path / "set", tmp_path / "out")
    index = index_of(tmp_path / "out")
    values = []
    for path in (tmp_path / "set").iterdir():
        colourness, chroma_range = colour_facts(np.asarray(Image.open(path).convert("RGB")))
        assert index[path.stem]["colourness"] == pytest.approx(colourness, abs=1e-5)
        assert index[path.stem]["chroma_range"] == pytest.approx(chroma_range, abs=0.02)
        values.append(colourness)
    assert max(values) > 0.5
    assert min(values) < 1e-9


@pytest.mark.parametrize(("height", "width", "size"), [(40, 60, (30, 20)), (60, 40, (20, 30)), (20, 33, (33, 20))])
def test_short_side_shrinks_larger_pictures_only(
    tmp_path: Path, height: int, width: int, size: tuple[int, int]
) -> None:
    save_picture(tmp_path / "set" / "large.png", pixels(0, height, width))
    small = save_picture(tmp_path / "set" / "small.png", pixels(1, 12, 30))
    write_shards(tmp_path / "set", tmp_path / "out", short_side=20)
    assert stored(tmp_path / "out", "large", "png").size == size
    row = index_of(tmp_path / "out")["large"]
    assert (row["width"], row["height"]) == size
    assert all_samples(tmp_path / "out")["small"]["png"] == small, "what is small already is kept byte for byte"


def test_shrunk_png_is_lossless(tmp_path: Path) -> None:
    save_picture(tmp_path / "set" / "two.png", Image.new("RGB", (40, 60), (13, 57, 201)))
    write_shards(tmp_path / "set", tmp_path / "out", short_side=20)
    picture = stored(tmp_path / "out", "two", "png")
    assert picture.format == "PNG"
    assert picture.size == (20, 30)
    assert picture.getcolors() == [(600, (13, 57, 201))]


def test_shrunk_pictures_look_like_pillows(tmp_path: Path) -> None:
    save_picture(tmp_path / "set" / "a.png", pixels(0, 48, 64))
    write_shards(tmp_path / "set", tmp_path / "out", short_side=24)
    expected = np.asarray(pixels(0, 48, 64).resize((32, 24), Image.Resampling.BICUBIC)).astype(int)
    found = np.asarray(stored(tmp_path / "out", "a", "png")).astype(int)
    assert np.abs(found - expected).max() <= 2


def test_without_quality_a_shrunk_jpeg_stays_a_jpeg_and_a_png_a_png(tmp_path: Path) -> None:
    save_picture(tmp_path / "set" / "photo.jpg", pixels(0, 40, 60))
    save_picture(tmp_path / "set" / "drawing.png", pixels(1, 40, 60))
    write_shards(tmp_path / "set", tmp_path / "out", short_side=20)
    assert stored(tmp_path / "out", "photo", "jpg").format == "JPEG"
    assert stored(tmp_path / "out", "drawing", "png").format == "PNG"


def test_quality_makes_jpegs_without_chroma_subsampling(tmp_path: Path) -> None:
    save_picture(tmp_path / "set" / "drawing.png", pixels(1, 40, 60))
    save_picture(tmp_path / "set" / "photo.jpg", pixels(2, 40, 60), quality=75, subsampling="4:2:0")
    write_shards(tmp_path / "set", tmp_path / "out", short_side=20, quality=90)
    for key in ("drawing", "photo"):
        picture = stored(tmp_path / "out", key, "jpg")
        assert picture.format == "JPEG"
        assert picture.layer == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]  # type: ignore[attr-defined]
        reference = io.BytesIO()
        pixels().save(reference, "JPEG", quality=90)
        assert picture.quantization == Image.open(reference).quantization  # type: ignore[attr-defined]


def test_quality_sets_the_size(tmp_path: Path) -> None:
    save_picture(tmp_path / "set" / "a.png", pixels(1, 80, 80))
    for quality in (30, 98):
        write_shards(tmp_path / "set", tmp_path / str(quality), quality=quality)
    assert index_of(tmp_path / "30")["a"]["length"] < index_of(tmp_path / "98")["a"]["length"]


@pytest.mark.parametrize("side", [20, 13])
def test_shrunk_masks_keep_their_values_and_have_the_size_of_their_picture(
    segmented: Path, tmp_path: Path, side: int
) -> None:
    write_shards(segmented, tmp_path / "out", short_side=side, quality=80)
    index = index_of(tmp_path / "out")
    for key in ("0", "1", "2"):
        mask, picture = stored(tmp_path / "out", key, "mask.png"), stored(tmp_path / "out", key, "jpg")
        assert mask.size == picture.size == (index[key]["width"], index[key]["height"])
        assert min(mask.size) == side
        assert sorted(np.unique(np.asarray(mask))) == [0, 1, 7, 200, 255]
        data = (tmp_path / "out" / "val-000000.tar").read_bytes()[index[key]["mask_offset"] :]
        assert zlib.crc32(data[: index[key]["mask_length"]]) == index[key]["mask_checksum"]


def test_shrunk_palette_masks_keep_their_indices(tmp_path: Path) -> None:
    """VOC's masks are palette pictures, whose colours are not the class numbers."""
    folder = tmp_path / "voc"
    indices = np.repeat(np.repeat(np.array([[0, 15], [255, 3]], np.uint8), 20, 0), 30, 1)
    mask = Image.fromarray(indices)
    mask.putpalette([value % 256 for value in range(768)])
    assert mask.mode == "P"
    save_picture(folder / "SegmentationClass" / "a.png", mask)
    save_picture(folder / "JPEGImages" / "a.jpg", pixels(0, 40, 60))
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("")
    write_shards(folder, tmp_path / "out", short_side=20)
    np.testing.assert_array_equal(np.asarray(stored(tmp_path / "out", "a", "mask.png")), indices[::2, ::2])


@pytest.mark.parametrize("short_side", [None, 20])
@pytest.mark.parametrize("damage", ["cut in half", "flipped byte"])
def test_a_picture_with_a_damaged_mask_is_left_out_and_named(
    segmented: Path, tmp_path: Path, damage: str, short_side: int | None
) -> None:
    mask = segmented / "annotations" / "val2017" / "1.png"
    data = bytearray(mask.read_bytes())
    data[len(data) // 2] ^= 0xFF
    mask.write_bytes(data[: len(data) // 2] if damage == "cut in half" else data)
    manifest = write_shards(segmented, tmp_path / "out", short_side=short_side)
    assert set(all_samples(tmp_path / "out")) == {"0", "2"}
    (message,) = manifest.unreadable
    assert message.startswith("1.jpg: ")
    assert "mask" in message


def test_a_mask_of_another_size_than_its_picture_is_left_out_and_named(segmented: Path, tmp_path: Path) -> None:
    save_picture(segmented / "annotations" / "val2017" / "1.png", Image.new("L", (40, 60)))
    manifest = write_shards(segmented, tmp_path / "out")
    assert set(all_samples(tmp_path / "out")) == {"0", "2"}
    assert [message.partition(":")[0] for message in manifest.unreadable] == ["1.jpg"]


def test_a_mask_of_colours_is_left_out_and_named(segmented: Path, tmp_path: Path) -> None:
    save_picture(segmented / "annotations" / "val2017" / "1.png", pixels(0, 40, 60))
    manifest = write_shards(segmented, tmp_path / "out")
    assert [message.partition(":")[0] for message in manifest.unreadable] == ["1.jpg"]


def test_names_of_any_length_and_script_come_back(tmp_path: Path) -> None:
    names = ["x" * 99, "y" * 180, "Größe 色", "with blank"]
    for number, name in enumerate(names):
        save_picture(tmp_path / "set" / "class" / f"{name}.png", pixels(number))
    write_shards(tmp_path / "set", tmp_path / "out")
    samples, index = all_samples(tmp_path / "out"), index_of(tmp_path / "out")
    assert set(samples) == set(index) == set(names)
    shard = (tmp_path / "out" / "all-000000.tar").read_bytes()
    for name in names:
        assert shard[index[name]["offset"] :][: index[name]["length"]] == samples[name]["png"]


def test_a_picture_of_a_phone_with_two_frames_is_kept_byte_for_byte(tmp_path: Path) -> None:
    """Phones store a second picture behind the JPEG; Pillow calls the format MPO."""
    data = save_picture(
        tmp_path / "set" / "phone.jpg", pixels(0), format="MPO", save_all=True, append_images=[pixels(1)]
    )
    write_shards(tmp_path / "set", tmp_path / "out")
    assert all_samples(tmp_path / "out")["phone"]["jpg"] == data


def test_a_finished_set_is_refused_and_left_alone(animals: Path, tmp_path: Path) -> None:
    write_shards(animals, tmp_path / "out")
    before = files_of(tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"out holds a finished set of shards"):
        write_shards(animals, tmp_path / "out", quality=50)
    assert files_of(tmp_path / "out") == before


def interrupted(animals: Path, out: Path, monkeypatch: pytest.MonkeyPatch, finished: int, per_shard: int) -> None:
    """Begin to write, and fail after so many shards."""
    from datamodules.shards import writer

    real, calls = writer.write_shard, list[writer.Job]()

    def failing(job: writer.Job) -> writer.Part:
        if len(calls) == finished:
            raise OSError(5, "no such luck")
        calls.append(job)
        return real(job)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_shard", failing)
        with pytest.raises(OSError, match="no such luck"):
            write_shards(animals, out, per_shard=per_shard)
    assert len(list(out.glob("*.tar"))) == finished
    assert not (out / "manifest.json").exists()


def test_an_interrupted_set_goes_on(animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(animals, tmp_path / "out", monkeypatch, finished=2, per_shard=2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    write_shards(animals, tmp_path / "out", per_shard=2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    write_shards(animals, tmp_path / "undisturbed", per_shard=2)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "undisturbed")


@pytest.mark.parametrize("change", [{"per_shard": 4}, {"per_shard": 1, "seed": 1}, {"per_shard": 1, "short_side": 10}])
def test_an_unfinished_set_with_another_plan_is_begun_anew(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, int]
) -> None:
    interrupted(animals, tmp_path / "out", monkeypatch, finished=5, per_shard=1)
    write_shards(animals, tmp_path / "out", **change)
    write_shards(animals, tmp_path / "undisturbed", **change)
    found, expected = files_of(tmp_path / "out"), files_of(tmp_path / "undisturbed")
    assert found.keys() == expected.keys(), "shards of the old plan are gone"
    assert found == expected


def test_a_shard_that_was_deleted_during_the_interruption_is_written_again(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(animals, tmp_path / "out", monkeypatch, finished=2, per_shard=2)
    (tmp_path / "out" / "all-000000.tar").unlink()
    write_shards(animals, tmp_path / "out", per_shard=2)
    assert len(all_samples(tmp_path / "out")) == 7


def command_line(*arguments: str | Path, workers: int = 1) -> list[str]:
    """The command `write`."""
    return [sys.executable, "-m", "datamodules.shards", "write", *map(str, arguments), "--workers", str(workers)]


def is_whole_tar(path: Path) -> bool:
    """Whether a file is a tar with pictures that ends with two blocks of zeros and has no byte too few."""
    data = path.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        sizes = [len(file.read()) for member in members if (file := tar.extractfile(member))]
    end = members[-1].offset_data + -(-members[-1].size // 512) * 512
    return sizes == [member.size for member in members] and data[end : end + 1024] == bytes(1024)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Enough small pictures that a process which writes them can be killed in the middle."""
    first = save_picture(tmp_path / "many" / "a" / "0000.png", pixels(0, 8, 8))
    for number in range(1, 600):
        path = tmp_path / "many" / "ab"[number % 2] / f"{number:04}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(first)
    return tmp_path / "many"


def test_a_killed_process_leaves_whole_shards_and_the_same_command_goes_on(many: Path, tmp_path: Path) -> None:
    out, arguments = tmp_path / "out", ("--pictures-per-shard", "5")
    process = subprocess.Popen(
        command_line(many, out, *arguments), cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None and len(list(out.glob("*.tar"))) < 4:
            time.sleep(0.002)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL

    shards = sorted(out.glob("*.tar"))
    assert 4 <= len(shards) < 120, "it was killed in the middle"
    assert all(is_whole_tar(path) for path in shards)
    assert not (out / "manifest.json").exists()
    finished = {path.name: path.stat().st_mtime_ns for path in shards[:-1]}

    result = subprocess.run(
        command_line(many, out, *arguments), cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == finished
    undisturbed = write_shards(many, tmp_path / "undisturbed", per_shard=5)
    ours, theirs = files_of(out), files_of(tmp_path / "undisturbed")
    manifest = json.loads(ours.pop("manifest.json"))
    theirs.pop("manifest.json")
    assert ours == theirs
    expected = {"schema": 1, **asdict(undisturbed)}
    assert {**manifest, "command": ""} == {**expected, "command": ""}
    assert manifest["command"].startswith("python -m datamodules.shards write ")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_in_one_sentence_and_leaves_no_half_shard(tmp_path: Path, workers: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    for number in range(6):
        save_picture(tmp_path / "set" / f"{number}.png", Image.fromarray(noise))
    limit = 30_000  # bytes in a file: two pictures fit, a shard of six does not
    result = subprocess.run(
        command_line(tmp_path / "set", tmp_path / "out", workers=workers),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert "make room, and the same command goes on" in result.stderr
    left = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert left == []
