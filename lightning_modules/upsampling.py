"""Enlarging chroma, the one way in which methods that predict it at a fraction of the resolution bring it to full size.

Guided, colour stops at the edges of luminance. Around each sample, chroma is fitted as a linear function of luminance,
as in the guided filter (He, Sun and Tang, "Guided Image Filtering", PAMI 2013, equation 5). That filter then replaces
chroma by the fit, and loses what luminance does not explain. Here only the slope is used, for the detail that luminance
has and its own reduced copy lacks:

    enlarged(chroma) + enlarged(slope) * (luminance - enlarged(reduced luminance))
"""

from collections.abc import Collection
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.color import full_precision

Upsampling = Literal["guided", "bicubic", "bilinear"]

EDGE = 0.045
"""Contrast, in units of white, under which luminance counts as noise: its square is epsilon of the guided filter."""
WINDOW = 3
"""Side, in samples of chroma, of the square in which the slope is fitted."""


@full_precision
def enlarge_chroma(
    chroma: Tensor, luminance: Tensor, upsampling: Upsampling = "guided", *, white: float = 100.0
) -> Tensor:
    """Enlarge chroma to the size of luminance; not clipped, and returned unchanged if it has that size.

    At 24 megapixels, guided, this takes two full-size channels of memory besides the result.

    Args:
        chroma: `(B, C, h, w)`, in any unit; each sample stands for the mean of an area of the image.
        luminance: `(B, 1, H, W)`, in any unit.
        upsampling: `guided`, or `bicubic` or `bilinear` interpolation of chroma alone.
        white: The luminance of white: 100 for Lab L.

    Returns:
        `(B, C, H, W)` in float32.
    """
    size = (luminance.shape[2], luminance.shape[3])
    if chroma.shape[2:] == size:
        return chroma
    enlarged = F.interpolate(chroma, size, mode="bilinear" if upsampling == "bilinear" else "bicubic")
    if upsampling != "guided":
        return enlarged
    reduced = F.adaptive_avg_pool2d(luminance, (chroma.shape[2], chroma.shape[3]))
    detail = luminance - F.interpolate(reduced, size, mode="bicubic")  # (B, 1, H, W)
    for channel, slope in zip(enlarged.split(1, dim=1), slopes(chroma, reduced, white).split(1, dim=1), strict=True):
        channel.addcmul_(detail, F.interpolate(slope, size, mode="bilinear"))
    return enlarged


def slopes(chroma: Tensor, luminance: Tensor, white: float) -> Tensor:
    """Slope of chroma, `(B, C, h, w)`, by luminance, `(B, 1, h, w)`, around each sample, by ridge regression.

    It is cov(luminance, chroma) / (var(luminance) + epsilon), `a` of equation 5, `(B, C, h, w)`.
    """
    mean_luminance, mean_chroma = window_mean(luminance), window_mean(chroma)
    covariance = window_mean(luminance * chroma) - mean_luminance * mean_chroma
    variance = window_mean(luminance.square()) - mean_luminance.square()
    return covariance / (variance + (EDGE * white) ** 2)


def window_mean(values: Tensor) -> Tensor:
    """Mean over the window around each sample, `(B, C, h, w)`; windows are cut at the border."""
    return F.avg_pool2d(values, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)


def check_upsampling(upsampling: str, choices: Collection[str] = get_args(Upsampling)) -> None:
    """Refuse an unknown way of enlarging.

    Raises:
        ValueError: If it is not among the choices.
    """
    if upsampling not in choices:
        raise ValueError(f"model.upsampling is one of {', '.join(choices)}, not {upsampling}")
