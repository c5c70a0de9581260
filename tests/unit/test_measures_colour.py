"""Colour measures against scikit-image, SciPy, plain loops, closed forms and published vectors."""

import itertools
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab
from torch import Tensor

from evaluation.functional.alpha_beta import rmse_alpha_beta
from evaluation.functional.area_under_curve import (
    area_under_curve,
    color_counts,
    rebalancing_weights,
    within_thresholds,
)
from evaluation.functional.ciede2000 import ciede2000, ciede2000_of_lab
from evaluation.functional.colorfulness import colorfulness, colorfulness_abs
from evaluation.functional.error_distribution import ERROR_EDGES, cumulative_error
from evaluation.functional.histogram import counts_between
from evaluation.functional.lab_histogram import histogram_intersection, lab_histogram
from evaluation.functional.psnr import psnr_geometric_mean
from tests.unit.photographs import photograph_pair, random_pair

# Sharma, Wu and Dalal 2005, Table 1: two Lab colours and their difference.
SHARMA = [
    (50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425),
    (50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615),
    (50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412),
    (50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669),
    (50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461),
    (50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065),
    (50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492),
    (50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977),
    (50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030),
    (50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
    (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
    (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
]


@pytest.fixture(params=[photograph_pair, random_pair])
def pair(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    """A prediction and a truth, (B, 3, 20, 24)."""
    found: tuple[Tensor, Tensor] = request.param(20, 24)
    return found


def lab_of(rgb: Tensor) -> NDArray[np.float64]:
    """scikit-image's CIELab, (B, H, W, 3), in double precision."""
    lab: NDArray[np.float64] = rgb2lab(rgb.permute(0, 2, 3, 1).double().numpy())
    return lab


def plain(colour: tuple[float, float, float], height: int = 2, width: int = 2) -> Tensor:
    """A picture of one colour, (1, 3, H, W)."""
    return torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, height, width)


@pytest.mark.parametrize("absolute", [False, True])
def test_colorfulness_is_that_of_numpy(pair: tuple[Tensor, Tensor], absolute: bool) -> None:
    measure = colorfulness_abs if absolute else colorfulness
    for picture, value in zip(pair[1], measure(pair[1]), strict=True):
        red, green, blue = (255 * picture.double()).numpy()
        one, other = red - green, 0.5 * (red + green) - blue
        if absolute:
            one, other = np.abs(one), np.abs(other)
        wanted = math.hypot(np.std(one), np.std(other)) + 0.3 * math.hypot(np.mean(one), np.mean(other))
        assert value.item() == pytest.approx(wanted, rel=1e-5)


def test_the_two_colorfulnesses_of_red_beside_green() -> None:
    picture = torch.cat([plain((1, 0, 0)), plain((0, 1, 0))], dim=3)
    assert colorfulness(picture).item() == pytest.approx(255 + 0.3 * 127.5)
    assert colorfulness_abs(picture).item() == pytest.approx(0.3 * math.hypot(255, 127.5))


def test_grey_is_not_colourful() -> None:
    grey = torch.rand(2, 1, 5, 5).expand(2, 3, 5, 5)
    assert colorfulness(grey).tolist() == colorfulness_abs(grey).tolist() == pytest.approx([0, 0], abs=1e-4)


@pytest.mark.parametrize(("width", "bins"), [(1.0, 220), (5.0, 44), (0.5, 440)])
def test_lab_histogram_is_that_of_numpy(pair: tuple[Tensor, Tensor], width: float, bins: int) -> None:
    histogram = lab_histogram(pair[1], width)
    assert histogram.shape == (len(pair[1]), 2, bins)
    assert histogram.dtype == torch.float64
    assert (histogram.sum(dim=2) == 20 * 24).all()
    lab = lab_of(pair[1])
    for index, channel in itertools.product(range(len(lab)), range(2)):
        wanted, _ = np.histogram(lab[index, ..., channel + 1], bins=bins, range=(-110, 110))
        # the two libraries differ by 5e-5, which may carry a pixel over an edge
        assert np.abs(histogram[index, channel].numpy() - wanted).sum() <= 2


def test_the_histogram_holds_all_of_srgb() -> None:
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3))).T.reshape(1, 3, 2, 4)
    assert lab_of(corners)[..., 1:].min() > -110
    assert lab_of(corners)[..., 1:].max() < 110


def test_bins_that_do_not_fill_the_range_are_refused() -> None:
    for width in (3.0, 0.0, -1.0, 500.0):
        with pytest.raises(ValueError, match="do not divide the 220 units"):
            lab_histogram(plain((1, 0, 0)), width)


def test_intersection_adds_the_minima_of_shares() -> None:
    first = torch.tensor([[2.0, 2, 0], [4, 0, 0]])
    second = torch.tensor([[1.0, 2, 5], [0, 0, 3]])
    assert histogram_intersection(first, second).tolist() == pytest.approx([1 / 8 + 2 / 8, 0])
    assert histogram_intersection(first, 7 * first).tolist() == pytest.approx([1, 1])
    with pytest.raises(ValueError, match="without pixels"):
        histogram_intersection(first, torch.zeros(2, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ciede2000_of_the_published_pairs(dtype: torch.dtype) -> None:
    table = torch.tensor(SHARMA, dtype=torch.float64)
    first, second = (table[:, part].T.reshape(1, 3, 1, -1).to(dtype) for part in (slice(0, 3), slice(3, 6)))
    # in float32 the differences of a pair, around 1 in 90, keep five digits
    tolerance = 6e-5 if dtype == torch.float64 else 1.5e-4
    assert ciede2000_of_lab(first, second).flatten().tolist() == pytest.approx(table[:, 6].tolist(), abs=tolerance)
    assert ciede2000_of_lab(second, first).flatten().tolist() == pytest.approx(table[:, 6].tolist(), abs=tolerance)


def test_ciede2000_agrees_with_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    prediction, truth = pair
    wanted = deltaE_ciede2000(lab_of(prediction), lab_of(truth)).mean(axis=(1, 2))
    assert ciede2000(prediction, truth).tolist() == pytest.approx(wanted.tolist(), rel=1e-4)
    assert ciede2000(truth, truth).tolist() == [0] * len(truth)


def test_ciede2000_takes_no_hue_from_grey() -> None:
    colour = torch.tensor([50.0, 40, -70]).view(1, 3, 1, 1)
    signed = [torch.tensor([50.0, a, b]).view(1, 3, 1, 1) for a, b in itertools.product((0.0, -0.0), repeat=2)]
    assert len({ciede2000_of_lab(grey, colour).item() for grey in signed}) == 1


def naive_shares(
    prediction: Tensor, truth: Tensor, weights: NDArray[np.float64] | None = None
) -> list[NDArray[np.float64]]:
    """Shares within 0..150, threshold by threshold."""
    distances = np.linalg.norm((lab_of(prediction) - lab_of(truth))[..., 1:], axis=-1)
    if weights is None:
        weights = np.ones_like(distances)
    return [
        np.array([weight[distance <= threshold].sum() / weight.sum() for threshold in range(151)])
        for distance, weight in zip(distances, weights, strict=True)
    ]


def test_shares_within_thresholds_are_a_loop_over_thresholds(pair: tuple[Tensor, Tensor]) -> None:
    weights = torch.rand(len(pair[1]), 20, 24)
    for given in (None, weights):
        shares = within_thresholds(*pair, given)
        wanted = naive_shares(*pair, None if given is None else given.double().numpy())
        assert shares.shape == (len(pair[1]), 151)
        # again 5e-5 between the libraries
        np.testing.assert_allclose(shares.numpy(), wanted, atol=3 / (20 * 24))
        np.testing.assert_allclose(
            area_under_curve(shares).numpy(), [np.trapezoid(curve) / 150 for curve in wanted], atol=1e-4
        )


def test_area_of_known_distances() -> None:
    truth = plain((0.5, 0.5, 0.5), 4, 4)
    assert area_under_curve(within_thresholds(truth, truth)).item() == 1
    red = plain((1, 0, 0), 4, 4)
    distance = np.hypot(*lab_of(red)[0, 0, 0, 1:])  # 104.6 from grey
    wanted = (150 - math.ceil(distance) + 0.5) / 150  # a step, which a trapezium half fills
    assert area_under_curve(within_thresholds(red, truth)).item() == pytest.approx(wanted)
    assert area_under_curve(within_thresholds(plain((0, 1, 0)), plain((0, 0, 1)))).item() == 0


def nearest_colors(truth: Tensor) -> list[tuple[int, int]]:
    """Of each pixel the nearest of the grid's points, by looking at all of them."""
    grid = np.array(list(itertools.product(range(-110, 111, 10), repeat=2)))
    ab = lab_of(truth)[..., 1:].reshape(-1, 2)
    return [tuple(grid[np.argmin(((grid - pixel) ** 2).sum(axis=1))]) for pixel in ab]


def test_rebalancing_weights_are_inverse_to_the_colours_counts(pair: tuple[Tensor, Tensor]) -> None:
    truth = pair[1]
    prior = color_counts(truth).sum(dim=0)
    colors = nearest_colors(truth)
    counts = Counter(colors)
    assert sorted(prior[prior > 0].tolist()) == sorted(counts.values())
    weights = rebalancing_weights(truth, prior).flatten()
    wanted = [len(colors) / (counts[color] * len(counts)) for color in colors]
    assert weights.tolist() == pytest.approx(wanted)
    assert weights.mean().item() == pytest.approx(1)
    assert torch.equal(rebalancing_weights(truth, 3 * prior).flatten(), weights)


def test_the_grid_of_colours_holds_all_of_srgb() -> None:
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3))).T.reshape(1, 3, 2, 4)
    wanted = Counter((a + 110) // 10 * 23 + (b + 110) // 10 for a, b in nearest_colors(corners))
    assert {color: count for color, count in enumerate(color_counts(corners)[0].tolist()) if count} == wanted


def test_a_prior_of_other_pictures_is_refused() -> None:
    prior = color_counts(plain((1, 0, 0)))[0]
    with pytest.raises(ValueError, match="lacks the colour of 4 pixels"):
        rebalancing_weights(plain((0, 0, 1)), prior)


def test_cumulative_error_is_that_of_numpy(pair: tuple[Tensor, Tensor]) -> None:
    prediction, truth = pair
    shares = cumulative_error(prediction, truth)
    for index in range(len(truth)):
        errors = []
        for one, other in zip(prediction[index].flatten(1).T.tolist(), truth[index].flatten(1).T.tolist(), strict=True):
            alphas, betas = [], []
            for red, green, blue in (one, other):
                lightness = (red + green + blue) / 3 + 1e-4
                alphas.append((blue - (red + green) / 2) / lightness)
                betas.append((red - green) / lightness)
            errors.append(math.sqrt(((alphas[0] - alphas[1]) ** 2 + (betas[0] - betas[1]) ** 2) / 2))
        wanted = [np.mean(np.array(errors) <= edge) for edge in ERROR_EDGES.tolist()]
        np.testing.assert_allclose(shares[index].numpy(), wanted, atol=1.5 / len(errors))
        assert np.mean(errors) == pytest.approx(rmse_alpha_beta(prediction, truth)[index].item(), rel=1e-4)


def test_the_truth_has_no_error_anywhere(pair: tuple[Tensor, Tensor]) -> None:
    assert (cumulative_error(pair[1], pair[1]) == 1).all()


def test_counts_between_edges_are_those_of_numpy() -> None:
    values = torch.from_numpy(np.random.default_rng(0).uniform(10, 40, 500)).float()
    edges = torch.arange(10, 41).float()
    wanted, _ = np.histogram(values.numpy(), bins=edges.numpy())
    assert counts_between(values, edges).tolist() == wanted.tolist()


def test_the_outer_bins_hold_what_lies_beyond() -> None:
    edges = torch.tensor([10.0, 20, 30])
    assert counts_between(torch.tensor([3.0, 10, 19.9, 20, 30, 100]), edges).tolist() == [3, 3]


def test_geometric_mean_of_psnr() -> None:
    values = [24.2, 32.7, 18.0]
    assert psnr_geometric_mean(torch.tensor(values)).item() == pytest.approx(scipy.stats.gmean(values))
    assert psnr_geometric_mean(torch.tensor([0.0, 20])).item() == 0
    with pytest.raises(ValueError, match="no picture was scored"):
        psnr_geometric_mean(torch.tensor([]))
    for wrong in (-1.0, math.nan):
        with pytest.raises(ValueError, match="no geometric mean"):
            psnr_geometric_mean(torch.tensor([20.0, wrong]))


@pytest.mark.parametrize(
    "measure",
    [
        lambda prediction, truth: colorfulness(prediction),
        lambda prediction, truth: colorfulness_abs(prediction),
        lambda prediction, truth: lab_histogram(prediction),
        cumulative_error,
        lambda prediction, truth: rebalancing_weights(truth, color_counts(truth).sum(dim=0)),
        ciede2000,
        within_thresholds,
    ],
)
def test_autocast_changes_no_colour_measure(
    measure: Callable[[Tensor, Tensor], Tensor], pair: tuple[Tensor, Tensor]
) -> None:
    wanted = measure(*pair)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = measure(*pair)
    assert found.dtype == wanted.dtype
    assert torch.equal(found, wanted)
