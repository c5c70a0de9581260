"""Reading anybody's picture files."""

import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from rich.progress import track
from torch import Tensor

from imaging.files import SUFFIXES, find_images
from imaging.srgb import follows_srgb, upright_srgb
from lightning_modules.pillow import rgb_of
from lightning_modules.resize import resized

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""What stands at bytes 8 to 12 of an HEIC or HEIF file."""
ICC_MARK = b"ICC_PROFILE\0"
"""Begins each part of a colour profile in a JPEG."""
HEADER = 2**16
"""Bytes of a JPEG within which the first part of its profile stands, if it has one."""
ADDRESS = re.compile(r"\s*<[^<>]* at 0x[0-9a-f]+>")


@dataclass(frozen=True)
class ReadImage:
    """An image as its file holds it.

    Attributes:
        rgb: Eight-bit sRGB, `(3, H, W)`.
        format: Pillow's name of what the file holds, whatever its suffix says; `JPEG` also for several in one file.
        frames: How many frames or pages there are; the first was read.
    """

    rgb: Tensor
    format: str
    frames: int


def find_pictures(folder: Path) -> list[Path]:
    """The picture files below a folder, as `find_images` finds them; what cannot be read is named on standard error.

    Raises:
        FileNotFoundError: If the folder does not exist or holds none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give one that holds pictures")
    found = find_images(folder)
    if not found.images:
        reasons = found.left_out or [" ".join(sorted(SUFFIXES))]
        raise FileNotFoundError(f"{folder} holds no pictures ({'; '.join(reasons[:3])})")
    for sentence in found.left_out:
        print(f"left out: {sentence}", file=sys.stderr)
    return found.images


def read_picture(path: Path) -> Tensor:
    """Any picture as eight-bit sRGB, `(3, H, W)`; see `read_image`."""
    return read_image(path).rgb


def read_picture_and_format(path: Path) -> tuple[Tensor, str]:
    """Any picture as eight-bit sRGB, `(3, H, W)`, and its format; see `read_image`."""
    image = read_image(path)
    return image.rgb, image.format


def read_image(path: Path) -> ReadImage:
    """Read any image file as eight-bit sRGB, turned upright by its EXIF orientation.

    Grey, palette, CMYK, wide and float images are converted, embedded colour profiles are followed, and transparent
    images are laid on white. An upright JPEG in sRGB goes through libjpeg-turbo, whose pixels are Pillow's, unless it
    has a fault, of which Pillow is to judge.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no image, is damaged, is cut short or is too large.
        MemoryError: If there is not enough memory for it.
    """
    require_regular(path)
    data = b""
    try:
        data = path.read_bytes()
        with opened(data) as image:
            several = image.format != "MPO"  # a phone's second image is a depth or gain map
            found, frames = str(image.format) if several else "JPEG", getattr(image, "n_frames", 1) if several else 1
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            if not turned and is_plain_jpeg(data) and follows_srgb(image.info.get("icc_profile"), image.mode):
                with suppress(ValueError):
                    return ReadImage(decoded_jpeg(data).contiguous(), found, frames)
            if frames > 1:
                image.seek(0)  # to count pages moves on
            pixels = np.array(upright_srgb(image))
            return ReadImage(torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), found, frames)
    except MemoryError:
        raise
    except Exception as error:  # on damaged files decoders raise anything
        raise ValueError(f"{path} cannot be read as a picture: {reason_of(error, data)}") from error


def require_regular(path: Path) -> None:
    """Refuse what is no file to read: a pipe without a writer would never end.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it is a folder, a pipe or a device, or cannot be looked at.
    """
    try:
        regular = path.is_file()
        there = regular or path.exists()
    except OSError as error:
        raise ValueError(f"{path} cannot be read as a picture: {error.strerror}") from error
    if not there:
        raise FileNotFoundError(f"there is no picture {path}")
    if not regular:
        raise ValueError(f"{path} cannot be read as a picture: it is no regular file")


def opened(data: bytes) -> Image.Image:
    """Pillow's image of an encoded one; HEIC where pillow-heif is installed."""
    if data[8:12] in HEIF_BRANDS:
        with suppress(ImportError):
            from pillow_heif import register_heif_opener

            register_heif_opener()
    return Image.open(BytesIO(data))


def reason_of(error: Exception, data: bytes) -> str:
    """Why bytes cannot be read, in words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnidentifiedImageError):
        if data[8:12] in HEIF_BRANDS:
            return "it is HEIC, which wants a package that is not installed: pip install pillow-heif"
        return "it is empty" if not data else "it is of no known format"
    return ADDRESS.sub("", str(error)) or type(error).__name__


def format_named(path: Path) -> str | None:
    """What the suffix of a file says that it holds, by Pillow's name."""
    return Image.registered_extensions().get(path.suffix.lower())


def decode_picture(data: bytes) -> Tensor:
    """An encoded picture as eight-bit sRGB, `(3, H, W)`, channels-last in memory, as stored: EXIF does not turn it.

    JPEGs go through libjpeg-turbo, whose pixels are Pillow's, in two thirds of the time. Faults that a JPEG decoder can
    mend are mended: ImageNet has a few. Profiles are followed, as in `read_image`.

    Raises:
        ValueError: If this is no picture.
    """
    try:
        if is_plain_jpeg(data) and ICC_MARK not in data[:HEADER]:
            return decoded_jpeg(data, strict=False)
        with opened(data) as image:
            if is_plain_jpeg(data) and follows_srgb(image.info.get("icc_profile"), image.mode):
                return decoded_jpeg(data, strict=False)
            return rgb_of(image)
    except Exception as error:  # on damaged files decoders raise anything
        raise ValueError(f"it cannot be read as a picture: {reason_of(error, data)}") from error


def decoded_jpeg(data: bytes, strict: bool = True) -> Tensor:
    """A JPEG in colour or grey as eight-bit RGB, `(3, H, W)`, channels-last in memory.

    Raises:
        ValueError: If it has a fault; unless `strict`, only if that cannot be mended.
    """
    return torch.from_numpy(simplejpeg.decode_jpeg(data, strict=strict)).permute(2, 0, 1)


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
