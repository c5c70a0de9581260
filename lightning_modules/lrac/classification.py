"""Grey classification: what LRAC's network learns before it learns to colour (section 3.2)."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_modules.color import rgb_to_lightness, to_float
from lightning_modules.labels import classification_scores, labels_of
from lightning_modules.lrac.initialization import xavier
from lightning_modules.lrac.network import GreyClassifier, VGG16Trunk
from lightning_modules.lrac.training import Optimization, VGG16Training


class GreyClassification(VGG16Training):
    """A VGG-16 that names what grey pictures show; a run of it is a `pretrained` of `LRAC`.

    The paper fine-tunes a VGG-16 that was trained in colour, for one epoch of ImageNet.

    Args:
        resolution: Side in pixels of the squares it is trained on.
        classes: Of the pictures, which carry a number from 0 on.
        network: Of `VGG16Trunk`.
        pretrained: As in `VGG16Training`.
        optimization: Likewise.
    """

    network: GreyClassifier

    def __init__(
        self,
        *,
        resolution: int,
        classes: int,
        network: Mapping[str, Any],
        pretrained: str | None,
        optimization: Optimization,
    ) -> None:
        super().__init__(pretrained, 0, optimization)
        self.save_hyperparameters()
        self.classes = classes
        self.network = GreyClassifier(VGG16Trunk(**network), classes)
        xavier(self.network)
        self.validation_loss = MeanMetric()
        self.validation_accuracy = classification_scores(classes, "validation/")
        self.test_accuracy = classification_scores(classes, "test/")

    def seen(self, rgb: Tensor) -> Tensor:
        """Lightness, `(B, 1, H, W)`."""
        return rgb_to_lightness(rgb)

    def logits_and_labels(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Of a batch, `(B, classes)` and `(B,)`."""
        labels = labels_of(batch, self.classes)
        return self.network(self.seen(to_float(batch["rgb"]))), labels

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The cross-entropy."""
        loss = F.cross_entropy(*self.logits_and_labels(batch))
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the cross-entropy and the accuracy of the best and the best five guesses, over all ranks."""
        logits, labels = self.logits_and_labels(batch)
        self.validation_loss(F.cross_entropy(logits, labels), weight=len(labels))
        self.validation_accuracy.update(logits, labels)
        self.log("validation/loss", self.validation_loss, prog_bar=True)
        self.log_dict(self.validation_accuracy)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the accuracy."""
        self.test_accuracy.update(*self.logits_and_labels(batch))
        self.log_dict(self.test_accuracy)
