"""How different the samples of one picture are (Guadarrama et al. 2017, Figure 10)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric

from evaluation.functional.histogram import counts_between
from evaluation.functional.ms_ssim import ms_ssim, pairs


class Diversity(Metric):
    """The histogram over pairs of samples of one picture of how alike the two are, and its mean.

    Args:
        measure: Of two pictures, RGB in [0, 1], (B, 3, H, W), to (B,) in [0, 1]: MS-SSIM as in the figure, which is
            lower for more diverse samples, or LPIPS, which is higher.
        choose: The pairs among so many samples: `pairs`, all of them, or `first_against_rest`.
        bins: Of the histogram from 0 to 1.
    """

    full_state_update = False
    total: Tensor
    histogram: Tensor

    def __init__(
        self,
        measure: Callable[[Tensor, Tensor], Tensor] = ms_ssim,
        choose: Callable[[int], list[tuple[int, int]]] = pairs,
        bins: int = 100,
    ) -> None:
        super().__init__()
        self.measure = measure
        self.choose = choose
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("histogram", torch.zeros(bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, samples: Tensor) -> None:
        """Add pictures with their samples, RGB in [0, 1], (B, S, 3, H, W); the truth has no part in it.

        Raises:
            ValueError: If there is only one sample of each.
        """
        edges = torch.linspace(0, 1, len(self.histogram) + 1, dtype=torch.float64)
        for first, second in self.choose(samples.shape[1]):  # one pair at a time, so that memory stays small
            values = self.measure(samples[:, first], samples[:, second]).double()
            self.histogram += counts_between(values, edges)
            self.total += values.sum()

    def compute(self) -> dict[str, Tensor]:
        """What the figure draws.

        Returns:
            `mean` over the pairs, a float64 scalar, NaN if there is none; `histogram`, float64 (bins,), of the pairs.
        """
        return {"mean": self.total / self.histogram.sum(), "histogram": self.histogram}
