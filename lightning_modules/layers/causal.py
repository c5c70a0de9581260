"""Causal convolutions of PixelCNN++ (Salimans et al., 2017): outputs see only pixels that come earlier."""

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.layers.weight_norm import WeightNormConv2d


class DownConv2d(WeightNormConv2d):
    """A convolution that sees its own row and the rows above, to both sides."""

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Zeros on the left, right, top and bottom."""
        rows, columns = self.kernel_size
        return columns // 2, columns // 2, rows - 1, 0


class RightConv2d(WeightNormConv2d):
    """A convolution that sees its own row and the rows above, its own column and those to the left."""

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Zeros on the left, right, top and bottom."""
        rows, columns = self.kernel_size
        return columns - 1, 0, rows - 1, 0


def shift_down(x: Tensor) -> Tensor:
    """Move `(B, C, H, W)` down by one row; zeros enter at the top."""
    return F.pad(x, (0, 0, 1, -1))


def shift_right(x: Tensor) -> Tensor:
    """Move `(B, C, H, W)` right by one column; zeros enter at the left."""
    return F.pad(x, (1, -1, 0, 0))


def push_row(rows: Tensor, newest: Tensor, left: int = 1) -> None:
    """Move `(N, C, R, columns)` up by one row and write the newest, `(N, C, 1, W)`, behind `left` columns of zeros."""
    rows[:, :, :-1] = rows[:, :, 1:].clone()
    rows[:, :, -1:, left : left + newest.shape[3]] = newest
