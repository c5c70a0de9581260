"""Classes of whole pictures, and how well a classifier names them."""

from typing import Any

from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy


def classification_scores(classes: int, prefix: str) -> MetricCollection:
    """How often the class is the best guess, and one of the best five, over all pictures of a set."""
    accuracy: dict[str, Metric | MetricCollection] = {
        f"top_{k}": MulticlassAccuracy(classes, top_k=k, average="micro") for k in (1, 5) if k <= classes
    }
    return MetricCollection(accuracy, prefix=prefix, compute_groups=False)


def labels_of(batch: dict[str, Any], classes: int) -> Tensor:
    """A batch's labels, int64 `(B,)`.

    Raises:
        ValueError: If its pictures have none, or larger ones than there are classes.
    """
    if "label" not in batch:
        raise ValueError("these pictures have no labels; classification wants folders or a list of classes")
    labels: Tensor = batch["label"]
    if (largest := int(labels.max())) >= classes:
        raise ValueError(f"a picture is of class {largest}, counted from 0; give model.classes={largest + 1} or more")
    return labels
