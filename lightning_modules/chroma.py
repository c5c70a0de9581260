"""Images larger than a network is meant for: what it sees of them, and its chroma under their own luminance."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.color import lab_to_rgb


def seen_size(image: Tensor, short_side: int | None) -> tuple[int, int]:
    """Height and width at which a network sees an image, `(B, C, H, W)`: its shorter side at most `short_side`."""
    height, width = image.shape[2:]
    scale = min(1.0, (short_side or math.inf) / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def with_chroma(luminance: Tensor, chroma: Tensor) -> Tensor:
    """RGB in [0, 1], `(B, 3, H, W)`, of L, `(B, 1, H, W)`, and Lab a and b of this size or a smaller one."""
    size = luminance.shape[2:]
    if chroma.shape[2:] != size:
        chroma = F.interpolate(chroma, size, mode="bicubic", align_corners=False)
    return lab_to_rgb(torch.cat([luminance, chroma], dim=1))
