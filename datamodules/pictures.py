"""Reading anybody's picture files."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import simplejpeg
import torch
from PIL import ExifTags, Image, ImageOps
from rich.progress import track
from torch import Tensor

from lightning_modules.pillow import rgb_of
from lightning_modules.resize import resized

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


def find_pictures(folder: Path) -> list[Path]:
    """The picture files below a folder, sorted, but those that are hidden or in hidden folders.

    Raises:
        FileNotFoundError: If the folder does not exist or holds none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give one that holds pictures")
    # in strings: a path of Python's takes longer to make, and to compare, than a file to find
    found = sorted(picture_files(str(folder)), key=lambda path: path.split(os.sep))  # noqa: PTH206
    if not found:
        raise FileNotFoundError(f"{folder} holds no pictures ({' '.join(sorted(SUFFIXES))})")
    return [Path(path) for path in found]


def picture_files(folder: str) -> Iterator[str]:
    """Those of `find_pictures`, in any order."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from picture_files(entry.path)
            elif "." + entry.name.lower().rpartition(".")[2] in SUFFIXES and entry.is_file():
                yield entry.path


def read_picture(path: Path) -> Tensor:
    """Any picture as eight-bit RGB, `(3, H, W)`; see `read_picture_and_format`."""
    return read_picture_and_format(path)[0]


def read_picture_and_format(path: Path) -> tuple[Tensor, str]:
    """Any picture as eight-bit RGB, `(3, H, W)`, turned upright by its EXIF orientation, and what its file holds.

    That is Pillow's name, whatever the suffix says; `JPEG` also for several in one file. Grey, palette, CMYK and 16-bit
    pictures are converted; transparent ones are laid on white. An upright JPEG goes through libjpeg-turbo, whose pixels
    are Pillow's, unless it has a fault, of which Pillow is to judge.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no picture, is damaged or is cut short.
    """
    try:
        data = path.read_bytes()
        with Image.open(BytesIO(data)) as opened:
            found = "JPEG" if opened.format == "MPO" else str(opened.format)
            if is_plain_jpeg(data) and opened.getexif().get(ExifTags.Base.Orientation, 1) == 1:
                with suppress(ValueError):
                    return torch.from_numpy(simplejpeg.decode_jpeg(data)).permute(2, 0, 1).contiguous(), found
            return rgb_of(ImageOps.exif_transpose(opened)).contiguous(), found
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no picture {path}") from error
    except Exception as error:  # on damaged files decoders raise anything
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error


def format_named(path: Path) -> str | None:
    """What the suffix of a file says that it holds, by Pillow's name."""
    return Image.registered_extensions().get(path.suffix.lower())


def decode_picture(data: bytes) -> Tensor:
    """An encoded picture as eight-bit RGB, `(3, H, W)`, channels-last in memory, as stored: EXIF does not turn it.

    JPEGs go through libjpeg-turbo, whose pixels are Pillow's, in two thirds of the time. Faults that a JPEG decoder can
    mend are mended: ImageNet has a few.

    Raises:
        ValueError: If this is no picture.
    """
    try:
        if is_plain_jpeg(data):
            return torch.from_numpy(simplejpeg.decode_jpeg(data, strict=False)).permute(2, 0, 1)
        with Image.open(BytesIO(data)) as opened:
            return rgb_of(opened)
    except Exception as error:  # on damaged files decoders raise anything
        raise ValueError(f"it cannot be read as a picture: {error}") from error


def is_plain_jpeg(data: bytes) -> bool:
    """Whether this is a JPEG in colour or grey, not one for print."""
    try:
        return data[:2] == b"\xff\xd8" and simplejpeg.decode_jpeg_header(data)[2] in ("YCbCr", "RGB", "Gray")
    except ValueError:
        return False


def read_pictures(
    paths: Sequence[Path], description: str, longest_side: int | None = None
) -> Iterable[Tensor | ValueError]:
    """Read many pictures in threads, in order, behind a progress bar; a bad one yields its error.

    Args:
        paths: The files.
        description: What the progress bar says.
        longest_side: Larger pictures are shrunk to this many pixels along their longer side.
    """

    def read(path: Path) -> Tensor | ValueError:
        try:
            picture = read_picture(path)
            return shrink(picture, longest_side) if longest_side else picture
        except ValueError as error:
            return error

    with ThreadPoolExecutor() as pool:
        yield from track(pool.map(read, paths), description, total=len(paths), disable=len(paths) < 500)


def shrink(picture: Tensor, longest_side: int) -> Tensor:
    """Resize uint8 `(3, H, W)`, its aspect kept, so that neither side is longer than this."""
    height, width = picture.shape[1:]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return picture
    return resized(picture, (max(1, round(height * scale)), max(1, round(width * scale))))
