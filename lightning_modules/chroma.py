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


def with_chroma(luminance: Tensor, chroma: Tensor, upsampling: Upsampling = "bicubic") -> Tensor:
    """RGB in [0, 1], `(B, 3, H, W)`, of L, `(B, 1, H, W)`, and Lab a and b of this size or a smaller one."""
    return lab_to_rgb(torch.cat([luminance, enlarge_chroma(chroma, luminance, upsampling)], dim=1))
