"""AuC of a set, plain and rebalanced (Zhang et al. 2016, section 3.1)."""

import torch
from torch import Tensor
from torchmetrics import Metric

from evaluation.functional.area_under_curve import (
    COLORS,
    LARGEST_DISTANCE,
    area_under_curve,
    color_index,
    counts_by_color,
    threshold_index,
)
from evaluation.functional.histogram import shares_within


class AreaUnderCurve(Metric):
    """AuC over all pixels of a set, each the same, and each the less the more common its true colour.

    One pass is enough for both: the distances are counted by true colour, and weights inverse to the colours' shares of
    the same pixels make the rebalanced curve the mean over the colours that occur.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        counts = torch.zeros(COLORS, LARGEST_DISTANCE + 2, dtype=torch.float64)
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add pictures, RGB in [0, 1], (B, 3, H, W)."""
        self.counts += counts_by_color(color_index(truth), threshold_index(prediction, truth)).sum(dim=0)

    def compute(self) -> dict[str, Tensor]:
        """The scores and their curves.

        Returns:
            `plain` and `rebalanced`, scalars in [0, 1]; the curves `shares` and `rebalanced_shares`, float64 (151,), at
            distances 0..150; NaN if no picture was added.
        """
        shares = shares_within(self.counts.sum(dim=0))
        occurring = self.counts.sum(dim=1) > 0
        rebalanced_shares = shares_within(self.counts[occurring]).mean(dim=0)
        return {
            "plain": area_under_curve(shares),
            "rebalanced": area_under_curve(rebalanced_shares),
            "shares": shares,
            "rebalanced_shares": rebalanced_shares,
        }
