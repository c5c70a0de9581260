"""Blocks of convolutions as Zhang et al. stack them in 2016 and 2017."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolutions(channels: list[int], *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """3x3 convolutions from each number of channels to the next, each with ReLU, and batch normalisation at the end.

    Args:
        channels: Of the input and of each layer's output.
        stride: Of the last convolution.
        dilation: Of all of them.
    """
    layers: list[nn.Module] = []
    steps = [*[1] * (len(channels) - 2), stride]
    for (before, after), step in zip(pairwise(channels), steps, strict=True):
        layers += [
            nn.Conv2d(before, after, 3, stride=step, padding=dilation, dilation=dilation),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.BatchNorm2d(channels[-1]))


def initialize(network: nn.Module) -> None:
    """He's initialisation of all convolutions, and a memory layout that suits bfloat16 convolutions."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    network.to(memory_format=torch.channels_last)


def padded_to(multiple: int, image: Tensor) -> Tensor:
    """An image, `(B, C, H, W)`, whose lower and right edges are repeated until both sides are multiples."""
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")
