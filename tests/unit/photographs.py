"""Pairs of pictures on which measures are tested: a photograph with a changed copy, and noise."""

import torch
from skimage import data
from torch import Tensor


def photographs(height: int, width: int) -> Tensor:
    """Two photographs' middles, RGB in [0, 1], (2, 3, height, width)."""
    middles = []
    for picture in (data.astronaut(), data.coffee()):
        top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        middles.append(torch.from_numpy(picture[top : top + height, left : left + width].copy()))
    return torch.stack(middles).permute(0, 3, 1, 2).float() / 255


def photograph_pair(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The photographs with another colour cast, less colour and some noise, and themselves, each (2, 3, H, W)."""
    truth = photographs(height, width)
    faded = 0.6 * truth + 0.4 * truth.mean(dim=1, keepdim=True) * torch.tensor([1.2, 0.9, 0.7]).view(1, 3, 1, 1)
    noise = 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    return (faded + noise).clamp(0, 1), truth


def random_pair(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Two times three pictures of noise, each (3, 3, H, W)."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, 3, height, width, generator=generator), torch.rand(3, 3, height, width, generator=generator)
