"""Resizing pictures, the one way in which all pictures are resized: an antialiased bicubic filter."""

from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode, resize


def resized(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pictures to a height and width, whatever the aspect, with Pillow's bicubic filter (a = -0.5, antialiased).

    The filter overshoots at edges. A floating picture is clipped to [0, 1], at the end; an eight-bit one to 0..255, and
    rounded, after its rows and again after its columns, as Pillow does.

    Args:
        rgb: `(..., 3, H, W)`: uint8, or floating in [0, 1].
        size: Height and width.
    """
    result: Tensor = resize(rgb, list(size), InterpolationMode.BICUBIC, antialias=True)
    return result.clamp(0, 1) if rgb.is_floating_point() else result


def resized_by_short_side(rgb: Tensor, short_side: int) -> Tensor:
    """Resize pictures, `(..., 3, H, W)`, so that the shorter side has this length, the aspect kept; see `resized`."""
    height, width = rgb.shape[-2:]
    return resized(rgb, size_by_short_side(height, width, short_side))


def size_by_short_side(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width when the shorter has this length and the aspect is kept, rounded to whole pixels."""
    scale = short_side / min(height, width)
    return max(short_side, round(height * scale)), max(short_side, round(width * scale))
