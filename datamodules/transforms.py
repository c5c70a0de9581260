"""What the methods do to a picture before they see it: functions of pixels and of a generator.

Each takes a picture, and what lies over it pixel by pixel (a segmentation mask), as uint8 `(channels, H, W)`, and
treats all alike. With a generator they draw, as training wants; without one they do what evaluation wants.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode, resize

from lightning_modules.color import rgb_to_lab, rgb_to_ycbcr, to_float
from lightning_modules.resize import resized as resized_picture
from lightning_modules.resize import size_by_short_side

Layers = list[Tensor]
Transform = Callable[[Layers, torch.Generator | None], Layers]


def as_stored(layers: Layers, _: torch.Generator | None) -> Layers:
    """Nothing: pictures of any size, which make no batch."""
    return layers


def squash(layers: Layers, generator: torch.Generator | None, *, resolution: int) -> Layers:
    """Resize to a square, whatever the aspect, and mirror: PIC, section 4.2, at 128."""
    (coin,) = draws(generator, 1, otherwise=(1,))
    return mirrored(resized(layers, (resolution, resolution)), coin)


def scale_and_crop(
    layers: Layers,
    generator: torch.Generator | None,
    *,
    short_side: int | Sequence[int],
    resolution: int,
    whole: bool = False,
) -> Layers:
    """Resize by the shorter side, cut a square, and mirror.

    LRAC's training file: shorter side 352 to 600, square 352. PixColor: shorter side 256, square 224.

    Args:
        layers: The picture, and what lies over it.
        generator: Chooses side, place and mirroring; None takes the smallest side and the centre.
        short_side: One length, or the bounds between which every length is as likely.
        resolution: Side of the square.
        whole: Without a generator, leave the picture as it is; a batch then holds one.
    """
    if whole and generator is None:
        return layers
    shortest, longest = (short_side, short_side) if isinstance(short_side, int) else short_side
    size, down, across, coin = draws(generator, 4, otherwise=(0, 0.5, 0.5, 1))
    layers = resized_by_short_side(layers, max(resolution, shortest + int(size * (longest - shortest + 1))))
    height, width = layers[0].shape[1:]
    top, left = int(down * (height - resolution + 1)), int(across * (width - resolution + 1))
    return mirrored([each[:, top : top + resolution, left : left + resolution] for each in layers], coin)


def crop_and_resize(layers: Layers, generator: torch.Generator | None, *, short_side: int, resolution: int) -> Layers:
    """Resize by the shorter side, cut a `random_box`, resize it to a square, and mirror.

    Xu et al., section 4: shorter side 256, square 176. Without a generator the largest centred square is taken.
    """
    layers = resized_by_short_side(layers, short_side)
    height, width = layers[0].shape[1:]
    side = min(height, width)
    top, left, box_height, box_width = (height - side) // 2, (width - side) // 2, side, side
    if generator is not None:
        top, left, box_height, box_width = random_box(height, width, generator)
    boxes = [each[:, top : top + box_height, left : left + box_width] for each in layers]
    return squash(boxes, generator, resolution=resolution)


def random_box(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random rectangle.

    Its area is 8 to 100 % of the picture's, each share as likely, and its aspect 3:4 to 4:3, evenly in its logarithm;
    if ten draws do not fit, it is the largest centred square.
    """
    for _ in range(10):
        share, aspect, down, across = draws(generator, 4)
        area = height * width * (0.08 + 0.92 * share)
        ratio = (4 / 3) ** (2 * aspect - 1)
        box_height, box_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < box_height <= height and 0 < box_width <= width:
            return int(down * (height - box_height + 1)), int(across * (width - box_width + 1)), box_height, box_width
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def draws(generator: torch.Generator | None, count: int, otherwise: Sequence[float] = ()) -> Sequence[float]:
    """Numbers from [0, 1), each as likely, or what stands for them without a generator."""
    return otherwise if generator is None else torch.rand(count, generator=generator, dtype=torch.float64).tolist()


def mirrored(layers: Layers, coin: float) -> Layers:
    """Mirrored if the coin, from [0, 1), lies below a half."""
    return [each.flip(-1) for each in layers] if coin < 0.5 else layers


def resized_by_short_side(layers: Layers, short_side: int) -> Layers:
    """Resize so that the shorter side has this length, the aspect kept."""
    height, width = layers[0].shape[1:]
    return resized(layers, size_by_short_side(height, width, short_side))


def resized(layers: Layers, size: tuple[int, int]) -> Layers:
    """Resize pictures (three channels) with an antialiased bicubic filter, masks (one channel) to the nearest value."""
    return [
        resized_picture(each, size) if len(each) == 3 else resize(each, list(size), InterpolationMode.NEAREST_EXACT)
        for each in layers
    ]


def colourness(rgb: Tensor) -> float:
    """Mean over pixels of max(|Cb - 128|, |Cr - 128|) / 128, in 0..1; PixColor trains on pictures of 0.05 and more.

    Args:
        rgb: uint8, `(3, H, W)`.
    """
    return float((rgb_to_ycbcr(to_float(rgb))[1:] - 128).abs().amax(dim=0).mean() / 128)


def chroma_range(rgb: Tensor) -> float:
    """Range of CIELab a plus range of b over the picture; Xu et al. train on pictures of 5 and more.

    Args:
        rgb: uint8, `(3, H, W)`.
    """
    chroma = rgb_to_lab(to_float(rgb))[1:].flatten(1)
    return float((chroma.amax(dim=1) - chroma.amin(dim=1)).sum())
