"""Reads stretches of shards, wherever they lie: on disk, on a server, behind a command."""

import contextlib
import errno
import fcntl
import hashlib
import os
import select
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any
from uuid import uuid4

from webdataset.gopen import gopen

from datamodules.shards.index import sha256_of

OPEN_FILES = 32
STALLED_SECONDS = 30
ATTEMPTS = 5
FETCHED_AT_ONCE = 2
NOT_THERE = (403, 404, 410)
"""Answers of a server that another attempt does not change."""
PIECE = 1 << 20


def is_remote(place: str) -> bool:
    """Whether a place is a URL or a `pipe:` command."""
    return place.startswith("pipe:") or "://" in place


class ShardFiles:
    """Shards that can be read anywhere, from any process.

    What does not lie on disk is fetched whole into a cache that all processes of a machine share; the shards that were
    opened longest ago make room.

    Args:
        places: Paths, URLs (whatever `webdataset.gopen` opens) and `pipe:` commands.
        sizes: Of each in bytes, where they are known; a fetched shard of another size is fetched again.
        cache: Folder for what is fetched.
        cache_gigabytes: How much of it may lie there.
        versions: SHA-256 of each, where they are known; copies of other versions are not used.
    """

    def __init__(
        self,
        places: Sequence[str],
        sizes: Sequence[int | None],
        cache: Path,
        cache_gigabytes: float,
        versions: Sequence[str] | None = None,
    ) -> None:
        self.places, self.sizes = list(places), list(sizes)
        self.versions = list(versions or [""] * len(self.places))
        self.cache, self.cache_gigabytes = cache, cache_gigabytes
        self.forget()

    def forget(self) -> None:
        """Begin without open files, without threads, and without shards that are known to be lost."""
        self.open_files: OrderedDict[int, int] = OrderedDict()
        self.lost: dict[int, str] = {}
        self.expected: set[int] = set()
        self.wanted: SimpleQueue[int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        kept = ("places", "sizes", "versions", "cache", "cache_gigabytes")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.forget()

    def read(self, shard: int, offset: int, length: int) -> bytes:
        """Bytes of a shard; fewer if it ends early.

        Raises:
            OSError: If the shard cannot be had.
        """
        return os.pread(self.descriptor(shard), length, offset)

    def descriptor(self, shard: int) -> int:
        """The shard's open file."""
        if shard in self.open_files:
            self.open_files.move_to_end(shard)
            return self.open_files[shard]
        if shard in self.lost:  # or every one of its pictures would wait for the last attempt
            raise OSError(self.lost[shard])
        if len(self.open_files) >= OPEN_FILES:
            os.close(self.open_files.popitem(last=False)[1])
        try:
            self.open_files[shard] = self.opened(shard)
        except OSError as error:
            self.lost[shard] = str(error)
            raise
        return self.open_files[shard]

    def opened(self, shard: int) -> int:
        """A new descriptor of the shard."""
        for _ in range(ATTEMPTS):
            path = self.fetch(shard, keep=True) if is_remote(self.places[shard]) else self.path(shard)
            if shard in self.open_files:
                return self.open_files[shard]
            try:
                return os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                # what was fetched may have had to make room for what another process fetched
                if not is_remote(self.places[shard]):
                    break
        raise FileNotFoundError(f"shard {path} is gone")

    def path(self, shard: int) -> Path:
        """Where the shard lies on disk, fetched if need be."""
        place = self.places[shard]
        return self.fetch(shard) if is_remote(place) else Path(place)

    def expect(self, shards: Sequence[int]) -> None:
        """Begin to fetch what will be needed, in the background."""
        for shard in shards:
            if is_remote(self.places[shard]) and shard not in self.expected:
                if self.wanted is None:
                    self.wanted = SimpleQueue()
                    for _ in range(FETCHED_AT_ONCE):
                        Thread(target=self.fetch_expected, args=[self.wanted], daemon=True).start()
                self.expected.add(shard)
                self.wanted.put(shard)

    def fetch_expected(self, wanted: SimpleQueue[int]) -> None:
        """Fetch shard after shard; a failure is left for the process that needs the shard to tell."""
        while True:
            shard = wanted.get()
            with contextlib.suppress(OSError):
                self.fetch(shard)
            self.expected.discard(shard)

    def copy_of(self, place: str, version: str) -> Path:
        """Where the cache keeps a version of what lies at a place."""
        return self.cache / f"{hashlib.sha256(f'{place} {version}'.encode()).hexdigest()[:24]}.tar"

    def fetch(self, shard: int, keep: bool = False) -> Path:
        """The shard's copy in the cache, fetched by one process while the others wait.

        Args:
            shard: Its number.
            keep: Whether to open what had to be fetched.

        Raises:
            OSError: If it cannot be fetched in `ATTEMPTS` attempts.
        """
        copy = self.copy_of(self.places[shard], self.versions[shard])
        self.cache.mkdir(parents=True, exist_ok=True)
        lost = copy.with_suffix(".lost")
        lost_before = time_of(lost)
        with locked(copy.with_suffix(".lock")):
            if copy.is_file():
                os.utime(copy)
                return copy
            if time_of(lost) != lost_before:  # another process has tried in vain while this one waited
                raise OSError(lost.read_text(encoding="utf-8"))
            half = self.cache / f"{uuid4().hex}.part"
            try:
                size = self.sizes[shard]
                most = int(self.cache_gigabytes * 1e9) if size is None else size
                fetch(self.places[shard], half, most, size, self.versions[shard])
                with locked(self.cache / "room.lock"):
                    self.make_room(half.stat().st_size)
                    if keep:  # before anybody else can need its room
                        self.open_files[shard] = os.open(half, os.O_RDONLY)
                    half.replace(copy)
            except OSError as error:
                lost.write_text(str(error), encoding="utf-8")
                raise
            finally:
                half.unlink(missing_ok=True)
        return copy

    def make_room(self, needed: int) -> None:
        """Delete the copies that were opened longest ago until so many bytes more are within the limit."""
        copies = []
        for path in self.cache.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                status = path.stat()
                copies.append((status.st_mtime, status.st_size, path))
        room = self.cache_gigabytes * 1e9 - needed - sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if room >= 0:
                break
            path.unlink(missing_ok=True)
            room += size


def time_of(path: Path) -> int:
    """When a file was last written, in nanoseconds; 0 if it is not there."""
    return path.stat().st_mtime_ns if path.is_file() else 0


def fetch(place: str, path: Path, most: int, size: int | None = None, version: str = "") -> None:
    """Copy what lies at a URL, or comes out of a `pipe:` command, to a file; try again after a failure or a stall.

    Args:
        place: What to fetch.
        path: The file.
        most: Bytes that are taken at most: a reply may never end.
        size: What it must have, in bytes.
        version: SHA-256 that it must have.

    Raises:
        OSError: If the last attempt fails too.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with opened(place) as chunks, path.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                    if file.tell() > most:
                        raise OSError(f"it sends more than the {most:,} bytes that are expected")
            if size is not None and path.stat().st_size != size:
                raise OSError(f"it has {path.stat().st_size:,} bytes where the manifest says {size:,}")
            if version and sha256_of(path) != version:
                raise OSError("its SHA-256 is not the manifest's")
            return
        except Exception as error:  # every scheme has failures of its own
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(f"no room for {place} in {path.parent}; lower data.cache_gigabytes") from error
            if attempt == ATTEMPTS or getattr(error, "code", None) in NOT_THERE:
                raise OSError(f"{place} cannot be fetched, after {attempt} attempts: {error}") from error
            time.sleep(min(8, 0.5 * 2**attempt))


@contextlib.contextmanager
def opened(place: str) -> Iterator[Iterator[bytes]]:
    """What lies at a place, in pieces, each of which comes within `STALLED_SECONDS`."""
    if place.startswith(("http://", "https://")):
        with urllib.request.urlopen(place, timeout=STALLED_SECONDS) as response:
            yield iter(lambda: response.read(PIECE), b"")
            if response.length:  # what the server promised and did not send
                raise OSError(f"the connection broke {response.length:,} bytes before the end")
        return
    with gopen(place, "rb") as stream:
        try:
            yield pieces_of(getattr(stream, "stream", stream))
        except BaseException:
            if process := getattr(stream, "proc", None):
                process.kill()  # or closing would wait for it
                stream.ignore_errors = True  # and would tell of its death instead of the reason for that
            raise


def pieces_of(stream: IO[bytes]) -> Iterator[bytes]:
    """What comes out of a command or a file.

    Raises:
        TimeoutError: If nothing comes for `STALLED_SECONDS`.
    """
    while True:
        if not select.select([stream], [], [], STALLED_SECONDS)[0]:
            raise TimeoutError(f"nothing came for {STALLED_SECONDS} s")
        piece = stream.read1(PIECE)  # type: ignore[attr-defined]
        if not piece:
            return
        yield piece


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes; it goes with the process that dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:  # closing alone would not do: a process forked meanwhile has the file open too
            fcntl.flock(file, fcntl.LOCK_UN)
