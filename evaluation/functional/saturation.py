"""Perceptual saturation (Luebbe 2010), with which Royer et al. 2017 (section 4.3) compare vividness."""

import torch
from torch import Tensor

from lightning_modules.color import full_precision, rgb_to_lab


@full_precision
def saturation(rgb: Tensor) -> Tensor:
    """Mean over pixels of C / sqrt(C^2 + L^2) in CIELab, in percent; a black pixel counts as 0.

    Args:
        rgb: RGB in [0, 1], (B, 3, H, W).

    Returns:
        (B,), in percent.
    """
    luminance, a, b = rgb_to_lab(rgb).unbind(1)
    chroma = a.square().addcmul_(b, b)
    length = torch.addcmul(chroma, luminance, luminance).clamp_(min=torch.finfo(a.dtype).tiny)  # black has none
    return 100 * chroma.div_(length).sqrt_().mean(dim=(1, 2))
