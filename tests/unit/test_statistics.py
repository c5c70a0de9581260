"""The statistics of one picture against numpy, plain loops and the measures of single pictures."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.color import rgb2lab
from torch import Tensor, nn

from evaluation.functional import classification, inception, perceptual
from evaluation.functional.alpha_beta import rmse_alpha_beta, rmse_alpha_beta_norm
from evaluation.functional.best_of import best_of
from evaluation.functional.ciede2000 import ciede2000
from evaluation.functional.colorfulness import colorfulness, colorfulness_abs
from evaluation.functional.ms_ssim import ms_ssim
from evaluation.functional.psnr import psnr
from evaluation.functional.saturation import saturation
from evaluation.functional.ssim import ssim
from evaluation.functional.weights import MissingWeightsError
from evaluation.networks import network_statistics
from evaluation.statistics import STATISTICS, Pairs, statistics_of
from lightning_modules.color import to_float, to_uint8
from tests.unit.photographs import photographs, random_pair

HEIGHT, WIDTH, SAMPLES = 30, 41, 3
PIXELS = HEIGHT * WIDTH


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Three samples of a photograph: faded, another picture, and noise."""
    first, second = photographs(HEIGHT, WIDTH)
    faded = 0.5 * first + 0.5 * first.mean(dim=0)
    return Pairs(to_uint8(torch.stack([faded, second, random_pair(HEIGHT, WIDTH)[0][0]])), to_uint8(first))


@pytest.fixture(scope="module")
def found(pairs: Pairs) -> dict[str, Tensor]:
    """Every statistic of them."""
    return statistics_of(pairs, STATISTICS)


def lab_of(rgb: Tensor) -> NDArray[np.float64]:
    """scikit-image's CIELab of eight-bit pictures, (B, H, W, 3)."""
    lab: NDArray[np.float64] = rgb2lab(rgb.permute(0, 2, 3, 1).numpy())
    return lab


def test_statistics_are_vectors_in_double_precision(found: dict[str, Tensor]) -> None:
    lengths = {
        "alpha_beta_error_counts": 102,
        "mean_rgb_of_truth": 3,
        "psnr_counts": 60,
        "psnr_best_of": SAMPLES,
        "distance_counts": 152,
        "color_areas": 529,
        "color_counts_of_truth": 529,
        "ab_histogram": 440,
        "ab_histogram_of_truth": 440,
        "ms_ssim_counts": 100,
    }
    assert found.keys() == STATISTICS.keys()
    for name, vector in found.items():
        assert vector.dtype == torch.float64
        assert vector.shape == (lengths.get(name, 1),), name


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("psnr", psnr),
        ("log_psnr", lambda prediction, truth: psnr(prediction, truth).log()),
        ("alpha_beta_error", lambda prediction, truth: PIXELS * rmse_alpha_beta_norm(prediction, truth)),
        ("ssim", ssim),
        ("ciede2000", ciede2000),
        ("saturation", lambda prediction, _: saturation(prediction)),
        ("saturation_of_truth", lambda _, truth: saturation(truth)),
        ("colorfulness", lambda prediction, _: colorfulness(prediction)),
        ("colorfulness_of_truth", lambda _, truth: colorfulness(truth)),
        ("colorfulness_abs", lambda prediction, _: colorfulness_abs(prediction)),
        ("colorfulness_abs_of_truth", lambda _, truth: colorfulness_abs(truth)),
    ],
)
def test_a_statistic_is_the_mean_of_its_measure_over_samples(
    name: str, measure: Callable[[Tensor, Tensor], Tensor], pairs: Pairs, found: dict[str, Tensor]
) -> None:
    truth = to_float(pairs.truth)
    values = [measure(to_float(sample).unsqueeze(0), truth).item() for sample in pairs.samples]
    assert found[name].item() == pytest.approx(np.mean(values), rel=2e-5)


def test_pictures_and_pixels_are_counted_once(found: dict[str, Tensor]) -> None:
    assert found["pictures"].item() == 1
    assert found["pixels"].item() == PIXELS


def test_errors_are_counted_up_to_each_edge(pairs: Pairs, found: dict[str, Tensor]) -> None:
    def alpha_beta(rgb: Tensor) -> NDArray[np.float64]:
        red, green, blue = (rgb.double().numpy() / 255).swapaxes(0, 1)
        lightness = (red + green + blue) / 3 + 1e-4
        return np.stack([(blue - (red + green) / 2) / lightness, (red - green) / lightness])

    errors = np.sqrt(((alpha_beta(pairs.samples) - alpha_beta(pairs.truth)) ** 2).mean(axis=0))
    within = found["alpha_beta_error_counts"].cumsum(dim=0)
    wanted = [(errors <= edge).sum() / SAMPLES for edge in np.arange(101) / 100]
    np.testing.assert_allclose(within[:-1].numpy(), wanted, atol=0.7)  # rounding may carry two pixels over an edge
    assert wanted[0] < wanted[50] < wanted[-1] < PIXELS
    assert within[-1].item() == pytest.approx(PIXELS)


def test_histograms_are_those_of_numpy(pairs: Pairs, found: dict[str, Tensor]) -> None:
    coarse = statistics_of(Pairs(pairs.samples, pairs.truth[0], bin_width=5), ["ab_histogram", "ab_histogram_of_truth"])
    for name, pictures in (("ab_histogram", pairs.samples), ("ab_histogram_of_truth", pairs.truth)):
        lab = lab_of(pictures)
        for histogram, bins in ((found[name], 220), (coarse[name], 44)):
            wanted = [np.histogram(lab[..., axis], bins, (-110, 110))[0] / len(pictures) for axis in (1, 2)]
            assert np.abs(histogram.numpy() - np.concatenate(wanted)).sum() <= 4


def test_distances_are_counted_up_to_each_threshold(pairs: Pairs, found: dict[str, Tensor]) -> None:
    distances = np.linalg.norm((lab_of(pairs.samples) - lab_of(pairs.truth))[..., 1:], axis=-1)
    wanted = [(distances <= threshold).sum() / SAMPLES for threshold in range(151)]
    np.testing.assert_allclose(found["distance_counts"].cumsum(dim=0)[:-1].numpy(), wanted, atol=0.7)


def test_areas_by_colour_are_those_of_each_pixels_own_curve(pairs: Pairs, found: dict[str, Tensor]) -> None:
    distances = np.linalg.norm((lab_of(pairs.samples) - lab_of(pairs.truth))[..., 1:], axis=-1)
    curves = distances[..., None] <= np.arange(151)
    areas = (np.trapezoid(curves.astype(float)) / 150).mean(axis=0).flatten()
    wanted: dict[tuple[int, ...], float] = defaultdict(float)
    counts: dict[tuple[int, ...], int] = defaultdict(int)
    for (a, b), area in zip(lab_of(pairs.truth)[0, ..., 1:].reshape(-1, 2), areas, strict=True):
        wanted[10 * round(a / 10), 10 * round(b / 10)] += area
        counts[10 * round(a / 10), 10 * round(b / 10)] += 1
    grid = list(itertools.product(range(-110, 111, 10), repeat=2))
    np.testing.assert_allclose(found["color_areas"].numpy(), [wanted[point] for point in grid], atol=0.02)
    assert found["color_counts_of_truth"].tolist() == [counts[point] for point in grid]
    assert found["color_counts_of_truth"].count_nonzero() == 5


def test_the_best_of_k_samples_is_a_mean_over_all_choices(pairs: Pairs, found: dict[str, Tensor]) -> None:
    values = torch.rand(2, 5, generator=torch.Generator().manual_seed(0))
    for row, best in zip(values.tolist(), best_of(values).tolist(), strict=True):
        wanted = [np.mean([max(chosen) for chosen in itertools.combinations(row, size)]) for size in range(1, 6)]
        assert best == pytest.approx(wanted)
    assert found["psnr_best_of"][0].item() == pytest.approx(found["psnr"].item())
    assert found["psnr_best_of"][-1].item() == pytest.approx(pairs.psnr.max().item())


def test_psnr_is_counted_by_decibel(pairs: Pairs, found: dict[str, Tensor]) -> None:
    wanted, _ = np.histogram(pairs.psnr.numpy(), bins=np.arange(61))
    assert found["psnr_counts"].tolist() == pytest.approx((wanted / SAMPLES).tolist())
    same = statistics_of(Pairs(pairs.truth, pairs.truth[0]), ["psnr_counts"])
    assert same["psnr_counts"].nonzero().flatten().tolist() == [59]


def test_similarity_is_that_of_all_pairs(pairs: Pairs, found: dict[str, Tensor]) -> None:
    rgb = to_float(pairs.samples)
    values = [ms_ssim(one[None], other[None]).item() for one, other in itertools.combinations(rgb, 2)]
    assert found["ms_ssim"].item() == pytest.approx(np.mean(values))
    assert found["ms_ssim_counts"].tolist() == np.histogram(values, bins=100, range=(0, 1))[0].tolist()


def test_one_sample_or_a_small_picture_has_no_diversity(pairs: Pairs) -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        statistics_of(Pairs(pairs.truth, pairs.truth[0]), ["ms_ssim"])
    with pytest.raises(ValueError, match="at least 11 pixels a side, not 10"):
        statistics_of(Pairs(pairs.samples[..., :10], pairs.truth[0, ..., :10]), ["ms_ssim_counts"])


def test_exact_reproductions_are_counted(pairs: Pairs) -> None:
    nearly = pairs.truth[0].clone()
    nearly[2, 5, 6] ^= 1
    samples = torch.stack([pairs.truth[0], nearly, pairs.truth[0], nearly])
    assert statistics_of(Pairs(samples, pairs.truth[0]), ["exact"])["exact"].item() == 1, "two of four are"


def test_a_psnr_of_zero_leaves_the_geometric_mean_finite() -> None:
    black = torch.zeros(3, 12, 12, dtype=torch.uint8)
    pair = Pairs((255 - black).unsqueeze(0), black)
    assert statistics_of(pair, ["psnr"])["psnr"].item() == 0
    assert math.exp(statistics_of(pair, ["log_psnr"])["log_psnr"].item()) < 1e-300


def test_predictions_of_another_size_are_refused(pairs: Pairs) -> None:
    with pytest.raises(ValueError, match="the prediction has 30x41 pixels, the truth 30x40"):
        Pairs(pairs.samples, pairs.truth[0, :, :, 1:])


def test_what_is_not_finite_is_named(pairs: Pairs) -> None:
    with pytest.raises(ValueError, match="broken is not finite"):
        statistics_of(pairs, ["psnr", "broken"], {"broken": lambda pairs: torch.tensor([1.0, math.inf])})


class MeanDifference(nn.Module):
    """In place of LPIPS."""

    def __init__(self, weights: Path | None) -> None:
        super().__init__()
        if weights is None:
            raise MissingWeightsError("LPIPS needs a file")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Means over the values, (B,)."""
        return (first - second).abs().mean(dim=(1, 2, 3))


class MeanColors(nn.Module):
    """In place of the features of Inception, and of the classes of VGG-16."""

    def __init__(self, weights: Path | None) -> None:
        super().__init__()

    def forward(self, rgb: Tensor) -> Tensor:
        """Means over pixels of six times each channel, (B, 18)."""
        return rgb.mean(dim=(2, 3)).repeat_interleave(6, dim=1)


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that need no weights."""
    monkeypatch.setattr(perceptual, "LearnedPerceptualSimilarity", MeanDifference)
    monkeypatch.setattr(inception, "InceptionFeatures", MeanColors)
    monkeypatch.setattr(classification, "VGG16Classification", MeanColors)


def test_networks_measure_samples_and_truth(small_networks: None, pairs: Pairs) -> None:
    wanted = ["psnr", "lpips", "lpips_diversity", "fid", "top_1", "top_5"]
    found, left_out = network_statistics({"lpips": "alexnet.pth"}, wanted, torch.device("cpu"))
    assert not left_out
    values = statistics_of(Pairs(pairs.samples, pairs.truth[0], label=3), ["psnr", *found], found)
    samples, truth = pairs.samples.double().numpy() / 255, pairs.truth.double().numpy() / 255
    assert values["lpips"].item() == pytest.approx(np.abs(samples - truth).mean(), rel=1e-5)
    apart = [np.abs(one - other).mean() for one, other in itertools.combinations(samples, 2)]
    assert values["lpips_diversity"].item() == pytest.approx(np.mean(apart), rel=1e-5)
    assert values["inception"].tolist() == pytest.approx(np.repeat(samples[0].mean(axis=(1, 2)), 6), rel=1e-5)
    assert values["inception_of_truth"].tolist() == pytest.approx(np.repeat(truth[0].mean(axis=(1, 2)), 6), rel=1e-5)
    assert values["top_hits"].shape == (2,)


def test_hits_are_those_of_the_label(monkeypatch: pytest.MonkeyPatch, pairs: Pairs) -> None:
    class Scores(MeanColors):
        def forward(self, rgb: Tensor) -> Tensor:
            ranks = torch.arange(8.0)
            return torch.stack([ranks, -ranks, ranks])  # best 7, best 0, best 7

    monkeypatch.setattr(classification, "VGG16Classification", Scores)
    found, _ = network_statistics({"vgg16": "vgg16.pth"}, ["top_1"], torch.device("cpu"))
    for label, wanted in ((7, [2 / 3, 2 / 3]), (4, [0, 1]), (0, [1 / 3, 1 / 3])):
        values = statistics_of(Pairs(pairs.samples, pairs.truth[0], label=label), found, found)
        assert values["top_hits"].tolist() == pytest.approx(wanted)
    with pytest.raises(ValueError, match="want the class of every picture"):
        statistics_of(pairs, found, found)


def test_only_networks_that_are_wanted_are_built(small_networks: None) -> None:
    found, left_out = network_statistics({"vgg16": None}, ["top_5", "psnr"], torch.device("cpu"))
    assert list(found) == ["top_hits"]
    assert not left_out


def test_measures_without_weights_are_left_out_with_the_reason() -> None:
    wanted = ["psnr", "lpips", "fid", "top_1", "top_5"]
    found, left_out = network_statistics({"lpips": None, "vgg16": "gone.pth"}, wanted, torch.device("cpu"))
    assert not found
    assert left_out.keys() == {"lpips", "fid", "top_1", "top_5"}
    assert "alexnet-owt-7be5be79.pth, but no path was given" in left_out["lpips"]
    assert "pt_inception-2015-12-05-6726825d.pth" in left_out["fid"]
    assert "there is no file gone.pth" in left_out["top_1"] == left_out["top_5"]


def test_no_statistic_changes_what_another_needs(pairs: Pairs, found: dict[str, Tensor]) -> None:
    fresh = Pairs(pairs.samples.clone(), pairs.truth[0].clone())
    for _ in range(2):
        for name, vector in statistics_of(fresh, list(reversed(STATISTICS))).items():
            assert torch.equal(vector, found[name]), name


def test_autocast_changes_no_statistic(pairs: Pairs, found: dict[str, Tensor]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = statistics_of(Pairs(pairs.samples, pairs.truth[0]), STATISTICS)
    for name, vector in found.items():
        assert torch.equal(again[name], vector), name


def test_the_two_errors_differ_by_the_root_of_two(pairs: Pairs, found: dict[str, Tensor]) -> None:
    per_channel = rmse_alpha_beta(to_float(pairs.samples), to_float(pairs.truth)).mean()
    assert found["alpha_beta_error"].item() / PIXELS / math.sqrt(2) == pytest.approx(per_channel.item(), rel=1e-5)
