"""The 529 colours that the class head knows: cells of 10 Lab units around multiples of ten, 23 x 23 of a and b."""

import torch
import torch.nn.functional as F
from torch import Tensor

STEP, A_SIDE = 10, 23
"""Side of a cell in Lab units, and how many there are of a, as of b: -110 to 110."""
CLASSES = A_SIDE**2
STRIDE = 4
"""Pixels from one prediction of the class head to the next."""


def class_of(chroma: Tensor) -> Tensor:
    """The cell, int64 `(B, H / 4, W / 4)`, of every fourth pixel's chroma, Lab a and b, `(B, 2, H, W)`."""
    cells = (chroma[:, :, ::STRIDE, ::STRIDE] / STEP).round().long() + A_SIDE // 2
    return cells[:, 0] * A_SIDE + cells[:, 1]


def class_centres() -> Tensor:
    """The colour of each class, Lab a and b, float32 `(529, 2)`.

    >>> class_centres()[class_of(torch.tensor([52.0, -8.0]).view(1, 2, 1, 1))].tolist()
    [[[[50.0, -10.0]]]]
    """
    centres = STEP * (torch.arange(A_SIDE, dtype=torch.float32) - A_SIDE // 2)
    return torch.cartesian_prod(centres, centres)


def enlarged(chroma: Tensor, size: tuple[int, int]) -> Tensor:
    """Stretch chroma of every fourth pixel, `(B, 2, h, w)`, bilinearly to the image's size: each stays where it was."""
    height, width = (STRIDE * side + 1 for side in chroma.shape[2:])
    beyond = F.pad(chroma, (0, 1, 0, 1), mode="replicate")
    stretched = F.interpolate(beyond, (height, width), mode="bilinear", align_corners=True)
    return stretched[:, :, : size[0], : size[1]]
