"""Segmentation: what a network that has learned to colour is worth elsewhere (LRAC, section 4.1 and Table 6)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.color import rgb_to_lightness, to_float
from lightning_modules.lrac.hypercolumn import DENSE_STRIDE
from lightning_modules.lrac.initialization import xavier
from lightning_modules.lrac.network import LRACNetwork
from lightning_modules.lrac.training import Optimization, VGG16Training, random_locations
from lightning_modules.masks import labelled_cross_entropy, mask_of, segmentation_scores


class Segmentation(VGG16Training):
    """LRAC's network with classes for outputs, trained at random pixels and tested on whole pictures.

    The paper names the data, the score (mean intersection over union) and early stopping by cross-validation, and
    leaves the rest open: here the network, its locations and its optimisation are those of colouring, with one
    cross-entropy over the classes.

    Args:
        resolution: Side in pixels of the squares it is trained on.
        classes: Of the pixels, background included.
        color: Whether the network sees colours, as those of the other methods in Table 6, or lightness alone.
        network: Of `LRACNetwork`.
        locations: Pixels of each picture that a training step looks at.
        pretrained: As in `VGG16Training`: a run of `LRAC`, or a classifier.
        rebalancing_pictures: Likewise.
        optimization: Likewise.
    """

    network: LRACNetwork

    def __init__(
        self,
        *,
        resolution: int,
        classes: int,
        color: bool,
        network: Mapping[str, Any],
        locations: int,
        pretrained: str | None,
        rebalancing_pictures: int,
        optimization: Optimization,
    ) -> None:
        super().__init__(pretrained, rebalancing_pictures, optimization)
        self.save_hyperparameters()
        self.color, self.classes, self.locations = color, classes, locations
        self.network = LRACNetwork(classes, in_channels=3 if color else 1, **network)
        xavier(self.network)
        self.validation_scores = segmentation_scores(classes, "validation/")
        self.test_scores = segmentation_scores(classes, "test/")

    def seen(self, rgb: Tensor) -> Tensor:
        """Lightness, `(B, 1, H, W)`, or the picture itself."""
        return rgb if self.color else rgb_to_lightness(rgb)

    @torch.no_grad()
    def segment(self, rgb: Tensor) -> Tensor:
        """Each pixel's class, int64 `(B, H, W)`, of RGB in [0, 1], `(B, 3, H, W)`, of any size."""
        height, width = rgb.shape[2:]
        probabilities = self.network.dense(self.seen(rgb)).softmax(dim=1)
        finer = F.interpolate(probabilities, scale_factor=DENSE_STRIDE, mode="bilinear", align_corners=False)
        return finer[:, :, :height, :width].argmax(dim=1)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The cross-entropy at random pixels of each picture, of those that are labelled."""
        rgb, mask = to_float(batch["rgb"]), mask_of(batch, self.classes)
        locations = random_locations(rgb, self.locations, None)
        outputs = self.network.sparse(self.seen(rgb), locations).flatten(0, 1)
        picture = torch.arange(len(rgb), device=rgb.device).unsqueeze(1)
        labels = mask[picture, locations[..., 0], locations[..., 1]].flatten()
        loss = labelled_cross_entropy(outputs, labels)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log mean intersection over union and pixel accuracy, over all pixels of all ranks."""
        self.validation_scores.update(self.segment(to_float(batch["rgb"])), mask_of(batch, self.classes))
        self.log_dict(self.validation_scores, prog_bar=True)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the same."""
        self.test_scores.update(self.segment(to_float(batch["rgb"])), mask_of(batch, self.classes))
        self.log_dict(self.test_scores)
