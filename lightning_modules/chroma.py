"""From what networks predict to chroma, and from chroma to colours."""

import torch
from torch import Tensor

from lightning_modules.color import full_precision, lab_to_rgb
from lightning_modules.upsampling import Upsampling, enlarge_chroma


@full_precision
def annealed_mean(logits: Tensor, centres: Tensor, temperature: float) -> Tensor:
    """The mean colour of distributions whose logits are divided by a temperature (Zhang et al. 2016, equation 5).

    Args:
        logits: `(B, Q, h, w)`.
        centres: Of the bins, Lab a and b, `(Q, 2)`.
        temperature: 1 gives the mean, 0 the mode.

    Returns:
        Lab a and b, `(B, 2, h, w)`.

    >>> logits = torch.tensor([0.6, 0.4]).log().view(1, 2, 1, 1)
    >>> annealed_mean(logits, torch.tensor([[0.0, 0.0], [50.0, 50.0]]), temperature=1.0).flatten().round()
    tensor([20., 20.])
    """
    if temperature == 0:
        return centres[logits.argmax(dim=1)].movedim(-1, 1)
    return torch.einsum("bqhw,qc->bchw", (logits / temperature).softmax(dim=1), centres)


@full_precision
def drawn_chroma(
    logits: Tensor,
    centres: Tensor,
    temperature: float,
    variety: float,
    samples: int,
    generator: torch.Generator | None,
) -> Tensor:
    """Several colourings from one prediction: the annealed mean under one random preference of colour for each.

    A preference is the same everywhere in an image, so that what the network is sure of stays, and what could have many
    colours turns as a whole, as in Figures 9 and 12 of Larsson et al. 2016. These are variations of a prediction of
    pixels, not samples of a model of images.

    Args:
        logits: `(B, Q, h, w)`.
        centres: Of the bins, Lab a and b, `(Q, 2)`.
        temperature: As for `annealed_mean`.
        variety: Standard deviation of the preference, in nats per ten Lab units; 0 makes all alike.
        samples: How many colourings.
        generator: Of the preferences, on the logits' device.

    Returns:
        Lab a and b, `(B, samples, 2, h, w)`.
    """
    if variety == 0:
        return annealed_mean(logits, centres, temperature).unsqueeze(1).expand(-1, samples, -1, -1, -1)
    directions = torch.randn(len(logits), samples, 2, generator=generator, device=logits.device)
    preferences = variety * directions @ centres.T / 10  # (B, samples, Q)
    tilted = [logits + each[:, :, None, None] for each in preferences.unbind(1)]
    return torch.stack([annealed_mean(each, centres, temperature) for each in tilted], dim=1)


def with_chroma(luminance: Tensor, chroma: Tensor, upsampling: Upsampling = "bicubic") -> Tensor:
    """RGB in [0, 1], `(B, 3, H, W)`, of L, `(B, 1, H, W)`, and Lab a and b of this size or a smaller one."""
    return lab_to_rgb(torch.cat([luminance, enlarge_chroma(chroma, luminance, upsampling)], dim=1))


def coloured(luminance: Tensor, chroma: Tensor, upsampling: Upsampling, differ: bool) -> Tensor:
    """RGB in [0, 1], `(B, samples, 3, H, W)`, of L, `(B, 1, H, W)`, and the chroma of each sample.

    Args:
        luminance: CIELab L in 0..100.
        chroma: Lab a and b, `(B, samples, 2, h, w)`, of this size or a smaller one.
        upsampling: See `enlarge_chroma`.
        differ: Whether the samples differ; if not, one is made.
    """
    made = [with_chroma(luminance, each, upsampling) for each in (chroma if differ else chroma[:, :1]).unbind(1)]
    return torch.stack(made, dim=1).expand(-1, chroma.shape[1], -1, -1, -1)
