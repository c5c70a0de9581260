"""A U-Net that completes chroma from luminance and hints, layer by layer as the authors' PyTorch code has it.

It is also the colourisation sub-net of Xu et al., CVPR 2020, section 3.2.
"""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.layers.blocks import convolutions, initialize, padded_to
from lightning_modules.siggraph17.classes import CLASSES

LUMINANCE_CENTRE, LUMINANCE_SCALE, CHROMA_SCALE = 50.0, 100.0, 110.0
MULTIPLE = 8
"""Sides of what the network sees are multiples of this."""


class ColorizationNetwork(nn.Module):
    """Ten blocks, an output, and a head that classifies colours.

    Blocks 1 to 3 are halved behind their last layer, by leaving every second pixel out; 5 and 6 are dilated; 8, 9 and
    10 double the size and add the maps of blocks 3, 2 and 1.

    Args:
        width: Channels of the first block; 64 makes 34,051,074 weights and biases.
        class_head: Whether block 8 also classifies the colour of every fourth pixel; 135,953 more.
    """

    def __init__(self, width: int = 64, class_head: bool = False) -> None:
        super().__init__()
        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        self.blocks = nn.ModuleDict(
            {
                "1": convolutions([4, one, one]),
                "2": convolutions([one, two, two]),
                "3": convolutions([two, four, four, four]),
                "4": convolutions([four, eight, eight, eight]),
                "5": convolutions([eight, eight, eight, eight], dilation=2),
                "6": convolutions([eight, eight, eight, eight], dilation=2),
                "7": convolutions([eight, eight, eight, eight]),
                "8": nn.Sequential(nn.ReLU(inplace=True), *convolutions([four, four, four])),
                "9": nn.Sequential(nn.ReLU(inplace=True), *convolutions([two, two])),
                "10": nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(two, two, 3, padding=1), nn.LeakyReLU(0.2)),
            }
        )
        self.enlarge = nn.ModuleDict(
            {
                "8": nn.ConvTranspose2d(eight, four, 4, stride=2, padding=1),
                "9": nn.ConvTranspose2d(four, two, 4, stride=2, padding=1),
                "10": nn.ConvTranspose2d(two, two, 4, stride=2, padding=1),
            }
        )
        self.skips = nn.ModuleDict(
            {
                "8": nn.Conv2d(four, four, 3, padding=1),
                "9": nn.Conv2d(two, two, 3, padding=1),
                "10": nn.Conv2d(one, two, 3, padding=1),
            }
        )
        self.out = nn.Conv2d(two, 2, 1)
        if class_head:
            self.classes = nn.Conv2d(four, CLASSES, 1)
        initialize(self)
        nn.init.xavier_normal_(self.out.weight)

    def features(self, luminance: Tensor, hints: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of block 8, `(B, 4 width, H / 4, W / 4)`, rounded up, and of block 10, `(B, 2 width, H, W)`."""
        height, width = luminance.shape[2:]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        maps = [self.blocks["1"](network_input(padded_to(MULTIPLE, luminance), F.pad(hints, padding)))]
        for number in ("2", "3", "4"):
            maps.append(self.blocks[number](maps[-1][:, :, ::2, ::2]))
        features = maps.pop()
        for number in ("5", "6", "7"):
            features = self.blocks[number](features)
        quarter = features
        for number in ("8", "9", "10"):
            features = self.blocks[number](self.enlarge[number](features) + self.skips[number](maps.pop()))
            quarter = features if number == "8" else quarter
        return quarter[:, :, : ceil(height / 4), : ceil(width / 4)], features[:, :, :height, :width]

    def chroma(self, features: Tensor) -> Tensor:
        """Lab a and b, in float32, of block 10's map."""
        logits: Tensor = self.out(features)
        return CHROMA_SCALE * logits.float().tanh()

    def forward(self, luminance: Tensor, hints: Tensor) -> Tensor:
        """Complete chroma.

        Args:
            luminance: Lab L in 0..100, `(B, 1, H, W)`, of any size.
            hints: As `Guidance.hints`, `(B, 3, H, W)`.

        Returns:
            Lab a and b, `(B, 2, H, W)` in -110..110, in float32 even under autocast.
        """
        return self.chroma(self.features(luminance, hints)[1])


def network_input(luminance: Tensor, hints: Tensor) -> Tensor:
    """Lab L in 0..100, `(B, 1, H, W)`, and hints in Lab units, `(B, 3, H, W)`, as four channels around 0."""
    grey = (luminance - LUMINANCE_CENTRE) / LUMINANCE_SCALE
    return torch.cat([grey, hints[:, :2] / CHROMA_SCALE, hints[:, 2:]], dim=1)
