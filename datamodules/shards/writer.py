"""Writes shards: in parallel, each whole or not at all, the same bytes whenever the same is asked for."""

import hashlib
import json
import random
import shutil
import tarfile
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from rich.progress import Progress

from datamodules.pictures import decode_picture
from datamodules.shards.index import (
    SINGLE_CHANNEL,
    Facts,
    Manifest,
    Shard,
    facts_of,
    mask_facts,
    reason_of,
    refuse_finished,
    row_of,
    save,
    sha256_of,
    whole_file,
    whole_picture,
)
from datamodules.shards.parallel import in_processes
from datamodules.shards.sources import Source, Splits, keys_of
from datamodules.transforms import resized_by_short_side

PARTS = "unfinished"
"""Folder, in a set that is being written, of what is known of the shards that are there."""

EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "PPM": "ppm", "TIFF": "tif", "GIF": "gif"}


@dataclass(frozen=True)
class Encoding:
    """How pictures are stored; without anything given, as they are, byte for byte.

    Attributes:
        short_side: Larger pictures are shrunk to this shorter side.
        quality: JPEG quality for all, at full chroma resolution; without it JPEGs that are shrunk become JPEGs again,
            at 95, and everything else that is shrunk becomes PNG.
    """

    short_side: int | None = None
    quality: int | None = None


class Item(NamedTuple):
    """A picture on its way into a shard."""

    key: str
    source: Source
    label: int


class Job(NamedTuple):
    """A shard to be written."""

    path: Path
    items: list[Item]
    encoding: Encoding


class Part(NamedTuple):
    """What is known of a shard that has been written, in the terms of the manifest and of the index."""

    shard: Shard
    rows: list[Facts]
    unreadable: list[str]


def write(
    splits: Splits, out: Path, *, command: str, encoding: Encoding, pictures_per_shard: int, seed: int, workers: int
) -> Manifest:
    """Write the shards of all splits, then their index and manifest; interrupted, it goes on when called again.

    Args:
        splits: The pictures.
        out: Folder of the set.
        command: For the manifest.
        encoding: How pictures are stored.
        pictures_per_shard: In all shards but the last of a split.
        seed: Of the order of pictures: a shard holds a random selection of its split.
        workers: Processes.

    Raises:
        FileExistsError: If the folder holds another set.
        OSError: If the disk is full; what was finished is kept.
    """
    classes = sorted({source.category for sources in splits.values() for source in sources if source.category})
    labels = {name: label for label, name in enumerate(classes)}
    jobs: dict[str, list[Job]] = {}
    for split, sources in splits.items():
        items = [
            Item(key, source, labels.get(source.category or "", -1))
            for key, source in zip(keys_of(sources), sources, strict=True)
        ]
        random.Random(seed).shuffle(items)
        starts = range(0, len(items), pictures_per_shard)
        digits = max(6, len(str(len(starts))))
        jobs[split] = [
            Job(out / f"{split}-{number:0{digits}}.tar", items[start : start + pictures_per_shard], encoding)
            for number, start in enumerate(starts)
        ]
    plan = plan_of(jobs)
    refuse_finished(out)
    parts_folder = out / PARTS / plan
    forget_other_plans(out, parts_folder)

    todo = [(job, parts_folder / f"{job.path.stem}.json") for each in jobs.values() for job in each]
    waiting = [(job, part) for job, part in todo if not is_finished(job, part)]
    with Progress() as progress:
        pictures, left = (sum(len(job.items) for job, _ in pairs) for pairs in (todo, waiting))
        bar = progress.add_task("writing shards", total=pictures, completed=pictures - left)
        for (job, _), _part in in_processes(write_part, waiting, workers):
            progress.advance(bar, len(job.items))

    manifest, rows = Manifest(command, {}, classes, plan=plan), list[Facts]()
    number = 0
    for split, of_split in jobs.items():
        manifest.splits[split] = []
        for job in of_split:
            shard, of_shard, unreadable = read_part(parts_folder / f"{job.path.stem}.json")
            manifest.splits[split].append(shard)
            manifest.unreadable += unreadable
            rows += [{**row, "shard": number} for row in of_shard]
            number += 1
    save(out, manifest, rows)
    shutil.rmtree(out / PARTS)
    return manifest


def forget_other_plans(out: Path, parts_folder: Path) -> None:
    """Make room for a plan: delete the shards that an unfinished writing by another plan has left."""
    for other in (out / PARTS).glob("*"):
        if other != parts_folder:
            for part in other.glob("*.json"):
                (out / f"{part.stem}.tar").unlink(missing_ok=True)
            shutil.rmtree(other)
    for half in out.glob("*.tar.part"):
        half.unlink()
    parts_folder.mkdir(parents=True, exist_ok=True)


def is_finished(job: Job, part: Path) -> bool:
    """Whether a shard is there as it was written."""
    try:
        return part.is_file() and job.path.is_file() and job.path.stat().st_size == read_part(part).shard.bytes
    except (ValueError, TypeError, KeyError):  # what is known of it is damaged
        return False


def plan_of(jobs: dict[str, list[Job]]) -> str:
    """A hash of everything that decides what the shards will hold."""
    digest = hashlib.sha256()
    for job in (job for each in jobs.values() for job in each):
        digest.update(repr((job.path.name, job.encoding, job.items)).encode())
    return digest.hexdigest()[:16]


def write_part(job_and_part: tuple[Job, Path]) -> None:
    """Write one shard, then what is known of it, which alone says that it is finished."""
    job, path = job_and_part
    part = write_shard(job)
    with whole_file(path) as file:
        rows = [{**row, "digest": row["digest"].hex()} for row in part.rows]
        file.write(json.dumps([asdict(part.shard), rows, part.unreadable]).encode())


def read_part(path: Path) -> Part:
    """Read what `write_part` wrote."""
    shard, rows, unreadable = json.loads(path.read_text(encoding="utf-8"))
    return Part(Shard(**shard), [{**row, "digest": bytes.fromhex(row["digest"])} for row in rows], unreadable)


def write_shard(job: Job) -> Part:
    """Write one shard."""
    rows: list[Facts] = []
    unreadable: list[str] = []
    with whole_file(job.path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for item in job.items:
            try:
                data = item.source.picture.read()
                data, extension = encoded(data, job.encoding)
                sample = {"picture": facts_of(data), "label": {"label": item.label}}
                mask = encoded_mask(item.source, job.encoding)
                if mask is not None:
                    sample["mask"] = mask_facts(mask, 0)
                row = row_of(item.key, sample)
            except ValueError as error:
                unreadable.append(f"{item.source.name}: {error}")
                continue
            row["offset"] = add(tar, f"{item.key}.{extension}", data)
            if mask is not None:
                row["mask_offset"] = add(tar, f"{item.key}.mask.png", mask)
            if item.label >= 0:
                add(tar, f"{item.key}.cls", str(item.label).encode())
            rows.append(row)
    return Part(Shard(job.path.name, job.path.stat().st_size, sha256_of(job.path), len(rows)), rows, unreadable)


def add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Append a file, with nothing in its header that changes from one writing to the next; returns its data's place."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(data), 0o644
    offset = tar.offset + len(header.tobuf(tar.format))
    tar.addfile(header, BytesIO(data))
    return offset


def encoded(data: bytes, encoding: Encoding) -> tuple[bytes, str]:
    """A picture as it is to be stored, and its extension.

    Raises:
        ValueError: If it is no picture, or is damaged and would be stored anew.
    """
    try:
        with Image.open(BytesIO(data)) as picture:
            # what phones call MPO is a JPEG with another one behind it
            kind, size = "JPEG" if picture.format == "MPO" else picture.format, picture.size
    except Exception as error:  # on damaged files Pillow raises anything
        raise ValueError(f"it is no picture: {reason_of(error)}") from error
    shrinks = encoding.short_side is not None and min(size) > encoding.short_side
    if not shrinks and encoding.quality is None and kind in EXTENSIONS:
        return data, EXTENSIONS[kind]
    single_channel = whole_picture(data).mode in SINGLE_CHANNEL
    rgb = decode_picture(data)
    if encoding.short_side is not None and shrinks:
        (rgb,) = resized_by_short_side([rgb], encoding.short_side)
    pixels = Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())
    pixels = pixels.convert("L") if single_channel else pixels
    stored = BytesIO()
    if kind == "JPEG" or encoding.quality is not None:
        pixels.save(stored, "JPEG", quality=encoding.quality or 95, subsampling="4:4:4")
        return stored.getvalue(), "jpg"
    pixels.save(stored, "PNG")
    return stored.getvalue(), "png"


def encoded_mask(source: Source, encoding: Encoding) -> bytes | None:
    """A mask as it is to be stored: shrunk as its picture is, every value kept.

    Raises:
        ValueError: If it is no picture of class numbers.
    """
    if source.mask is None:
        return None
    data = source.mask.read()
    try:
        mask = whole_picture(data)
    except ValueError as error:
        raise ValueError(f"of its mask: {error}") from error
    if encoding.short_side is None or min(mask.size) <= encoding.short_side or mask.mode not in ("L", "P"):
        return data
    indices = torch.frombuffer(bytearray(mask.tobytes()), dtype=torch.uint8).view(1, mask.height, mask.width)
    (small,) = resized_by_short_side([indices], encoding.short_side)
    stored = BytesIO()
    Image.fromarray(small[0].contiguous().numpy()).save(stored, "PNG")
    return stored.getvalue()
