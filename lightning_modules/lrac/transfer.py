"""Colours after a reference or a preference: LRAC's histogram transfer (section 3.4) and global biases (section 4)."""

import torch
from torch import Tensor

from lightning_modules.color import full_precision, rgb_to_lightness
from lightning_modules.lrac.decoding import correct_lightness

LARGEST_CURVATURE = 32 / 27
"""Of chi^2(p, t) relative to the entropy: p times its second derivative by p, which is largest at p = t / 2."""


@full_precision
def posterior(prediction: Tensor, bias: Tensor) -> Tensor:
    """softmax(log y + b), with one bias for all pixels of a picture.

    Args:
        prediction: Histograms, `(B, axes, K, h, w)`.
        bias: `(B, axes, K)`, or `(axes, K)` for all pictures.

    Returns:
        Histograms to decode in the prediction's place, `(B, axes, K, h, w)`.
    """
    return (prediction.log() + bias.to(prediction)[..., None, None]).softmax(dim=2)


def chi2_slope(first: Tensor, second: Tensor) -> Tensor:
    """The derivative of chi^2(p, t) = sum (p - t)^2 / (p + t) by each bin of p, `(..., K)`, in [-3, 1]."""
    total = (first + second).clamp(min=torch.finfo(first.dtype).tiny)
    return 1 - (2 * second / total).square()


@full_precision
def energy_minimization(prediction: Tensor, target: Tensor, weight: float = 10.0, steps: int = 300) -> Tensor:
    """The bias that draws a picture's mean histogram towards a target: equation 5, for each distribution by itself.

    The gradient of the energy by b is M (b + lambda g): g is the slope of chi^2 at the mean posterior, and M the mean
    covariance of the posteriors. The descent goes along b + lambda g itself, which is mirror descent under the entropy.
    The energy is convex in the posteriors, and its curvature relative to the entropy lies between 1 and
    1 + 32 / 27 lambda. Steps of the inverse of that therefore lower it every time, down to its one minimum.

    Args:
        prediction: Histograms, `(B, axes, K, h, w)`; a coarse grid will do.
        target: The histograms wanted, `t`, `(B, axes, K)`.
        weight: lambda. The paper does not give its own.
        steps: Of the descent.

    Returns:
        The bias for `posterior`, `(B, axes, K)`.

    Raises:
        ValueError: If the target has another shape, or the weight is negative.
    """
    if target.shape != prediction.shape[:3]:
        raise ValueError(f"a target of {tuple(target.shape)} does not fit histograms of {tuple(prediction.shape[:3])}")
    if weight < 0:
        raise ValueError(f"the weight of the target is at least 0, not {weight}")
    smallest = torch.finfo(torch.float32).tiny  # so that no bin is empty: no finite bias could fill it
    histograms, target = prediction.flatten(3).double().clamp(min=smallest), target.double()
    bias = torch.zeros_like(target)
    for _ in range(steps):
        preference = bias.exp()
        normalizer = preference.unsqueeze(2) @ histograms
        mean = preference * (histograms / normalizer).mean(dim=3)
        bias = bias - (bias + weight * chi2_slope(mean, target)) / (1 + weight * LARGEST_CURVATURE)
    return bias.to(prediction.dtype)


@full_precision
def quantile_matching(rgb: Tensor, lightness: Tensor, reference: Tensor) -> Tensor:
    """Lightness-normalised quantile matching: each channel over the lightness gets the reference's distribution.

    A black pixel counts as grey.

    Args:
        rgb: Coloured pictures, RGB in [0, 1], `(B, 3, H, W)`.
        lightness: Theirs, (R + G + B) / 3, `(B, 1, H, W)`.
        reference: RGB in [0, 1], of any size, `(B, 3, h, w)`.

    Returns:
        RGB in [0, 1], `(B, 3, H, W)`, with that lightness wherever no channel is clipped.
    """
    source, wanted = over_lightness(rgb, lightness), over_lightness(reference, rgb_to_lightness(reference))
    channels = zip(source.flatten(0, 1).flatten(1), wanted.flatten(0, 1).flatten(1), strict=True)
    matched = torch.stack([matched_quantiles(*pair) for pair in channels]).view_as(rgb)
    return correct_lightness(lightness * matched, lightness)


def over_lightness(rgb: Tensor, lightness: Tensor) -> Tensor:
    """RGB over its lightness, in [0, 3]; 1 where that is black."""
    return torch.where(lightness > 0, rgb / torch.where(lightness > 0, lightness, 1), 1)


def matched_quantiles(values: Tensor, reference: Tensor) -> Tensor:
    """Each value replaced by the reference's at the same quantile, interpolated between its values: `(N,)`, `(M,)`."""
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    quantile = counts.double().cumsum(0) / len(values)
    levels, reference_counts = reference.unique(return_counts=True)
    knots = torch.cat([quantile.new_zeros(1), reference_counts.double().cumsum(0) / len(reference)])
    levels = torch.cat([levels[:1], levels])
    upper = torch.searchsorted(knots, quantile)
    within = (quantile - knots[upper - 1]) / (knots[upper] - knots[upper - 1])
    return torch.lerp(levels[upper - 1], levels[upper], within.to(levels.dtype))[place]
