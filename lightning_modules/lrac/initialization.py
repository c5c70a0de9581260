"""How LRAC's network starts: Xavier, or a VGG-16 made grey and re-balanced (section 3.2 and appendix A.1)."""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from lightning_modules.lrac.network import Layer, VGG16Trunk

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

TORCHVISION_NAMES = {
    "conv1_1": "features.0",
    "conv1_2": "features.2",
    "conv2_1": "features.5",
    "conv2_2": "features.7",
    "conv3_1": "features.10",
    "conv3_2": "features.12",
    "conv3_3": "features.14",
    "conv4_1": "features.17",
    "conv4_2": "features.19",
    "conv4_3": "features.21",
    "conv5_1": "features.24",
    "conv5_2": "features.26",
    "conv5_3": "features.28",
    "fc6": "classifier.0",
    "fc7": "classifier.3",
}
FC6_SIDE = 7


def xavier(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Start every convolution and linear layer as Glorot and Bengio (2010), uniformly, and every bias at 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def grey_vgg16(
    weights: Mapping[str, Tensor],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> dict[str, Tensor]:
    """What a `VGG16Trunk` loads to see in a grey picture what torchvision's VGG-16 sees in it.

    For a picture whose three channels are L, the three filters of conv1_1 on (L - mean) / std are one filter on L and a
    constant, which joins the bias. Only at the border they differ: around a normalised picture zero is the mean
    colour, around L it is black. fc8 takes torchvision's `classifier.6` as it is.

    Args:
        weights: The state dict of torchvision's `vgg16`, without batch normalisation.
        mean: Of R, G and B, as the weights expect their pictures to be normalised.
        std: Likewise.

    Returns:
        The state dict of a trunk without batch normalisation and with `mean_lightness` 0.

    Raises:
        ValueError: If a layer is missing or not finite.
    """
    trunk = {}
    for name, theirs in TORCHVISION_NAMES.items():
        for part in ("weight", "bias"):
            if (tensor := weights.get(f"{theirs}.{part}")) is None or not tensor.isfinite().all():
                raise ValueError(f"the weights hold no usable {theirs}.{part}; give those of torchvision's vgg16")
            trunk[f"layers.{name}.convolution.{part}"] = tensor
    first, bias = (f"layers.conv1_1.convolution.{part}" for part in ("weight", "bias"))
    scaled = trunk[first] / trunk[first].new_tensor(std).view(3, 1, 1)
    trunk[first] = scaled.sum(dim=1, keepdim=True)
    trunk[bias] = trunk[bias] - (scaled * scaled.new_tensor(mean).view(3, 1, 1)).sum(dim=(1, 2, 3))
    for name, side in {"fc6": FC6_SIDE, "fc7": 1}.items():
        weight = f"layers.{name}.convolution.weight"
        trunk[weight] = trunk[weight].view(len(trunk[weight]), -1, side, side)
    return trunk


@torch.no_grad()
def rebalance(trunk: VGG16Trunk, pictures: Iterable[Tensor]) -> dict[str, float]:
    """Scale every layer so that its map has a second moment of 1 (appendix A.1).

    The next layer undoes each scale, so that the trunk computes what it did before, but for the scale of its last
    layer: what stood upon that divides its weight by the scale.

    Args:
        trunk: Changed in place.
        pictures: Batches of lightness in [0, 1], `(B, 1, H, W)`, over which the moments are taken.

    Returns:
        The factor m by which each layer's map has grown.

    Raises:
        ValueError: If the trunk has batch normalisation, which would undo the scales, there are no pictures, or a
            layer is 0 on all of them.
    """
    if any(isinstance(module, nn.BatchNorm2d) for module in trunk.modules()):
        raise ValueError("a trunk with batch normalisation is balanced already; re-balance one without")
    factors = {name: moment**-0.5 for name, moment in second_moments(trunk, pictures).items()}
    before = 1.0
    for name, factor in factors.items():
        convolution = cast(Layer, trunk.layers[name]).convolution
        convolution.weight.mul_(factor / before)
        cast(nn.Parameter, convolution.bias).mul_(factor)
        before = factor
    return factors


def second_moments(trunk: VGG16Trunk, pictures: Iterable[Tensor]) -> dict[str, float]:
    """E[x^2] of every layer but `data`, without dropout, for `rebalance`."""
    squares = dict.fromkeys(trunk.layers, 0.0)
    numbers = dict.fromkeys(trunk.layers, 0)
    training = trunk.training
    trunk.eval()
    for lightness in pictures:
        for name, features in list(trunk(lightness).items())[1:]:
            squares[name] += features.double().square().sum().item()
            numbers[name] += features.numel()
    trunk.train(training)
    if silent := [name for name in squares if squares[name] == 0]:
        raise ValueError(f"{silent[0]} is 0 on all calibration pictures, so no scale balances it; give other pictures")
    return {name: squares[name] / numbers[name] for name in squares}
