"""PixColor's chroma: Cr and Cb in 0..255, at a fraction of the resolution and in 32 bins (section 3).

Channels are Cr, then Cb, the order in which the paper factorises a pixel.
"""

import torch
from torch import Tensor

from lightning_modules.color import rgb_to_ycbcr, ycbcr_to_rgb
from lightning_modules.upsampling import Upsampling, enlarge_chroma

BINS = 32
BIN_WIDTH = 8
"""The neutral chroma, 128, is the middle of bin 16: grey stays grey."""


def luminance_and_chroma(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Y in [0, 1], `(B, 1, H, W)`, and Cr and Cb in 0..255, `(B, 2, H, W)`, of RGB in [0, 1], `(B, 3, H, W)`."""
    ycbcr = rgb_to_ycbcr(rgb)
    return ycbcr[:, :1] / 255, ycbcr[:, 1:].flip(1)


def join(luminance: Tensor, chroma: Tensor, upsampling: Upsampling = "bilinear") -> Tensor:
    """RGB, clipped to [0, 1], of Y in [0, 1], `(B, 1, H, W)`, and of chroma `(B, 2, h, w)`, which is enlarged."""
    chroma = enlarge_chroma(chroma, luminance, upsampling, white=1)
    return ycbcr_to_rgb(torch.cat([255 * luminance, chroma.flip(1)], dim=1))


def bins_of(chroma: Tensor) -> Tensor:
    """The nearest of 32 bins, int64: k stands for 8 k. The purest colours, over 252, fall into the last."""
    return (chroma / BIN_WIDTH).round().clamp(0, BINS - 1).long()


def chroma_of(bins: Tensor) -> Tensor:
    """What bins stand for: 0, 8, .., 248."""
    return BIN_WIDTH * bins.float()


def canvas_of(bins: Tensor) -> Tensor:
    """Bins as the PixelCNN sees them, in [-1, 1]."""
    middle = (BINS - 1) / 2
    return (bins.float() - middle) / middle
