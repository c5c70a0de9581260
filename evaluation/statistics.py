"""Every measure of a set is a function of sums over its pictures; here are the summands of one picture.

Measures without a network are computed in float64 and kept in float32: this drops the digits in which processors and
numbers of threads differ.
"""

from collections.abc import Callable, Collection, Mapping
from functools import cached_property

import torch
from torch import Tensor

from evaluation.functional.best_of import best_of
from evaluation.functional.ciede2000 import ciede2000
from evaluation.functional.error_distribution import PSNR_EDGES
from evaluation.functional.histogram import counts_between
from evaluation.functional.ms_ssim import SIMILARITY_EDGES, ms_ssim, pairs
from evaluation.functional.psnr import psnr_of_mean_square
from evaluation.functional.ssim import ssim
from evaluation.pixels import AREAS, SAMPLE, TRUTH, PixelSums, pixel_sums
from lightning_modules.color import to_float

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
    def sums(self) -> PixelSums:
        """Over the pixels of the samples and of the truth."""
        return pixel_sums(self.samples, self.truth, self.bin_width)

    @property
    def pixels(self) -> int:
        """Of the picture."""
        return self.truth[0, 0].numel()

    @cached_property
    def psnr(self) -> Tensor:
        """Of each sample, in dB, (S,)."""
        return psnr_of_mean_square(self.sums.squared_error / (3 * 255**2 * self.pixels))

    @cached_property
    def saturation(self) -> Tensor:
        """Of the truth and of each sample, in percent, (S, 2)."""
        return 100 * self.sums.saturation / self.pixels

    @cached_property
    def colorfulness(self) -> Tensor:
        """Of the truth and of each sample, with signed opponents and with absolute ones, (S, 2, 2)."""
        moments = self.sums.opponents / self.pixels
        means = moments[..., :2] / 2
        spreads = moments[..., 2:] / 4 - means.square()
        return spreads.sum(dim=-2).clamp(min=0).sqrt() + 0.3 * means.square().sum(dim=-2).sqrt()

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
    "pixels": lambda pairs: torch.tensor([pairs.pixels]),
    "mean_rgb_of_truth": lambda pairs: pairs.sums.levels[:, TRUTH] / (255 * pairs.pixels),
    # Errors against the truth
    "alpha_beta_error": lambda pairs: pairs.sums.alpha_beta_error,
    "alpha_beta_error_counts": lambda pairs: pairs.sums.error_counts,
    "psnr": lambda pairs: pairs.psnr,
    "log_psnr": lambda pairs: pairs.psnr.clamp(min=SMALLEST_PSNR).log(),
    "psnr_counts": lambda pairs: counts_between(pairs.psnr, PSNR_EDGES).unsqueeze(0) / len(pairs.psnr),
    "psnr_best_of": lambda pairs: best_of(pairs.psnr).unsqueeze(0),
    "exact": lambda pairs: (pairs.sums.squared_error == 0).any().unsqueeze(0),
    "ssim": lambda pairs: ssim(pairs.rgb, pairs.true_rgb.expand_as(pairs.rgb)),
    "ciede2000": lambda pairs: ciede2000(pairs.rgb.double(), pairs.true_rgb.double()),
    "distance_counts": lambda pairs: pairs.sums.distance_counts,
    "color_areas": lambda pairs: pairs.sums.color_areas / AREAS[0],
    "color_counts_of_truth": lambda pairs: pairs.sums.color_counts,
    # Colours, each beside the truth's
    "ab_histogram": lambda pairs: pairs.sums.ab_counts[:, SAMPLE],
    "ab_histogram_of_truth": lambda pairs: pairs.sums.ab_counts[:, TRUTH],
    "saturation": lambda pairs: pairs.saturation[:, SAMPLE],
    "saturation_of_truth": lambda pairs: pairs.saturation[:, TRUTH],
    "colorfulness": lambda pairs: pairs.colorfulness[:, SAMPLE, 0],
    "colorfulness_of_truth": lambda pairs: pairs.colorfulness[:, TRUTH, 0],
    "colorfulness_abs": lambda pairs: pairs.colorfulness[:, SAMPLE, 1],
    "colorfulness_abs_of_truth": lambda pairs: pairs.colorfulness[:, TRUTH, 1],
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
