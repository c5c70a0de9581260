"""Reads stretches of shards, wherever they lie: on disk, on a server, behind a command."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from webdataset.gopen import gopen

OPEN_FILES = 64
STALLED_SECONDS = 30
ATTEMPTS = 5
FETCHED_AT_ONCE = 2


def is_remote(place: str) -> bool:
    """Whether a place is a URL or a `pipe:` command."""
    return place.startswith("pipe:") or "://" in place


class ShardFiles:
    """Shards that can be read anywhere, from any process.

    What does not lie on disk is fetched whole into a cache that all processes of a machine share; the shards that were
    used longest ago make room.

    Args:
        places: Paths, URLs (whatever `webdataset.gopen` opens) and `pipe:` commands.
        sizes: Of each in bytes, where they are known; a fetched shard of another size is fetched again.
        cache: Folder for what is fetched.
        cache_gigabytes: How much of it may lie there.
    """

    def __init__(self, places: Sequence[str], sizes: Sequence[int | None], cache: Path, cache_gigabytes: float) -> None:
        self.places, self.sizes = list(places), list(sizes)
        self.cache, self.cache_gigabytes = cache, cache_gigabytes
        self.open_files: OrderedDict[int, int] = OrderedDict()
        self.fetching: ThreadPoolExecutor | None = None
        self.expected: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"open_files": OrderedDict(), "fetching": None, "expected": set()}

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
        if len(self.open_files) >= OPEN_FILES:
            os.close(self.open_files.popitem(last=False)[1])
        for attempt in range(1, ATTEMPTS + 1):
            path = self.path(shard)
            try:
                self.open_files[shard] = os.open(path, os.O_RDONLY)
                break
            except FileNotFoundError as error:
                # what was fetched may have had to make room for what another process fetched
                if not is_remote(self.places[shard]) or attempt == ATTEMPTS:
                    raise FileNotFoundError(f"shard {path} is gone") from error
        return self.open_files[shard]

    def path(self, shard: int) -> Path:
        """Where the shard lies on disk, fetched if need be."""
        place = self.places[shard]
        return self.fetch(shard) if is_remote(place) else Path(place)

    def expect(self, shards: Sequence[int]) -> None:
        """Begin to fetch what will be needed, in the background."""
        wanted = [shard for shard in shards if is_remote(self.places[shard]) and shard not in self.expected]
        if wanted and self.fetching is None:
            self.fetching = ThreadPoolExecutor(FETCHED_AT_ONCE, "fetch")
        for shard in wanted:
            assert self.fetching
            self.expected.add(shard)
            self.fetching.submit(self.fetch_quietly, shard)

    def fetch_quietly(self, shard: int) -> None:
        """Fetch; a failure is left for the process that needs the shard to tell."""
        with contextlib.suppress(OSError):
            self.fetch(shard)
        self.expected.discard(shard)

    def fetch(self, shard: int) -> Path:
        """The shard's copy in the cache, fetched by one process while the others wait.

        Raises:
            OSError: If it cannot be fetched in `ATTEMPTS` attempts.
        """
        place = self.places[shard]
        name = hashlib.sha256(place.encode()).hexdigest()[:24]
        copy = self.cache / f"{name}.tar"
        self.cache.mkdir(parents=True, exist_ok=True)
        with locked(self.cache / f"{name}.lock"):
            if copy.is_file():
                os.utime(copy)
                return copy
            self.make_room(self.sizes[shard] or 0)
            half = copy.with_suffix(".part")
            try:
                fetch(place, half, self.sizes[shard])
                half.replace(copy)
            finally:
                half.unlink(missing_ok=True)
        return copy

    def make_room(self, needed: int) -> None:
        """Delete the copies that were used longest ago until so many bytes more are within the limit."""
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


def fetch(place: str, path: Path, size: int | None = None) -> None:
    """Copy what lies at a URL, or comes out of a `pipe:` command, to a file; try again after a failure or a stall.

    Raises:
        OSError: If the last attempt fails too.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with opened(place) as stream, path.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
            if size is not None and path.stat().st_size != size:
                raise OSError(f"it has {path.stat().st_size:,} bytes where the manifest says {size:,}")
            return
        except Exception as error:  # every scheme has failures of its own
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(f"no room for {place} in {path.parent}; lower data.cache_gigabytes") from error
            if attempt == ATTEMPTS:
                raise OSError(f"{place} cannot be fetched, after {ATTEMPTS} attempts: {error}") from error
            time.sleep(min(8, 0.5 * 2**attempt))


@contextlib.contextmanager
def opened(place: str) -> Iterator[IO[bytes]]:
    """A stream of what lies at a place."""
    if place.startswith(("http://", "https://")):
        with urllib.request.urlopen(place, timeout=STALLED_SECONDS) as response:
            yield response
            if response.length:  # what the server promised and did not send
                raise OSError(f"the connection broke {response.length:,} bytes before the end")
        return
    with gopen(place, "rb") as stream:
        yield stream


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes; it goes with the process that dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
