"""The encoder of the transfer sub-net, and what its decoder is taught by: VGG-19 from conv1_1 to conv4_1.

Xu et al., "Stylization-Based Architecture for Fast Deep Exemplar Colorization", CVPR 2020, section 3.1.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.checkpoint import read_weights
from lightning_modules.color import IMAGENET_MEAN, IMAGENET_STD

LEVELS = (1, 2, 3, 4)
"""Stages of VGG-19, of which the last has one convolution here. Level i's map is relu{i}_1, at stride 2 ** (i - 1)."""
WIDTHS = (1, 2, 4, 8)
"""Of the levels' maps, in units of the first."""
CONVOLUTIONS = (2, 2, 4, 1)
TORCHVISION_NAMES = {
    "conv1_1": "features.0",
    "conv1_2": "features.2",
    "conv2_1": "features.5",
    "conv2_2": "features.7",
    "conv3_1": "features.10",
    "conv3_2": "features.12",
    "conv3_3": "features.14",
    "conv3_4": "features.16",
    "conv4_1": "features.19",
}
ENCODER = "encoder."
"""Before the names of these weights in the checkpoints of what has such an encoder."""


class Skip(NamedTuple):
    """What a level of the decoder is given of the encoder's level of the same size (Figure 2).

    Attributes:
        detail: The last map before the pooling, `(B, C, H, W)`.
        pooled: The same map pooled, `(B, C, H / 2, W / 2)`.
    """

    detail: Tensor
    pooled: Tensor


def convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size, with reflection at the border, which shows no frame in a picture."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="reflect")


class Encoder(nn.Module):
    """VGG-19 up to relu4_1, with average pooling (section 3.1).

    Args:
        width: Channels of the first level; VGG-19's 64 makes 3,505,728 weights and biases.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        channels = 3
        self.layers = nn.ModuleDict()
        for level, units, count in zip(LEVELS, WIDTHS, CONVOLUTIONS, strict=True):
            for number in range(1, count + 1):
                self.layers[f"conv{level}_{number}"] = convolution(channels, units * width)
                channels = units * width
        self.channels = channels
        for layer in self.layers.values():
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.to(memory_format=torch.channels_last)  # as bfloat16 convolutions want it
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def normalized(self, rgb: Tensor) -> Tensor:
        """What level 1 takes, of RGB in [0, 1], `(B, 3, H, W)`, of sides that are multiples of 8 and at least 16."""
        return (rgb - self.mean) / self.deviation

    def level(self, number: int, features: Tensor) -> tuple[Tensor, Skip | None]:
        """The map of a level from that of the level before, and, but for the first, the skip between the two."""
        skip = None
        if number > 1:
            for each in range(2, CONVOLUTIONS[number - 2] + 1):
                features = F.relu(self.layers[f"conv{number - 1}_{each}"](features), inplace=True)
            skip = Skip(features, F.avg_pool2d(features, 2))
            features = skip.pooled
        return F.relu(self.layers[f"conv{number}_1"](features), inplace=True), skip

    def forward(self, rgb: Tensor) -> Tensor:
        """relu4_1, `(B, 8 width, H / 8, W / 8)`, of RGB in [0, 1]; see `normalized`."""
        features = self.normalized(rgb)
        for number in LEVELS:
            features, _ = self.level(number, features)
        return features


def begin_with_vgg19(encoder: Encoder, path: str) -> None:
    """Give an encoder the weights of a classifier.

    Args:
        encoder: Changed in place.
        path: `download` for torchvision's VGG-19; or a local .pth file of it; or a run's directory or checkpoint of
            something with such an encoder, as `vgg_tiny` makes.

    Raises:
        OSError: If there is no such file or run, or nothing can be fetched.
        ValueError: If it is something else, or its weights do not fit.
    """
    weights = read_weights(path, "vgg19")
    own = encoder.state_dict()
    for name, value in own.items():
        _, layer, part = name.split(".")
        names = (f"{TORCHVISION_NAMES[layer]}.{part}", ENCODER + name, f"transfer.{ENCODER}{name}")
        found = next((weights[each] for each in names if each in weights), None)
        if found is None or found.shape != value.shape or not found.isfinite().all():
            raise ValueError(
                f"{path} cannot start this encoder: {layer} is absent there, of another shape or not finite. Give "
                "model.transfer.width that one's width (VGG-19's is 64), or model.pretrained.encoder=null"
            )
        own[name] = found
    encoder.load_state_dict(own)
