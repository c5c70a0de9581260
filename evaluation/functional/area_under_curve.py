"""AuC: how many pixels come within a distance of the truth, over all distances (Zhang et al. 2016, section 3.1).

The paper sweeps a threshold on the distance in CIELab ab from 0 to 150, and normalises the area under the share of
pixels within it; after Deshpande et al. 2015. Its second score weighs each pixel by the inverse of the probability of
its true colour (equation 4 with lambda = 0). How that probability is to be taken for a test set it does not say. Here
it is the plain share of the pixels of the scored set whose true colour is nearest to each point of the paper's grid of
10 (section 2.1), not smoothed: the rebalanced curve is then the mean, over the colours that occur, of each colour's own
curve.
"""

import torch
from torch import Tensor

from evaluation.functional.histogram import counts_by_row, shares_within
from lightning_modules.color import full_precision, rgb_to_lab

LARGEST_DISTANCE = 150
GRID = 10
GRID_SIDE = 23
"""Points at -110, -100, ..., 110 along a and along b."""
COLORS = GRID_SIDE**2
"""Points of the grid, many of them outside sRGB."""


def threshold_index(prediction: Tensor, truth: Tensor) -> Tensor:
    """The least of the thresholds 0, 1, ..., 150 that each pixel's distance in ab is within, whatever its L; else 151.

    Args:
        prediction: RGB in [0, 1], (B, 3, H, W).
        truth: RGB in [0, 1], (B, 3, H, W).

    Returns:
        Int32 (B, H, W).
    """
    squares = (rgb_to_lab(prediction)[:, 1:] - rgb_to_lab(truth)[:, 1:]).square_()
    distance = squares[:, 0].add_(squares[:, 1]).sqrt_()
    return distance.ceil_().clamp_(max=LARGEST_DISTANCE + 1).int()


def threshold_counts(indices: Tensor, weights: Tensor | None = None) -> Tensor:
    """How many pixels have each `threshold_index`, or what they weigh: float64 (B, 152), of both (B, H, W)."""
    return counts_by_row(indices.flatten(1), LARGEST_DISTANCE + 2, None if weights is None else weights.flatten(1))


@full_precision
def within_thresholds(prediction: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """The share of each picture's pixels whose ab distance from the truth is at most t = 0, 1, ..., 150.

    Args:
        prediction: RGB in [0, 1], (B, 3, H, W).
        truth: RGB in [0, 1], (B, 3, H, W).
        weights: Of the pixels, at least 0, (B, H, W); equal if None.

    Returns:
        Float64 (B, 151), rising to at most 1; NaN for a picture without weight.
    """
    return shares_within(threshold_counts(threshold_index(prediction, truth), weights))


def area_under_curve(shares: Tensor) -> Tensor:
    """The area under curves of shares, (..., 151), by trapezia, over that of a perfect one: (...), in [0, 1]."""
    return torch.trapezoid(shares, dim=-1) / LARGEST_DISTANCE


def color_index(truth: Tensor) -> Tensor:
    """The point of the grid nearest to each pixel's ab: int32 (B, H, W) in 0..528, of RGB in [0, 1], (B, 3, H, W)."""
    a, b = (rgb_to_lab(truth)[:, 1:] / GRID).round_().unbind(1)
    return (GRID_SIDE * a).add_(b).add_(COLORS // 2).int()  # from grey, the middle


def color_counts(truth: Tensor) -> Tensor:
    """How many of each picture's pixels have each colour of the grid: float64 (B, 529), of RGB (B, 3, H, W).

    Their sum over a set's pictures is the prior of `rebalancing_weights`.
    """
    return counts_by_row(color_index(truth).flatten(1), COLORS)


def counts_by_color(colors: Tensor, thresholds: Tensor) -> Tensor:
    """How many pixels of each true colour have each `threshold_index`: all that a set's two scores follow from.

    Args:
        colors: `color_index` of the truth, (B, H, W), or (1, H, W) where all have the same.
        thresholds: `threshold_index`, (B, H, W).

    Returns:
        Float64 (B, 529, 152).
    """
    indices = torch.add(thresholds, colors, alpha=LARGEST_DISTANCE + 2).flatten(1)
    return counts_by_row(indices, COLORS * (LARGEST_DISTANCE + 2)).view(-1, COLORS, LARGEST_DISTANCE + 2)


@full_precision
def rebalancing_weights(truth: Tensor, prior: Tensor) -> Tensor:
    """Weights of pixels, inverse to the probability of their true colours: equation 4 with lambda = 0.

    Args:
        truth: RGB in [0, 1], (B, 3, H, W).
        prior: Counts or shares of the colours of the grid, pooled over the set that is scored, (529,).

    Returns:
        Float64 (B, H, W). Their mean over the pixels that the prior was pooled from is 1.

    Raises:
        ValueError: If a pixel has a colour of which the prior has none.
    """
    shares = prior.double() / prior.sum()
    weights = 1 / (shares * (shares > 0).sum())
    found = weights[color_index(truth)]
    if found.isinf().any():
        raise ValueError(f"the prior lacks the colour of {int(found.isinf().sum())} pixels; pool it over the same set")
    return found
