"""Pillow's pictures as tensors."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def rgb_of(picture: Image.Image) -> Tensor:
    """Any of Pillow's pictures as eight-bit RGB, `(3, H, W)`, channels-last in memory."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, dtype=np.float64)
        levels = 65535 if values.max(initial=0) > 255 or picture.mode.startswith("I;16") else 255
        picture = Image.fromarray((values * (255 / levels)).round().clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
