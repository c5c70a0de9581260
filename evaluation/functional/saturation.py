"""Perceptual saturation (Luebbe 2010), with which Royer et al. 2017 (section 4.3) compare vividness."""

import torch
from torch import Tensor

from lightning_modules.color import rgb_to_lab


def saturation(rgb: Tensor) -> Tensor:
    """Mean over pixels of C / sqrt(C^2 + L^2) in CIELab, in percent; a black pixel counts as 0.

    Args:
        rgb: RGB in [0, 1], (B, 3, H, W).

    Returns:
        (B,), in percent.
    """
    luminance, a, b = rgb_to_lab(rgb).unbind(1)
    chroma = torch.hypot(a, b)
    length = torch.hypot(chroma, luminance)
    return 100 * torch.where(length > 0, chroma / torch.where(length > 0, length, 1), 0).mean(dim=(1, 2))
