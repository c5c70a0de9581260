"""The mixture's likelihood against published numbers and plain NumPy."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import logistic
from torch import Tensor

from lightning_modules.layers import logistic_mixture as mixture
from lightning_modules.pic.chroma import normalize_chroma, normalize_luminance


def one_component(
    mean_a: float = 0,
    log_scale_a: float = -3,
    mean_b: float = 0,
    log_scale_b: float = -3,
    raw: tuple[float, ...] = (0, 0, 0),
) -> Tensor:
    """Raw parameters of one component at one pixel, `(1, 8, 1, 1)`."""
    values = [0, *raw, mean_a, log_scale_a, mean_b, log_scale_b]
    return torch.tensor(values, dtype=torch.float64).view(1, 8, 1, 1)


def numpy_log_probability(parameters: np.ndarray, luminance: float, a: float, b: float) -> float:
    """One pixel's log-probability from the `(8, K)` raw parameters, by distribution functions of SciPy."""
    logits, raw_0, raw_1, raw_2, mean_a, log_scale_a, mean_b, log_scale_b = parameters
    mean_a = mean_a + np.tanh(raw_0) * luminance
    mean_b = mean_b + np.tanh(raw_1) * luminance + np.tanh(raw_2) * a
    joint = logits - logsumexp(logits)
    for x, mean, log_scale in ((a, mean_a, log_scale_a), (b, mean_b, log_scale_b)):
        distribution = logistic(mean, np.exp(np.maximum(log_scale, -7)))
        if x < -0.999:
            joint = joint + distribution.logcdf(x + 1 / 255)
        elif x > 0.999:
            joint = joint + distribution.logsf(x - 1 / 255)
        else:
            with np.errstate(divide="ignore"):
                joint = joint + np.log(distribution.cdf(x + 1 / 255) - distribution.cdf(x - 1 / 255))
    return float(logsumexp(joint))


def test_published_vector() -> None:
    luminance = normalize_luminance(torch.full((1, 1, 1, 1), 70.0, dtype=torch.float64))
    chroma = normalize_chroma(torch.tensor([10.0, -20.0], dtype=torch.float64).view(1, 2, 1, 1))
    assert luminance.item() == pytest.approx(0.4)
    assert chroma.flatten().tolist() == pytest.approx([0.0745098, -0.1529412], abs=1e-7)
    parameters = one_component(0.05, -3, -0.1, -3, raw=(0.1, 0.2, 0.3))
    a, b = chroma[0, 0, 0, 0], chroma[0, 1, 0, 0]
    mean_a = 0.05 + math.tanh(0.1) * 0.4
    mean_b = -0.1 + math.tanh(0.2) * 0.4 + math.tanh(0.3) * a
    scale = torch.tensor(-3.0)
    log_a = mixture.discretized_logistic_log_probability(a, torch.tensor(mean_a), scale)
    log_b = mixture.discretized_logistic_log_probability(b, mean_b, scale)
    assert log_a.item() == pytest.approx(-3.258585, abs=2e-6)
    assert log_b.item() == pytest.approx(-5.021843, abs=2e-6)
    bits = mixture.bits_per_dim(mixture.log_probability(parameters, luminance, chroma))
    assert bits.item() == pytest.approx(5.973065990, abs=1e-8)


@pytest.mark.parametrize("log_scale", [-7.0, -5.0, -3.0, -1.0, 1.0])
@pytest.mark.parametrize("mean", [-1.5, -1.0, -0.3, 0.0, 0.71, 1.0, 2.0])
def test_bins_sum_to_one(mean: float, log_scale: float) -> None:
    values = (torch.arange(-127, 129, dtype=torch.float64) - 0.5) / 127.5
    assert values[0] == -1
    assert values[-1] == 1
    log_probabilities = mixture.discretized_logistic_log_probability(
        values, torch.tensor(mean, dtype=torch.float64), torch.tensor(log_scale, dtype=torch.float64)
    )
    assert log_probabilities.exp().sum().item() == pytest.approx(1, abs=2e-5)


def test_equals_scipy() -> None:
    generator = np.random.default_rng(0)
    components, pixels = 4, 200
    parameters = generator.normal(0, 0.5, (8, components, pixels))
    parameters[5] = generator.uniform(-9, -1, (components, pixels))
    parameters[7] = generator.uniform(-9, -1, (components, pixels))
    parameters[[5, 7], 0] = -1
    luminance, a, b = generator.uniform(-1, 1, (3, pixels))
    a[:4], b[:4] = (-1, -1, 1, 1), (-1, 1, -1, 1)
    expected = [numpy_log_probability(parameters[:, :, i], luminance[i], a[i], b[i]) for i in range(pixels)]
    actual = mixture.log_probability(
        torch.from_numpy(parameters).reshape(1, 8 * components, 1, pixels),
        torch.from_numpy(luminance).view(1, 1, 1, pixels),
        torch.from_numpy(np.stack([a, b])).view(1, 2, 1, pixels),
    )
    np.testing.assert_allclose(actual.flatten().numpy(), expected, rtol=0, atol=1e-3)
    assert np.median(np.abs(actual.flatten().numpy() - expected)) < 1e-9


def test_underflowing_bin_takes_the_density_at_its_middle() -> None:
    x, mean, log_scale = 0.5, -0.2, -5.0
    expected = logistic.logpdf(x, mean, math.exp(log_scale)) + math.log(2 / 255)
    actual = mixture.discretized_logistic_log_probability(*map(torch.tensor, (x, mean, log_scale)))
    assert actual.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("extreme", [1e2, 1e4])
def test_gradients_are_finite_for_extreme_parameters(extreme: float) -> None:
    parameters = (torch.randn(2, 24, 3, 3) * extreme).requires_grad_()
    chroma = torch.rand(2, 2, 3, 3) * 2 - 1
    chroma[0, :, 0] = torch.tensor([-1.0, 1.0, 0.0])
    log_probabilities = mixture.log_probability(parameters, torch.rand(2, 1, 3, 3), chroma)
    log_probabilities.sum().backward()
    assert log_probabilities.isfinite().all()
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()


def test_autocast_does_not_change_the_likelihood() -> None:
    parameters, luminance, chroma = torch.randn(2, 24, 4, 4), torch.rand(2, 1, 4, 4), torch.rand(2, 2, 4, 4)
    expected = mixture.log_probability(parameters, luminance, chroma)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = mixture.log_probability(parameters, luminance, chroma)
    assert within.dtype == torch.float32
    assert torch.equal(within, expected)


def test_half_precision_parameters_are_evaluated_in_float32() -> None:
    parameters = torch.randn(1, 24, 4, 4, dtype=torch.bfloat16)
    luminance, chroma = torch.rand(1, 1, 4, 4), torch.rand(1, 2, 4, 4)
    expected = mixture.log_probability(parameters.float(), luminance, chroma)
    assert torch.equal(mixture.log_probability(parameters, luminance, chroma), expected)


def test_bits_per_dim_counts_two_values_a_pixel() -> None:
    log_probabilities = torch.tensor([[[1.0, 2.0, 3.0]], [[-4.0, -5.0, -6.0]]]) * math.log(2)
    assert mixture.bits_per_dim(log_probabilities).tolist() == pytest.approx([-1, 2.5])
