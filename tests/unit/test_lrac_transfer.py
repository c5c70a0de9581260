"""LRAC's histogram transfer and biases, against SciPy's optimiser and scikit-image's histogram matching."""

import cmath
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import norm
from skimage.exposure import match_histograms
from torch import Tensor

from lightning_modules.color import rgb_to_lightness
from lightning_modules.lrac.targets import HueChroma, LabJoint, LabMarginal
from lightning_modules.lrac.transfer import energy_minimization, posterior, quantile_matching
from tests.unit.photographs import photograph_pair, photographs


def histograms(*shape: int, spread: float = 1.0) -> Tensor:
    """Random histograms over dimension 2."""
    return (spread * torch.randn(*shape)).softmax(dim=2)


def energy(bias: np.ndarray, predicted: np.ndarray, target: np.ndarray, weight: float) -> float:
    """Equation 5 of histograms `(N, K)`."""
    after = softmax(np.log(predicted) + bias, axis=1)
    divergence = (after * np.log(after / predicted)).sum(axis=1).mean()
    mean = after.mean(axis=0)
    return float(divergence + weight * ((mean - target) ** 2 / (mean + target)).sum())


def total_variation(first: Tensor, second: Tensor) -> Tensor:
    """Half the sum of the differences of histograms `(..., K)`."""
    return (first - second).abs().sum(dim=-1) / 2


def mean_posterior(prediction: Tensor, bias: Tensor) -> Tensor:
    """The mean histograms of pictures, `(B, axes, K)`."""
    return posterior(prediction, bias).mean(dim=(3, 4))


def test_posterior_is_the_softmax_of_the_biased_logarithm() -> None:
    prediction, bias = histograms(2, 2, 5, 3, 4), torch.randn(2, 2, 5)
    found = posterior(prediction, bias)
    for i, axis, y, x in np.ndindex(2, 2, 3, 4):
        expected = softmax(np.log(prediction[i, axis, :, y, x].numpy()) + bias[i, axis].numpy())
        np.testing.assert_allclose(found[i, axis, :, y, x].numpy(), expected, rtol=1e-5)
    torch.testing.assert_close(posterior(prediction, bias[0])[0], found[0])


def test_posterior_keeps_empty_bins_empty() -> None:
    prediction = torch.tensor([0.5, 0, 0.5]).view(1, 1, 3, 1, 1)
    found = posterior(prediction, torch.tensor([[math.log(3), 9.0, 0.0]]))
    assert found.flatten().tolist() == pytest.approx([0.75, 0, 0.25])


@pytest.mark.parametrize("weight", [0.5, 10.0, 40.0])
def test_energy_is_as_low_as_scipy_finds_it(weight: float) -> None:
    prediction, target = histograms(2, 2, 6, 5, 6, spread=2), histograms(2, 2, 6)
    bias = energy_minimization(prediction, target, weight)
    for i, axis in np.ndindex(2, 2):
        predicted = prediction[i, axis].flatten(1).t().double().numpy()
        wanted = target[i, axis].double().numpy()
        best = minimize(energy, np.zeros(6), (predicted, wanted, weight), tol=1e-10)
        found = bias[i, axis].double().numpy()
        assert energy(found, predicted, wanted, weight) == pytest.approx(best.fun, abs=1e-6)
        np.testing.assert_allclose(found - found.mean(), best.x - best.x.mean(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("weight", [1.0, 10.0, 100.0])
def test_every_step_lowers_the_energy(weight: float) -> None:
    prediction, target = histograms(1, 1, 8, 6, 6, spread=4), torch.tensor([0.6, 0.4, 0, 0, 0, 0, 0, 0]).view(1, 1, 8)
    predicted, wanted = prediction[0, 0].flatten(1).t().double().numpy(), target.flatten().double().numpy()
    energies = [
        energy(energy_minimization(prediction, target, weight, steps).flatten().numpy(), predicted, wanted, weight)
        for steps in range(12)
    ]
    assert (np.diff(energies) < 0).all()


def test_without_weight_there_is_no_bias() -> None:
    bias = energy_minimization(histograms(1, 2, 8, 4, 4), histograms(1, 2, 8), weight=0)
    assert torch.equal(bias, torch.zeros(1, 2, 8))


def test_a_target_that_is_met_leaves_no_bias() -> None:
    prediction = histograms(1, 2, 8, 4, 4)
    bias = energy_minimization(prediction, prediction.mean(dim=(3, 4)))
    torch.testing.assert_close(bias, torch.zeros(1, 2, 8), rtol=0, atol=1e-5)


def test_a_large_weight_drives_the_mean_posterior_to_the_target() -> None:
    prediction, target = histograms(2, 2, 32, 10, 10), histograms(2, 2, 32, spread=1.5)
    distances = [
        total_variation(mean_posterior(prediction, energy_minimization(prediction, target, weight)), target).max()
        for weight in (0.0, 1.0, 10.0, 100.0)
    ]
    assert distances[0] > 0.3
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.01


@pytest.mark.parametrize("weight", [1.0, 100.0, 1e4])
def test_extreme_predictions_and_targets_stay_finite(weight: float) -> None:
    prediction = histograms(1, 1, 32, 8, 8, spread=30)
    prediction[:, :, 3] = 0
    target = torch.zeros(1, 1, 32)
    target[..., 3] = 1
    bias = energy_minimization(prediction, target, weight, steps=1000)
    assert bias.isfinite().all()
    assert bias.argmax() == 3
    assert posterior(prediction, bias).isfinite().all()


def test_a_picture_is_transferred_alike_in_any_batch_and_mode() -> None:
    prediction, target = histograms(3, 2, 8, 4, 4), histograms(3, 2, 8)
    together = energy_minimization(prediction, target)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        alone = energy_minimization(prediction[1:2].clone(), target[1:2].clone())
    torch.testing.assert_close(together[1:2], alone)
    assert together.dtype == torch.float32


def test_what_cannot_be_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a target of \(1, 2, 16\) does not fit histograms of \(1, 2, 32\)"):
        energy_minimization(histograms(1, 2, 32, 4, 4), histograms(1, 2, 16))
    with pytest.raises(ValueError, match="at least 0, not -1"):
        energy_minimization(histograms(1, 2, 32, 4, 4), histograms(1, 2, 32), weight=-1)


def test_transfer_of_a_references_histogram_brings_its_hue() -> None:
    head = HueChroma()
    reference = torch.tensor([0.2, 0.3, 0.8]).view(1, 3, 1, 1).expand(1, 3, 6, 6)
    prediction = histograms(1, 2, 32, 6, 6)
    target = head.histogram(reference)
    assert total_variation(mean_posterior(prediction, energy_minimization(prediction, target)), target).max() < 0.2


@pytest.mark.parametrize("angle", [0.0, 2.0, 5.5])
def test_rotated_bias_prefers_the_hue_of_its_angle(angle: float) -> None:
    hue, chroma = HueChroma(bins=16).rotated_bias(angle, 3.0)
    z = sum(value * cmath.exp(2j * math.pi * (k + 0.5) / 16) for k, value in enumerate(hue.tolist()))
    assert cmath.phase(z * cmath.exp(-1j * angle)) == pytest.approx(0, abs=1e-5)
    assert hue.square().mean().sqrt().item() == pytest.approx(3 / math.sqrt(2), rel=1e-5)
    assert torch.equal(chroma, torch.zeros(16))


@pytest.mark.parametrize("angle", [0.0, 2.0, 5.5])
def test_rotated_bias_is_a_slope_in_lab(angle: float) -> None:
    ab = norm.ppf((np.arange(8) + 0.5) / 8)
    joint = LabJoint(bins=8).rotated_bias(angle, 1.5)
    marginal = LabMarginal(bins=8).rotated_bias(angle, 1.5)
    assert joint.shape == (1, 64)
    for i, j in np.ndindex(8, 8):
        expected = 1.5 * (math.cos(angle) * ab[i] + math.sin(angle) * ab[j])
        assert joint[0, 8 * i + j].item() == pytest.approx(expected, abs=1e-5)
        assert (marginal[0, i] + marginal[1, j]).item() == pytest.approx(expected, abs=1e-5)


def test_quantile_matching_to_itself_is_the_identity() -> None:
    rgb = photographs(48, 64)
    rgb[:, :, :4, :4] = 0
    matched = quantile_matching(rgb, rgb_to_lightness(rgb), rgb)
    torch.testing.assert_close(matched, rgb, rtol=0, atol=1e-6)


def test_quantile_matching_equals_scikit_image() -> None:
    rgb, reference = photograph_pair(40, 56)[0].clamp(min=0.02), photographs(64, 48).flip(0).clamp(min=0.02)
    lightness = rgb_to_lightness(rgb)
    matched = quantile_matching(rgb, lightness, reference)
    for i in range(2):
        source = (rgb / lightness)[i].permute(1, 2, 0).numpy()
        wanted = (reference / rgb_to_lightness(reference))[i].permute(1, 2, 0).numpy()
        grey = lightness[i].permute(1, 2, 0).numpy()
        expected = grey * match_histograms(source, wanted, channel_axis=2)
        expected = np.clip(expected + grey - expected.mean(axis=2, keepdims=True), 0, 1)
        np.testing.assert_allclose(matched[i].permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-5)


def test_quantile_matching_of_grey_stays_grey() -> None:
    rgb = torch.rand(1, 1, 9, 10).expand(1, 3, 9, 10)
    rgb = torch.where(rgb < 0.2, 0, rgb)
    reference = torch.rand(1, 1, 7, 8).expand(1, 3, 7, 8)
    matched = quantile_matching(rgb, rgb_to_lightness(rgb), reference)
    torch.testing.assert_close(matched, rgb, rtol=0, atol=1e-6)


def test_quantile_matching_to_one_colour_takes_its_proportions() -> None:
    rgb = 0.1 + 0.2 * torch.rand(1, 3, 9, 10)
    lightness = rgb_to_lightness(rgb)
    reference = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    expected = lightness * torch.tensor([0.5, 1.0, 1.5]).view(1, 3, 1, 1)
    torch.testing.assert_close(quantile_matching(rgb, lightness, reference), expected, rtol=0, atol=1e-6)
