"""How features get the statistics of a reference's: AdaIN, or whitening and colouring; over all pixels or by label.

Xu et al., CVPR 2020, sections 3.1 and 4.1. Everything is computed in float32.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.color import full_precision

EPSILON = 1e-5
"""Added to variances."""
SMALLEST_EIGENVALUE = 1e-5
RELATIVE_FLOOR = 0.01
"""Of variances before whitening, in units of their mean."""
FEWEST_PIXELS = 10
"""Labels of so few pixels, or fewer, are left as they are."""
LARGEST_RATIO = 100
"""Of a label's pixels in the picture and in the reference, either way."""

Description = tuple[Tensor, Tensor]
"""What is kept of a reference's features: means, `(..., C, 1)`, and deviations, `(..., C, 1)`, or what colours."""


class Matching(NamedTuple):
    """A way to match. Features are pixels of any number, `(..., C, N)`.

    Attributes:
        describe: Reduces a reference's features to their statistics.
        match: Gives features the statistics that are described.
    """

    describe: Callable[[Tensor], Description]
    match: Callable[[Tensor, Description], Tensor]


def moments(features: Tensor) -> Description:
    """Mean and deviation of each channel, the variance unbiased and a little more.

    Batch normalisation's own kernel for the two takes a tenth of the time of torch's other ways.
    """
    mean, variance = features.new_zeros(2, *features.shape[:-1], 1)
    torch.batch_norm_update_stats(by_channel(features), mean.view(-1), variance.view(-1), momentum=1.0)
    return mean, (variance + EPSILON).sqrt()


def adain(features: Tensor, reference: Description) -> Tensor:
    """Adaptive instance normalisation, (x - mean(x)) / std(x) * std(y) + mean(y) (equation 1).

    It is batch normalisation of every picture's every channel by itself, for which torch has a fast kernel; that one's
    variance is biased.
    """
    mean, deviation = reference
    count = features.shape[-1]
    share = (count - 1) / count
    matched = F.batch_norm(
        by_channel(features),
        None,
        None,
        weight=deviation.flatten() * share**0.5,
        bias=mean.flatten(),
        training=True,
        eps=EPSILON * share,
    )
    return matched.reshape(features.shape)


def by_channel(features: Tensor) -> Tensor:
    """`(..., C, N)` as one picture of as many channels, for batch normalisation to treat each by itself."""
    return features.reshape(1, -1, features.shape[-1], 1)


@full_precision
def coloring(features: Tensor) -> Description:
    """Mean of each channel, and the square root of their covariance, `(..., C, C)`."""
    mean = features.mean(dim=-1, keepdim=True)
    return mean, power(covariance(features - mean), 0.5)


@full_precision
def wct(features: Tensor, reference: Description) -> Tensor:
    """Whitening and colouring transform (Li et al. 2017), with which Figure 11 compares; it ends in the input's range.

    A hundredth of the channels' mean variance is added to each one's, so that directions of hardly any are not blown
    up. The authors add 1, which would drown features of another scale than VGG-19's.
    """
    centred = features - features.mean(dim=-1, keepdim=True)
    own = covariance(centred)
    floor = RELATIVE_FLOOR * own.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None]
    whitening = power(own + floor * torch.eye(own.shape[-1], device=own.device), -0.5)
    matched = reference[1] @ (whitening @ centred) + reference[0]
    return matched.clamp(features.amin(dim=(-2, -1), keepdim=True), features.amax(dim=(-2, -1), keepdim=True))


def covariance(centred: Tensor) -> Tensor:
    """Of channels, `(..., C, C)`, from `(..., C, N)` without their means."""
    return centred @ centred.mT / (centred.shape[-1] - 1)


def power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric matrix, without its directions of eigenvalues under 1e-5."""
    values, vectors = torch.linalg.eigh(matrix.double())  # in single precision it does not always converge
    powers = torch.where(values > SMALLEST_EIGENVALUE, values.clamp(min=SMALLEST_EIGENVALUE) ** exponent, 0)
    found: Tensor = vectors * powers.unsqueeze(-2) @ vectors.mT
    return found.to(matrix.dtype)


MATCHINGS = {"adain": Matching(moments, adain), "wct": Matching(coloring, wct)}


class LabelledDescription(NamedTuple):
    """The statistics of one label's pixels.

    Attributes:
        pixels: How many.
        statistics: Of these.
    """

    pixels: int
    statistics: Description


def describe(
    matching: Matching, features: Tensor, labels: Tensor | None
) -> Description | list[dict[int, LabelledDescription]]:
    """Reduce a reference's features to their statistics: over all pixels, or each picture's by label.

    Args:
        matching: The way to match.
        features: `(B, C, h, w)`.
        labels: Of every pixel, int64, `(B, H, W)`, of any size.
    """
    features = features.float()
    if labels is None:
        return matching.describe(features.flatten(2))
    found = []
    for pixels, own in zip(features.flatten(2), at_size_of(features, labels), strict=True):
        each = {label: pixels[:, own == label] for label in own.unique().tolist()}
        found.append(
            {
                label: LabelledDescription(chosen.shape[1], matching.describe(chosen))
                for label, chosen in each.items()
                if chosen.shape[1] > FEWEST_PIXELS
            }
        )
    return found


def match(
    matching: Matching,
    features: Tensor,
    reference: Description | list[dict[int, LabelledDescription]],
    labels: Tensor | None,
) -> Tensor:
    """Give features the statistics of a reference's: over all pixels, or label by label (section 4.1).

    With labels, pixels stay as they are where the reference has no such label, either has ten pixels of it at most, or
    one has a hundred times as many as the other.

    Args:
        matching: The way to match.
        features: `(B, C, h, w)`.
        reference: What `describe` found, with labels if there are labels here.
        labels: Of every pixel, int64, `(B, H, W)`, of any size.

    Returns:
        `(B, C, h, w)`, in float32.
    """
    features = features.float()
    if labels is None:
        assert isinstance(reference, tuple)
        return matching.match(features.flatten(2), reference).view_as(features)
    assert isinstance(reference, list)
    matched = features.flatten(2).clone()
    for pixels, own, descriptions in zip(matched, at_size_of(features, labels), reference, strict=True):
        for label in own.unique().tolist():
            chosen = own == label
            count = int(chosen.sum())
            if label in descriptions and count > FEWEST_PIXELS:
                other = descriptions[label]
                if max(count, other.pixels) < LARGEST_RATIO * min(count, other.pixels):
                    pixels[:, chosen] = matching.match(pixels[:, chosen], other.statistics)
    return matched.view_as(features)


def at_size_of(features: Tensor, labels: Tensor) -> Tensor:
    """Labels, `(B, H, W)`, of the pixels of smaller maps, `(B, h w)`."""
    return F.interpolate(labels.unsqueeze(1).float(), features.shape[2:], mode="nearest-exact").long().flatten(1)
