"""From what networks predict to chroma, and from chroma to colours."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.color import full_precision, lab_to_rgb


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


def with_chroma(luminance: Tensor, chroma: Tensor) -> Tensor:
    """RGB in [0, 1], `(B, 3, H, W)`, of L, `(B, 1, H, W)`, and Lab a and b of this size or a smaller one."""
    size = luminance.shape[2:]
    if chroma.shape[2:] != size:
        chroma = F.interpolate(chroma, size, mode="bicubic", align_corners=False)
    return lab_to_rgb(torch.cat([luminance, chroma], dim=1))
