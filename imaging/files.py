"""Image files: finding them below a folder, and writing them whole or not at all."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

# fmt: off
SUFFIXES = frozenset({
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2c", ".j2k", ".jfif", ".jp2",
    ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi",
    ".tga", ".tif", ".tiff", ".webp"
})
# fmt: on
"""Of the files that are taken for images. HEIC and HEIF are read where pillow-heif is installed."""
COMPRESSION = 4
"""Of PNGs: twice as fast as zlib's usual 6, and 4 % larger."""
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
UNFINISHED = ".unfinished"
"""The name of a file while it is written, beside the place where it will be."""


@dataclass
class Found:
    """The images below a folder.

    Attributes:
        images: Their paths, sorted.
        left_out: A sentence each about images and folders that cannot be read.
        others: How many files have suffixes of no image, by suffix.
    """

    images: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def find_images(folder: Path) -> Found:
    """Find the images below a folder, but those that are hidden or in hidden folders.

    Links to files and folders are followed; each folder is visited once, so that links cannot lead in circles.
    """
    found, paths = Found(), list[str]()
    visited: set[tuple[int, int]] = set()
    folders, links = [str(folder)], list[str]()  # in strings: to make and compare paths takes longer than to find files
    while folders or links:
        current = folders.pop() if folders else links.pop(links.index(min(links)))
        try:
            status = os.stat(current)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            found.left_out.append(f"{current} cannot be read: {error.strerror}")
            continue
        for entry in visible:
            suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(entry.path)
                elif suffix not in SUFFIXES:
                    found.others[suffix or "without a suffix"] += 1
                elif entry.is_file():
                    paths.append(entry.path)
                else:
                    what = "a link to nothing" if entry.is_symlink() else "no regular file"
                    found.left_out.append(f"{entry.path} is {what}")
            except OSError as error:
                found.left_out.append(f"{entry.path} cannot be read: {error.strerror}")
    found.images = [Path(path) for path in sorted(paths, key=lambda path: path.split(os.sep))]  # noqa: PTH206
    found.left_out.sort()
    return found


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a path to write to, which then becomes `path`: that is the old file or the new one, never half of one.

    Raises:
        OSError: If it cannot be written; then nothing is left of it.
    """
    unfinished = path.with_name(UNFINISHED)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_png(image: Image.Image, path: Path, notes: Mapping[str, str]) -> None:
    """Write a PNG that is whole from the moment when it has its name, however the process ends.

    Args:
        image: The image.
        path: Of the file; one that is there is replaced.
        notes: Text to keep in the file, by key.

    Raises:
        OSError: If it cannot be written; then nothing is left of it.
    """
    info = PngInfo()
    for key, text in notes.items():
        info.add_text(key, text)
    with replacing(path) as unfinished:
        image.save(unfinished, "PNG", pnginfo=info, compress_level=COMPRESSION)


def notes_of(path: Path) -> dict[str, str]:
    """The notes with which a PNG was written; empty if it is none, or cannot be read."""
    try:
        with Image.open(path) as image:
            return {str(key): value for key, value in image.info.items() if isinstance(value, str)}
    except Exception:  # on damaged files decoders raise anything
        return {}


def is_whole(path: Path) -> bool:
    """Whether a PNG is there to its end and its checksums are right; its pixels are not decoded."""
    try:
        with Image.open(path) as image:
            image.verify()
        with path.open("rb") as file:
            file.seek(-len(PNG_END), os.SEEK_END)
            return file.read() == PNG_END
    except Exception:  # on damaged files decoders raise anything
        return False
