"""Measures of sets, from sums over pictures, against torchmetrics' way and plain computations over all pixels."""

import json
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray
from skimage.color import rgb2lab
from torch import Tensor
from torchmetrics import Metric

from evaluation.functional.alpha_beta import rmse_alpha_beta, rmse_alpha_beta_norm
from evaluation.functional.ciede2000 import ciede2000
from evaluation.functional.colorfulness import colorfulness, colorfulness_abs
from evaluation.functional.psnr import psnr, psnr_geometric_mean
from evaluation.functional.saturation import saturation
from evaluation.functional.ssim import ssim
from evaluation.measures import CURVES, MEASURES
from evaluation.metrics.area_under_curve import AreaUnderCurve
from evaluation.metrics.colorfulness import Colorfulness
from evaluation.metrics.diversity import Diversity
from evaluation.metrics.error_distribution import ErrorDistribution
from evaluation.metrics.lab_histogram_intersection import LabHistogramIntersection
from evaluation.metrics.mean_over_pictures import MeanOverPictures
from evaluation.statistics import STATISTICS, Pairs, statistics_of
from lightning_modules.color import to_float, to_uint8
from tests.unit.photographs import photograph_pair, random_pair

ELSEWHERE = {"bits_per_dim", "likelihood_pictures", "lpips", "lpips_diversity", "inception", "inception_of_truth"}
ELSEWHERE |= {"top_hits", "fooled"}
OF_SAMPLES = ("ms_ssim", "ms_ssim_counts")


def make_set() -> list[tuple[Tensor, Tensor]]:
    """Predictions and truths of three sizes, each uint8 (3, H, W)."""
    pictures = []
    for size in ((24, 30), (40, 33), (17, 50)):
        for make in (photograph_pair, random_pair):
            prediction, truth = make(*size)
            pictures += list(zip(to_uint8(prediction), to_uint8(truth.sqrt()), strict=True))
    return pictures


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    """Every statistic of single predictions, (N, K)."""
    wanted = STATISTICS.keys() - set(OF_SAMPLES)
    rows = [statistics_of(Pairs(prediction[None], truth), wanted) for prediction, truth in make_set()]
    return {name: torch.stack([row[name] for row in rows]) for name in wanted}


@pytest.fixture(scope="module")
def sums(vectors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of the whole set, (K,)."""
    return {name: values.sum(dim=0) for name, values in vectors.items()}


def pooled(index: int) -> NDArray[np.float64]:
    """scikit-image's CIELab of all pixels of the predictions (0) or of the truths (1), (N, 3)."""
    return np.concatenate([rgb2lab(pair[index].permute(1, 2, 0).numpy()).reshape(-1, 3) for pair in make_set()])


def test_every_statistic_is_known_and_every_measure_is_told_of() -> None:
    used = {name for measure in MEASURES.values() for name in measure.statistics}
    used |= {name for curve in CURVES.values() for name in curve.statistics}
    assert used == STATISTICS.keys() - {"exact", "mean_rgb_of_truth"} | ELSEWHERE
    for measure in MEASURES.values():
        assert measure.title
        assert measure.note.endswith(".")
    assert len({measure.title for measure in MEASURES.values()}) == len(MEASURES)
    assert [name for name, measure in MEASURES.items() if measure.formula is None] == ["fid"]


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("rmse_alpha_beta", MeanOverPictures(rmse_alpha_beta, pixel_weighted=True)),
        ("rmse_alpha_beta_norm", MeanOverPictures(rmse_alpha_beta_norm, pixel_weighted=True)),
        ("psnr", MeanOverPictures(psnr)),
        ("ssim", MeanOverPictures(ssim)),
        ("ciede2000", MeanOverPictures(ciede2000)),
        ("saturation", MeanOverPictures(lambda prediction, _: saturation(prediction))),
        ("saturation_of_truth", MeanOverPictures(lambda _, truth: saturation(truth))),
        ("colorfulness", Colorfulness()),
        ("colorfulness_abs", Colorfulness(colorfulness_abs)),
        ("histogram_intersection", LabHistogramIntersection()),
        ("auc", AreaUnderCurve()),
    ],
)
def test_measures_are_those_of_torchmetrics(name: str, metric: Metric, sums: dict[str, Tensor]) -> None:
    for prediction, truth in make_set():
        metric.update(to_float(prediction[None]), to_float(truth[None]))
    computed: Any = metric.compute()
    parts = {
        "colorfulness": {"": "prediction", "_of_truth": "truth", "_delta": "delta"},
        "histogram_intersection": {"_a": "a", "_b": "b"},
        "auc": {"": "plain", "_rebalanced": "rebalanced"},
    }.get(name.removesuffix("_abs"))
    wanted = {"": computed} if parts is None else {suffix: computed[part] for suffix, part in parts.items()}
    for suffix, value in wanted.items():
        assert MEASURES[name + suffix].value(sums).item() == pytest.approx(value.item(), rel=5e-4)


def test_area_under_curve_is_exactly_that_of_kept_curves() -> None:
    """On colours far from every edge, where two roundings of CIELab cannot differ."""
    generator = torch.Generator().manual_seed(0)
    colors = torch.tensor([[250, 20, 30], [30, 200, 60], [20, 40, 240], [120, 130, 110], [240, 230, 40]])
    metric = AreaUnderCurve()
    rows = []
    for _ in range(3):
        prediction, truth = (
            colors[torch.randint(5, (9, 11), generator=generator)].permute(2, 0, 1).to(torch.uint8) for _ in range(2)
        )
        metric.update(to_float(prediction[None]), to_float(truth[None]))
        wanted_statistics = MEASURES["auc"].statistics + MEASURES["auc_rebalanced"].statistics
        rows.append(statistics_of(Pairs(prediction[None], truth), wanted_statistics))
    sums = {name: torch.stack([row[name] for row in rows]).sum(dim=0) for name in rows[0]}
    wanted = metric.compute()
    assert MEASURES["auc"].value(sums).item() == pytest.approx(wanted["plain"].item(), rel=1e-12)
    assert MEASURES["auc_rebalanced"].value(sums).item() == pytest.approx(wanted["rebalanced"].item(), rel=1e-12)
    assert wanted["plain"] != pytest.approx(wanted["rebalanced"].item(), rel=1e-4)


def test_geometric_mean_is_that_of_scipy(vectors: dict[str, Tensor], sums: dict[str, Tensor]) -> None:
    values = vectors["psnr"].flatten()
    found = MEASURES["psnr_geometric"].value(sums).item()
    assert found == pytest.approx(scipy.stats.gmean(values.numpy()))
    assert found == pytest.approx(psnr_geometric_mean(values).item())
    assert found < MEASURES["psnr"].value(sums).item()


def test_intersections_pool_all_pixels(sums: dict[str, Tensor]) -> None:
    for axis, name in ((1, "histogram_intersection_a"), (2, "histogram_intersection_b")):
        shares = [np.histogram(pooled(index)[:, axis], 220, (-110, 110))[0] / len(pooled(index)) for index in (0, 1)]
        assert MEASURES[name].value(sums).item() == pytest.approx(np.minimum(*shares).sum(), abs=1e-3)


def test_delta_is_of_set_means_not_of_pictures(sums: dict[str, Tensor]) -> None:
    apart = [
        (colorfulness(to_float(prediction[None])) - colorfulness(to_float(truth[None]))).item()
        for prediction, truth in make_set()
    ]
    found = MEASURES["colorfulness_delta"].value(sums).item()
    assert found == pytest.approx(abs(np.mean(apart)), rel=1e-4)
    assert found < np.mean(np.abs(apart)) - 0.1


def test_measures_of_what_comes_from_elsewhere() -> None:
    sums = {
        "pictures": torch.tensor([4.0]),
        "likelihood_pictures": torch.tensor([10.0]),
        "bits_per_dim": torch.tensor([25.0]),
        "top_hits": torch.tensor([1.0, 3]),
        "lpips": torch.tensor([2.0]),
        "lpips_diversity": torch.tensor([0.5]),
        "ms_ssim": torch.tensor([3.0]),
    }
    wanted = {"bits_per_dim": 2.5, "top_1": 25, "top_5": 75, "lpips": 0.5, "lpips_diversity": 0.125, "ms_ssim": 0.75}
    assert {name: MEASURES[name].value(sums).item() for name in wanted} == wanted


def test_resamples_are_computed_one_by_one_or_together(vectors: dict[str, Tensor]) -> None:
    chosen = torch.randint(15, (7, 15), generator=torch.Generator().manual_seed(0))
    resampled = {name: values[chosen].sum(dim=1) for name, values in vectors.items()}
    for name, measure in MEASURES.items():
        if set(measure.statistics) <= vectors.keys():
            together = measure.value(resampled)
            alone = [measure.value({key: values[row] for key, values in resampled.items()}) for row in range(7)]
            assert together.shape == (7,), name
            assert together.tolist() == pytest.approx([value.item() for value in alone], rel=1e-12), name
            assert together.std() > 0


def test_curves_of_errors_are_those_of_torchmetrics(sums: dict[str, Tensor]) -> None:
    metric, areas = ErrorDistribution(), AreaUnderCurve()
    for prediction, truth in make_set():
        metric.update(to_float(prediction[None]), to_float(truth[None]))
        areas.update(to_float(prediction[None]), to_float(truth[None]))
    computed = metric.compute()
    cumulative = CURVES["cumulative_error"].points(sums)
    assert cumulative["edges"] == [step / 100 for step in range(101)]
    assert cumulative["shares"] == pytest.approx(computed["shares"].tolist(), rel=1e-9)
    histogram = CURVES["psnr_histogram"].points(sums)
    assert histogram["edges"] == list(range(61))
    assert histogram["pictures"] == computed["pictures"].tolist()
    distances = CURVES["distance_shares"].points(sums)
    assert distances["distances"] == list(range(151))
    assert distances["shares"] == pytest.approx(areas.compute()["shares"].tolist(), abs=5e-4)


def test_marginals_are_those_of_all_pixels(sums: dict[str, Tensor]) -> None:
    curve = CURVES["ab_histogram"].points(sums)
    assert curve["edges"] == list(range(-110, 111))
    for index, suffix in ((0, ""), (1, "_of_truth")):
        for axis, name in ((1, "a"), (2, "b")):
            wanted = np.histogram(pooled(index)[:, axis], 220, (-110, 110))[0] / len(pooled(index))
            np.testing.assert_allclose(curve[name + suffix], wanted, atol=5e-4)


def test_curves_of_samples() -> None:
    truths = [truth for _, truth in make_set()[5:8]]
    rows, diversity, best = [], Diversity(), []
    for seed, truth in enumerate(truths):
        noise = 30 * torch.randn(4, *truth.shape, generator=torch.Generator().manual_seed(seed))
        samples = (truth + (1 + torch.arange(4)).view(4, 1, 1, 1) * noise).clamp(0, 255).to(torch.uint8)
        rows.append(statistics_of(Pairs(samples, truth), [*OF_SAMPLES, "psnr_best_of", "pictures"]))
        diversity.update(to_float(samples[None]))
        best.append(psnr(to_float(samples), to_float(truth[None])).amax().item())
    sums = {name: torch.stack([row[name] for row in rows]).sum(dim=0) for name in rows[0]}
    histogram = CURVES["ms_ssim_histogram"].points(sums)
    assert len(histogram["edges"]) == 101
    assert histogram["pairs"] == diversity.compute()["histogram"].tolist()
    assert sum(histogram["pairs"]) == 3 * 6
    assert MEASURES["ms_ssim"].value(sums).item() == pytest.approx(diversity.compute()["mean"].item())
    curve = CURVES["psnr_best_of"].points(sums)
    assert curve["samples"] == [1, 2, 3, 4]
    assert curve["psnr"][-1] == pytest.approx(np.mean(best))
    assert (np.diff(curve["psnr"]) > 0).all()


def test_curves_are_strict_json(sums: dict[str, Tensor]) -> None:
    for curve in CURVES.values():
        if set(curve.statistics) <= sums.keys():
            assert json.loads(json.dumps(curve.points(sums), allow_nan=False)) == curve.points(sums)
