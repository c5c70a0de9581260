"""Grey segmentation: what PixColor's trunk learns before it conditions a PixelCNN (section 3.1)."""

from collections.abc import Mapping
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightning_modules.color import to_float
from lightning_modules.masks import labelled_cross_entropy, mask_of, segmentation_scores
from lightning_modules.pixcolor.chroma import luminance_and_chroma
from lightning_modules.pixcolor.conditioning import ConditioningNetwork, begin_with_resnet
from lightning_modules.task import Task

DILATIONS = (6, 12, 18, 24)


class AtrousPyramid(nn.Module):
    """DeepLab's classifier: 3x3 convolutions of growing dilation, added up (Chen et al. 2016, section 3.2).

    Args:
        features: Channels of the input.
        classes: Of the pixels.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        branches = [nn.Conv2d(features, classes, 3, padding=each, dilation=each) for each in DILATIONS]
        for branch in branches:
            nn.init.normal_(branch.weight, std=0.01)
        self.branches = nn.ModuleList(branches)

    def forward(self, features: Tensor) -> Tensor:
        """Logits, `(B, classes, h, w)`, of `(B, features, h, w)`."""
        return torch.stack([branch(features) for branch in self.branches]).sum(dim=0)


class Optimization(TypedDict):
    """Stochastic gradient descent, its rate falling to 0 as (1 - step / steps) ** power; the classifier's is higher."""

    learning_rate: float
    classifier_factor: float
    momentum: float
    weight_decay: float
    steps: int
    power: float


class GreySegmentation(Task):
    """DeepLab upon PixColor's trunk, on grey pictures; a run of it is a `pretrained` of `PixColor`.

    Guadarrama et al. say that it follows DeepLab on COCO; the numbers here are DeepLab's own.

    Args:
        resolution: Side in pixels of the squares it is trained on.
        classes: Of the pixels.
        conditioning: Of `ConditioningNetwork`, whose adaptation gives way to a classifier.
        pretrained: Weights for the trunk to start with: torchvision's ResNet-101, a local .pth file; None starts anew.
        optimization: Of stochastic gradient descent.
    """

    initialized: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        classes: int,
        conditioning: Mapping[str, Any],
        pretrained: str | None,
        optimization: Optimization,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.classes, self.pretrained, self.optimization = classes, pretrained, optimization
        self.network = ConditioningNetwork(**conditioning)
        self.network.adaptation = AtrousPyramid(self.network.features, classes)
        self.register_buffer("initialized", torch.tensor(pretrained is None))
        self.validation_scores = segmentation_scores(classes, "validation/")
        self.test_scores = segmentation_scores(classes, "test/")

    def logits(self, rgb: Tensor) -> Tensor:
        """Of every pixel, `(B, classes, H, W)`, of RGB in [0, 1], `(B, 3, H, W)`, of any size."""
        height, width = rgb.shape[2:]
        luminance = luminance_and_chroma(rgb)[0]
        stride = self.network.stride
        luminance = F.pad(luminance, (0, -width % stride, 0, -height % stride), mode="replicate")
        logits = self.network(luminance).float()
        return F.interpolate(logits, scale_factor=stride, mode="bilinear", align_corners=False)[:, :, :height, :width]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The cross-entropy of all labelled pixels."""
        loss = labelled_cross_entropy(self.logits(to_float(batch["rgb"])), mask_of(batch, self.classes))
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log mean intersection over union and pixel accuracy, over all pixels of all ranks."""
        self.validation_scores.update(self.logits(to_float(batch["rgb"])).argmax(dim=1), mask_of(batch, self.classes))
        self.log_dict(self.validation_scores, prog_bar=True)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the same."""
        self.test_scores.update(self.logits(to_float(batch["rgb"])).argmax(dim=1), mask_of(batch, self.classes))
        self.log_dict(self.test_scores)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Stochastic gradient descent with DeepLab's polynomial rate."""
        numbers = self.optimization
        rate = numbers["learning_rate"]
        groups: list[dict[str, Any]] = [
            {"params": self.network.trunk.parameters(), "lr": rate},
            {"params": self.network.adaptation.parameters(), "lr": rate * numbers["classifier_factor"]},
        ]
        optimizer = torch.optim.SGD(groups, momentum=numbers["momentum"], weight_decay=numbers["weight_decay"])
        scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, numbers["steps"], numbers["power"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Take the trunk's pretrained weights, once."""
        if not self.initialized and self.pretrained is not None:
            begin_with_resnet(self.network.trunk, self.pretrained)
            self.initialized.fill_(True)
