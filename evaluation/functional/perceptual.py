"""Learned perceptual similarity (Zhang et al. 2018)."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchmetrics.functional.image.lpips import _NoTrainLpips

from evaluation.functional.weights import FixedNetwork, fill, read_weights
from lightning_modules.color import full_precision

BACKBONES = {
    "alex": "alexnet",
    "vgg": "vgg16",
}
"""By LPIPS's name of each, its own in the table of weights."""


class LearnedPerceptualSimilarity(FixedNetwork):
    """LPIPS, version 0.1: the distance of two pictures in the features of a network that was trained on ImageNet.

    torchmetrics brings the calibration of the features (a few kilobytes); the network is torchvision's.

    Args:
        weights: The backbone as torchvision publishes it, a local file.
        backbone: "alex", which Zhang et al. recommend for measuring, or "vgg"; their scores do not compare.

    Raises:
        MissingWeightsError: If there is no such file.
        ValueError: If it holds something else.
    """

    def __init__(self, weights: Path | None, backbone: Literal["alex", "vgg"] = "alex") -> None:
        super().__init__()
        measure = f"LPIPS ({backbone})"
        published = read_weights(weights, measure, BACKBONES[backbone])
        # torchmetrics' public class downloads its backbone; this one leaves it random, to be filled
        self.network = _NoTrainLpips(net=backbone, pnet_rand=True)
        # torchmetrics' "slice2.3.weight" is torchvision's "features.3.weight"
        named = {name: "features." + ".".join(name.split(".")[1:]) for name in self.network.net.state_dict()}
        features = {name: published[theirs] for name, theirs in named.items() if theirs in published}
        fill(self.network.net, features, weights, measure)

    @full_precision
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The distance of each pair, (B,), 0 for two that are the same; of RGB in [0, 1], (B, 3, H, W).

        Pictures are not resized: the size is part of the protocol.
        """
        with torch.no_grad():
            distance: Tensor = self.network(first, second, normalize=True)
        return distance.flatten()
