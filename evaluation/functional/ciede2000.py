"""The CIEDE2000 colour difference, as Sharma, Wu and Dalal 2005 implement it; their equation numbers."""

import math

import torch
from torch import Tensor

from lightning_modules.color import full_precision, rgb_to_lab

OPPOSITE = 1e-6
"""Radians by which rounding may part hues that are exactly opposite, where the formula jumps."""

BAND = 2**15
"""Pixels at a time: the many intermediate values of more do not fit a processor's cache."""


def ciede2000(prediction: Tensor, truth: Tensor) -> Tensor:
    """The mean over each picture's pixels of the CIEDE2000 difference: about 1 is just noticeable.

    Args:
        prediction: RGB in [0, 1], (B, 3, H, W).
        truth: RGB in [0, 1], (B, 3, H, W).

    Returns:
        (B,), from 0.
    """
    height, width = truth.shape[2:]
    rows = max(1, BAND // width)
    sums = [
        ciede2000_of_lab(rgb_to_lab(first), rgb_to_lab(second)).sum(dim=(1, 2))
        for first, second in zip(prediction.split(rows, dim=2), truth.split(rows, dim=2), strict=True)
    ]
    return torch.stack(sums).sum(dim=0) / (height * width)


@full_precision
def ciede2000_of_lab(first: Tensor, second: Tensor) -> Tensor:
    """CIEDE2000 of each pixel with weights k_L = k_C = k_H = 1; symmetric in its arguments.

    Args:
        first: CIELab, (B, 3, H, W).
        second: CIELab, (B, 3, H, W).

    Returns:
        (B, H, W).
    """
    lightness_1, chroma_1, hue_1, lightness_2, chroma_2, hue_2 = lightness_chroma_hue(first, second)
    chroma_product = chroma_1 * chroma_2

    # Equations 8 to 11; hue is in radians. Where a pixel is grey it has none, and counts for nothing: each term that
    # it enters has this difference as a factor.
    lightness_difference = lightness_2 - lightness_1
    chroma_difference = chroma_2 - chroma_1
    hue_angle = hue_2 - hue_1
    far = hue_angle.abs() > math.pi + OPPOSITE
    hue_angle = torch.where(far, hue_angle - 2 * math.pi * hue_angle.sign(), hue_angle)
    hue_difference = 2 * chroma_product.sqrt() * (hue_angle / 2).sin()

    # Equations 12 to 14.
    lightness = (lightness_1 + lightness_2) / 2
    chroma = (chroma_1 + chroma_2) / 2
    hue_sum = hue_1 + hue_2
    wrapped = hue_sum + 2 * math.pi * torch.where(hue_sum < 2 * math.pi, 1, -1)
    hue = torch.where(far, wrapped, hue_sum) / 2

    # Equations 15 to 21.
    hue_weight = (
        1
        - 0.17 * (hue - math.radians(30)).cos()
        + 0.24 * (2 * hue).cos()
        + 0.32 * (3 * hue + math.radians(6)).cos()
        - 0.20 * (4 * hue - math.radians(63)).cos()
    )
    squared = (lightness - 50).square()
    lightness_scale = 1 + 0.015 * squared / (20 + squared).sqrt()
    chroma_scale = 1 + 0.045 * chroma
    hue_scale = 1 + 0.015 * chroma * hue_weight
    rotation_angle = math.radians(60) * (-((hue.rad2deg() - 275) / 25).square()).exp()
    rotation = -2 * saturating(chroma) * rotation_angle.sin()

    # Equation 22. Rounding can take the sum just below zero.
    lightness_term = lightness_difference / lightness_scale
    chroma_term = chroma_difference / chroma_scale
    hue_term = hue_difference / hue_scale
    total = lightness_term.square() + chroma_term.square() + hue_term.square() + rotation * chroma_term * hue_term
    return total.clamp(min=0).sqrt()


def saturating(chroma: Tensor) -> Tensor:
    """The root of C^7 / (C^7 + 25^7), with no seventh power to overflow."""
    seventh = (chroma / 25).pow(7)
    return (seventh / (seventh + 1)).sqrt()


def lightness_chroma_hue(first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
    """L, C' and h' in 0..2 pi of both, each (B, H, W), of Lab (B, 3, H, W): equations 2 to 7."""
    mean_chroma = (torch.hypot(first[:, 1], first[:, 2]) + torch.hypot(second[:, 1], second[:, 2])) / 2
    stretch = 1.5 - saturating(mean_chroma) / 2
    found = list[Tensor]()
    for lab in (first, second):
        lightness, a, b = lab.unbind(1)
        hue = torch.atan2(b, stretch * a)
        found += [lightness, torch.hypot(stretch * a, b), torch.where(hue < 0, hue + 2 * math.pi, hue)]
    return tuple(found)
