"""What can stand for ImageNet's VGG-19 where its weights cannot be had: the same encoder, taught to classify."""

from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lightning_modules.color import to_float
from lightning_modules.exemplar.encoder import Encoder
from lightning_modules.labels import classification_scores, labels_of
from lightning_modules.task import Task


class Optimization(TypedDict):
    """Adam, its rate rising to `learning_rate` and falling to 0 over `steps`, as Smith and Topin (2018) have it."""

    learning_rate: float
    weight_decay: float
    steps: int


class VGG19Classification(Task):
    """Names what pictures show, by the mean of relu4_1 over the picture; a run is a `pretrained.encoder` of `Exemplar`.

    Args:
        resolution: Side in pixels of the squares it is trained on.
        classes: Of the pictures, which carry a number from 0 on.
        width: Of `Encoder`.
        optimization: Of Adam.
    """

    def __init__(self, *, resolution: int, classes: int, width: int, optimization: Optimization) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.classes, self.optimization = classes, optimization
        self.encoder = Encoder(width)
        self.classifier = nn.Linear(self.encoder.channels, classes)
        self.validation_loss = MeanMetric()
        self.validation_scores = classification_scores(classes, "validation/")
        self.test_scores = classification_scores(classes, "test/")

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Of a batch, `(B, classes)`."""
        logits: Tensor = self.classifier(self.encoder(to_float(batch["rgb"])).mean(dim=(2, 3)))
        return logits.float()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The cross-entropy."""
        loss = F.cross_entropy(self.logits(batch), labels_of(batch, self.classes))
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the cross-entropy and the accuracy of the best and the best five guesses, over all ranks."""
        logits, labels = self.logits(batch), labels_of(batch, self.classes)
        self.validation_loss(F.cross_entropy(logits, labels), weight=len(labels))
        self.validation_scores.update(logits, labels)
        self.log("validation/loss", self.validation_loss, prog_bar=True)
        self.log_dict(self.validation_scores, prog_bar=True)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the accuracy."""
        self.test_scores.update(self.logits(batch), labels_of(batch, self.classes))
        self.log_dict(self.test_scores)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with decoupled weight decay."""
        numbers = self.optimization
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=numbers["learning_rate"], weight_decay=numbers["weight_decay"]
        )
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, numbers["learning_rate"], numbers["steps"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
