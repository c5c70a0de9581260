"""The colour spaces of the four papers, once, in float32 with autocast off.

Every function takes channels at dimension -3, `(..., C, H, W)`, and is differentiable. kornia does the
CIELab and sRGB arithmetic, which agrees with scikit-image to 5e-5. Its YCbCr uses coefficients of three digits, which
do not round-trip, so that space is spelt out here.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from kornia.color import lab_to_rgb as kornia_lab_to_rgb
from kornia.color import rgb_to_lab as kornia_rgb_to_lab
from kornia.color import rgb_to_linear_rgb
from torch import Tensor

__all__ = [
    "ALPHA_BETA_EPSILON",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "alpha_beta_to_rgb",
    "hue_chroma_to_rgb",
    "is_grey",
    "lab_to_rgb",
    "rgb_to_alpha_beta",
    "rgb_to_hue_chroma",
    "rgb_to_lab",
    "rgb_to_lab_luminance",
    "rgb_to_lightness",
    "rgb_to_linear_rgb",
    "rgb_to_ycbcr",
    "to_float",
    "to_uint8",
    "ycbcr_to_rgb",
]

ALPHA_BETA_EPSILON = 1e-4
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of R, G and B in [0, 1], as torchvision's weights expect pictures to be normalised."""
LARGEST_BAND = 2**22
"""Values of a picture that are converted at a time: the steps between take some 30 times their memory."""

Conversion = TypeVar("Conversion", bound=Callable[..., Any])


def full_precision(function: Conversion) -> Conversion:
    """Run `function` in float32 (float64 stays) with autocast off: bfloat16 Lab is wrong by up to 2.8 units."""

    def widen(value: object) -> object:
        if not isinstance(value, Tensor) or value.dtype == torch.float64:
            return value
        if not value.is_floating_point():
            raise ValueError(f"{function.__name__} wants floating colours, not {value.dtype}; see to_float")
        return value.float()

    @wraps(function)
    def in_full_precision(*arguments: Any, **keywords: Any) -> Any:
        device = next(value.device for value in (*arguments, *keywords.values()) if isinstance(value, Tensor))
        off = torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()
        with off:
            return function(*map(widen, arguments), **{name: widen(value) for name, value in keywords.items()})

    return cast(Conversion, in_full_precision)


def in_bands(convert: Callable[[Tensor], Tensor], picture: Tensor) -> Tensor:
    """Convert a large picture a band of rows at a time: the steps between take many times its memory."""
    rows = max(1, LARGEST_BAND // max(1, picture.numel() // max(1, picture.shape[-2])))
    if rows >= picture.shape[-2]:
        return convert(picture)
    first, *others = picture.split(rows, dim=-2)
    found = convert(first)
    whole = found.new_empty(*found.shape[:-2], *picture.shape[-2:])
    whole[..., :rows, :] = found
    for number, band in enumerate(others, 1):
        whole[..., number * rows : (number + 1) * rows, :] = convert(band)
    return whole


def to_float(rgb: Tensor) -> Tensor:
    """Eight-bit RGB in 0..255 to float32 RGB in [0, 1]; a floating picture passes through."""
    return rgb if rgb.is_floating_point() else rgb.float().div_(255)


def to_uint8(rgb: Tensor) -> Tensor:
    """RGB in [0, 1] to eight-bit RGB, rounding to the nearest of the 256 levels."""
    return in_bands(lambda band: band.mul(255).round_().clamp_(0, 255).to(torch.uint8), rgb)


def is_grey(rgb: Tensor) -> bool:
    """Whether a picture, `(3, H, W)`, has no colour at all: its three channels are equal everywhere."""
    few = rgb[:, ::16, ::16]  # most pictures show their colour here, at a hundredth of the cost
    return all(bool((each[0] == each[1]).all() and (each[1] == each[2]).all()) for each in (few, rgb))


@full_precision
def rgb_to_lab(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1] to CIELab (D65, 2 degrees): L in 0..100, a in -86.2..98.2, b in -107.9..94.5."""
    return in_bands(kornia_rgb_to_lab, rgb)


@full_precision
def rgb_to_lab_luminance(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1], `(..., 3, H, W)`, to CIELab L in 0..100, `(..., 1, H, W)`."""
    return in_bands(lambda band: kornia_rgb_to_lab(band)[..., :1, :, :], rgb)


@full_precision
def lab_to_rgb(lab: Tensor) -> Tensor:
    """CIELab to sRGB, clipped to [0, 1].

    Gamut guard: kornia takes b above 200 (L + 16) / 116, for which Z would be negative, as that value.
    """
    return in_bands(kornia_lab_to_rgb, lab)


@full_precision
def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1] to full-range JPEG YCbCr, each of Y, Cb and Cr in 0..255 with neutral chroma at 128."""
    red, green, blue = (255 * rgb).unbind(-3)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([y, 128 + (blue - y) / 1.772, 128 + (red - y) / 1.402], dim=-3)


@full_precision
def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Full-range JPEG YCbCr in 0..255 to sRGB, clipped to [0, 1]."""
    y, cb, cr = ycbcr.unbind(-3)
    red, blue = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    return (torch.stack([red, green, blue], dim=-3) / 255).clamp(0, 1)


@full_precision
def rgb_to_lightness(rgb: Tensor) -> Tensor:
    """The lightness of LRAC (section 3), (R + G + B) / 3 in [0, 1], `(..., 1, H, W)`."""
    return rgb.mean(dim=-3, keepdim=True)


@full_precision
def rgb_to_alpha_beta(rgb: Tensor) -> Tensor:
    """The opponent space in which LRAC reports RMSE (section 5.1): `(..., 2, H, W)`.

    alpha = (B - (R + G) / 2) / (L + 1e-4) lies in [-1.5, 3], beta = (R - G) / (L + 1e-4) in [-3, 3].
    """
    red, green, blue = rgb.unbind(-3)
    yellow = torch.lerp(red, green, 0.5)
    lightness = torch.lerp(yellow, blue, 1 / 3).add_(ALPHA_BETA_EPSILON)
    return torch.stack([blue - yellow, red - green], dim=-3).div_(lightness.unsqueeze(-3))


@full_precision
def alpha_beta_to_rgb(lightness: Tensor, alpha_beta: Tensor) -> Tensor:
    """The RGB, not clipped, of LRAC's lightness `(..., 1, H, W)` and alpha-beta `(..., 2, H, W)`."""
    alpha, beta = (alpha_beta * (lightness + ALPHA_BETA_EPSILON)).unbind(-3)
    grey = lightness.squeeze(-3)
    return torch.stack([grey - alpha / 3 + beta / 2, grey - alpha / 3 - beta / 2, grey + 2 * alpha / 3], dim=-3)


@full_precision
def rgb_to_hue_chroma(rgb: Tensor) -> Tensor:
    """HSV hue as a fraction of the circle in [0, 1) and chroma max - min in [0, 1]: LRAC section 3, `(..., 2, H, W)`.

    A grey pixel has hue 0.
    """
    red, green, blue = rgb.unbind(-3)
    value, chroma = rgb.amax(dim=-3), rgb.amax(dim=-3) - rgb.amin(dim=-3)
    safe_chroma = torch.where(chroma > 0, chroma, 1)
    sextant = torch.where(
        value == red,
        ((green - blue) / safe_chroma) % 6,
        torch.where(value == green, 2 + (blue - red) / safe_chroma, 4 + (red - green) / safe_chroma),
    )
    hue = torch.where(chroma > 0, sextant / 6, 0) % 1
    return torch.stack([hue, chroma], dim=-3)


@full_precision
def hue_chroma_to_rgb(lightness: Tensor, hue_chroma: Tensor) -> Tensor:
    """The RGB, clipped to [0, 1], of bicone lightness `(..., 1, H, W)`, hue and chroma `(..., 2, H, W)`.

    LRAC section 3.3: value V = L + C / 2, saturation C / V.
    """
    hue, chroma = hue_chroma.unbind(-3)
    value = lightness.squeeze(-3) + chroma / 2
    saturation = torch.where(value > 0, chroma / torch.where(value > 0, value, 1), 0).clamp(0, 1)
    value = value.clamp(0, 1)
    channels = []
    for offset in (5, 3, 1):
        sextant = (offset + 6 * hue) % 6
        channels.append(value - value * saturation * torch.minimum(sextant, 4 - sextant).clamp(0, 1))
    return torch.stack(channels, dim=-3)
