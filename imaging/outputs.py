"""The files that are made of photos: their names, which of them an earlier call made, and a record of all."""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout
from PIL import Image

from imaging.files import Found, find_images, is_whole, notes_of, replacing, write_png

SOFTWARE = "chromalab"
RECORD = "colorize.json"
LOCK = ".lock"
SAVED_EVERY = 2
"""Seconds between two states of the record, which grows with every photo."""


def gather(sources: Sequence[Path], out: Path) -> tuple[dict[Path, Path], Found]:
    """Find the photos that files and folders stand for, each once.

    Args:
        sources: The files and folders.
        out: The folder to write to; what an earlier call made there is no photo.

    Returns:
        The photos with their paths relative to the folder that was given; and what else was met.
    """
    photos: dict[str, tuple[Path, Path]] = {}
    met = Found()
    for source in sources:
        if not source.is_dir():
            photos.setdefault(os.path.realpath(source), (source, Path(source.name)))
            continue
        found = find_images(source)
        met.left_out += found.left_out or ([] if found.images else [f"{source} holds no images"])
        met.others += found.others
        for image in found.images:
            place = os.path.realpath(image)
            if is_below(place, out) and is_ours(image):
                met.others["made by an earlier call"] += 1
            else:
                photos.setdefault(place, (image, image.relative_to(source)))
    return dict(photos.values()), met


def is_below(path: str, folder: Path) -> bool:
    """Whether a real path lies below a folder."""
    return path.startswith(os.path.join(os.path.realpath(folder), ""))  # noqa: PTH118


def is_ours(file: Path) -> bool:
    """Whether a PNG was written by this software."""
    return notes_of(file).get("Software", "").startswith(SOFTWARE)


def place(photos: Mapping[Path, Path], out: Path, endings: Sequence[str]) -> dict[Path, list[Path]]:
    """Choose the files that are made of each photo, so that no two share one and nothing but own files is replaced.

    Args:
        photos: Photos with their relative paths, which the files keep.
        out: The folder to write to.
        endings: What stands behind a photo's name in those of its files.
    """
    originals = {os.path.realpath(photo) for photo in photos}
    names = Counter(photos.values())
    taken: set[str] = set()

    def is_free(file: Path) -> bool:
        if str(file).casefold() in taken or os.path.realpath(file) in originals:
            return False
        return is_ours(file) or not os.path.lexists(file)

    chosen = {}
    for photo, relative in photos.items():
        for stem in stems(photo, relative, names[relative] > 1):
            files = [out / relative.with_name(f"{stem}{ending}") for ending in endings]
            if all(is_free(file) for file in files):
                break
        chosen[photo] = files
        taken.update(str(file).casefold() for file in files)
    return chosen


def stems(photo: Path, relative: Path, shares_its_name: bool) -> Iterator[str]:
    """Names for what is made of a photo, the best first."""
    yield relative.stem
    whole = relative.name.replace(".", "_")
    if not shares_its_name:
        yield whole
    elif folder := photo.parent.name:
        yield f"{folder}_{relative.stem}"
    for number in count(2):
        yield f"{whole}_{number}"


def digest(*parts: object) -> str:
    """SHA-256, in hexadecimal digits, of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class OutputFolder:
    """A folder of coloured photos with a record of them, `colorize.json`; used as a context, by one process at a time.

    Args:
        path: Of the folder.
        head: What the record says of all photos.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.path, self.head = path, head
        self.coloured: list[dict[str, Any]] = []
        self.skipped: list[str] = []
        self.saved = 0.0

    def __enter__(self) -> Self:
        """Claim the folder.

        Raises:
            OSError: If it cannot be written to, or another process writes there.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} is no folder; give --out another place")
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.path / LOCK)
        try:
            self.lock.acquire(timeout=0)
        except Timeout as error:
            raise OSError(f"another colorize.py is writing to {self.path}; wait, or give another --out") from error
        self.save()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.save()
        except OSError:
            if kind is None:
                raise
        finally:
            self.lock.release()

    @staticmethod
    def has(file: Path, key: str) -> bool:
        """Whether a file is there, whole, and was made with a key."""
        return notes_of(file).get(SOFTWARE) == key and is_whole(file)

    def write(self, image: Image.Image, file: Path, key: str, maker: str) -> None:
        """Write a PNG, unless it is there already.

        Args:
            image: The image.
            file: Its place.
            key: Stands for all that the image depends on.
            maker: What made it, in words.

        Raises:
            OSError: If it cannot be written.
        """
        if not self.has(file, key):
            write_png(image, file, {"Software": f"{SOFTWARE} {maker}", SOFTWARE: key})

    def note(self, photo: Path, files: Sequence[Path], kept: bool, remark: str = "") -> None:
        """Record a photo that is coloured; `kept` if an earlier call did it."""
        entry = {"photo": str(photo), "seed": self.head["seed"], "files": [str(file) for file in files], "kept": kept}
        self.coloured.append(entry | ({"remark": remark} if remark else {}))
        if time.monotonic() - self.saved > SAVED_EVERY:
            self.save()

    def save(self) -> None:
        """Write the record. Bytes of names that are no UTF-8 stand there as escapes, of which JSON makes them again."""
        record = {**self.head, "coloured": self.coloured, "skipped": self.skipped}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        with replacing(self.path / RECORD) as unfinished:
            unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")
        self.saved = time.monotonic()
