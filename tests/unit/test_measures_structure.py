"""SSIM and multi-scale SSIM against scikit-image and an implementation on SciPy's filters."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor

from evaluation.functional.ms_ssim import WEIGHTS, first_against_rest, ms_ssim, pairs, scales_for
from evaluation.functional.ssim import ssim
from tests.unit.photographs import photograph_pair, photographs, random_pair

Picture = NDArray[np.float64]


def similarity_maps(first: Picture, second: Picture) -> tuple[Picture, Picture]:
    """SSIM and its contrast-structure part at each pixel, (3, H, W), borders mirrored."""

    def smooth(picture: Picture) -> Picture:
        blurred: Picture = gaussian_filter(picture, (0, 1.5, 1.5), truncate=3.5, mode="mirror")
        return blurred

    mean_1, mean_2 = smooth(first), smooth(second)
    variance_1 = smooth(first**2) - mean_1**2
    variance_2 = smooth(second**2) - mean_2**2
    covariance = smooth(first * second) - mean_1 * mean_2
    contrast = (2 * covariance + 0.03**2) / (variance_1 + variance_2 + 0.03**2)
    return contrast * (2 * mean_1 * mean_2 + 0.01**2) / (mean_1**2 + mean_2**2 + 0.01**2), contrast


def halve(picture: Picture) -> Picture:
    """Means of 2 x 2 pixels, an odd last row or column dropped."""
    channels, height, width = picture.shape
    even = picture[:, : height // 2 * 2, : width // 2 * 2]
    halved: Picture = even.reshape(channels, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return halved


def naive_ms_ssim(first: Picture, second: Picture, scales: int) -> float:
    """Contrast and structure where the window fits, at all scales but the coarsest; there, all of SSIM."""
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    product = 1.0
    for scale, weight in enumerate(weights):
        whole, contrast = similarity_maps(first, second)
        value = whole.mean() if scale == scales - 1 else contrast[:, 5:-5, 5:-5].mean()
        product *= max(value, 0) ** weight
        first, second = halve(first), halve(second)
    return product


@pytest.mark.parametrize("contrast", [1, 0.2])
@pytest.mark.parametrize("make", [photograph_pair, random_pair])
def test_ssim_is_that_of_scipy_and_scikit_image(
    make: Callable[[int, int], tuple[Tensor, Tensor]], contrast: float
) -> None:
    prediction, truth = (contrast * picture for picture in make(40, 33))
    for value, one, other in zip(ssim(prediction, truth), prediction.double(), truth.double(), strict=True):
        mirrored, _ = similarity_maps(one.numpy(), other.numpy())
        assert value.item() == pytest.approx(mirrored.mean(), abs=1e-5)
        inside = structural_similarity(
            one.numpy(),
            other.numpy(),
            channel_axis=0,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert mirrored[:, 5:-5, 5:-5].mean() == pytest.approx(inside, abs=1e-9)


def test_ssim_of_the_truth_and_of_its_negative() -> None:
    truth = photographs(32, 32)
    assert ssim(truth, truth).tolist() == pytest.approx([1, 1])
    assert (ssim(1 - truth, truth) < 0.1).all()
    with pytest.raises(ValueError, match="at least 11 pixels a side, not 10"):
        ssim(truth[:, :, :10], truth[:, :, :10])


@pytest.mark.parametrize(
    ("size", "scales"), [((180, 201), 5), ((99, 130), 4), ((60, 47), 3), ((30, 22), 2), ((18, 12), 1)]
)
def test_ms_ssim_is_that_of_scipy(size: tuple[int, int], scales: int) -> None:
    assert scales_for(min(size)) == scales
    first, second = photograph_pair(*size)
    noise = random_pair(*size)
    for one, other in ((first, second), (0.2 * first, 0.2 * second), noise):
        wanted = [
            naive_ms_ssim(left.numpy(), right.numpy(), scales)
            for left, right in zip(one.double(), other.double(), strict=True)
        ]
        assert ms_ssim(one, other).tolist() == pytest.approx(wanted, abs=2e-5)


def test_ms_ssim_is_the_product_of_five_scales_as_published() -> None:
    """Without colours or borders: a picture of one grey against another has the luminance term alone."""
    light, dark = torch.full((1, 3, 176, 176), 0.8), torch.full((1, 3, 176, 176), 0.4)
    luminance = (2 * 0.8 * 0.4 + 0.01**2) / (0.8**2 + 0.4**2 + 0.01**2)
    assert ms_ssim(light, dark).item() == pytest.approx(luminance**0.1333, abs=1e-4)


@pytest.mark.parametrize("side", [11, 21, 22, 43, 44, 98, 99, 175, 176])
def test_ms_ssim_works_on_both_sides_of_each_limit(side: int) -> None:
    picture = photographs(side, side + 3)
    assert ms_ssim(picture, picture).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_scales_for_each_side() -> None:
    sides = (11, 21, 22, 43, 44, 98, 99, 175, 176, 2000)
    assert [scales_for(side) for side in sides] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_too_small_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 11 pixels a side, not 10"):
        ms_ssim(torch.rand(1, 3, 10, 300), torch.rand(1, 3, 10, 300))


def test_anti_correlated_pictures_are_no_nan() -> None:
    noise = random_pair(180, 180)[0]
    assert ms_ssim(noise, 1 - noise).tolist() == [0, 0, 0]
    photograph = photographs(180, 180)
    assert (ms_ssim(photograph, 1 - photograph) >= 0).all()


def test_pairs_of_samples() -> None:
    assert pairs(4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert first_against_rest(4) == [(0, 1), (0, 2), (0, 3)]
    assert pairs(2) == first_against_rest(2) == [(0, 1)]
    for choose in (pairs, first_against_rest):
        with pytest.raises(ValueError, match="at least 2 samples"):
            choose(1)


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_autocast_changes_no_structural_measure(measure: Callable[[Tensor, Tensor], Tensor]) -> None:
    pair = photograph_pair(50, 44)
    wanted = measure(*pair)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(measure(*pair), wanted)
