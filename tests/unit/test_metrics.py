"""Metrics of sets: the definition, any batches, and any number of processes give the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_sum

from evaluation.functional.alpha_beta import rmse_alpha_beta
from evaluation.functional.area_under_curve import (
    area_under_curve,
    color_counts,
    rebalancing_weights,
    within_thresholds,
)
from evaluation.functional.colorfulness import colorfulness, colorfulness_abs
from evaluation.functional.error_distribution import ERROR_EDGES, PSNR_EDGES
from evaluation.functional.lab_histogram import histogram_intersection, lab_histogram
from evaluation.functional.ms_ssim import first_against_rest, ms_ssim, pairs
from evaluation.functional.psnr import psnr
from evaluation.metrics.area_under_curve import AreaUnderCurve
from evaluation.metrics.colorfulness import Colorfulness
from evaluation.metrics.diversity import Diversity
from evaluation.metrics.error_distribution import ErrorDistribution
from evaluation.metrics.frechet_inception_distance import FrechetInceptionDistance
from evaluation.metrics.lab_histogram_intersection import LabHistogramIntersection
from evaluation.metrics.mean_over_pictures import MeanOverPictures
from tests.unit.photographs import photograph_pair, random_pair

SAMPLES = 3
UNEVEN = (1, 5, 2, 3)
PICTURES = sum(UNEVEN)


class MeanColors(nn.Module):
    """Three features for an Inception of 2,048, whose covariance takes a minute."""

    num_features = 3

    def __init__(self, weights: Path | None) -> None:
        super().__init__()

    def forward(self, rgb: Tensor) -> Tensor:
        """Means over pixels, (B, 3)."""
        return rgb.mean(dim=(2, 3))


def make_metrics() -> dict[str, Metric]:
    """Every metric, by a name."""
    with patch("evaluation.metrics.frechet_inception_distance.InceptionFeatures", MeanColors):
        distance = FrechetInceptionDistance(None)
    return {
        "psnr": MeanOverPictures(psnr),
        "rmse_alpha_beta": MeanOverPictures(rmse_alpha_beta, pixel_weighted=True),
        "intersection": LabHistogramIntersection(bin_width=5),
        "area_under_curve": AreaUnderCurve(),
        "error_distribution": ErrorDistribution(),
        "colorfulness": Colorfulness(),
        "colorfulness_abs": Colorfulness(colorfulness_abs),
        "frechet_inception_distance": distance,
        "diversity": Diversity(),
        "first_against_rest": Diversity(choose=first_against_rest, bins=10),
    }


def make_set() -> tuple[Tensor, Tensor]:
    """Samples, (11, 3, 3, 24, 26), and truths, (11, 3, 24, 26), the last two of noise."""
    prediction, truth = photograph_pair(72, 78)
    tiles = [picture.unfold(2, 24, 24).unfold(3, 26, 26).permute(0, 2, 3, 1, 4, 5) for picture in (prediction, truth)]
    prediction, truth = (tile.reshape(-1, 3, 24, 26)[: PICTURES - 2] for tile in tiles)
    noise = random_pair(24, 26)
    prediction, truth = torch.cat([prediction, noise[0][:2]]), torch.cat([truth, noise[1][:2]])
    shifts = torch.linspace(-0.1, 0.1, SAMPLES).view(1, SAMPLES, 1, 1, 1)
    tint = torch.tensor([1.0, -0.5, 0.3]).view(1, 1, 3, 1, 1)
    wobble = torch.linspace(0, 2, PICTURES).view(-1, 1, 1, 1, 1)
    samples = prediction.unsqueeze(1) + shifts * tint * wobble
    return samples.clamp(0, 1), truth


def feed(metrics: dict[str, Metric], samples: Tensor, truth: Tensor) -> None:
    """Update each metric with what it takes."""
    for metric in metrics.values():
        if isinstance(metric, Diversity):
            metric.update(samples)
        else:
            metric.update(samples[:, 0], truth)


def results(metrics: dict[str, Metric]) -> dict[str, Tensor]:
    """Every number of every metric, by names."""
    found = {}
    for name, metric in metrics.items():
        computed = metric.compute()
        for part, value in (computed if isinstance(computed, dict) else {"": computed}).items():
            found[f"{name} {part}"] = value
    return found


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """All numbers agree, but for the order of additions."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert value.isfinite().all()
        # a Frechet distance of few pictures is a small difference of large traces
        tolerance = 1e-4 if name.startswith("frechet") else 1e-6
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=f"{name}: {found[name]}")


@pytest.fixture(scope="module")
def wanted() -> dict[str, Tensor]:
    """All pictures in one batch of one process."""
    metrics = make_metrics()
    feed(metrics, *make_set())
    return results(metrics)


def test_uneven_batches_are_one_batch(wanted: dict[str, Tensor]) -> None:
    metrics = make_metrics()
    for samples, truth in zip(*(part.split(UNEVEN) for part in make_set()), strict=True):
        feed(metrics, samples, truth)
    assert_same(results(metrics), wanted)


def take_part(rank: int, folder: Path) -> None:
    """One of two processes: the first sees eight pictures, the second three, and both compute."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    metrics, spared = make_metrics(), make_metrics()
    samples, truth = make_set()
    mine = slice(0, 8) if rank == 0 else slice(8, None)
    for batch, answers in zip(samples[mine].split(3), truth[mine].split(3), strict=True):
        feed(metrics, batch, answers)
    if rank == 1:  # the first sees none of them
        feed(spared, samples, truth)
    computed = {"shared": results(metrics), "spared": results(spared)}
    torch.save(computed, folder / f"rank_{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_two_processes_are_one(wanted: dict[str, Tensor], tmp_path: Path) -> None:
    spawn(take_part, (tmp_path,), nprocs=2)
    for rank in range(2):
        computed = torch.load(tmp_path / f"rank_{rank}.pt")
        assert_same(computed["shared"], wanted)
        assert_same(computed["spared"], wanted)


def test_states_are_sums_whose_size_no_picture_changes() -> None:
    metrics = make_metrics()
    samples, truth = make_set()

    def sizes() -> list[dict[str, Any]]:
        return [
            {name: torch.as_tensor(value).shape for name, value in metric.metric_state.items()}
            for metric in metrics.values()
        ]

    before = sizes()
    for _ in range(2):
        feed(metrics, samples, truth)
    assert sizes() == before
    for metric in metrics.values():
        assert set(metric._reductions.values()) == {dim_zero_sum}


def test_reset_forgets_everything(wanted: dict[str, Tensor]) -> None:
    metrics = make_metrics()
    samples, truth = make_set()
    feed(metrics, samples.flip(2), truth)
    for metric in metrics.values():
        metric.reset()
    feed(metrics, samples, truth)
    assert_same(results(metrics), wanted)


@pytest.mark.parametrize("pixel_weighted", [False, True])
def test_means_weigh_pictures_or_pixels(pixel_weighted: bool) -> None:
    metric = MeanOverPictures(rmse_alpha_beta, pixel_weighted)
    values, weights = [], []
    for size in ((8, 10), (20, 30)):
        prediction, truth = random_pair(*size)
        metric.update(prediction, truth.sqrt())
        values += rmse_alpha_beta(prediction, truth.sqrt()).tolist()
        weights += [size[0] * size[1] if pixel_weighted else 1] * 3
    assert np.ptp(values) > 0.01
    assert metric.compute().item() == pytest.approx(np.average(values, weights=weights))


def test_a_module_measures_as_a_function_does() -> None:
    class Distance(nn.Module):
        def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
            return (prediction - truth).abs().mean(dim=(1, 2, 3))

    prediction, truth = random_pair(8, 8)
    metric = MeanOverPictures(Distance())
    metric.update(prediction, truth)
    assert metric.compute().item() == pytest.approx((prediction - truth).abs().mean().item())


def test_intersection_pools_the_set(wanted: dict[str, Tensor]) -> None:
    samples, truth = make_set()
    counts = [lab_histogram(pictures, 5).sum(dim=0) for pictures in (samples[:, 0], truth)]
    a, b = histogram_intersection(*counts)
    assert (wanted["intersection a"], wanted["intersection b"]) == (a, b)
    assert 0 < a < 1
    assert torch.equal(wanted["intersection prediction"], counts[0])
    assert torch.equal(wanted["intersection truth"], counts[1])
    assert wanted["intersection edges"].tolist() == list(range(-110, 111, 5))


def test_area_under_curve_is_that_of_weighted_pixels(wanted: dict[str, Tensor]) -> None:
    samples, truth = make_set()
    # all pictures side by side are one picture with all pixels
    prediction, truth = (pictures.permute(1, 2, 0, 3).flatten(2).unsqueeze(0) for pictures in (samples[:, 0], truth))
    weights = rebalancing_weights(truth, color_counts(truth)[0])
    for name, shares in (
        ("", within_thresholds(prediction, truth)[0]),
        ("rebalanced_", within_thresholds(prediction, truth, weights)[0]),
    ):
        torch.testing.assert_close(wanted[f"area_under_curve {name}shares"], shares)
        area = wanted[f"area_under_curve {name.strip('_') or 'plain'}"]
        torch.testing.assert_close(area, area_under_curve(shares))
        assert 0 < area < 1
    assert wanted["area_under_curve plain"] > wanted["area_under_curve rebalanced"]


def test_error_distribution_counts_pixels_and_pictures(wanted: dict[str, Tensor]) -> None:
    samples, truth = make_set()
    shares = wanted["error_distribution shares"]
    assert len(shares) == len(ERROR_EDGES)
    assert (shares.diff() >= 0).all()
    values = psnr(samples[:, 0], truth).numpy()
    histogram, _ = np.histogram(values, bins=PSNR_EDGES.numpy())
    assert wanted["error_distribution pictures"].tolist() == histogram.tolist()
    sizes = ErrorDistribution()
    same, (one, other) = truth[:1], random_pair(60, 60)
    sizes.update(same, same)
    sizes.update(one * 0, other * 0 + torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1))
    assert sizes.compute()["shares"].tolist() == pytest.approx([24 * 26 / (24 * 26 + 3 * 3600)] * len(ERROR_EDGES))


@pytest.mark.parametrize(
    ("name", "choose", "bins"), [("diversity", pairs, 100), ("first_against_rest", first_against_rest, 10)]
)
def test_diversity_is_over_pairs(
    wanted: dict[str, Tensor], name: str, choose: Callable[[int], list[tuple[int, int]]], bins: int
) -> None:
    samples, _ = make_set()
    values = torch.stack([ms_ssim(samples[:, one], samples[:, other]) for one, other in choose(SAMPLES)]).double()
    assert wanted[f"{name} mean"].item() == pytest.approx(values.mean().item())
    histogram, _ = np.histogram(values.numpy(), bins=bins, range=(0, 1))
    assert wanted[f"{name} histogram"].tolist() == histogram.tolist()
    assert np.count_nonzero(histogram) > 1


def test_diversity_wants_samples() -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        Diversity().update(torch.rand(2, 1, 3, 20, 20))


@pytest.mark.parametrize(("name", "measure"), [("colorfulness", colorfulness), ("colorfulness_abs", colorfulness_abs)])
def test_delta_is_of_set_means(wanted: dict[str, Tensor], name: str, measure: Callable[[Tensor], Tensor]) -> None:
    samples, truth = make_set()
    prediction, real = measure(samples[:, 0]).mean().item(), measure(truth).mean().item()
    assert wanted[f"{name} prediction"].item() == pytest.approx(prediction)
    assert wanted[f"{name} truth"].item() == pytest.approx(real)
    assert wanted[f"{name} delta"].item() == pytest.approx(abs(prediction - real))
    assert prediction > real + 1
    grey = Colorfulness(measure)
    grey.update(truth.mean(dim=1, keepdim=True).expand_as(truth), truth)
    assert grey.compute()["delta"].item() == pytest.approx(real, abs=1e-3)


def test_autocast_changes_no_metric(wanted: dict[str, Tensor]) -> None:
    metrics = make_metrics()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        feed(metrics, *make_set())
        assert_same(results(metrics), wanted)


def test_no_picture_is_no_number() -> None:
    empty = MeanOverPictures(psnr)
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert empty.compute().isnan()
    with pytest.raises(ValueError, match="without pixels"), pytest.warns(UserWarning, match="before the ``update``"):
        LabHistogramIntersection().compute()
