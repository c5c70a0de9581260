"""The table of measures: what each is called, which sums over pictures it needs, and how it follows from them.

The sums may have leading dimensions, such as those of the resamples of a bootstrap; the values then have them too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from evaluation.functional.area_under_curve import LARGEST_DISTANCE, area_under_curve
from evaluation.functional.error_distribution import ERROR_EDGES, PSNR_EDGES
from evaluation.functional.histogram import shares_within
from evaluation.functional.lab_histogram import LARGEST_AB, histogram_intersection
from evaluation.functional.ms_ssim import SIMILARITY_EDGES

Sums = Mapping[str, Tensor]
"""Statistics by name, each float64 (..., K), added up over pictures."""


@dataclass(frozen=True)
class Measure:
    """A number that a set of pictures scores.

    Attributes:
        title: For the head of a table.
        unit: Empty if there is none.
        better: Which values are; None where neither are, or where that depends on the truth.
        statistics: What it needs the sums of.
        formula: From those sums, in their order, to the value; None for the Frechet Inception distance, which is no
            function of sums of the two vectors alone, but of their covariances too.
        note: What it is, and where it is defined, in a sentence.
        mean_over: Of what the set's value is the plain mean, so that two methods can be compared picture by picture.
        absolute: Whether the value is the size of what the formula gives.
        has_interval: Whether resampling pictures tells how sure the value is: not where rare colours count as much as
            common ones.
    """

    title: str
    unit: str
    better: Literal["higher", "lower"] | None
    statistics: tuple[str, ...]
    formula: Callable[..., Tensor] | None
    note: str
    mean_over: Literal["pictures", "pixels"] | None = None
    absolute: bool = False
    has_interval: bool = True

    def signed(self, sums: Sums) -> Tensor:
        """What the formula gives, (...), of sums, (..., K)."""
        assert self.formula is not None, f"{self.title} needs more than sums"
        return self.formula(*(sums[name] for name in self.statistics))

    def value(self, sums: Sums) -> Tensor:
        """The value, (...), of sums, (..., K)."""
        return self.signed(sums).abs() if self.absolute else self.signed(sums)


@dataclass(frozen=True)
class Curve:
    """What a plot of a set shows.

    Attributes:
        measure: That it is drawn beside.
        statistics: What it needs the sums of.
        formula: From those sums, in their order, to the lists of numbers that are drawn.
    """

    measure: str
    statistics: tuple[str, ...]
    formula: Callable[..., dict[str, Sequence[float]]]

    def points(self, sums: Sums) -> dict[str, Sequence[float]]:
        """The lists, by name, as `scores.json` keeps them, of sums without leading dimensions."""
        return self.formula(*(sums[name] for name in self.statistics))


def mean(total: Tensor, count: Tensor) -> Tensor:
    """The mean, (...), of what was summed, (..., 1)."""
    return (total / count).squeeze(-1)


def difference_of_means(prediction: Tensor, truth: Tensor, count: Tensor) -> Tensor:
    """How far the mean of the predictions is above that of the truths."""
    return mean(prediction, count) - mean(truth, count)


def mean_over_colors(areas: Tensor, counts: Tensor) -> Tensor:
    """The mean, over the colours that occur, of the area under each colour's curve."""
    return (areas / counts.clamp(min=1)).sum(dim=-1) / (counts > 0).sum(dim=-1)


def intersections(prediction: Tensor, truth: Tensor) -> Tensor:
    """Of the histograms of a and of b, (..., 2), of their counts one after the other, (..., 2 bins)."""
    return histogram_intersection(prediction.unflatten(-1, (2, -1)), truth.unflatten(-1, (2, -1)))


MEASURES: dict[str, Measure] = {
    "bits_per_dim": Measure(
        "Bits/dim", "bits", "lower", ("bits_per_dim", "likelihood_pictures"), mean,
        "The negative logarithm of the exact likelihood of the true chroma, per dimension; on every picture.",
        mean_over="pictures",
    ),
    "rmse_alpha_beta": Measure(
        "RMSE αβ", "", "lower", ("alpha_beta_error", "pixels"), lambda total, count: mean(total, count) / 2**0.5,
        "Each pixel's root mean square error over alpha and beta, averaged over all pixels, as LRAC's tables have it "
        "(Larsson et al. 2016, section 5.1).",
        mean_over="pixels",
    ),
    "rmse_alpha_beta_norm": Measure(
        "RMSE αβ, norm", "", "lower", ("alpha_beta_error", "pixels"), mean,
        "The norm of each pixel's alpha-beta error, averaged over all pixels, as equation 9 of Larsson et al. 2016 "
        "prints it; √2 times the other.",
        mean_over="pixels",
    ),
    "psnr": Measure(
        "PSNR", "dB", "higher", ("psnr", "pictures"), mean,
        "Peak signal-to-noise ratio over R, G and B; the arithmetic mean over pictures (Larsson et al. 2016, "
        "section 5.1).",
        mean_over="pictures",
    ),
    "psnr_geometric": Measure(
        "PSNR, geometric", "dB", "higher", ("log_psnr", "pictures"), lambda total, count: mean(total, count).exp(),
        "The geometric mean of the pictures' PSNR (Cheng et al. 2015; Larsson et al. 2016, Figure 7).",
    ),
    "ssim": Measure(
        "SSIM", "", "higher", ("ssim", "pictures"), mean,
        "Structural similarity, the mean over R, G and B (Wang et al. 2004).",
        mean_over="pictures",
    ),
    "ciede2000": Measure(
        "CIEDE2000", "", "lower", ("ciede2000", "pictures"), mean,
        "The CIEDE2000 colour difference of a pixel, averaged over each picture, then over pictures; about 1 is just "
        "noticeable (Sharma et al. 2005).",
        mean_over="pictures",
    ),
    "auc": Measure(
        "AuC", "", "higher", ("distance_counts",), lambda counts: area_under_curve(shares_within(counts)),
        "The area under the share of pixels within a distance of the truth in CIELab ab, up to 150 (Zhang et al. 2016, "
        "section 3.1).",
    ),
    "auc_rebalanced": Measure(
        "AuC, rebalanced", "", "higher", ("color_areas", "color_counts_of_truth"), mean_over_colors,
        "AuC where every colour that occurs counts the same (Zhang et al. 2016, section 3.1).",
        has_interval=False,
    ),
    "histogram_intersection_a": Measure(
        "Intersection a", "", "higher", ("ab_histogram", "ab_histogram_of_truth"),
        lambda prediction, truth: intersections(prediction, truth)[..., 0],
        "The overlap of the set's histogram of CIELab a with that of the truth (Guadarrama et al. 2017, Figure 8).",
    ),
    "histogram_intersection_b": Measure(
        "Intersection b", "", "higher", ("ab_histogram", "ab_histogram_of_truth"),
        lambda prediction, truth: intersections(prediction, truth)[..., 1],
        "The overlap of the set's histogram of CIELab b with that of the truth (Guadarrama et al. 2017, Figure 8).",
    ),
    "saturation": Measure(
        "Saturation", "%", None, ("saturation", "pictures"), mean,
        "Mean perceptual saturation in CIELab (Royer et al. 2017, section 4.3); to be read beside that of the truth.",
        mean_over="pictures",
    ),
    "saturation_of_truth": Measure(
        "Saturation of truth", "%", None, ("saturation_of_truth", "pictures"), mean,
        "Mean perceptual saturation of the true pictures.",
        mean_over="pictures",
    ),
    "colorfulness": Measure(
        "Colourfulness", "", None, ("colorfulness", "pictures"), mean,
        "Mean colourfulness M3 of Hasler and Suesstrunk 2003, section 6; to be read beside that of the truth.",
        mean_over="pictures",
    ),
    "colorfulness_of_truth": Measure(
        "Colourfulness of truth", "", None, ("colorfulness_of_truth", "pictures"), mean,
        "Mean colourfulness of the true pictures.",
        mean_over="pictures",
    ),
    "colorfulness_delta": Measure(
        "ΔColourfulness", "", "lower", ("colorfulness", "colorfulness_of_truth", "pictures"), difference_of_means,
        "How far the set's mean colourfulness is from that of the truth.",
        absolute=True,
    ),
    "colorfulness_abs": Measure(
        "Colourfulness, absolute", "", None, ("colorfulness_abs", "pictures"), mean,
        "Mean colourfulness with absolute opponents, which the code of DDColor, CT2 and ColorFormer measures.",
        mean_over="pictures",
    ),
    "colorfulness_abs_of_truth": Measure(
        "Colourfulness of truth, absolute", "", None, ("colorfulness_abs_of_truth", "pictures"), mean,
        "Mean colourfulness with absolute opponents of the true pictures.",
        mean_over="pictures",
    ),
    "colorfulness_abs_delta": Measure(
        "ΔColourfulness, absolute", "", "lower",
        ("colorfulness_abs", "colorfulness_abs_of_truth", "pictures"), difference_of_means,
        "How far the set's mean colourfulness with absolute opponents is from that of the truth.",
        absolute=True,
    ),
    "ms_ssim": Measure(
        "MS-SSIM between samples", "", None, ("ms_ssim", "pictures"), mean,
        "Multi-scale structural similarity of two samples of one picture, the mean over all pairs: lower is more "
        "diverse (Guadarrama et al. 2017, Figure 10).",
        mean_over="pictures",
    ),
    "lpips": Measure(
        "LPIPS", "", "lower", ("lpips", "pictures"), mean,
        "Learned perceptual distance from the truth, AlexNet's features (Zhang et al. 2018).",
        mean_over="pictures",
    ),
    "lpips_diversity": Measure(
        "LPIPS between samples", "", None, ("lpips_diversity", "pictures"), mean,
        "Learned perceptual distance of two samples of one picture, the mean over all pairs: higher is more diverse.",
        mean_over="pictures",
    ),
    "fid": Measure(
        "FID", "", "lower", ("inception", "inception_of_truth"), None,
        "Frechet Inception distance of the first samples from the truths (Heusel et al. 2017); it falls with the "
        "number of pictures.",
    ),
    "top_1": Measure(
        "Top-1", "%", "higher", ("top_hits", "pictures"), lambda hits, count: 100 * mean(hits[..., :1], count),
        "How often VGG-16 finds the picture's class (Zhang et al. 2016, section 3.1: semantic interpretability).",
        mean_over="pictures",
    ),
    "top_5": Measure(
        "Top-5", "%", "higher", ("top_hits", "pictures"), lambda hits, count: 100 * mean(hits[..., 1:], count),
        "How often VGG-16 has the picture's class among its best five (Zhang et al. 2016, section 3.1).",
        mean_over="pictures",
    ),
    "visual_turing_test": Measure(
        "Raters fooled", "%", "higher", ("fooled", "pictures"), lambda shares, count: 100 * mean(shares, count),
        "How often people take the picture for the true one when they see both; 50 is perfect (Guadarrama et al. 2017, "
        "section 4). From python -m evaluation.vtt.",
        mean_over="pictures",
    ),
}  # fmt: skip


def cumulative_error(counts: Tensor) -> dict[str, Sequence[float]]:
    """The share of pixels whose error in alpha-beta is at most so much (Larsson et al. 2016, Figure 6)."""
    return {"edges": ERROR_EDGES.tolist(), "shares": shares_within(counts).tolist()}


def distance_shares(counts: Tensor) -> dict[str, Sequence[float]]:
    """The share of pixels within each distance in CIELab ab, of which AuC is the area (Zhang et al. 2016)."""
    return {"distances": list(range(LARGEST_DISTANCE + 1)), "shares": shares_within(counts).tolist()}


def ab_histogram(prediction: Tensor, truth: Tensor) -> dict[str, Sequence[float]]:
    """The shares of the values of a and of b (Guadarrama et al. 2017, Figures 7 and 8)."""
    shares = torch.stack([prediction, truth]).view(4, -1)
    shares = shares / shares.sum(dim=1, keepdim=True)
    edges = torch.linspace(-LARGEST_AB, LARGEST_AB, shares.shape[1] + 1, dtype=torch.float64)
    names = ("a", "b", "a_of_truth", "b_of_truth")
    return {"edges": edges.tolist(), **dict(zip(names, shares.tolist(), strict=True))}


def psnr_best_of(best: Tensor, count: Tensor) -> dict[str, Sequence[float]]:
    """The PSNR that the best of k samples has, for k from 1 to all of them."""
    return {"samples": list(range(1, len(best) + 1)), "psnr": (best / count).tolist()}


CURVES: dict[str, Curve] = {
    "cumulative_error": Curve("rmse_alpha_beta", ("alpha_beta_error_counts",), cumulative_error),
    # Larsson et al. 2016, Figure 7
    "psnr_histogram": Curve(
        "psnr", ("psnr_counts",), lambda counts: {"edges": PSNR_EDGES.tolist(), "pictures": counts.tolist()}
    ),
    "ab_histogram": Curve("histogram_intersection_a", ("ab_histogram", "ab_histogram_of_truth"), ab_histogram),
    "distance_shares": Curve("auc", ("distance_counts",), distance_shares),
    # Guadarrama et al. 2017, Figure 10
    "ms_ssim_histogram": Curve(
        "ms_ssim", ("ms_ssim_counts",), lambda counts: {"edges": SIMILARITY_EDGES.tolist(), "pairs": counts.tolist()}
    ),
    "psnr_best_of": Curve("psnr", ("psnr_best_of", "pictures"), psnr_best_of),
}
