"""How LRAC's network starts: Xavier, or a classifier's weights, re-balanced (section 3.2 and appendix A.1)."""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from lightning_modules.checkpoint import read_weights
from lightning_modules.color import IMAGENET_MEAN, IMAGENET_STD
from lightning_modules.lrac.network import Layer, VGG16Trunk

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
    "fc8": "classifier.6",
}
FC6_SIDE = 7
FIRST = "trunk.layers.conv1_1.convolution.weight"
"""The only weights whose shape tells grey from colour."""


def xavier(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Start every convolution and linear layer as Glorot and Bengio (2010), uniformly, and every bias at 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def begin_with(network: nn.Module, path: str) -> dict[str, Tensor]:
    """Give a network what another one has of it: its trunk, and of what stands upon that the layers of the same shape.

    Args:
        network: Changed in place; it has a `VGG16Trunk` as `trunk`.
        path: `download` for torchvision's VGG-16; or a local .pth file of it; or a run's directory or checkpoint of a
            network upon a trunk.

    Returns:
        What was given, by its names in the network's state dict.

    Raises:
        OSError: If there is no such file or run, or nothing can be fetched.
        ValueError: If it is something else, or its trunk does not fit.
    """
    weights, own = read_weights(path, "vgg16"), network.state_dict()
    weights = vgg16(weights) if "features.0.weight" in weights else of_a_run(weights)
    if FIRST in weights:
        weights[FIRST] = of_channels(weights[FIRST], own[FIRST].shape[1])
    fits = {name for name, value in weights.items() if name in own and value.shape == own[name].shape}
    # a bias is worth nothing without its weights
    taken = {name: weights[name] for name in fits if name.replace(".bias", ".weight") in fits or ".bias" not in name}
    if absent := [name for name in own if name.startswith("trunk.") and name not in taken]:
        raise ValueError(
            f"{path} cannot start this network: {absent[0]} is absent there or of another shape. Give model.network "
            "that one's width, fc_width and batch_norm (torchvision's: 64, 4096, false), or model.pretrained=null"
        )
    network.load_state_dict(taken, strict=False)
    return taken


def of_a_run(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a task's network, by their names there."""
    return {name.removeprefix("network."): value for name, value in weights.items()}


def of_channels(weight: Tensor, channels: int) -> Tensor:
    """Filters `(out, in, 3, 3)` that see in a grey picture, repeated or not to so many channels, what these see."""
    if channels == weight.shape[1]:
        return weight
    return weight.sum(dim=1, keepdim=True).expand(-1, channels, -1, -1) / channels


def vgg16(
    weights: Mapping[str, Tensor],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> dict[str, Tensor]:
    """What a `GreyClassifier` of three channels loads to be torchvision's VGG-16 on pictures in [0, 1].

    The normalisation of the picture joins conv1_1. Only at the border the two differ: around a normalised picture zero
    is the mean colour, around this one it is black.

    Args:
        weights: The state dict of torchvision's `vgg16`, without batch normalisation.
        mean: Of R, G and B, as the weights expect their pictures to be normalised.
        std: Likewise.

    Returns:
        The state dict, for a trunk without batch normalisation and with `mean_lightness` 0.

    Raises:
        ValueError: If a layer is missing or not finite.
    """
    found = {}
    for name, theirs in TORCHVISION_NAMES.items():
        for part in ("weight", "bias"):
            if (tensor := weights.get(f"{theirs}.{part}")) is None or not tensor.isfinite().all():
                raise ValueError(f"the weights hold no usable {theirs}.{part}; give those of torchvision's vgg16")
            found[f"fc8.{part}" if name == "fc8" else f"trunk.layers.{name}.convolution.{part}"] = tensor
    bias = FIRST.replace("weight", "bias")
    found[FIRST] = found[FIRST] / found[FIRST].new_tensor(std).view(3, 1, 1)
    found[bias] = found[bias] - (found[FIRST] * found[FIRST].new_tensor(mean).view(3, 1, 1)).sum(dim=(1, 2, 3))
    for name, side in {"fc6": FC6_SIDE, "fc7": 1}.items():
        weight = f"trunk.layers.{name}.convolution.weight"
        found[weight] = found[weight].view(len(found[weight]), -1, side, side)
    return found


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
