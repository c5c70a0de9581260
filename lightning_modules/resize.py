"""Resizing pictures, the one way in which all pictures are resized: an antialiased bicubic filter."""

import math

from torch import Tensor
from torch.nn.functional import interpolate


def resized(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pictures to a height and width, whatever the aspect, with Pillow's bicubic filter (a = -0.5, antialiased).

    The filter overshoots at edges. A floating picture is clipped to [0, 1], at the end; an eight-bit one to 0..255, and
    rounded, after its rows and again after its columns, as Pillow does.

    Args:
        rgb: `(..., 3, H, W)`: uint8, or floating in [0, 1].
        size: Height and width.
    """
    floating = rgb.is_floating_point()
    if rgb.shape[-2:] == size:
        return rgb.clamp(0, 1) if floating else rgb
    # The channels last, so that pictures which are stored so keep that order
    pictures = rgb.movedim(-3, -1).reshape(-1, *rgb.shape[-2:], 3).movedim(-1, -3)
    if not floating and rgb.device.type != "cpu":
        pictures = pictures.float()  # of eight bits torch resizes on the CPU alone
    found = interpolate(pictures, size, mode="bicubic", align_corners=False, antialias=True)
    if floating:
        found = found.clamp(0, 1)
    elif found.is_floating_point():
        found = found.clamp(0, 255).round().to(rgb.dtype)
    return found.view(*rgb.shape[:-2], *size)


def resized_by_short_side(rgb: Tensor, short_side: int) -> Tensor:
    """Resize pictures, `(..., 3, H, W)`, so that the shorter side has this length, the aspect kept; see `resized`."""
    height, width = rgb.shape[-2:]
    return resized(rgb, size_by_short_side(height, width, short_side))


def size_by_short_side(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width when the shorter has this length and the aspect is kept, rounded to whole pixels."""
    scale = short_side / min(height, width)
    return max(short_side, round(height * scale)), max(short_side, round(width * scale))


def size_within(size: tuple[int, int], short_side: int | None, multiple: int = 1) -> tuple[int, int]:
    """Height and width, whole multiples, of an image whose shorter side is brought down to `short_side` if longer.

    >>> size_within((1000, 1500), short_side=256, multiple=4)
    (256, 384)
    """
    scale = min(1.0, (short_side or math.inf) / min(size))
    height, width = (max(1, round(side * scale / multiple)) * multiple for side in size)
    return height, width


def resized_luminance(luminance: Tensor, size: tuple[int, int]) -> Tensor:
    """Luminance in [0, 1] of another size, `(B, 1, *size)`, from `(B, 1, H, W)`."""
    return luminance if luminance.shape[2:] == size else resized(luminance.expand(-1, 3, -1, -1), size)[:, :1]
