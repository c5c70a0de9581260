"""Every measure of a set is a function of sums over its pictures; here are the summands of one picture."""

from collections.abc import Callable, Collection, Mapping
from functools import cached_property

import torch
from torch import Tensor

from evaluation.functional.alpha_beta import alpha_beta_distance
from evaluation.functional.area_under_curve import (
    color_areas,
    color_index_of_lab,
    counts_by_color,
    threshold_index_of_lab,
)
from evaluation.functional.best_of import best_of
from evaluation.functional.ciede2000 import ciede2000_of_lab
from evaluation.functional.colorfulness import colorfulness, colorfulness_abs
from evaluation.functional.error_distribution import PSNR_EDGES, error_counts
from evaluation.functional.histogram import counts_between
from evaluation.functional.lab_histogram import lab_histogram_of_lab
from evaluation.functional.ms_ssim import SIMILARITY_EDGES, ms_ssim, pairs
from evaluation.functional.psnr import psnr
from evaluation.functional.saturation import saturation_of_lab
from evaluation.functional.ssim import ssim
from lightning_modules.color import to_float, uint8_rgb_to_lab

SMALLEST_PSNR = torch.finfo(torch.float64).tiny
"""In place of 0 dB, whose logarithm is no number."""


class Pairs:
    """The samples of one picture beside its truth; what several statistics need is computed once.

    Args:
        samples: Eight-bit RGB, uint8 (S, 3, H, W).
        truth: Eight-bit RGB, uint8 (3, H, W), on the same device.
        label: What the picture shows, a class of ILSVRC 2012 in 0..999, if that is known.
        bin_width: Of the histograms of a and b, in Lab units.

    Raises:
        ValueError: If a sample has another size than the truth.
    """

    def __init__(self, samples: Tensor, truth: Tensor, label: int | None = None, bin_width: float = 1.0) -> None:
        if samples.shape[1:] != truth.shape:
            sizes = [f"{shape[-2]}x{shape[-1]}" for shape in (samples.shape, truth.shape)]
            raise ValueError(f"the prediction has {sizes[0]} pixels, the truth {sizes[1]}; resize one of them")
        self.samples, self.truth = samples, truth.unsqueeze(0)
        self.label = label
        self.bin_width = bin_width

    @cached_property
    def rgb(self) -> Tensor:
        """The samples, RGB in [0, 1], (S, 3, H, W)."""
        return to_float(self.samples)

    @cached_property
    def true_rgb(self) -> Tensor:
        """The truth, RGB in [0, 1], (1, 3, H, W)."""
        return to_float(self.truth)

    @cached_property
    def lab(self) -> Tensor:
        """The samples in CIELab, (S, 3, H, W)."""
        return uint8_rgb_to_lab(self.samples)

    @cached_property
    def true_lab(self) -> Tensor:
        """The truth in CIELab, (1, 3, H, W)."""
        return uint8_rgb_to_lab(self.truth)

    @cached_property
    def alpha_beta_distance(self) -> Tensor:
        """The norm of each pixel's alpha-beta error, (S, H, W)."""
        return alpha_beta_distance(self.rgb, self.true_rgb)

    @cached_property
    def counts_by_color(self) -> Tensor:
        """How many pixels of each true colour have each distance in ab, rounded up, (S, 529, 152)."""
        return counts_by_color(color_index_of_lab(self.true_lab), threshold_index_of_lab(self.lab, self.true_lab))

    @cached_property
    def psnr(self) -> Tensor:
        """Of each sample, in dB, (S,)."""
        return psnr(self.rgb, self.true_rgb)

    @cached_property
    def ms_ssim(self) -> Tensor:
        """How alike each two of the samples are, (S (S - 1) / 2,).

        Raises:
            ValueError: If there is only one sample, or a side is under 11 pixels.
        """
        return self.between_samples(ms_ssim)

    def between_samples(self, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What a measure gives for each two of the samples, (S (S - 1) / 2,); one pair at a time, to spare memory.

        Args:
            measure: Of two pictures, RGB in [0, 1], (B, 3, H, W), to (B,).

        Raises:
            ValueError: If there is only one sample.
        """
        return torch.cat([measure(self.rgb[[one]], self.rgb[[other]]) for one, other in pairs(len(self.rgb))])


Statistic = Callable[[Pairs], Tensor]
"""One row a sample, or a pair of samples, of which the mean counts; a single row of what all of them share.

Rows may have any shape, or be numbers.
"""

STATISTICS: dict[str, Statistic] = {
    "pictures": lambda pairs: torch.ones(len(pairs.truth)),
    "pixels": lambda pairs: torch.tensor([pairs.truth[0, 0].numel()]),
    # Errors against the truth
    "alpha_beta_error": lambda pairs: pairs.alpha_beta_distance.sum(dim=(1, 2), dtype=torch.float64),
    "alpha_beta_error_counts": lambda pairs: error_counts(pairs.alpha_beta_distance),
    "psnr": lambda pairs: pairs.psnr,
    "log_psnr": lambda pairs: pairs.psnr.double().clamp(min=SMALLEST_PSNR).log(),
    "psnr_counts": lambda pairs: counts_between(pairs.psnr, PSNR_EDGES).unsqueeze(0) / len(pairs.psnr),
    "psnr_best_of": lambda pairs: best_of(pairs.psnr).unsqueeze(0),
    "exact": lambda pairs: torch.tensor([any(torch.equal(sample, pairs.truth[0]) for sample in pairs.samples)]),
    "ssim": lambda pairs: ssim(pairs.rgb, pairs.true_rgb.expand_as(pairs.rgb)),
    "ciede2000": lambda pairs: ciede2000_of_lab(pairs.lab, pairs.true_lab).mean(dim=(1, 2)),
    "distance_counts": lambda pairs: pairs.counts_by_color.sum(dim=1),
    "color_areas": lambda pairs: color_areas(pairs.counts_by_color),
    "color_counts_of_truth": lambda pairs: pairs.counts_by_color.sum(dim=2),
    # Colours, each beside the truth's
    "ab_histogram": lambda pairs: lab_histogram_of_lab(pairs.lab, pairs.bin_width),
    "ab_histogram_of_truth": lambda pairs: lab_histogram_of_lab(pairs.true_lab, pairs.bin_width),
    "saturation": lambda pairs: saturation_of_lab(pairs.lab),
    "saturation_of_truth": lambda pairs: saturation_of_lab(pairs.true_lab),
    "colorfulness": lambda pairs: colorfulness(pairs.rgb),
    "colorfulness_of_truth": lambda pairs: colorfulness(pairs.true_rgb),
    "colorfulness_abs": lambda pairs: colorfulness_abs(pairs.rgb),
    "colorfulness_abs_of_truth": lambda pairs: colorfulness_abs(pairs.true_rgb),
    # How much the samples differ
    "ms_ssim": lambda pairs: pairs.ms_ssim,
    "ms_ssim_counts": lambda pairs: counts_between(pairs.ms_ssim, SIMILARITY_EDGES).unsqueeze(0),
}


@torch.inference_mode()
def statistics_of(
    pairs: Pairs, wanted: Collection[str], networks: Mapping[str, Statistic] | None = None
) -> dict[str, Tensor]:
    """What one picture adds to the sums of its set.

    Args:
        pairs: The picture's samples and truth.
        wanted: Names, of `STATISTICS` or of `networks`.
        networks: Further statistics, by name.

    Returns:
        Float64 vectors on the CPU, by name.

    Raises:
        ValueError: If a statistic is not finite, or the picture has not what it needs.
    """
    known = {**STATISTICS, **(networks or {})}
    found = {}
    for name in wanted:
        found[name] = known[name](pairs).mean(dim=0, dtype=torch.float64).flatten().cpu()
    if not torch.cat(list(found.values())).isfinite().all():
        name = next(name for name, vector in found.items() if not vector.isfinite().all())
        raise ValueError(f"{name} is not finite; leave the picture or the measure out")
    return found
