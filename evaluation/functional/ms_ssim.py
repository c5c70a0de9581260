"""Multi-scale structural similarity (Wang et al. 2003), and the pairs of samples between which it shows diversity.

Guadarrama et al. 2017, Figure 10, draw the histogram over pairs of samples of one picture.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.functional.ssim import BORDER, similarities
from lightning_modules.color import full_precision

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, the finest first (Wang et al. 2003, section 3.2)."""
SMALLEST_SIDES = {5: 176, 4: 99, 3: 44, 2: 22, 1: 11}
"""The least shorter side for so many scales: the window of 11 pixels must fit the coarsest; torchmetrics wants 99."""
SIMILARITY_EDGES = torch.arange(101, dtype=torch.float64) / 100
"""Of the histogram over pairs of samples."""


def scales_for(side: int) -> int:
    """How many scales fit a picture whose shorter side has so many pixels: 5 from 176 on.

    Raises:
        ValueError: If not even one fits.
    """
    for scales, smallest in SMALLEST_SIDES.items():
        if side >= smallest:
            return scales
    raise ValueError(f"MS-SSIM wants pictures of at least {SMALLEST_SIDES[1]} pixels a side, not {side}")


@full_precision
def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """MS-SSIM of each pair of pictures, the mean over R, G and B before the product over scales.

    Five scales where the shorter side has at least 176 pixels, else fewer, whose weights then sum to 1 again: scores
    of different numbers of scales do not compare. A scale on which the two are anti-correlated counts as 0. At the
    coarsest scale borders are mirrored and count, as in torchmetrics; Wang et al. leave them out.

    Args:
        first: RGB in [0, 1], (B, 3, H, W).
        second: RGB in [0, 1], (B, 3, H, W).

    Returns:
        Float64 (B,), in [0, 1]; 1 for two that are the same.

    Raises:
        ValueError: If a side is under 11 pixels.
    """
    weights = WEIGHTS[: scales_for(min(first.shape[2:]))]
    similarity = torch.ones(len(first), dtype=torch.float64, device=first.device)
    for scale, weight in enumerate(weights, start=1):
        luminance, contrast = similarities(first, second)
        if scale == len(weights):
            found = luminance * contrast
        else:
            found = contrast[..., BORDER:-BORDER, BORDER:-BORDER]
            first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
        similarity = similarity * found.mean(dim=(1, 2, 3)).clamp(min=0) ** (weight / sum(weights))
    return similarity


def pairs(samples: int) -> list[tuple[int, int]]:
    """All pairs of a picture's samples, as Figure 10 takes them: samples (samples - 1) / 2.

    Raises:
        ValueError: If there is only one sample.
    """
    check_samples(samples)
    return [(first, second) for first in range(samples) for second in range(first + 1, samples)]


def first_against_rest(samples: int) -> list[tuple[int, int]]:
    """The first sample with each other: as many pairs as there are other samples, for when all are too many.

    Raises:
        ValueError: If there is only one sample.
    """
    check_samples(samples)
    return [(0, second) for second in range(1, samples)]


def check_samples(samples: int) -> None:
    """A single sample has no diversity.

    Raises:
        ValueError: If there are fewer than two.
    """
    if samples < 2:
        raise ValueError(f"diversity wants at least 2 samples of each picture, not {samples}")
