"""Whether a classifier recognises what a picture shows (Zhang et al. 2016, section 3.1: semantic interpretability)."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import VGG16_Weights, vgg16

from evaluation.functional.weights import FixedNetwork, fill, read_weights
from lightning_modules.color import full_precision


class VGG16Classification(FixedNetwork):
    """VGG-16's scores of the 1,000 classes of ILSVRC 2012.

    The paper took Caffe's weights; these are torchvision's, whose accuracy on real colours differs, so that rows for
    real and for grey pictures belong beside the score.

    Args:
        weights: As torchvision publishes them, a local file.

    Raises:
        MissingWeightsError: If there is no such file.
        ValueError: If it holds something else.
    """

    def __init__(self, weights: Path | None) -> None:
        super().__init__()
        published = read_weights(weights, "VGG-16 classification", "vgg16")
        with torch.device("meta"):
            self.network = vgg16(weights=None)
        fill(self.network, published, weights, "VGG-16 classification")
        self.prepare = VGG16_Weights.IMAGENET1K_V1.transforms()

    @full_precision
    def forward(self, rgb: Tensor) -> Tensor:
        """Scores before the softmax, (B, 1000), of RGB in [0, 1], (B, 3, H, W).

        The shorter side is resized to 256 pixels, of which the middle 224 x 224 are classified.
        """
        with torch.no_grad():
            scores: Tensor = self.network(self.prepare(rgb))
        return scores


def top_hits(scores: Tensor, labels: Tensor, among: tuple[int, ...] = (1, 5)) -> Tensor:
    """Whether the true class is among the best 1 and the best 5.

    Args:
        scores: Of each class, (B, C).
        labels: True classes, int64 (B,).
        among: How many best classes, (K,).

    Returns:
        0 or 1, float32 (B, K).
    """
    best = scores.topk(max(among), dim=1).indices == labels.unsqueeze(1)
    return torch.stack([best[:, :count].any(dim=1) for count in among], dim=1).float()
