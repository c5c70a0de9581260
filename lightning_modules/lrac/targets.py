"""LRAC's four kinds of output: what each is to predict, and how wrong it was (sections 3.1 and 3.2).

Three predict histograms, over bins of hue and chroma or of CIELab a and b; the fourth predicts a and b themselves. Each
has a `shape`: how many distributions a pixel has, and of how many bins.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.color import full_precision, rgb_to_hue_chroma, rgb_to_lab, rgb_to_lightness

SIGMA = 25.0
"""Standard deviation, in Lab units, of the Gaussian whose quantiles bound the bins of a and b."""


class Targets(NamedTuple):
    """What is to be predicted at N locations, `(B, N, axes, K)`, and what each term weighs in the loss, `(B, N, axes)`.

    `values` are histograms, or a and b over 25 with K = 1.
    """

    values: Tensor
    weights: Tensor


def ab_to_quantile(ab: Tensor) -> Tensor:
    """Lab a or b to [0, 1], by the distribution function of N(0, 25^2)."""
    quantile: Tensor = torch.special.ndtr(ab / SIGMA)
    return quantile


def quantile_to_ab(quantile: Tensor) -> Tensor:
    """The inverse of `ab_to_quantile`; 0 and 1 become infinite."""
    ab: Tensor = SIGMA * torch.special.ndtri(quantile)
    return ab


def bin_centres(bins: int, device: torch.device | None = None) -> Tensor:
    """The middles of equal bins on [0, 1], `(bins,)`."""
    return (torch.arange(bins, device=device) + 0.5) / bins


def bin_index(position: Tensor, bins: int) -> Tensor:
    """Which of the equal bins on [0, 1] each position lies in, int64; the last bin holds 1 too."""
    return (position * bins).long().clamp(0, bins - 1)


def windows(rgb: Tensor, locations: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The square of pixels round each location.

    Args:
        rgb: `(B, 3, H, W)`.
        locations: y and x, int64 `(B, N, 2)`.
        side: Of the square, odd.

    Returns:
        RGB `(B, 3, N, side^2)`, row by row, and whether each pixel lies in the picture, bool `(B, 1, N, side^2)`.

    Raises:
        ValueError: If the side is even.
    """
    if side % 2 == 0:
        raise ValueError(f"a window of {side}x{side} pixels has no middle; take an odd side")
    height, width = rgb.shape[2:]
    reach = torch.arange(side, device=rgb.device) - side // 2
    y, x = locations[..., 0, None, None] + reach[:, None], locations[..., 1, None, None] + reach
    inside = ((y >= 0) & (y < height) & (x >= 0) & (x < width)).flatten(2)
    pixel = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(1)
    found = rgb.flatten(2).gather(2, pixel.unsqueeze(1).expand(-1, 3, -1))
    return found.unflatten(2, inside.shape[1:]), inside.unsqueeze(1)


def shares(index: Tensor, weights: Tensor, bins: int) -> Tensor:
    """The share of each bin among pixels that weigh so much, both `(..., P)`: `(..., bins)`; equal if none weighs."""
    counts = weights.new_zeros(*index.shape[:-1], bins).scatter_add_(-1, index, weights)
    total = counts.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, counts / total, 1 / bins)


class Head:
    """What the four have in common.

    Attributes:
        shape: How many distributions a pixel has, and of how many bins.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """See `Head`."""
        raise NotImplementedError

    @property
    def outputs(self) -> int:
        """Channels that the network is to have for this head."""
        return math.prod(self.shape)

    def targets(self, rgb: Tensor, locations: Tensor, window: int = 1) -> Targets:
        """What is to be predicted at some pixels.

        Args:
            rgb: RGB in [0, 1], `(B, 3, H, W)`.
            locations: y and x, int64 `(B, N, 2)`.
            window: Side R, odd, of the square of pixels that a target describes, less what lies outside the picture.
        """
        raise NotImplementedError

    def loss(self, outputs: Tensor, targets: Targets) -> Tensor:
        """The mean loss over the locations, of the network's outputs there, `(B, N, outputs)`."""
        raise NotImplementedError

    def prediction(self, outputs: Tensor) -> Tensor:
        """What decoders and transfer take, `(B, *shape, h, w)`, of outputs `(B, outputs, h, w)`."""
        raise NotImplementedError


class HistogramHead(Head):
    """Predicts distributions (equation 2).

    Raises:
        ValueError: If they have fewer than two bins.
    """

    bins: int

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise ValueError(f"a histogram has at least 2 bins, not {self.bins}")

    def bins_of(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Each pixel's bins, int64, and 1 where they count, else 0; both `(B, axes, H, W)`."""
        raise NotImplementedError

    def weights(self, rgb: Tensor) -> Tensor:
        """What each pixel's terms weigh in the loss, `(B, axes, H, W)`."""
        return torch.ones_like(rgb[:, : self.shape[0]])

    def rotated_bias(self, angle: float, strength: float) -> Tensor:
        """A preference for one hue, to be rotated through all of them (section 4, Figures 9 and 12).

        The paper does not give its bias. This one is `strength` times a cosine wave over hue, or a slope over a and b.

        Args:
            angle: In radians, of the preferred hue, on the HSV circle or in the plane of a and b.
            strength: In nats, at the crest of the wave, or 25 Lab units up the slope.

        Returns:
            The bias `b` of `transfer.posterior`, `(axes, K)`.
        """
        raise NotImplementedError

    def targets(self, rgb: Tensor, locations: Tensor, window: int = 1) -> Targets:
        """See `Head`; the values are the empirical histograms of the windows, one-hot where `window` is 1."""
        pixels, inside = windows(rgb, locations, window)
        index, counted = self.bins_of(pixels)
        middle = slice(window**2 // 2, window**2 // 2 + 1)
        weights = self.weights(pixels[..., middle]).squeeze(3)
        return Targets(shares(index, inside * counted, self.shape[1]).movedim(1, 2), weights.movedim(1, 2))

    @full_precision
    def loss(self, outputs: Tensor, targets: Targets) -> Tensor:
        """Equation 2, or 3 where terms are weighted: the divergence, in nats, of the prediction from the target."""
        log_probabilities = outputs.unflatten(-1, self.shape).log_softmax(dim=-1)
        divergence = F.kl_div(log_probabilities, targets.values, reduction="none").sum(dim=-1)
        return (targets.weights * divergence).sum(dim=-1).mean()

    @full_precision
    def prediction(self, outputs: Tensor) -> Tensor:
        """See `Head`; histograms, each of which sums to 1."""
        histograms: Tensor = outputs.unflatten(1, self.shape).softmax(dim=2)
        return histograms

    def histogram(self, rgb: Tensor) -> Tensor:
        """A reference's histograms over all its pixels, `(B, *shape)`: the target `t` of equation 5."""
        index, counted = self.bins_of(rgb)
        return shares(index.flatten(2), counted.flatten(2).double(), self.shape[1]).to(rgb.dtype)


@dataclass(frozen=True)
class HueChroma(HistogramHead):
    """Histograms of HSV hue and of chroma, bins equal on [0, 1]: the paper's best.

    A grey pixel has no hue, and counts in none of hue's bins; of a grey window they are all equal, and weigh nothing.

    Attributes:
        bins: K of each.
        hue_weight: lambda_H of equation 3, about the inverse of the mean chroma.
        chroma_weighted: Whether the chroma term weighs min(1, 3 L, 3 (1 - L)) (the authors' training file), less
            towards black and white, rather than 1 (the paper).
    """

    bins: int = 32
    hue_weight: float = 5.0
    chroma_weighted: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Hue, then chroma."""
        return 2, self.bins

    def bins_of(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """See `HistogramHead`."""
        hue_chroma = rgb_to_hue_chroma(rgb)
        has_hue = hue_chroma[:, 1] > 0
        counted = torch.stack([has_hue, torch.ones_like(has_hue)], dim=1)
        return bin_index(hue_chroma, self.bins), counted.to(hue_chroma.dtype)

    def weights(self, rgb: Tensor) -> Tensor:
        """See `HistogramHead`; y_C stands in that of hue."""
        hue_weight = self.hue_weight * rgb_to_hue_chroma(rgb)[:, 1]
        chroma_weight = torch.ones_like(hue_weight)
        if self.chroma_weighted:
            lightness = rgb_to_lightness(rgb).squeeze(1)
            chroma_weight = (3 * torch.minimum(lightness, 1 - lightness)).clamp(max=1)
        return torch.stack([hue_weight, chroma_weight], dim=1)

    def rotated_bias(self, angle: float, strength: float) -> Tensor:
        """See `HistogramHead`; chroma has none."""
        wave = torch.cos(2 * math.pi * bin_centres(self.bins) - angle)
        return strength * torch.stack([wave, torch.zeros_like(wave)])


@dataclass(frozen=True)
class LabMarginal(HistogramHead):
    """Histograms of CIELab a and of b, bins of equal mass under N(0, 25^2).

    Attributes:
        bins: K of each.
    """

    bins: int = 32

    @property
    def shape(self) -> tuple[int, int]:
        """a, then b."""
        return 2, self.bins

    def bins_of(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """See `HistogramHead`."""
        ab = rgb_to_lab(rgb)[:, 1:]
        return bin_index(ab_to_quantile(ab), self.bins), torch.ones_like(ab)

    def rotated_bias(self, angle: float, strength: float) -> Tensor:
        """See `HistogramHead`."""
        slope = strength / SIGMA * quantile_to_ab(bin_centres(self.bins))
        return torch.stack([math.cos(angle) * slope, math.sin(angle) * slope])


@dataclass(frozen=True)
class LabJoint(HistogramHead):
    """One histogram over the grid of a's bins and b's, those of `LabMarginal`.

    Attributes:
        bins: Along each side of the grid; K is their square, b varying fastest.
    """

    bins: int = 16

    @property
    def shape(self) -> tuple[int, int]:
        """The grid in one row."""
        return 1, self.bins**2

    def bins_of(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """See `HistogramHead`."""
        marginal, counted = LabMarginal(self.bins).bins_of(rgb)
        return self.bins * marginal[:, :1] + marginal[:, 1:], counted[:, :1]

    def rotated_bias(self, angle: float, strength: float) -> Tensor:
        """See `HistogramHead`."""
        along_a, along_b = LabMarginal(self.bins).rotated_bias(angle, strength).unbind(0)
        return (along_a[:, None] + along_b).flatten().unsqueeze(0)


@dataclass(frozen=True)
class LabL2(Head):
    """CIELab a and b themselves, over 25, which brings them to the scale of 1: equation 1."""

    @property
    def shape(self) -> tuple[int, int]:
        """a, then b."""
        return 2, 1

    def targets(self, rgb: Tensor, locations: Tensor, window: int = 1) -> Targets:
        """See `Head`; the values are means over the windows."""
        pixels, inside = windows(rgb, locations, window)
        ab = rgb_to_lab(pixels)[:, 1:] / SIGMA
        mean = ((ab * inside).sum(dim=3) / inside.sum(dim=3)).movedim(1, 2)
        return Targets(mean.unsqueeze(3), torch.ones_like(mean))

    @full_precision
    def loss(self, outputs: Tensor, targets: Targets) -> Tensor:
        """Equation 1."""
        return (outputs - targets.values.squeeze(3)).square().sum(dim=-1).mean()

    @full_precision
    def prediction(self, outputs: Tensor) -> Tensor:
        """See `Head`; a and b in Lab units."""
        return SIGMA * outputs.unsqueeze(2)
