"""Pictures whose files tell nothing: not by their names, sizes, times or encoding, nor by how often they are linked."""

import os
import shutil
import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lightning_modules.color import lab_to_rgb, rgb_to_lab, to_float, to_uint8
from lightning_modules.pillow import rgb_of
from lightning_modules.resize import resized, resized_by_short_side, size_by_short_side

WRITTEN = 946684800
"""When every file was written, as it says: the year 2000, which archives of any kind can tell."""
LEAST_CHROMA, WRONG_CHROMA = 10.0, 1.5
"""Mean chroma, in units of CIELab, below which another hue cannot be seen; and how much chroma that other hue gets."""


def read_picture(path: Path) -> Tensor:
    """Any picture as uint8 RGB, `(3, H, W)`, upright; a transparent one is laid on white.

    Raises:
        ValueError: If it cannot be read.
    """
    try:
        with Image.open(BytesIO(path.read_bytes())) as opened:
            return rgb_of(ImageOps.exif_transpose(opened))
    except Exception as error:  # on damaged files decoders raise anything
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error


def read_true(path: Path, short_side: int) -> Tensor:
    """A picture, uint8 `(3, H, W)`, brought to a short side."""
    return resized_by_short_side(read_picture(path), short_side)


def read_generated(path: Path, size: Sequence[int]) -> Tensor:
    """A picture, uint8 `(3, *size)`, brought to the height and width of what it is shown beside.

    Raises:
        ValueError: If it is of another shape.
    """
    picture, (height, width) = read_picture(path), size
    own = size_by_short_side(picture.shape[1], picture.shape[2], min(size))
    # whole pixels of a small picture are a few of a large one
    tolerance = 1 + max(size) // min(picture.shape[1:])
    if max(abs(own[0] - height), abs(own[1] - width)) > tolerance:
        raise ValueError(
            f"{path} is {picture.shape[2]}x{picture.shape[1]}, but what it is shown beside is of the shape "
            f"{width}x{height}; give pictures of the same shape"
        )
    return resized(picture, (height, width))


def wrong_colors(rgb: Tensor, negative: bool) -> Tensor:
    """What nobody who looks takes for true, of uint8 `(3, H, W)`.

    Args:
        rgb: The true picture.
        negative: Take its negative; else turn its hues by half the circle, with more chroma, unless it has too little.
    """
    lab = rgb_to_lab(to_float(rgb))
    if negative or lab[1:].norm(dim=0).mean() < LEAST_CHROMA:
        return 255 - rgb
    return to_uint8(lab_to_rgb(torch.cat([lab[:1], -WRONG_CHROMA * lab[1:]])))


def in_grey(rgb: Tensor) -> Tensor:
    """The lightness of uint8 `(3, H, W)`, as a picture."""
    lab = rgb_to_lab(to_float(rgb))
    grey = to_uint8(lab_to_rgb(torch.cat([lab[:1], torch.zeros_like(lab[1:])])))
    return grey[1:2].expand(3, -1, -1)  # the channels are equal but for rounding


def plain_png(rgb: Tensor) -> bytes:
    """A PNG of uint8 `(3, H, W)` that is stored as it is, so that its length depends on height and width alone."""
    _, height, width = rgb.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with the number of its filter: none
    rows[:, 1:] = rgb.permute(1, 2, 0).reshape(height, 3 * width).numpy()
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows.tobytes(), level=0),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def write_plain(rgb: Tensor, path: Path) -> None:
    """Write a picture, uint8 `(3, H, W)`, as `plain_png` does."""
    path.write_bytes(plain_png(rgb))
    os.utime(path, (WRITTEN, WRITTEN))


def name_again(path: Path, other: Path) -> None:
    """Give a file another name: by a hard link, or as a copy where there are none."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
        os.utime(other, (WRITTEN, WRITTEN))
