"""Masks of class numbers, and how well a segmentation agrees with them."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

UNLABELLED = 255
"""In the masks of VOC 2012 and COCO-Stuff: borders, and what is too hard to tell."""


def segmentation_scores(classes: int, prefix: str) -> MetricCollection:
    """Mean intersection over union and pixel accuracy, over all labelled pixels of a set."""
    scores: dict[str, Metric | MetricCollection] = {
        "mean_iou": MulticlassJaccardIndex(classes, ignore_index=UNLABELLED),
        "pixel_accuracy": MulticlassAccuracy(classes, average="micro", ignore_index=UNLABELLED),
    }
    return MetricCollection(scores, prefix=prefix, compute_groups=False)


def labelled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over labelled pixels, 0 without any, of logits `(N, classes, ...)` and labels `(N, ...)`."""
    total = F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum")
    return total / (labels != UNLABELLED).sum().clamp(min=1)


def mask_of(batch: dict[str, Any], classes: int) -> Tensor:
    """A batch's masks, int64 `(B, H, W)`.

    Raises:
        ValueError: If its pictures have none, or classes that are not known.
    """
    if "mask" not in batch:
        raise ValueError(
            "these pictures have no masks; segmentation wants VOC 2012, COCO-Stuff, or shards written with masks"
        )
    mask: Tensor = batch["mask"]
    known = mask[mask != UNLABELLED]
    if len(known) and (largest := int(known.max())) >= classes:
        raise ValueError(f"a mask holds class {largest}, counted from 0; give model.classes={largest + 1} or more")
    return mask
