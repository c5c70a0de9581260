"""Finds a set of shards by its name, folder, pattern or URL, and what is known of its pictures."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from rich.progress import track
from webdataset.shardlists import expand_urls

from datamodules.shards.files import ShardFiles, fetch, is_remote, locked
from datamodules.shards.index import (
    INDEX,
    MANIFEST,
    Facts,
    Index,
    Manifest,
    Row,
    Shard,
    free_name,
    manifest_from,
    rows_of,
    save,
    sha256_of,
)
from datamodules.shards.parallel import in_processes

MANIFEST_BYTES = 1 << 30
"""Of a manifest that is fetched, at most; that of 10,000 shards with a million duplicates has a tenth."""
ROW_BYTES = 4096
"""Of a picture's row in an index that is fetched, at most: its key has what is beyond 60."""


@dataclass
class Catalogue:
    """A set of shards.

    Attributes:
        place: Where its manifest lies, for people.
        manifest: What is known of its shards.
        index_path: The index, on disk.
        places: Of the shards, in the order of the manifest.
    """

    place: str
    manifest: Manifest
    index_path: Path
    places: list[str]
    opened: Index | None = None

    @property
    def index(self) -> Index:
        """The index, read from disk where it is looked at, and shared by all processes that do."""
        if self.opened is None:
            opened = np.load(self.index_path, mmap_mode="r").view(np.ndarray)  # rows of a memmap are slow
            if opened.dtype.names != Row._fields:
                raise ValueError(f"the index of {self.place} has not the columns of one; index the shards anew")
            self.opened = opened
        return self.opened

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"opened": None}

    def files(self, cache: Path, cache_gigabytes: float) -> ShardFiles:
        """What reads the shards."""
        shards = self.manifest.shards
        sizes, versions = [shard.bytes for shard in shards], [shard.sha256 for shard in shards]
        return ShardFiles(self.places, sizes, cache, cache_gigabytes, versions)

    def shards_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The shard of each row, told from the manifest alone: the index of a large set is not read for it."""
        return np.searchsorted(self.ends, rows, side="right")

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        """The row behind the last of each shard."""
        return np.cumsum([shard.pictures for shard in self.manifest.shards])

    def missing_shards(self, shards: Sequence[int]) -> dict[int, str]:
        """What is wrong with shards on disk: each that is gone, or has another size than when it was indexed."""
        wrong = {}
        for shard in shards:
            place, size = self.places[shard], self.manifest.shards[shard].bytes
            if is_remote(place):
                continue
            try:
                found = os.stat(place).st_size  # noqa: PTH116
            except OSError as error:
                gone = isinstance(error, FileNotFoundError)
                wrong[shard] = f"shard {place} is missing" if gone else f"shard {place}: {error.strerror}"
            else:
                if found != size:
                    wrong[shard] = f"shard {place} has {found:,} bytes where the manifest says {size:,}"
        return wrong


def open_folder(root: str, cache: Path, places: list[str] | None = None) -> Catalogue:
    """The set of shards in a folder, or below a URL, that holds a manifest.

    Args:
        root: The folder or URL.
        cache: Folder for what is fetched.
        places: Of the shards, where the command line or the config names them; without, as the manifest does.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the manifest or the index is damaged, or the manifest names what it may not.
    """
    root = root.rstrip("/")
    manifest_place, index_place = f"{root}/{MANIFEST}", f"{root}/{INDEX}"
    folder = Path(root)
    if is_remote(root):
        folder = cache / hashlib.sha256(root.encode()).hexdigest()[:24]
        folder.mkdir(parents=True, exist_ok=True)
        fetch_anew(manifest_place, folder / MANIFEST, MANIFEST_BYTES)
    elif not (folder / MANIFEST).is_file():
        raise FileNotFoundError(
            f"there is no {MANIFEST} in {root}; make shards with: python -m datamodules.shards write SOURCE {root} or, "
            f"if they are there, their index with: python -m datamodules.shards index '{root}/*.tar' --out {root}"
        )
    manifest = manifest_from((folder / MANIFEST).read_bytes(), manifest_place)
    index_path = folder / INDEX
    if is_remote(root) and (not index_path.is_file() or sha256_of(index_path) != manifest.index_sha256):
        fetch_anew(index_place, index_path, ROW_BYTES * (1 + sum(map(manifest.pictures, manifest.splits))))
    if not index_path.is_file() or sha256_of(index_path) != manifest.index_sha256:
        raise ValueError(f"{index_place} is missing or not the one that {MANIFEST} beside it belongs to")
    if places is None:
        refuse_foreign([shard.name for shard in manifest.shards], manifest_place, web=not is_remote(root))
        places = [shard.name if is_remote(shard.name) else f"{root}/{shard.name}" for shard in manifest.shards]
    return Catalogue(manifest_place, manifest, index_path, places)


def refuse_foreign(names: Sequence[str], manifest: str, web: bool) -> None:
    """Refuse shards that a manifest may not name: whoever wrote it could run commands here, or have any file read.

    Args:
        names: Of the shards.
        manifest: Where it lies.
        web: Whether it may name addresses of the web, too: that of a server may not.

    Raises:
        ValueError: If one is anything but a path below the manifest's own folder.
    """
    for name in names:
        path = PurePosixPath(name)
        below = bool(path.parts) and not path.is_absolute() and ".." not in path.parts and not is_remote(name)
        if not below and not (web and name.startswith(("http://", "https://"))):
            raise ValueError(
                f"{manifest} may not name {name!r}: only what lies beside it{', or addresses of the web' * web}; name "
                "other shards in the command or in the config, as data.training=PATTERN"
            )


def fetch_anew(place: str, path: Path, most: int) -> None:
    """Fetch what may have changed; many processes may do so at once."""
    fresh = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        fetch(place, fresh, most)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def open_pattern(pattern: str, cache: Path, cache_gigabytes: float, workers: int = 1) -> Catalogue:
    """Anybody's shards, by path, `*` or brace pattern, URL or `pipe:` command; indexed when they are first met.

    Raises:
        FileNotFoundError: If there are none.
    """
    places = expand(pattern)
    stamp = [(place, None if is_remote(place) else Path(place).stat()) for place in places]
    identity = repr([(place, status and (status.st_size, status.st_mtime_ns)) for place, status in stamp])
    folder = cache / "indexes" / hashlib.sha256(identity.encode()).hexdigest()[:24]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock")):  # of many ranks one indexes and the others wait
        if not (folder / MANIFEST).is_file():
            index_shards(places, folder, f"index of {pattern}", cache, cache_gigabytes, workers)
    catalogue = open_folder(str(folder), cache, places)
    return Catalogue(pattern, catalogue.manifest, catalogue.index_path, places)


def expand(pattern: str) -> list[str]:
    """The shards that a pattern names.

    Raises:
        FileNotFoundError: If one is not there.
    """
    places: list[str] = []
    for place in expand_urls(pattern) if "{" in pattern or is_remote(pattern) else [pattern]:
        if is_remote(place):
            places.append(place)
            continue
        path = Path(place).expanduser()
        found = sorted(path.parent.glob(path.name)) if "*" in path.name else [path] if path.is_file() else []
        found = sorted(path.glob("*.tar")) if path.is_dir() else found
        if not found:
            raise FileNotFoundError(f"there is no shard {place}")
        places += [str(each.resolve()) for each in found]
    return places


def index_shards(
    places: list[str], out: Path, command: str, cache: Path, cache_gigabytes: float, workers: int
) -> Manifest:
    """Index anybody's shards: look at every picture once, and write a manifest and an index.

    Raises:
        OSError: If a shard cannot be read or fetched.
        ValueError: If a shard is no whole tar, or holds no pictures.
    """
    files = ShardFiles(places, [None] * len(places), cache, cache_gigabytes)
    tasks = list(range(len(places)))
    results = in_processes(partial(index_shard, files, out), tasks, workers)
    found = dict(track(results, "indexing shards", total=len(places)))
    rows = [{**row, "shard": number} for number in tasks for row in found[number][1]]
    tell_apart(rows, [found[number][0].name for number in tasks])
    unreadable = [each for number in tasks for each in found[number][2]]
    classes = [str(label) for label in range(max((row["label"] for row in rows), default=-1) + 1)]
    manifest = Manifest(command, {"all": [found[number][0] for number in tasks]}, classes, unreadable=unreadable)
    save(out, manifest, rows)
    return manifest


def index_shard(files: ShardFiles, out: Path, number: int) -> tuple[Shard, list[Facts], list[str]]:
    """Index one shard; its name is given as seen from the folder of the index."""
    place, path = files.places[number], files.path(number)
    try:
        with path.open("rb") as tar:
            rows, unreadable = rows_of(tar, place)
    except ValueError:
        if is_remote(place):  # it may come whole the next time
            path.unlink(missing_ok=True)
        raise
    shard = Shard(name_of(place, out), path.stat().st_size, sha256_of(path), len(rows))
    if is_remote(place):
        path.replace(files.copy_of(place, shard.sha256))
    return shard, rows, unreadable


def name_of(place: str, folder: Path) -> str:
    """The name of a shard in the manifest of a folder: its path from there, if it lies below."""
    below = not is_remote(place) and Path(place).is_relative_to(folder.resolve())
    return Path(place).relative_to(folder.resolve()).as_posix() if below else place


def tell_apart(rows: list[Facts], shards: Sequence[str]) -> None:
    """Give pictures of equal keys in several shards keys of their own, which begin with the shard's name."""
    times = Counter(row["key"] for row in rows)
    taken = set(times)
    for row in rows:
        if times[row["key"]] > 1:
            row["key"] = free_name(f"{PurePosixPath(shards[row['shard']]).stem}_{row['key']}", taken)
