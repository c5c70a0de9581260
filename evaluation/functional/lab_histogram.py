"""Histograms of CIELab a and b over a set, and their intersection (Guadarrama et al. 2017, Figures 7 and 8)."""

import math

import torch
from torch import Tensor

from evaluation.functional.histogram import counts_by_row
from lightning_modules.color import rgb_to_lab

LARGEST_AB = 110.0


def number_of_bins(bin_width: float) -> int:
    """How many bins of this width lie in -110..110.

    Raises:
        ValueError: If they do not fill it.
    """
    bins = round(2 * LARGEST_AB / bin_width) if bin_width > 0 else 0
    if bins < 1 or not math.isclose(bins * bin_width, 2 * LARGEST_AB):
        raise ValueError(f"bins of {bin_width} do not divide the 220 units from -110 to 110; take 1, 2, 5 or 10")
    return bins


def lab_histogram(rgb: Tensor, bin_width: float = 1.0) -> Tensor:
    """Each picture's marginal histograms of a and b on -110..110, which holds all of sRGB.

    Zero is an edge between two bins, so that rounding decides on which side of it a grey pixel falls. The same grey
    falls on the same side in every picture.

    Args:
        rgb: RGB in [0, 1], (B, 3, H, W).
        bin_width: In Lab units. The paper names none; the intersection depends on it, so record it with the score.

    Returns:
        Counts, float64 (B, 2, bins). Their sum over pictures is the set's histogram.

    Raises:
        ValueError: If the bins do not fill the range.
    """
    bins = number_of_bins(bin_width)
    ab = rgb_to_lab(rgb)[:, 1:].flatten(0, 1).flatten(1)
    indices = (ab + LARGEST_AB).mul_(1 / bin_width).short()  # which rounds down
    return counts_by_row(indices, bins).view(len(rgb), 2, bins)


def histogram_intersection(first: Tensor, second: Tensor) -> Tensor:
    """The overlap of two pairs of histograms: the sum of the minima of their shares.

    Args:
        first: Counts of a and of b, pooled over a set, (..., 2, bins).
        second: Those of the other set, (..., 2, bins).

    Returns:
        (..., 2), of a and of b, from 0, nothing in common, to 1, the same shares.

    Raises:
        ValueError: If a histogram is empty.
    """
    if not (first.sum(dim=-1).all() and second.sum(dim=-1).all()):
        raise ValueError("a histogram without pixels has no intersection with another; check the set")
    shares = [counts.double() / counts.sum(dim=-1, keepdim=True) for counts in (first, second)]
    return torch.minimum(*shares).sum(dim=-1)
