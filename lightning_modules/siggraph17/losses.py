"""How far completed chroma, and a distribution of colours, are from the true chroma."""

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.siggraph17.classes import class_of
from lightning_modules.siggraph17.network import CHROMA_SCALE


def huber(predicted: Tensor, chroma: Tensor, delta: float, scale: Tensor | float = 1.0) -> Tensor:
    """The mean Huber loss of chroma in units of 110, divided by its threshold: an L1 loss that is smooth at 0.

    Args:
        predicted: Lab a and b, `(B, 2, H, W)`.
        chroma: The true ones.
        delta: Lab units up to which the loss is quadratic.
        scale: By what residuals are multiplied before, `(B, 1, H, W)` or a number.
    """
    scale = scale / CHROMA_SCALE
    return F.smooth_l1_loss(scale * predicted, scale * chroma, beta=delta / CHROMA_SCALE)


def class_loss(logits: Tensor, chroma: Tensor) -> Tensor:
    """The mean cross-entropy of the class head's logits, `(B, 529, H / 4, W / 4)`, and chroma, `(B, 2, H, W)`."""
    return F.cross_entropy(logits.float(), class_of(chroma))
