"""Structural similarity (Wang et al. 2004), computed in float64: a variance is the small difference of two averages."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.color import full_precision

WINDOW = 11
"""Pixels a side of the Gaussian window, whose standard deviation is 1.5."""
BORDER = WINDOW // 2
STABILIZERS = 0.01**2, 0.03**2
"""C1 and C2 of equation 13, for values in [0, 1]."""
STRIP = 64
"""Pixels that one matrix product blurs at once."""


@full_precision
def ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """SSIM of each picture, the mean over R, G and B and over all pixels.

    Args:
        prediction: RGB in [0, 1], (B, 3, H, W).
        truth: RGB in [0, 1], (B, 3, H, W).

    Returns:
        Float64 (B,), 1 for the truth itself, below 0 for one that is anti-correlated. Borders are mirrored and count;
        scikit-image leaves them out.

    Raises:
        ValueError: If a side is under 11 pixels.
    """
    if min(truth.shape[2:]) < WINDOW:
        raise ValueError(f"SSIM wants pictures of at least {WINDOW} pixels a side, not {min(truth.shape[2:])}")
    luminance, contrast = similarities(prediction, truth)
    return (luminance * contrast).mean(dim=(1, 2, 3))


def similarities(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Compare luminance (equation 6), and contrast with structure (equations 9 and 10), at each pixel.

    Args:
        first: RGB in [0, 1], (B, 3, H, W).
        second: RGB in [0, 1], (B, 3, H, W).

    Returns:
        Two maps, float64 (B, 3, H, W) each; their product is SSIM.
    """
    first, second = first.double(), second.double()
    maps = torch.stack([first, second, first * first + second * second, first * second])
    mean_1, mean_2, squares, product = blur(maps.flatten(0, 1)).view_as(maps)
    c1, c2 = STABILIZERS
    squared_means, product_of_means = mean_1 * mean_1 + mean_2 * mean_2, mean_1 * mean_2
    luminance = (2 * product_of_means + c1) / (squared_means + c1)
    return luminance, (2 * (product - product_of_means) + c2) / (squares - squared_means + c2)


def blur(maps: Tensor) -> Tensor:
    """The Gaussian window's weighted mean around each pixel, (B, C, H, W), borders mirrored."""
    return blur_rows(blur_rows(maps).mT).mT


def blur_rows(maps: Tensor) -> Tensor:
    """Blur along the last dimension, a strip at a time.

    A strip is multiplied by a band matrix: PyTorch's convolutions are many times slower in float64.
    """
    width = maps.shape[-1]
    mirrored = F.pad(maps, (BORDER, BORDER, 0, 0), mode="reflect")
    strips = F.pad(mirrored, (0, -width % STRIP)).unfold(-1, STRIP + 2 * BORDER, STRIP)  # (B, C, H, strips, 74)
    weights = torch.exp(-((torch.arange(WINDOW) - BORDER).double() ** 2) / (2 * 1.5**2)).tolist()
    band = torch.zeros(STRIP + 2 * BORDER, STRIP, dtype=torch.float64)
    for offset, weight in enumerate(weights):
        band.diagonal(-offset).fill_(weight / sum(weights))
    return (strips @ band.to(maps)).flatten(-2)[..., :width]
