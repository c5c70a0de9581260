"""The walk over eight-bit pixels: against scikit-image, and against the same measures in torch."""

from typing import Any

import numpy as np
import pytest
import skimage.color
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation import pixels
from evaluation.functional.alpha_beta import alpha_beta_distance
from evaluation.functional.area_under_curve import color_counts, color_index, threshold_counts, threshold_index
from evaluation.functional.error_distribution import error_counts
from evaluation.functional.lab_histogram import lab_histogram
from evaluation.functional.saturation import saturation
from evaluation.pixels import AREAS, BLOCK, SAMPLE, TRUTH, PixelSums, convert, pixel_sums
from lightning_modules.color import rgb_to_lab, to_float, to_uint8
from tests.unit.photographs import photographs

HEIGHT, WIDTH = 61, 83
MOVED = 0.002
"""The share of pixels that rounding may carry over the edge of a bin."""


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """Another picture, and a faded one, as samples of a photograph, (2, 3, H, W) and (1, 3, H, W)."""
    first, second = photographs(HEIGHT, WIDTH)
    return to_uint8(torch.stack([second, 0.5 * first + 0.5 * first.mean(dim=0)])), to_uint8(first)[None]


@pytest.fixture(scope="module")
def sums(pair: tuple[Tensor, Tensor]) -> PixelSums:
    """Theirs."""
    return pixel_sums(*pair, bin_width=1.0)


def converted(rgb: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """CIELab a and b, (2, N), and saturation, (N,), of eight-bit colours, (3, N)."""
    ab, alpha_beta, found = (np.empty((*rows, rgb.shape[1]), np.float32) for rows in ((2,), (2,), ()))
    convert(rgb.contiguous().numpy(), ab, alpha_beta, found)
    return ab, found


def test_lab_and_saturation_equal_scikit_image() -> None:
    levels, dark = torch.arange(0, 256, 5), torch.arange(24)
    for axis in (levels, dark):
        rgb = torch.cartesian_prod(axis, axis, axis).T.to(torch.uint8)
        ab, found = converted(rgb)
        lab = skimage.color.rgb2lab(rgb.T.numpy() / 255)
        # scikit-image's curve jumps by 1.7e-4 in a where its line ends
        np.testing.assert_allclose(ab, lab[:, 1:].T, atol=2e-4)
        chroma, length = np.hypot(lab[:, 1], lab[:, 2]), np.linalg.norm(lab, axis=1)
        bright = length > 1
        np.testing.assert_allclose(found[bright], chroma[bright] / length[bright], atol=1e-4)
        assert found[0] == 0, "black has no saturation"


def test_greys_are_on_the_same_side_of_zero_as_in_torch() -> None:
    greys = torch.arange(256, dtype=torch.uint8).expand(3, 256)
    wanted = rgb_to_lab(to_float(greys)[..., None])[1:, :, 0]
    assert np.array_equal(np.sign(converted(greys)[0]), wanted.sign().numpy())


def test_sums_equal_the_measures_in_torch(pair: tuple[Tensor, Tensor], sums: PixelSums) -> None:
    samples, truth = (to_float(each) for each in pair)
    both = torch.stack([truth.expand_as(samples), samples], dim=1)
    count = HEIGHT * WIDTH

    def near(found: Tensor, wanted: Tensor, tolerance: float = 2e-6) -> None:
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=tolerance)

    def few_moved(found: Tensor, wanted: Tensor) -> None:
        assert found.shape == wanted.shape
        assert torch.equal(found.sum(dim=-1), wanted.sum(dim=-1))
        assert (found - wanted).abs().sum(dim=-1).max() <= 2 * MOVED * count

    near(sums.levels, 255 * both.double().sum(dim=(-2, -1)))
    near(sums.saturation, torch.stack([saturation(each) for each in both]) * count / 100)
    near(sums.squared_error, 255**2 * (samples.double() - truth.double()).square().sum(dim=(1, 2, 3)))
    near(sums.alpha_beta_error, alpha_beta_distance(samples, truth).double().sum(dim=(1, 2)))
    few_moved(sums.ab_counts, torch.stack([lab_histogram(each) for each in both]))
    few_moved(sums.color_counts, color_counts(truth).expand(2, -1))
    few_moved(sums.error_counts, error_counts(alpha_beta_distance(samples, truth)))
    few_moved(sums.distance_counts, threshold_counts(threshold_index(samples, truth)))
    for sample, areas in zip(samples, sums.color_areas, strict=True):
        each = torch.from_numpy(AREAS)[threshold_index(sample[None], truth)]
        wanted = torch.zeros(529).index_add(0, color_index(truth).flatten(), each.flatten().float())
        np.testing.assert_allclose(areas, wanted, atol=2 * MOVED * count * AREAS[0])


def test_opponents_are_summed_exactly(pair: tuple[Tensor, Tensor], sums: PixelSums) -> None:
    for of, pictures in ((SAMPLE, pair[0]), (TRUTH, pair[1].expand_as(pair[0]))):
        red, green, blue = pictures.long().flatten(2).unbind(1)
        for row, values in enumerate((2 * (red - green), red + green - 2 * blue)):
            wanted = torch.stack([values.sum(1), values.abs().sum(1), values.square().sum(1)], dim=1)
            assert torch.equal(sums.opponents[:, of, row], wanted.double())


def test_a_picture_is_itself_without_error(pair: tuple[Tensor, Tensor]) -> None:
    same = pixel_sums(pair[1], pair[1], bin_width=1.0)
    count = HEIGHT * WIDTH
    assert same.squared_error.item() == same.alpha_beta_error.item() == 0
    assert same.error_counts[0, 0] == same.distance_counts[0, 0] == count
    assert torch.equal(same.color_areas, AREAS[0] * same.color_counts)
    for both in (same.levels, same.opponents, same.saturation, same.ab_counts):
        assert torch.equal(both[:, TRUTH], both[:, SAMPLE])


@pytest.mark.parametrize("count", [1, 7, BLOCK - 1, BLOCK + 13])
def test_one_colour_falls_into_one_bin_wherever_it_stands(count: int) -> None:
    for color in ([128, 128, 128], [200, 30, 90], [1, 2, 3]):
        picture = torch.tensor(color, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 1, count)
        found = pixel_sums(255 - picture, picture, bin_width=1.0)
        for counts in (found.ab_counts, found.error_counts, found.distance_counts, found.color_counts):
            assert counts.amax(dim=-1).unique().tolist() == [count]


def test_pictures_of_any_layout_are_read(pair: tuple[Tensor, Tensor], sums: PixelSums) -> None:
    samples, truth = (each.movedim(1, -1).contiguous().movedim(-1, 1) for each in pair)
    for found, wanted in zip(pixel_sums(samples, truth, bin_width=1.0), sums, strict=True):
        assert torch.equal(found, wanted)


def test_it_is_compiled_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(signature: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("no locator available")
        return lambda function: function

    monkeypatch.setattr(pixels, "njit", njit)
    assert pixels.compiled()(abs)(-1) == 1
