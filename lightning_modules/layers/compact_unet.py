"""A small residual U-Net, which stands in for the published networks where there is no GPU.

It is this project's own, after no paper: it spends its arithmetic at low resolution, where a CPU gets most from it.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.layers.blocks import initialize, padded_to

MULTIPLE = 16
"""Sides of what the network sees are multiples of this."""
STRIDE = 4
"""Of the output."""


class CompactUNet(nn.Module):
    """Maps at strides 2, 4, 8 and 16, a vector of the whole image added to the last, and back to stride 4.

    Args:
        inputs: Channels of the image.
        outputs: Channels of the output.
        widths: Channels at the four strides.
        blocks: Residual blocks at each of them, on the way down.
        head: Channels before the output.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (1, 1, 2, 2),
        head: int = 128,
    ) -> None:
        super().__init__()
        _, two, three, four = widths
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * inputs, widths[0], 3, padding=1))
        self.smaller = nn.ModuleList([nn.Conv2d(before, after, 2, stride=2) for before, after in pairwise(widths)])
        self.down = nn.ModuleList(
            nn.Sequential(*[ResidualBlock(width) for _ in range(number)])
            for width, number in zip(widths, blocks, strict=True)
        )
        self.whole = nn.Sequential(nn.Linear(four, four), nn.ReLU(inplace=True), nn.Linear(four, four))
        self.larger = nn.ModuleList([nn.Conv2d(four, three, 1), nn.Conv2d(three, two, 1)])
        self.up = nn.ModuleList([ResidualBlock(three), ResidualBlock(two)])
        self.head = nn.Sequential(
            nn.BatchNorm2d(two), nn.ReLU(inplace=True), nn.Conv2d(two, head, 1), nn.ReLU(inplace=True)
        )
        self.out = nn.Conv2d(head, outputs, 1)
        initialize(self)
        for block in self.modules():
            if isinstance(block, ResidualBlock):
                nn.init.zeros_(block.last.weight)  # a new block changes nothing

    def features(self, image: Tensor) -> Tensor:
        """The map before the output, `(B, head, H / 4, W / 4)`, rounded up, of `(B, inputs, H, W)` around 0."""
        height, width = image.shape[2:]
        features = self.down[0](self.stem(padded_to(MULTIPLE, image)))  # (B, widths[0], H/2, W/2)
        maps = []
        for smaller, down in zip(self.smaller, list(self.down)[1:], strict=True):
            features = down(smaller(features))
            maps.append(features)  # (B, widths[1], H/4, W/4), then H/8, then H/16
        features = features + self.whole(features.mean(dim=(2, 3)))[:, :, None, None]
        for larger, up, skip in zip(self.larger, self.up, (maps[1], maps[0]), strict=True):
            features = up(F.interpolate(larger(features), scale_factor=2.0) + skip)  # (B, widths[2], H/8, W/8), ...
        found: Tensor = self.head(features)
        return found[:, :, : -(-height // STRIDE), : -(-width // STRIDE)]

    def forward(self, image: Tensor) -> Tensor:
        """The output, `(B, outputs, H / 4, W / 4)`, rounded up, of an image around 0, `(B, inputs, H, W)`."""
        outputs: Tensor = self.out(self.features(image))
        return outputs


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each behind batch normalisation and ReLU, added to their input (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.last = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, width, h, w)` to the same."""
        added: Tensor = self.last(self.layers(features))
        return features + added
