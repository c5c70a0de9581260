"""Draws from the mixture against the closed form of its distribution."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, logistic
from torch import Tensor

from lightning_modules.layers import logistic_mixture as mixture

DRAWS = 50_000
LUMINANCE = 0.4


def draw(parameters: list[list[float]], temperature: float = 1.0) -> Tensor:
    """Many draws, `(DRAWS, 2)`, from the mixture with these raw parameters, `(8, K)`, at one luminance."""
    flat = torch.tensor(parameters, dtype=torch.float64).flatten().expand(DRAWS, -1)
    noise = torch.rand(DRAWS, len(parameters[0]) + 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return mixture.sample(flat, torch.full((DRAWS, 1), LUMINANCE, dtype=torch.float64), noise, temperature)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_one_component_is_a_logistic(temperature: float) -> None:
    a, b = draw([[0], [0.3], [-0.2], [0.9], [0.1], [-4], [-0.2], [-3.5]], temperature).unbind(1)
    scale_a, scale_b = temperature * math.exp(-4), temperature * math.exp(-3.5)
    mean_a = 0.1 + math.tanh(0.3) * LUMINANCE
    residual_b = b - math.tanh(0.9) * a
    mean_b = -0.2 + math.tanh(-0.2) * LUMINANCE
    for values, mean, scale in ((a, mean_a, scale_a), (residual_b, mean_b, scale_b)):
        assert values.mean().item() == pytest.approx(mean, abs=5 * scale * math.pi / math.sqrt(3 * DRAWS))
        assert values.var().item() == pytest.approx(scale**2 * math.pi**2 / 3, rel=0.05)
        assert kstest(values.numpy(), logistic(mean, scale).cdf).statistic < 0.01
    assert abs(np.corrcoef(a.numpy(), residual_b.numpy())[0, 1]) < 0.02


def test_components_are_drawn_by_their_weights() -> None:
    weights, means = np.array([0.5, 0.3, 0.2]), [-0.5, 0.0, 0.5]
    zeros, narrow = [0.0] * 3, [-6.0] * 3
    a, b = draw([list(np.log(weights) + 7), zeros, zeros, zeros, means, narrow, means[::-1], narrow]).unbind(1)
    for weight, mean in zip(weights, means, strict=True):
        of_component = (a - mean).abs() < 0.2
        assert of_component.double().mean().item() == pytest.approx(weight, abs=0.012)
        assert ((b[of_component] + mean).abs() < 0.2).all()


def test_draws_stay_in_range_for_any_noise() -> None:
    parameters, luminance = torch.randn(64, 24, 2, 2) * 3, torch.rand(64, 1, 2, 2)
    for level in (0.0, 0.5, 1.0):
        drawn = mixture.sample(parameters, luminance, torch.full((64, 5, 2, 2), level))
        assert drawn.isfinite().all()
        assert drawn.abs().max() <= 1


@pytest.mark.parametrize(("uniform", "clipped"), [(0.0, 1e-5), (1.0, 1 - 1e-5)])
def test_noise_is_clipped(uniform: float, clipped: float) -> None:
    parameters = torch.tensor([[0, 0, 0, 0, 0.1, -5, -0.2, -6]], dtype=torch.float64)
    noise = torch.full((1, 3), uniform, dtype=torch.float64)
    drawn = mixture.sample(parameters, torch.zeros(1, 1, dtype=torch.float64), noise)
    deviation = logistic.ppf(clipped)
    assert drawn[0].tolist() == pytest.approx([0.1 + math.exp(-5) * deviation, -0.2 + math.exp(-6) * deviation])


def test_b_is_regressed_on_the_clipped_draw_of_a() -> None:
    a, b = draw([[0], [0], [0], [0.5], [3], [-7], [-0.1], [-7]], temperature=0).unbind(1)
    assert (a == 1).all()
    assert b[0].item() == pytest.approx(-0.1 + math.tanh(0.5))


def test_temperature_zero_with_a_dominant_component_returns_its_mean() -> None:
    zeros = [0.0] * 3
    means_a, means_b = [0.1, -0.25, 0.5], [-0.3, 0.625, 0.2]
    drawn = draw([[0, 100, 0], zeros, zeros, zeros, means_a, zeros, means_b, zeros], temperature=0)
    assert torch.equal(drawn, torch.tensor([[-0.25, 0.625]], dtype=torch.float64).expand(DRAWS, 2))


def test_mode_is_the_component_densest_at_its_own_mean() -> None:
    components, pixels = 5, 300
    parameters = torch.randn(1, 8, components, 1, pixels, dtype=torch.float64)
    parameters[:, [5, 7]] = parameters[:, [5, 7]] * 3 - 4
    parameters[:, [4, 6]] *= 0.2
    luminance = torch.rand(1, 1, 1, pixels, dtype=torch.float64)
    drawn = mixture.mode(parameters.flatten(1, 2), luminance)[0, :, 0].numpy()
    expected = []
    winners = set()
    for i in range(pixels):
        logits, raw_0, raw_1, raw_2, mean_a, log_scale_a, mean_b, log_scale_b = parameters[0, :, :, 0, i].numpy()
        lightness = luminance[0, 0, 0, i].item()
        scales = np.exp(np.maximum([log_scale_a, log_scale_b], -7))
        a = mean_a + np.tanh(raw_0) * lightness
        b = mean_b + np.tanh(raw_1) * lightness + np.tanh(raw_2) * np.clip(a, -1, 1)
        density = np.exp(logits) * logistic.pdf(a, a, scales[0]) * logistic.pdf(b, b, scales[1])
        best = int(density.argmax())
        winners.add((best == logits.argmax(), best == scales.prod(0).argmin()))
        expected.append([np.clip(a[best], -1, 1), np.clip(b[best], -1, 1)])
    assert len(winners) == 4, "weights alone, and scales alone, should each have decided otherwise somewhere"
    np.testing.assert_allclose(drawn, np.transpose(expected), rtol=0, atol=1e-12)
