"""The 529 colours that the class head knows: cells of 10 Lab units around multiples of ten, 23 x 23 of a and b."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.color import full_precision

STEP, A_SIDE = 10, 23
"""Side of a cell in Lab units, and how many there are of a, as of b: -110 to 110."""
CLASSES = A_SIDE**2
STRIDE = 4
"""Pixels from one prediction of the class head to the next."""


def class_of(chroma: Tensor) -> Tensor:
    """The cell, int64 `(B, H / 4, W / 4)`, of every fourth pixel's chroma, Lab a and b, `(B, 2, H, W)`."""
    cells = (chroma[:, :, ::STRIDE, ::STRIDE] / STEP).round().long() + A_SIDE // 2
    return cells[:, 0] * A_SIDE + cells[:, 1]


@full_precision
def annealed_mean(logits: Tensor, temperature: float) -> Tensor:
    """The mean colour of the class head's distribution, sharpened as in Zhang et al. 2016, equation 5.

    Args:
        logits: `(B, 529, h, w)`.
        temperature: 1 for the mean; towards 0, the likeliest colour.

    Returns:
        Lab a and b, float32 `(B, 2, h, w)`.
    """
    cells = (logits / temperature).softmax(dim=1).unflatten(1, (A_SIDE, A_SIDE))  # (B, 23 of a, 23 of b, h, w)
    centres = STEP * (torch.arange(A_SIDE, device=logits.device) - A_SIDE // 2).to(cells.dtype)
    of_a, of_b = (torch.einsum("k,bkhw->bhw", centres, cells.sum(dim=other)) for other in (2, 1))
    return torch.stack([of_a, of_b], dim=1)


def enlarged(chroma: Tensor, size: tuple[int, int]) -> Tensor:
    """Stretch chroma of every fourth pixel, `(B, 2, h, w)`, bilinearly to the image's size: each stays where it was."""
    height, width = (STRIDE * side + 1 for side in chroma.shape[2:])
    beyond = F.pad(chroma, (0, 1, 0, 1), mode="replicate")
    stretched = F.interpolate(beyond, (height, width), mode="bilinear", align_corners=True)
    return stretched[:, :, : size[0], : size[1]]
