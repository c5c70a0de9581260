"""Measures against scikit-image, plain loops and the published vectors."""

import colorsys
import math

import numpy as np
import pytest
import scipy.stats
import torch
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from evaluation.functional.alpha_beta import rmse_alpha_beta, rmse_alpha_beta_norm
from evaluation.functional.psnr import psnr
from evaluation.functional.saturation import saturation
from evaluation.interval import mean_with_interval


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """A prediction and a truth, (3, 3, 5, 4)."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, 3, 5, 4, generator=generator), torch.rand(3, 3, 5, 4, generator=generator)


def alpha_beta(red: float, green: float, blue: float) -> tuple[float, float]:
    """One pixel, as section 5.1 of Larsson et al. writes it."""
    lightness = (red + green + blue) / 3 + 1e-4
    return (blue - (red + green) / 2) / lightness, (red - green) / lightness


def test_rmse_alpha_beta_is_a_loop_over_pixels(pair: tuple[Tensor, Tensor]) -> None:
    prediction, truth = pair
    for index in range(len(prediction)):
        norms = []
        for row in range(5):
            for column in range(4):
                one = alpha_beta(*prediction[index, :, row, column].tolist())
                other = alpha_beta(*truth[index, :, row, column].tolist())
                norms.append(math.dist(one, other))
        assert rmse_alpha_beta_norm(prediction, truth)[index] == pytest.approx(np.mean(norms), rel=1e-5)
        assert rmse_alpha_beta(prediction, truth)[index] == pytest.approx(np.mean(norms) / math.sqrt(2), rel=1e-5)


def test_psnr_agrees_with_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    prediction, truth = pair
    wanted = [
        peak_signal_noise_ratio(one.numpy(), other.numpy(), data_range=1)
        for one, other in zip(truth, prediction, strict=True)
    ]
    assert psnr(prediction, truth).tolist() == pytest.approx(wanted, rel=1e-5)


def test_psnr_of_the_truth_is_capped(pair: tuple[Tensor, Tensor]) -> None:
    assert psnr(pair[0], pair[0]).tolist() == [100.0] * 3


@pytest.mark.parametrize(
    ("colour", "wanted"),
    [((1, 0, 0), 89.11), ((0, 1, 0), 80.67), ((0, 0, 1), 97.21), ((1, 1, 0), 70.63), ((1, 1, 1), 0.01), ((0, 0, 0), 0)],
)
def test_saturation_of_pure_colours(colour: tuple[float, ...], wanted: float) -> None:
    picture = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert saturation(picture).item() == pytest.approx(wanted, abs=0.01)


def test_saturation_agrees_with_scikit_image_lab(pair: tuple[Tensor, Tensor]) -> None:
    lab = rgb2lab(pair[0].permute(0, 2, 3, 1).numpy())
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    wanted = 100 * (chroma / np.sqrt(chroma**2 + lab[..., 0] ** 2)).mean(axis=(1, 2))
    assert saturation(pair[0]).tolist() == pytest.approx(wanted.tolist(), rel=1e-3)


def test_grey_pictures_have_no_saturation() -> None:
    grey = torch.tensor(colorsys.hsv_to_rgb(0.3, 0, 0.5)).view(1, 3, 1, 1)
    assert saturation(grey).item() < 0.02


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).normal(5, 2, size=200)
    score = mean_with_interval(values.tolist())
    reference = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=2)
    assert score["value"] == pytest.approx(values.mean())
    assert score["n"] == 200
    assert score["low"] == pytest.approx(reference.confidence_interval.low, abs=0.04)
    assert score["high"] == pytest.approx(reference.confidence_interval.high, abs=0.04)


def test_weights_count_pixels() -> None:
    pixels = [[1.0] * 10, [4.0] * 30]
    score = mean_with_interval([1.0, 4.0], weights=[10, 30])
    assert score["value"] == pytest.approx(np.mean(pixels[0] + pixels[1]))


def test_no_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to average"):
        mean_with_interval([])
