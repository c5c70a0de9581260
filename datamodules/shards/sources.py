"""Finds the pictures of published data sets, in the layouts in which they are distributed."""

import csv
import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from datamodules.pictures import find_pictures
from datamodules.shards.index import free_name, printable, tar_members
from imaging.files import SUFFIXES

NAMED_FILE = re.compile(rf"(.+(?:{'|'.join(map(re.escape, sorted(SUFFIXES)))}))\s+(\S.*)", re.IGNORECASE)
"""In a table whose columns blanks divide: the name of a picture's file, which may hold blanks itself, and its class."""
WORDNET_ID = re.compile(r"n\d{2,}\b")
"""The class in Kaggle's table of ImageNet, with the corners of a box behind it."""
SPLIT_FOLDERS = ("train", "val", "validation", "test")
ARCHIVES = (".tar.xz", ".tar.gz", ".tgz", ".tar.bz2", ".zip")
LAYOUTS = """\
layouts of SOURCE, told by what it holds:
  ILSVRC2012_img_train.tar or ILSVRC2012_img_val.tar, read in place, or a folder of both
  train/WNID/images/*.JPEG, val/val_annotations.txt: Tiny-ImageNet
  JPEGImages/, SegmentationClass/, ImageSets/Segmentation/: VOC 2012 (also below VOCdevkit/VOC2012)
  images/train2017/*.jpg, annotations/train2017/*.png: COCO-Stuff
  train/, val/ or test/, in each CLASS/* or pictures: ImageNet unpacked, CIFAR-10, SUN-6, ...
  anything else: one split, `all`, whose folders are classes: SUN-A, SUN-6, SUN397; --test-list names a test split of it
  any of these as .zip, .tar.gz or .tar.xz, unpacked into OUT/unpacked while it is written
"""


class Bytes(NamedTuple):
    """Where some bytes lie: a file, or a stretch of a tar file."""

    path: str
    offset: int = 0
    length: int = -1

    def read(self) -> bytes:
        """The bytes."""
        with Path(self.path).open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


@dataclass(frozen=True)
class Source:
    """A picture to be written.

    Attributes:
        name: Of its file, as people know it.
        picture: Its bytes.
        category: Name of its class, if it has one.
        mask: Bytes of its segmentation mask, if it has one.
    """

    name: str
    picture: Bytes
    category: str | None = None
    mask: Bytes | None = None


Splits = dict[str, list[Source]]


def find_sources(source: Path, unpacked: Path, labels: Path | None = None, test_list: Path | None = None) -> Splits:
    """The pictures of each split, in a fixed order.

    Args:
        source: A folder or an archive in one of `LAYOUTS`.
        unpacked: Where an archive that cannot be read in place is unpacked.
        labels: A table `file name, class` for pictures whose place does not tell their class.
        test_list: Names of the pictures that make the test split, one a line.

    Raises:
        FileNotFoundError: If there is nothing to be found.
        ValueError: If an archive, a table or a list is broken.
    """
    if not source.exists():
        raise FileNotFoundError(f"there is no {source}; give a folder of pictures, an ILSVRC2012 tar or an archive")
    if source.is_file() and source.name.endswith(ARCHIVES):
        source = unpack(source, unpacked)
    splits = {split: list(map(with_printable_names, found)) for split, found in layout(source).items() if found}
    if not splits:
        raise FileNotFoundError(f"{source} holds no pictures")
    if test_list:
        splits = with_test_split(splits, test_list)
    if labels:
        splits = {split: labelled(sources, labels) for split, sources in splits.items()}
    return splits


def with_printable_names(source: Source) -> Source:
    """A source whose names can be written into a table."""
    return replace(source, name=printable(source.name), category=source.category and printable(source.category))


def layout(source: Path) -> Splits:
    """The splits of a folder or tar."""
    if source.is_file():
        return ilsvrc_tar(source)
    if tars := sorted(source.glob("ILSVRC2012_img_*.tar")):
        return {split: sources for tar in tars for split, sources in ilsvrc_tar(tar).items()}
    children = [child for child in source.iterdir() if child.is_dir() and not child.name.startswith((".", "__MACOSX"))]
    if len(children) == 1 and children[0].name not in SPLIT_FOLDERS and any(map(Path.is_dir, children[0].iterdir())):
        return layout(children[0])  # the folder that archives are packed with
    if (source / "SegmentationClass").is_dir():
        return voc(source)
    if (source / "annotations").is_dir() and (source / "images").is_dir():
        return coco_stuff(source)
    if (source / "val" / "val_annotations.txt").is_file():
        return tiny_imagenet(source)
    if splits := [name for name in SPLIT_FOLDERS if (source / name).is_dir()]:
        return {split: picture_folder(source / split) for split in splits}
    return {"all": picture_folder(source)}


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive, once: an interrupted unpacking is begun again.

    Raises:
        ValueError: If it is damaged.
    """
    status = archive.stat()
    unpacked = folder / f"{archive.name}-{status.st_size}-{status.st_mtime_ns}"
    if not unpacked.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        half = unpacked.with_name("half")
        try:
            with Console().status(f"unpacking {escape(archive.name)}"):
                if archive.suffix == ".zip":
                    shutil.unpack_archive(archive, half)
                else:
                    untar(archive, half)
        except Exception as error:  # each format has failures of its own
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError) and error.errno:
                raise
            raise ValueError(f"{archive} cannot be unpacked: {error}") from error
        half.rename(unpacked)
    return unpacked


def untar(archive: Path, folder: Path) -> None:
    """Unpack a compressed tar, and read on to where its checksum stands."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
        assert tar.fileobj
        while tar.fileobj.read(1 << 20):
            pass


def picture_folder(folder: Path) -> list[Source]:
    """Pictures at any depth; those in folders have the folder's path as class, without a trailing `images`."""
    sources = []
    for path in find_pictures(folder):
        category = [part for part in path.relative_to(folder).parent.parts if part != "images"]
        sources.append(Source(path.name, Bytes(str(path)), "/".join(category) or None))
    return sources


def tiny_imagenet(folder: Path) -> Splits:
    """Tiny-ImageNet: the classes of its validation pictures stand in a table."""
    splits = {split: picture_folder(folder / split) for split in ("train", "val", "test") if (folder / split).is_dir()}
    splits["val"] = labelled(splits["val"], folder / "val" / "val_annotations.txt")
    return splits


def voc(folder: Path) -> Splits:
    """VOC 2012's segmentation pictures and masks."""
    splits = {}
    for split in ("train", "val"):
        stems = lines_of(folder / "ImageSets" / "Segmentation" / f"{split}.txt")
        pictures = [folder / "JPEGImages" / f"{stem}.jpg" for stem in stems]
        splits[split] = with_masks(pictures, folder / "SegmentationClass")
    return splits


def coco_stuff(folder: Path) -> Splits:
    """COCO-Stuff: pictures and pixel maps in folders of the same names."""
    return {
        picture_folder.name.removesuffix("2017"): with_masks(
            find_pictures(picture_folder), folder / "annotations" / picture_folder.name
        )
        for picture_folder in sorted((folder / "images").iterdir())
        if (folder / "annotations" / picture_folder.name).is_dir()
    }


def with_masks(pictures: list[Path], masks: Path) -> list[Source]:
    """Pictures and the masks of the same stem.

    Raises:
        FileNotFoundError: If a mask is missing.
    """
    sources = []
    for path in pictures:
        mask = masks / f"{path.stem}.png"
        if not mask.is_file():
            raise FileNotFoundError(f"{path} has no mask {mask}")
        sources.append(Source(path.name, Bytes(str(path)), mask=Bytes(str(mask))))
    return sources


def ilsvrc_tar(path: Path) -> Splits:
    """ILSVRC 2012's training tar, one tar a class inside, or its validation tar, read in place.

    Raises:
        ValueError: If it is no whole tar.
    """
    split = next((name for name in ("train", "val", "test") if name in path.name), "all")
    with path.open("rb") as file:
        return {split: [*track(members(file, str(path)), f"listing {escape(path.name)}")]}


def members(tar: IO[bytes], path: str, start: int = 0, category: str | None = None) -> Iterator[Source]:
    """The pictures of a tar that begins so far into a file, and of the tars inside it, which are classes."""
    for member, inner in tar_members(tar, path):
        name = PurePosixPath(member.name)
        place = start + member.offset_data
        if name.suffix == ".tar" and inner:
            yield from members(inner, path, place, name.stem)
        elif name.suffix.lower() in SUFFIXES:
            yield Source(name.name, Bytes(path, place, member.size), category or "/".join(name.parent.parts) or None)


def labelled(sources: list[Source], table: Path) -> list[Source]:
    """Sources with classes from a table: a file's name or stem, then its class.

    Raises:
        ValueError: If a picture is not in the table, or the table gives one two classes.
    """
    named: dict[str, str] = {}
    for name, category in table_rows(table):
        if named.setdefault(name, category) != category:
            raise ValueError(f"{table} gives {name} two classes, {named[name]} and {category}; keep one of them")
    classes = {Path(name).stem: category for name, category in named.items()} | named
    missing = [source.name for source in sources if not source.category and Path(source.name).stem not in classes]
    if missing:
        raise ValueError(f"{table} gives no class for {len(missing)} pictures, among them {', '.join(missing[:3])}")
    return [
        source if source.category else replace(source, category=classes[Path(source.name).stem]) for source in sources
    ]


def table_rows(table: Path) -> list[tuple[str, str]]:
    """The names and classes in a table, whose columns tabs divide, or else commas, or else blanks.

    Behind the class there may be numbers, as Tiny-ImageNet has boxes.

    Raises:
        ValueError: If there is something else behind it.
    """
    rows, lines = list[tuple[str, str]](), lines_of(table)
    delimiter = next((each for each in "\t," if any(each in line for line in lines)), None)
    for line in lines:
        if delimiter:
            columns = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        else:
            parts = NAMED_FILE.fullmatch(line)
            columns = list(parts.groups()) if parts else line.split(maxsplit=1)
        name, category, *others = [*map(str.strip, columns), "", ""][: max(2, len(columns))]
        if not all(other.replace(".", "", 1).lstrip("-").isdecimal() for other in others if other):
            raise ValueError(
                f"{table} has more than a name and a class in {line!r}; put quotes round what holds a comma"
            )
        box = WORDNET_ID.match(category)
        if name and category:
            rows.append((name, box[0] if box else category))
    return rows


def lines_of(path: Path) -> list[str]:
    """The lines of a text that are not blank, without the blanks round them, and without a byte order mark."""
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def with_test_split(splits: Splits, test_list: Path) -> Splits:
    """Move what a list names, by path or by file name, from everything else, which trains, to a test split.

    Raises:
        ValueError: If the list names what is not there.
    """
    wanted = {line.lstrip("/") for line in lines_of(test_list)}
    test, train, found = list[Source](), list[Source](), set[str]()
    for source in (source for sources in splits.values() for source in sources):
        names = {source.name, Path(source.name).stem, f"{source.category}/{source.name}"} & wanted
        found |= names
        (test if names else train).append(source)
    if missing := sorted(wanted - found):
        raise ValueError(f"{test_list} names {len(missing)} pictures that are not there: {', '.join(missing[:3])}, ...")
    return {"train": train, "test": test}


def keys_of(sources: list[Source]) -> list[str]:
    """A key for each picture of a split: its stem, with the class before it where stems repeat."""
    stems = [Path(source.name).stem for source in sources]
    if max(Counter(stems).values(), default=0) > 1:
        stems = [
            "_".join(filter(None, [(source.category or "").replace("/", "_"), stem]))
            for source, stem in zip(sources, stems, strict=True)
        ]
    taken: set[str] = set()
    return [free_name(stem.replace(".", "_").replace(os.sep, "_"), taken) for stem in stems]
