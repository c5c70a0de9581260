"""Discretised mixtures of logistics over two chroma channels: PixelCNN++ section 2.1 with PIC's luminance regressor.

Parameters have `8 * K` channels for K components, in blocks of K: mixture logits; the raw coefficients luminance->a,
luminance->b and a->b; mean of a, log scale of a; mean of b, log scale of b. Luminance and chroma are normalised so
that [-1, 1] is the nominal range of 256 values: one value is 2/255 wide.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PARAMETERS_PER_COMPONENT = 8
HALF_BIN = 1 / 255
MINIMUM_LOG_SCALE = -7.0
EDGE = 0.999
NOISE_EDGE = 1e-5
SMALLEST_PROBABILITY = 1e-12


class Components(NamedTuple):
    """The mixture's parameters, each with K components in dimension 1."""

    logits: Tensor
    luminance_to_a: Tensor
    luminance_to_b: Tensor
    a_to_b: Tensor
    mean_a: Tensor
    log_scale_a: Tensor
    mean_b: Tensor
    log_scale_b: Tensor


def components(parameters: Tensor) -> Components:
    """Split `(B, 8K, ...)` raw network outputs, in float32 or wider; coefficients pass tanh, log scales are clamped."""
    if parameters.dtype not in (torch.float32, torch.float64):
        parameters = parameters.float()
    logits, luminance_to_a, luminance_to_b, a_to_b, mean_a, log_scale_a, mean_b, log_scale_b = parameters.chunk(
        PARAMETERS_PER_COMPONENT, dim=1
    )
    return Components(
        logits,
        luminance_to_a.tanh(),
        luminance_to_b.tanh(),
        a_to_b.tanh(),
        mean_a,
        log_scale_a.clamp(min=MINIMUM_LOG_SCALE),
        mean_b,
        log_scale_b.clamp(min=MINIMUM_LOG_SCALE),
    )


def discretized_logistic_log_probability(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Natural log of the mass that a logistic gives to the bin of width 2/255 round `x`.

    The first bin reaches to minus infinity and the last to plus infinity. Where the difference of the two cumulative
    probabilities underflows, the density at the middle of the bin stands in.
    """
    inverse_scale = torch.exp(-log_scale)
    centred = x - mean
    upper, lower = inverse_scale * (centred + HALF_BIN), inverse_scale * (centred - HALF_BIN)
    probability = upper.sigmoid() - lower.sigmoid()
    middle = inverse_scale * centred
    density = middle - log_scale - 2 * F.softplus(middle) - math.log(127.5)
    interior = torch.where(probability > 1e-5, probability.clamp(min=SMALLEST_PROBABILITY).log(), density)
    below, above = upper - F.softplus(upper), -F.softplus(lower)
    return torch.where(x < -EDGE, below, torch.where(x > EDGE, above, interior))


def log_probability(parameters: Tensor, luminance: Tensor, chroma: Tensor) -> Tensor:
    """Natural log-probability of each pixel's chroma (methods of PIC: section 3.2).

    Args:
        parameters: `(B, 8K, H, W)`.
        luminance: `(B, 1, H, W)`, normalised.
        chroma: `(B, 2, H, W)`, a and b, normalised; the true a regresses b.

    Returns:
        `(B, H, W)`.
    """
    with torch.autocast(device_type=parameters.device.type, enabled=False):
        mixture = components(parameters)
        a, b = chroma[:, :1], chroma[:, 1:]
        mean_a = mixture.mean_a + mixture.luminance_to_a * luminance
        mean_b = mixture.mean_b + mixture.luminance_to_b * luminance + mixture.a_to_b * a
        joint = (
            F.log_softmax(mixture.logits, dim=1)
            + discretized_logistic_log_probability(a, mean_a, mixture.log_scale_a)
            + discretized_logistic_log_probability(b, mean_b, mixture.log_scale_b)
        )
        return joint.logsumexp(dim=1)


def bits_per_dim(log_probabilities: Tensor) -> Tensor:
    """-log2 p per modelled value, two chroma values a pixel: `(B, H, W)` natural logs to `(B,)`."""
    return -log_probabilities.mean(dim=(1, 2)) / (2 * math.log(2))


def chroma_of(parameters: Tensor, component: Tensor, luminance: Tensor, deviations: Tensor | None = None) -> Tensor:
    """The chroma `(B, 2, ...)` of one component `(B, 1, ...)`, each value clipped to [-1, 1].

    `deviations` `(B, 2, ...)` are standard logistic draws, in units of the component's scales; None is the mean.
    """
    mixture = components(parameters)
    chosen = Components(*(values.gather(1, component) for values in mixture))
    a, b = chosen.mean_a, chosen.mean_b
    if deviations is not None:
        a = a + chosen.log_scale_a.exp() * deviations[:, :1]
        b = b + chosen.log_scale_b.exp() * deviations[:, 1:]
    a = (a + chosen.luminance_to_a * luminance).clamp(-1, 1)
    b = (b + chosen.luminance_to_b * luminance + chosen.a_to_b * a).clamp(-1, 1)
    return torch.cat([a, b], dim=1)


def noise_slots(parameter_channels: int) -> int:
    """How many uniforms a draw takes: one for each component's Gumbel, two for the logistics."""
    return parameter_channels // PARAMETERS_PER_COMPONENT + 2


def sample(parameters: Tensor, luminance: Tensor, noise: Tensor, temperature: float = 1.0) -> Tensor:
    """Draw chroma: a component by Gumbel-max, then a, then b given the drawn a.

    Args:
        parameters: `(B, 8K, ...)`.
        luminance: `(B, 1, ...)`, normalised.
        noise: `(B, K + 2, ...)`, uniform in [0, 1).
        temperature: Scale of the logistics; at 0 the drawn component's means are returned.

    Returns:
        `(B, 2, ...)`, normalised a and b in [-1, 1].
    """
    noise = noise.clamp(NOISE_EDGE, 1 - NOISE_EDGE)
    logits = parameters[:, : noise.shape[1] - 2]
    component = (logits - (-noise[:, :-2].log()).log()).argmax(dim=1, keepdim=True)
    return chroma_of(parameters, component, luminance, temperature * noise[:, -2:].logit())


def mode(parameters: Tensor, luminance: Tensor) -> Tensor:
    """The mean of the component whose joint density at its own mean is largest: `(B, 2, ...)`, normalised."""
    mixture = components(parameters)
    component = (mixture.logits - mixture.log_scale_a - mixture.log_scale_b).argmax(dim=1, keepdim=True)
    return chroma_of(parameters, component, luminance)
