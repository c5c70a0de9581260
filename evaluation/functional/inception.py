"""The Inception network of the Frechet Inception distance (Heusel et al. 2017)."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from evaluation.functional.weights import FixedNetwork, fill, read_weights
from lightning_modules.color import full_precision

SIDE = 299


def average_without_border(features: Tensor) -> Tensor:
    """The mean of 3 x 3, of fewer at the border: TensorFlow leaves the padding out, torchvision counts it."""
    return F.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)


class BlockA(InceptionA):  # type: ignore[misc]
    """torchvision's, with TensorFlow's average."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pooled = self.branch_pool(average_without_border(x))
        return [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, pooled]


class BlockC(InceptionC):  # type: ignore[misc]
    """torchvision's, with TensorFlow's average."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return [self.branch1x1(x), single, double, self.branch_pool(average_without_border(x))]


class BlockE(InceptionE):  # type: ignore[misc]
    """torchvision's, with TensorFlow's average, or in the last block, as TensorFlow has it, the maximum."""

    last = False

    def _forward(self, x: Tensor) -> list[Tensor]:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.last else average_without_border(x)
        return [
            self.branch1x1(x),
            torch.cat([self.branch3x3_2a(single), self.branch3x3_2b(single)], 1),
            torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], 1),
            self.branch_pool(pooled),
        ]


def inception() -> Inception3:
    """The network of 5 December 2015 that TensorFlow published and every FID rests on, its weights not yet filled."""
    network = Inception3(
        num_classes=1008,
        aux_logits=False,
        init_weights=False,
        inception_blocks=[BasicConv2d, BlockA, InceptionB, BlockC, InceptionD, BlockE, InceptionAux],
    )
    network.Mixed_7c.last = True
    return network


class InceptionFeatures(FixedNetwork):
    """The 2,048 features before the classes.

    Args:
        weights: As pytorch-fid publishes them, a local file.

    Raises:
        MissingWeightsError: If there is no such file.
        ValueError: If it holds something else.
    """

    num_features = 2048

    def __init__(self, weights: Path | None) -> None:
        super().__init__()
        measure = "the Frechet Inception distance"
        published = read_weights(weights, measure, "fid_inception")
        with torch.device("meta"):
            self.network = inception()
        fill(self.network, published, weights, measure)
        self.network.fc = torch.nn.Identity()

    @full_precision
    def forward(self, rgb: Tensor) -> Tensor:
        """Features, (B, 2048), of RGB in [0, 1], (B, 3, H, W).

        Pictures are resized to 299 x 299, whatever their shape, bilinearly without antialiasing, and scaled to
        [-1, 1], as pytorch-fid does it.
        """
        with torch.no_grad():
            resized = F.interpolate(rgb, (SIDE, SIDE), mode="bilinear", align_corners=False)
            features: Tensor = self.network(2 * resized - 1)
        return features
