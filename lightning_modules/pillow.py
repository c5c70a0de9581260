"""Pillow's pictures as tensors."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from imaging.srgb import to_srgb


def rgb_of(picture: Image.Image) -> Tensor:
    """Any of Pillow's pictures as eight-bit sRGB, `(3, H, W)`, channels-last in memory; see `to_srgb`.

    Raises:
        ValueError: If the values of a wide grey cannot be told.
    """
    return torch.from_numpy(np.array(to_srgb(picture))).permute(2, 0, 1)
