"""Finding pictures in the layouts in which data sets are published."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from datamodules.shards.sources import Bytes, Source, Splits, find_sources, keys_of


def make_picture(path: Path, shade: int = 0) -> bytes:
    """Write a small picture and the folders above it; returns its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (shade % 256, 80, 160)).save(path, {".png": "PNG"}.get(path.suffix, "JPEG"))
    return path.read_bytes()


def find(source: Path, *, labels: Path | None = None, test_list: Path | None = None) -> Splits:
    """The sources, with what is unpacked beside the source."""
    return find_sources(source, source.parent / "unpacked", labels, test_list)


def categories(sources: list[Source]) -> dict[str, str | None]:
    """The class of each picture, by file name."""
    assert len({source.name for source in sources}) == len(sources)
    return {source.name: source.category for source in sources}


def contents(sources: list[Source]) -> dict[str, bytes]:
    """The bytes of each picture, by file name."""
    return {source.name: source.picture.read() for source in sources}


def tar_of(members: dict[str, bytes]) -> bytes:
    """A tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def jpegs(tmp_path: Path) -> list[bytes]:
    """Six different encoded pictures."""
    return [make_picture(tmp_path / "loose" / f"{shade}.jpg", shade * 40) for shade in range(6)]


@pytest.fixture
def training_tar(tmp_path: Path, jpegs: list[bytes]) -> Path:
    """ILSVRC 2012's training tar, with two classes of two pictures."""
    inner = {
        f"{wnid}.tar": tar_of({f"{wnid}_{number}.JPEG": jpegs[2 * place + number] for number in range(2)})
        for place, wnid in enumerate(("n01440764", "n01443537"))
    }
    path = tmp_path / "ilsvrc" / "ILSVRC2012_img_train.tar"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(tar_of(inner))
    return path


@pytest.fixture
def validation_tar(tmp_path: Path, jpegs: list[bytes]) -> Path:
    """ILSVRC 2012's validation tar, with two pictures."""
    path = tmp_path / "ilsvrc" / "ILSVRC2012_img_val.tar"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(tar_of({f"ILSVRC2012_val_0000000{number}.JPEG": jpegs[3 + number] for number in (1, 2)}))
    return path


@pytest.fixture
def voc_folder(tmp_path: Path) -> Path:
    """VOC 2012 as its tar unpacks: one training and two validation pictures with masks, one picture without."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for number in range(4):
        make_picture(folder / "JPEGImages" / f"2007_{number}.jpg", 40 * number)
        make_picture(folder / "SegmentationClass" / f"2007_{number}.png", number)
    (folder / "SegmentationClass" / "2007_3.png").unlink()
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_1\n")
    (lists / "val.txt").write_text("2007_0\n2007_2\n")
    return folder


@pytest.fixture
def coco_folder(tmp_path: Path) -> Path:
    """COCO-Stuff: two training pictures, a validation picture, and test pictures that have no masks."""
    folder = tmp_path / "coco"
    for split, number in (("train2017", 1), ("train2017", 2), ("val2017", 3), ("test2017", 4)):
        make_picture(folder / "images" / split / f"00{number}.jpg", number)
        if split != "test2017":
            make_picture(folder / "annotations" / split / f"00{number}.png", 100 + number)
    return folder


@pytest.fixture
def sun_folder(tmp_path: Path) -> Path:
    """SUN-like: classes in folders of folders."""
    folder = tmp_path / "sun"
    for name in ("a/abbey/sun_1.jpg", "a/abbey/sun_2.jpg", "b/bath/sun_3.jpg"):
        make_picture(folder / name)
    return folder


def test_folders_are_classes(tmp_path: Path) -> None:
    data = make_picture(tmp_path / "pets" / "cat" / "tom.jpg", 7)
    make_picture(tmp_path / "pets" / "dog" / "rex.PNG")
    make_picture(tmp_path / "pets" / "stray.jpg")
    (tmp_path / "pets" / "dog" / "readme.txt").write_text("no picture")
    splits = find(tmp_path / "pets")
    assert list(splits) == ["all"]
    assert categories(splits["all"]) == {"tom.jpg": "cat", "rex.PNG": "dog", "stray.jpg": None}
    assert contents(splits["all"])["tom.jpg"] == data


def test_pictures_come_in_the_same_order_however_they_were_made(tmp_path: Path) -> None:
    for folder, numbers in (("one", range(9)), ("two", reversed(range(9)))):
        for number in numbers:
            make_picture(tmp_path / folder / f"class{number % 3}" / f"{number}.jpg")
    first, second = ([source.name for source in find(tmp_path / folder)["all"]] for folder in ("one", "two"))
    assert first == second


def test_a_lone_folder_above_the_classes_is_no_class(tmp_path: Path) -> None:
    make_picture(tmp_path / "download" / "pets" / "cat" / "tom.jpg")
    make_picture(tmp_path / "download" / "pets" / "dog" / "rex.jpg")
    assert categories(find(tmp_path / "download")["all"]) == {"tom.jpg": "cat", "rex.jpg": "dog"}


def test_a_lone_class_is_a_class(tmp_path: Path) -> None:
    make_picture(tmp_path / "pets" / "cat" / "tom.jpg")
    assert categories(find(tmp_path / "pets")["all"]) == {"tom.jpg": "cat"}


def test_train_val_and_test_folders_are_splits(tmp_path: Path) -> None:
    for place in ("train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg", "test/4.jpg"):
        make_picture(tmp_path / "set" / place)
    splits = find(tmp_path / "set")
    assert {split: categories(sources) for split, sources in splits.items()} == {
        "train": {"1.jpg": "cat", "2.jpg": "dog"},
        "val": {"3.jpg": "cat"},
        "test": {"4.jpg": None},
    }


def test_tiny_imagenet_has_its_validation_classes_from_its_table(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-imagenet-200"
    for place in ("train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG", "test/images/test_0.JPEG"):
        make_picture(folder / place)
    make_picture(folder / "val" / "images" / "val_0.JPEG")
    make_picture(folder / "val" / "images" / "val_1.JPEG")
    (folder / "train" / "n01" / "n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t62\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("val_1.JPEG\tn01\t0\t32\t44\t62\nval_0.JPEG\tn02\t0\t0\t9\t9\n")
    splits = find(folder)
    assert {split: categories(sources) for split, sources in splits.items()} == {
        "train": {"n01_0.JPEG": "n01", "n02_0.JPEG": "n02"},
        "val": {"val_0.JPEG": "n02", "val_1.JPEG": "n01"},
        "test": {"test_0.JPEG": None},
    }


def test_the_ilsvrc_training_tar_is_read_in_place(training_tar: Path, jpegs: list[bytes]) -> None:
    splits = find(training_tar)
    assert list(splits) == ["train"]
    assert categories(splits["train"]) == {
        "n01440764_0.JPEG": "n01440764",
        "n01440764_1.JPEG": "n01440764",
        "n01443537_0.JPEG": "n01443537",
        "n01443537_1.JPEG": "n01443537",
    }
    assert [source.picture.read() for source in splits["train"]] == jpegs[:4]
    assert {source.picture.path for source in splits["train"]} == {str(training_tar)}


def test_the_ilsvrc_validation_tar_has_no_classes(validation_tar: Path, jpegs: list[bytes]) -> None:
    splits = find(validation_tar)
    assert list(splits) == ["val"]
    assert categories(splits["val"]) == {"ILSVRC2012_val_00000001.JPEG": None, "ILSVRC2012_val_00000002.JPEG": None}
    assert [source.picture.read() for source in splits["val"]] == jpegs[4:]


@pytest.mark.parametrize(
    "table",
    [
        "ILSVRC2012_val_00000001.JPEG n02\nILSVRC2012_val_00000002.JPEG n01\n",
        "ILSVRC2012_val_00000002\tn01\n\nILSVRC2012_val_00000001\tn02\n",
        "ImageId,PredictionString\nILSVRC2012_val_00000002,n01 85 1 499 272\nILSVRC2012_val_00000001,n02 1 2 3 4\n",
        "ILSVRC2012_val_00000001.JPEG, n02\r\nILSVRC2012_val_00000002.JPEG, n01\r\n",
    ],
)
def test_a_table_gives_the_classes_of_the_validation_tar(validation_tar: Path, tmp_path: Path, table: str) -> None:
    (tmp_path / "labels").write_bytes(table.encode())
    splits = find(validation_tar, labels=tmp_path / "labels")
    assert categories(splits["val"]) == {"ILSVRC2012_val_00000001.JPEG": "n02", "ILSVRC2012_val_00000002.JPEG": "n01"}


def test_a_picture_that_the_table_forgets_is_named(validation_tar: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("ILSVRC2012_val_00000001.JPEG n02\n")
    with pytest.raises(ValueError, match=r"labels gives no class for 1 pictures.*ILSVRC2012_val_00000002\.JPEG"):
        find(validation_tar, labels=tmp_path / "labels")


def test_a_table_may_give_names_with_dots_without_their_suffix(tmp_path: Path) -> None:
    make_picture(tmp_path / "set" / "sun.001.jpg")
    make_picture(tmp_path / "set" / "sun.002.jpg")
    (tmp_path / "labels").write_text("sun.001 abbey\nsun.002 bath\n")
    splits = find(tmp_path / "set", labels=tmp_path / "labels")
    assert categories(splits["all"]) == {"sun.001.jpg": "abbey", "sun.002.jpg": "bath"}


def test_a_folder_of_both_ilsvrc_tars_has_both_splits(
    training_tar: Path, validation_tar: Path, tmp_path: Path, jpegs: list[bytes]
) -> None:
    (tmp_path / "labels").write_text("ILSVRC2012_val_00000001 n01440764\nILSVRC2012_val_00000002 n01443537\n")
    splits = find(training_tar.parent, labels=tmp_path / "labels")
    assert [source.category for source in splits["train"]] == ["n01440764"] * 2 + ["n01443537"] * 2
    assert [source.category for source in splits["val"]] == ["n01440764", "n01443537"]
    assert [source.picture.read() for split in ("train", "val") for source in splits[split]] == jpegs


@pytest.mark.parametrize("place", ["", "..", "../.."])
def test_voc_2012_has_the_listed_pictures_and_their_masks(voc_folder: Path, place: str) -> None:
    splits = find((voc_folder / place).resolve())
    assert {split: [source.name for source in sources] for split, sources in splits.items()} == {
        "train": ["2007_1.jpg"],
        "val": ["2007_0.jpg", "2007_2.jpg"],
    }
    for source in splits["train"] + splits["val"]:
        stem = source.name.removesuffix(".jpg")
        assert source.picture.read() == (voc_folder / "JPEGImages" / source.name).read_bytes()
        assert source.mask is not None
        assert source.mask.read() == (voc_folder / "SegmentationClass" / f"{stem}.png").read_bytes()
        assert source.category is None


def test_coco_stuff_has_the_pictures_that_have_annotations(coco_folder: Path) -> None:
    splits = find(coco_folder)
    assert {split: [source.name for source in sources] for split, sources in splits.items()} == {
        "train": ["001.jpg", "002.jpg"],
        "val": ["003.jpg"],
    }
    (source,) = splits["val"]
    assert source.picture.read() == (coco_folder / "images" / "val2017" / "003.jpg").read_bytes()
    assert source.mask is not None
    assert source.mask.read() == (coco_folder / "annotations" / "val2017" / "003.png").read_bytes()


def test_a_missing_mask_of_voc_is_named(voc_folder: Path) -> None:
    (voc_folder / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_3\n")
    with pytest.raises(FileNotFoundError, match=r"2007_3\.jpg has no mask .*SegmentationClass/2007_3\.png"):
        find(voc_folder)


def test_a_missing_mask_of_coco_stuff_is_named(coco_folder: Path) -> None:
    (coco_folder / "annotations" / "train2017" / "002.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"002\.jpg has no mask .*train2017/002\.png"):
        find(coco_folder)


def test_nested_class_folders_give_classes_with_slashes(sun_folder: Path) -> None:
    expected = {"sun_1.jpg": "a/abbey", "sun_2.jpg": "a/abbey", "sun_3.jpg": "b/bath"}
    assert categories(find(sun_folder)["all"]) == expected


@pytest.mark.parametrize(
    "names", ["sun_1.jpg\nsun_3.jpg\n", "/a/abbey/sun_1.jpg\r\nb/bath/sun_3.jpg\r\n", "sun_1\nsun_3"]
)
def test_a_test_list_makes_a_test_split(sun_folder: Path, tmp_path: Path, names: str) -> None:
    (tmp_path / "list").write_bytes(names.encode())
    splits = find(sun_folder, test_list=tmp_path / "list")
    assert {split: categories(sources) for split, sources in splits.items()} == {
        "train": {"sun_2.jpg": "a/abbey"},
        "test": {"sun_1.jpg": "a/abbey", "sun_3.jpg": "b/bath"},
    }


def test_a_test_list_that_names_what_is_not_there_is_an_error(sun_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("sun_1.jpg\n/c/castle/sun_9.jpg\n")
    with pytest.raises(ValueError, match=r"list names 1 pictures that are not there: c/castle/sun_9\.jpg"):
        find(sun_folder, test_list=tmp_path / "list")


def archive_of(folder: Path, path: Path) -> Path:
    """Pack a folder, with its name, by the archive's suffix."""
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.relative_to(folder.parent))
    else:
        with tarfile.open(path, "w:" + path.suffix[1:].replace("tgz", "gz")) as tar:  # type: ignore[call-overload]
            for file in files:
                tar.add(file, file.relative_to(folder.parent))
    return path


@pytest.mark.parametrize("suffix", [".zip", ".tar.xz", ".tar.gz", ".tgz"])
def test_archives_are_unpacked_and_read_as_what_they_hold(sun_folder: Path, tmp_path: Path, suffix: str) -> None:
    archive = archive_of(sun_folder, tmp_path / f"SUN{suffix}")
    from_archive, from_folder = find(archive)["all"], find(sun_folder)["all"]
    assert categories(from_archive) == categories(from_folder)
    assert contents(from_archive) == contents(from_folder)
    assert all(tmp_path / "unpacked" in Path(source.picture.path).parents for source in from_archive)


def test_an_archive_of_voc_is_voc(voc_folder: Path, tmp_path: Path) -> None:
    splits = find(archive_of(voc_folder.parent, tmp_path / "VOCtrainval.zip"))
    assert [source.name for source in splits["val"]] == ["2007_0.jpg", "2007_2.jpg"]


def test_an_archive_is_unpacked_once(sun_folder: Path, tmp_path: Path) -> None:
    archive = archive_of(sun_folder, tmp_path / "SUN.zip")
    before = {source.name: Path(source.picture.path).stat().st_ino for source in find(archive)["all"]}
    assert {source.name: Path(source.picture.path).stat().st_ino for source in find(archive)["all"]} == before


def test_what_another_archive_left_unpacked_is_not_taken_for_this_one(tmp_path: Path) -> None:
    make_picture(tmp_path / "mine" / "1.jpg")
    make_picture(tmp_path / "yours" / "2.jpg")
    mine, yours = (archive_of(tmp_path / name, tmp_path / f"{name}.zip") for name in ("mine", "yours"))
    assert [source.name for source in find(mine)["all"]] == ["1.jpg"]
    assert [source.name for source in find(yours)["all"]] == ["2.jpg"]


@pytest.mark.parametrize("suffix", [".zip", ".tar.xz", ".tar.gz"])
def test_a_truncated_archive_is_named_and_leaves_nothing(sun_folder: Path, tmp_path: Path, suffix: str) -> None:
    archive = archive_of(sun_folder, tmp_path / f"SUN{suffix}")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"SUN\{suffix} cannot be unpacked"):
        find(archive)
    assert not list(tmp_path.glob("unpacked*"))


@pytest.mark.parametrize("suffix", [".zip", ".tar.xz", ".tar.gz"])
def test_an_archive_that_is_damaged_in_the_middle_is_named_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.jpg").write_text(" ".join(str(number**2) for number in range(3000)))
    archive = archive_of(tmp_path / "set", tmp_path / f"set{suffix}")
    data = bytearray(archive.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = b"\xff" * 300
    archive.write_bytes(data)
    with pytest.raises(ValueError, match=rf"set\{suffix} cannot be unpacked"):
        find(archive)
    assert not list(tmp_path.glob("unpacked*"))


@pytest.mark.parametrize("end", [200, 512 + 100, 1536 + 200, 1536 + 512 + 100])
def test_a_truncated_ilsvrc_tar_is_named(tmp_path: Path, end: int) -> None:
    """The tar has a header (512 bytes), a picture (1000, padded to 1024), and both again."""
    path = tmp_path / "ILSVRC2012_img_val.tar"
    path.write_bytes(tar_of({"1.JPEG": bytes(1000), "2.JPEG": bytes(1000)})[:end])
    with pytest.raises(ValueError, match=r"ILSVRC2012_img_val\.tar is no whole tar file"):
        find(path)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_truncated_tar_of_tars_is_named(training_tar: Path, share: float) -> None:
    training_tar.write_bytes(training_tar.read_bytes()[: int(training_tar.stat().st_size * share)])
    with pytest.raises(ValueError, match=r"ILSVRC2012_img_train\.tar is no whole tar file"):
        find(training_tar)


def test_an_ilsvrc_tar_with_a_broken_header_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ILSVRC2012_img_val.tar"
    data = bytearray(tar_of({f"{number}.JPEG": bytes(1000) for number in range(3)}))
    data[1536 + 150] ^= 0xFF  # in the checksum of the second header
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"ILSVRC2012_img_val\.tar is no whole tar file"):
        find(path)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere"):
        find(tmp_path / "nowhere")


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no pictures"):
        find(tmp_path / "empty")


def test_a_tar_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(tar_of({}))
    with pytest.raises((FileNotFoundError, ValueError), match="ILSVRC2012_img_val"):
        find(tmp_path / "ILSVRC2012_img_val.tar")


def named(*names: str) -> list[Source]:
    """Sources of these paths; what stands before the last slash is the class."""
    return [Source(name.rpartition("/")[2], Bytes(f"/{name}"), name.rpartition("/")[0] or None) for name in names]


def test_keys_are_stems_where_stems_do_not_repeat() -> None:
    assert keys_of(named("cat/tom.jpg", "dog/rex.JPEG")) == ["tom", "rex"]


def test_keys_have_the_class_where_stems_repeat() -> None:
    assert keys_of(named("a/cat/1.jpg", "dog/1.jpg", "dog/2.jpg", "1.jpg")) == ["a_cat_1", "dog_1", "dog_2", "1"]


@pytest.mark.parametrize(
    "names",
    [
        ["cat/1.jpg", "cat/1.png", "cat/1.JPEG"],
        ["a.b.jpg", "a_b.jpg", "a_b_2.jpg"],
        ["a_b_2.jpg", "a.b.jpg", "a_b.jpg"],
        ["a/b/1.jpg", "a_b/1.jpg", "a/b_1.jpg", "a_b_1.jpg"],
        ["x.jpg", "x.jpg", "x.jpg", "x_2.jpg"],
    ],
)
def test_keys_are_unique_and_have_no_dots(names: list[str]) -> None:
    keys = keys_of(named(*names))
    assert len(set(keys)) == len(names)
    assert not any("." in key or "/" in key for key in keys)
    assert keys == keys_of(named(*names))
