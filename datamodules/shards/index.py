"""What is known of each picture of a set of shards, and of the set."""

import hashlib
import json
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import BytesIO
from itertools import chain, count
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from pydantic import ConfigDict, NonNegativeInt, TypeAdapter, ValidationError
from webdataset.tariterators import base_plus_ext

from datamodules.pictures import decode_picture
from datamodules.transforms import chroma_range, colourness

SCHEMA = 1
MANIFEST, INDEX = "manifest.json", "index.npy"
PICTURE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "ppm", "tif", "tiff", "gif"})
MASK_EXTENSIONS = frozenset({"mask.png", "seg.png"})
LABEL_EXTENSIONS = frozenset({"cls", "label"})
CLASSES = 1_000_000
"""A label is less than this: each number below the largest gets a name."""
SINGLE_CHANNEL = frozenset({"1", "L", "LA", "I", "I;16", "F"})
"""Pillow's modes of pictures without colour."""

Index = npt.NDArray[np.void]
Facts = dict[str, Any]
"""A row that is being made, by column; `digest`, of the picture's bytes, beside them."""


class Row(NamedTuple):
    """What is known of a picture.

    Attributes:
        key: Its name in the set.
        shard: Place of its shard in the manifest's list of all shards.
        offset: Of the encoded picture in the shard.
        length: Of the encoded picture, in bytes.
        checksum: CRC-32 of those bytes.
        label: Of its class; -1 without one.
        mask_offset: Of the encoded segmentation mask.
        mask_length: Of the mask; 0 without one.
        mask_checksum: CRC-32 of the mask's bytes.
        height: In pixels.
        width: In pixels.
        grey: Whether it is stored with a single channel.
        colourness: As `datamodules.transforms.colourness` has it.
        chroma_range: As `datamodules.transforms.chroma_range` has it.
    """

    key: bytes
    shard: int
    offset: int
    length: int
    checksum: int
    label: int
    mask_offset: int
    mask_length: int
    mask_checksum: int
    height: int
    width: int
    grey: bool
    colourness: float
    chroma_range: float


def row_type(key_length: int) -> np.dtype[np.void]:
    """The columns of an index whose keys have at most so many bytes."""
    key = f"S{max(1, key_length)}"
    types = (key, "<i4", "<i8", "<i4", "<u4", "<i4", "<i8", "<i4", "<u4", "<i4", "<i4", "?", "<f4", "<f4")
    return np.dtype(list(zip(Row._fields, types, strict=True)))


@dataclass
class Shard:
    """One tar file: its name beside the manifest, or its path or URL; size; hash; pictures."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    name: str
    bytes: NonNegativeInt
    sha256: str
    pictures: NonNegativeInt


@dataclass
class Manifest:
    """What `manifest.json` holds.

    Attributes:
        command: That made the set.
        splits: The shards of each split, in the order of the index.
        classes: Names of the labels 0, 1, ...
        index_sha256: Of the index that belongs to this manifest.
        grey: Keys of pictures stored with a single channel.
        duplicates: Groups of keys whose encoded pictures are the same, byte for byte.
        unreadable: Files, or members, that were left out, and why.
        plan: Hash of the sources and options that the set was made from.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    command: str
    splits: dict[str, list[Shard]]
    classes: list[str] = field(default_factory=list)
    index_sha256: str = ""
    grey: list[str] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    plan: str = ""

    @property
    def shards(self) -> list[Shard]:
        """All shards, in the order of the index."""
        return [shard for shards in self.splits.values() for shard in shards]

    def pictures(self, split: str) -> int:
        """How many pictures a split has."""
        return sum(shard.pictures for shard in self.splits[split])

    @property
    def sha256(self) -> str:
        """Of the manifest, as it is written."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def text(self) -> str:
        """The manifest as JSON."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


def manifest_from(text: bytes, place: object) -> Manifest:
    """Read a manifest.

    Raises:
        ValueError: If the text is not one.
    """
    try:
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.pop("schema", None) != SCHEMA:
            raise ValueError(f"schema is not {SCHEMA}")
        return TypeAdapter(Manifest).validate_json(json.dumps(fields), strict=True)
    except (ValueError, RecursionError) as error:
        fault = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ValueError(
            f"{place} is no whole manifest ({fault}); make it anew with: python -m datamodules.shards index"
        ) from error


def refuse_finished(folder: Path) -> None:
    """Protect a set of shards from being written over.

    Raises:
        FileExistsError: If the folder holds one.
    """
    if (folder / MANIFEST).is_file():
        raise FileExistsError(f"{folder} holds a finished set of shards; name another folder, or delete this one")


def save(folder: Path, manifest: Manifest, rows: list[Facts]) -> None:
    """Write the index and, last of all, the manifest, which alone makes a set of shards out of files.

    Raises:
        ValueError: If there is no picture.
    """
    if not rows:
        raise ValueError(f"not one picture can be read, so there is no set to write in {folder}")
    keys = [row["key"].encode() for row in rows]
    index = np.zeros(len(rows), row_type(max(map(len, keys))))
    for name in index.dtype.names or ():
        index[name] = keys if name == "key" else [row[name] for row in rows]
    manifest.grey = [row["key"] for row in rows if row["grey"]]
    manifest.duplicates = duplicates(rows)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / INDEX) as file:
        np.save(file, index)
    manifest.index_sha256 = sha256_of(folder / INDEX)
    with whole_file(folder / MANIFEST) as file:
        file.write(manifest.text.encode())


def duplicates(rows: list[Facts]) -> list[list[str]]:
    """Groups of keys with the same bytes."""
    groups: dict[bytes, list[str]] = {}
    for row in rows:
        groups.setdefault(row["digest"], []).append(row["key"])
    return [keys for keys in groups.values() if len(keys) > 1]


def facts_of(data: bytes) -> Facts:
    """What the index says of an encoded picture, but where it lies.

    Raises:
        ValueError: If it is no picture, or is cut short.
    """
    rgb = decode_picture(data)
    return {
        "length": len(data),
        "checksum": zlib.crc32(data),
        "digest": hashlib.blake2b(data, digest_size=16).digest(),
        "height": rgb.shape[1],
        "width": rgb.shape[2],
        "grey": whole_picture(data).mode in SINGLE_CHANNEL,
        "colourness": colourness(rgb),
        "chroma_range": chroma_range(rgb),
    }


def whole_picture(data: bytes) -> Image.Image:
    """A picture as Pillow reads it, which, unlike the decoder, does not mend what is cut short.

    Raises:
        ValueError: If it is no picture or is damaged.
    """
    try:
        with Image.open(BytesIO(data)) as picture:
            picture.load()
            return picture
    except Exception as error:  # on damaged files Pillow raises anything
        raise ValueError(f"it is no whole picture: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Why Pillow cannot read bytes, in words: its own tell of the place in memory where they are."""
    if isinstance(error, UnidentifiedImageError):
        return "it is of no known format"
    return str(error) or type(error).__name__


def mask_facts(data: bytes, offset: int) -> Facts:
    """What the index says of an encoded mask; `mask_size`, its width and height, beside it.

    Raises:
        ValueError: If it is no picture of class numbers.
    """
    mask = whole_picture(data)
    if mask.mode not in ("L", "P"):
        raise ValueError(f"its mask holds {mask.mode} pixels, not class numbers")
    return {
        "mask_offset": offset,
        "mask_length": len(data),
        "mask_checksum": zlib.crc32(data),
        "mask_size": mask.size,
    }


def row_of(key: str, sample: dict[str, Facts]) -> Facts:
    """The row of a picture from what its files say.

    Raises:
        ValueError: If its mask has another size.
    """
    row: Facts = {"key": key, "label": -1, "mask_offset": 0, "mask_length": 0, "mask_checksum": 0}
    for facts in sample.values():
        row |= facts
    size = (row["width"], row["height"])
    if row.pop("mask_size", size) != size:
        raise ValueError("its mask has another size")
    return row


def rows_of(tar: IO[bytes], name: str) -> tuple[list[Facts], list[str]]:
    """Read anybody's shard: the rows of its pictures, without the shard's number, and what had to be left out.

    Raises:
        ValueError: If the tar is broken or cut short, or a label is no number.
    """
    samples: dict[str, dict[str, Facts]] = {}
    unreadable: list[str] = []
    for member, file in tar_members(tar, name):
        path, extension = base_plus_ext(printable(member.name))
        if extension is None:
            continue
        extension = extension.lower()
        try:
            if file is None:
                raise ValueError("it is a link or sparse, and holds no bytes of its own")
            add_member(samples.setdefault(path, {}), extension, file.read(), member.offset_data)
        except ValueError as error:
            if extension in LABEL_EXTENSIONS:  # which all have, or none
                raise ValueError(f"{name}: {printable(member.name)}: {error}") from error
            unreadable.append(f"{name}: {printable(member.name)}: {error}")
    keys = unique_names([path for path, sample in samples.items() if "picture" in sample])
    rows = []
    for path, key in keys.items():
        try:
            rows.append(row_of(key, samples[path]))
        except ValueError as error:
            unreadable.append(f"{name}: {path}: {error}")
    return rows, unreadable


def add_member(sample: dict[str, Facts], extension: str, data: bytes, offset: int) -> None:
    """Add what a file of a sample says to what is known of it; of several pictures the first counts.

    Raises:
        ValueError: If it is damaged.
    """
    if extension in PICTURE_EXTENSIONS and "picture" not in sample:
        sample["picture"] = facts_of(data) | {"offset": offset}
    elif extension in MASK_EXTENSIONS:
        sample["mask"] = mask_facts(data, offset)
    elif extension in LABEL_EXTENSIONS:
        try:
            label = int(data)
        except ValueError as error:
            raise ValueError(f"its label is {data[:20]!r}, not a number") from error
        if not -1 <= label < CLASSES:
            raise ValueError(f"its label is {label}, not the number of a class: 0 to {CLASSES - 1:,}, or -1 for none")
        sample["label"] = {"label": label}


def tar_members(tar: IO[bytes], name: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The files in a tar file; links, and files with holes, whose bytes do not stand behind their headers, have None.

    Raises:
        ValueError: If it is broken or cut short, even where `tarfile` takes that for its end.
    """
    length, end = tar.seek(0, os.SEEK_END), 0
    tar.seek(0)
    try:
        with tarfile.open(fileobj=tar, mode="r:") as archive:
            for member in archive:
                end = archive.offset
                if end > length:
                    raise tarfile.ReadError(f"{printable(member.name)} is cut short")
                if member.isreg() or member.islnk() or member.issym():
                    plain = member.isreg() and not member.issparse()
                    yield member, archive.extractfile(member) if plain else None
    except tarfile.TarError as error:
        raise ValueError(f"{name} is no whole tar file: {error}") from error
    tar.seek(end)
    if tar.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f"{name} is no whole tar file: there is no end mark behind its last whole member")


def unique_names(paths: list[str]) -> dict[str, str]:
    """A key for each path: its last part where that is unique, and all of it where not."""
    names = Counter(Path(path).name for path in paths)
    taken = {name for name, times in names.items() if times == 1}
    return {
        path: free_name(path.replace("/", "_"), taken) if names[Path(path).name] > 1 else Path(path).name
        for path in paths
    }


def free_name(name: str, taken: set[str]) -> str:
    """A name, or the name and a number behind it, that is not taken yet; it is taken then."""
    free = next(each for each in chain([name], (f"{name}_{number}" for number in count(2))) if each not in taken)
    taken.add(free)
    return free


def printable(name: str) -> str:
    """The name of a file as text: bytes in it that are not UTF-8 are spelled out."""
    return os.fsencode(name).decode(errors="backslashreplace")


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that is there whole or not at all, even when the disk is full or the process is killed."""
    half = path.with_name(path.name + ".part")
    try:
        with half.open("wb+") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
