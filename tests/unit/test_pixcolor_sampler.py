"""PixColor's cached decoder against the naive one: equal logits, equal samples, and no work done twice."""

from collections.abc import Callable
from typing import Any, Literal, cast

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lightning_modules.pixcolor.chroma import canvas_of
from lightning_modules.pixcolor.pixelcnn import MaskedConv2d, PixelCNN
from lightning_modules.pixcolor.sampler import CachedDecoder, Decoder, NaiveDecoder, draw, sample_bins
from tests.unit.test_pixcolor_pixelcnn import CONDITION_WIDTH, small_pixelcnn

RESIDUAL_BIASES = 10 * 64
"""Multiply-adds that a pixel spends on the column of ones for the residuals' biases, at the published size."""

Visit = Callable[[int, int, int], None]


def walk(decoder: Decoder, bins: Tensor, condition: Tensor, samples: int, visit: Visit) -> None:
    """Put the true `bins`, `(N, 2, H, W)`, symbol after symbol, and `visit` each before."""
    decoder.begin(condition, samples)
    for y in range(bins.shape[2]):
        decoder.row(y)
        for x in range(bins.shape[3]):
            for symbol in (0, 1):
                visit(y, x, symbol)
                decoder.put(y, x, symbol, bins[:, symbol, y, x])


def replay(decoder: Decoder, bins: Tensor, condition: Tensor, samples: int = 1) -> Tensor:
    """The decoder's logits, as the network's, when the true bins are put."""
    logits: list[Tensor] = []
    walk(decoder, bins, condition, samples, lambda y, x, symbol: logits.append(decoder.pixel(y, x, symbol)))
    return torch.stack(logits, dim=2).view(len(bins), -1, *bins.shape[2:], 2).permute(0, 4, 1, 2, 3)


def random_inputs(height: int, width: int, pictures: int = 1, samples: int = 1) -> tuple[Tensor, Tensor]:
    """Bins for every sample and a condition for every picture."""
    bins = torch.randint(0, 32, (pictures * samples, 2, height, width))
    return bins, torch.randn(pictures, CONDITION_WIDTH, height, width, dtype=torch.float64)


def full_forward(network: PixelCNN, bins: Tensor, condition: Tensor) -> Tensor:
    """The logits of a whole picture at once."""
    return cast(Tensor, network(canvas_of(bins).to(condition.dtype), condition))


def assert_same(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    """Compare relative to the largest expected value."""
    assert actual.shape == expected.shape
    assert ((actual - expected).abs().max() / expected.abs().max()).item() <= tolerance


@pytest.mark.parametrize("conditioning", ["gates", "logits"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_replay_equals_the_full_forward(
    conditioning: Literal["gates", "logits"], dtype: torch.dtype, tolerance: float
) -> None:
    network = small_pixelcnn(dtype, conditioning=conditioning)
    bins, condition = random_inputs(5, 6, pictures=2)
    condition = condition.to(dtype)
    assert_same(replay(CachedDecoder(network), bins, condition), full_forward(network, bins, condition), tolerance)


def test_replay_at_the_published_size_in_float32() -> None:
    network = PixelCNN(CONDITION_WIDTH).requires_grad_(False)
    bins, condition = random_inputs(4, 5)
    expected = full_forward(network, bins, condition.float())
    assert_same(replay(CachedDecoder(network), bins, condition.float()), expected, 1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (4, 1), (2, 2), (7, 3), (3, 9)])
def test_replay_at_any_size(height: int, width: int) -> None:
    network = small_pixelcnn(blocks=3)
    bins, condition = random_inputs(height, width)
    assert_same(replay(CachedDecoder(network), bins, condition), full_forward(network, bins, condition))


def test_replay_by_the_naive_decoder_equals_the_full_forward() -> None:
    network = small_pixelcnn(width=4)
    bins, condition = random_inputs(2, 3)
    assert_same(replay(NaiveDecoder(network), bins, condition), full_forward(network, bins, condition))


def test_one_decoder_serves_picture_after_picture() -> None:
    network = small_pixelcnn()
    decoder = CachedDecoder(network)
    for height, width, pictures in ((3, 4, 1), (3, 4, 1), (2, 5, 2)):
        bins, condition = random_inputs(height, width, pictures)
        assert_same(replay(decoder, bins, condition), full_forward(network, bins, condition))


def test_samples_of_a_picture_share_its_condition() -> None:
    network = small_pixelcnn()
    bins, condition = random_inputs(2, 3, pictures=2, samples=3)
    expected = full_forward(network, bins, condition.repeat_interleave(3, dim=0))
    for kind in (CachedDecoder, NaiveDecoder):
        assert_same(replay(kind(network), bins, condition, samples=3), expected)


def test_future_of_the_canvas_is_never_read() -> None:
    network = small_pixelcnn()
    bins, condition = random_inputs(3, 5)
    expected = full_forward(network, bins, condition)
    cached, naive = CachedDecoder(network), NaiveDecoder(network)

    def spoil_then_compare(y: int, x: int, symbol: int) -> None:
        cached.canvas.view(-1, 2)[3 + x, symbol:] = float("nan")
        cached.canvas.view(-1, 2)[3 + x + 1 :] = float("nan")
        assert_same(cached.pixel(y, x, symbol), expected[:, symbol, :, y, x])

    def disturb_then_compare(y: int, x: int, symbol: int) -> None:
        naive.canvas[:, symbol:, y, x].normal_(std=100)
        naive.canvas[:, :, y, x + 1 :].normal_(std=100)
        naive.canvas[:, :, y + 1 :].normal_(std=100)
        assert_same(naive.pixel(y, x, symbol), expected[:, symbol, :, y, x])

    walk(cached, bins, condition, 1, spoil_then_compare)
    walk(naive, bins, condition, 1, disturb_then_compare)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_same_noise_gives_the_same_bins(dtype: torch.dtype, temperature: float) -> None:
    network = small_pixelcnn(dtype)
    _, condition = random_inputs(4, 5, pictures=2)
    noise = torch.rand(2, 2, 4, 5, 2)
    (cached, likelihood), (naive, expected) = (
        sample_bins(kind(network), condition.to(dtype), noise, temperature) for kind in (CachedDecoder, NaiveDecoder)
    )
    assert cached.shape == (4, 2, 4, 5)
    assert cached.dtype == torch.int64
    assert torch.equal(cached, naive)
    assert len(cached.unique()) > 2
    torch.testing.assert_close(likelihood, expected)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_likelihood_is_that_of_the_drawn_bins_at_temperature_one(temperature: float) -> None:
    network = small_pixelcnn()
    _, condition = random_inputs(3, 4, pictures=2)
    bins, likelihood = sample_bins(CachedDecoder(network), condition, torch.rand(2, 1, 3, 4, 2), temperature)
    log_probability = full_forward(network, bins, condition).log_softmax(dim=2)
    expected = log_probability.gather(2, bins[:, :, None]).sum(dim=(1, 2, 3, 4))
    torch.testing.assert_close(likelihood, expected)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_drawn_bins_explain_themselves(temperature: float) -> None:
    """Redrawing every symbol at once from the finished bins, with the same noise, gives the same bins."""
    network = small_pixelcnn()
    _, condition = random_inputs(3, 4)
    noise = torch.rand(1, 1, 3, 4, 2)
    bins, _ = sample_bins(CachedDecoder(network), condition, noise, temperature)
    logits = full_forward(network, bins, condition).permute(0, 3, 4, 1, 2).flatten(0, 3)
    assert torch.equal(draw(logits, noise.flatten(), temperature), bins.permute(0, 2, 3, 1).flatten())


def test_samples_stand_beside_each_other() -> None:
    network = small_pixelcnn()
    _, condition = random_inputs(2, 3, pictures=2)
    noise = torch.rand(2, 3, 2, 3, 2)
    together = sample_bins(CachedDecoder(network), condition, noise)[0].unflatten(0, (2, 3))
    for i, j in ((0, 1), (1, 0), (1, 2)):
        alone, _ = sample_bins(CachedDecoder(network), condition[i : i + 1], noise[i : i + 1, j : j + 1])
        assert torch.equal(together[i, j], alone[0])


def test_draw_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0]).log()
    noise = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-24])
    rows = logits.expand(6, -1)
    assert draw(rows, noise, 1.0).tolist() == [1, 1, 3, 3, 4, 4]
    assert draw(rows, noise, 0.0).tolist() == [3] * 6
    squared = torch.tensor([0.0, 1 / 6 - 1e-3, 1 / 6 + 1e-3, 5 / 6 - 1e-3, 5 / 6 + 1e-3, 0.99])
    assert draw(rows, squared, 0.5).tolist() == [1, 1, 3, 3, 4, 4]


def test_no_noise_leaves_the_bins() -> None:
    logits = torch.randn(1000, 32) * 3
    assert draw(logits, torch.full((1000,), 1 - 2**-24), 1.0).max().item() <= 31
    assert draw(logits, torch.zeros(1000), 1.0).min().item() >= 0


def count(function: Callable[..., Any], *arguments: Any) -> int:
    """The multiply-adds of `function(*arguments)`; a convolution's at every position of its kernel, on padding too."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*arguments)
    return int(counter.get_total_flops()) // 2


def test_work_at_the_published_size() -> None:
    """Every weight that is not masked multiplies once a position."""
    decoder = CachedDecoder(PixelCNN())
    assert count(decoder.begin, torch.randn(1, 64, 28, 28), 1) == 128_450_560
    for y in (0, 1):
        assert count(decoder.row, y) == 39_144_448
        for x in (0, 1):
            pixel = sum(count(decoder.pixel, y, x, symbol) for symbol in (0, 1))
            assert pixel == 354_720 + RESIDUAL_BIASES
    assert 128_450_560 + 28 * 39_144_448 + 784 * 354_720 == 1_502_595_584


@pytest.mark.parametrize(("height", "width"), [(2, 3), (1, 4)])
def test_whole_cached_run_takes_one_forward_without_masked_weights(height: int, width: int) -> None:
    network = small_pixelcnn(width=6, blocks=2, hidden_width=10)
    bins, condition = random_inputs(height, width)
    forward, pixels = count(full_forward, network, bins, condition), height * width
    masks = [module.mask for module in network.modules() if isinstance(module, MaskedConv2d)]
    masked, residual_biases = sum(int((mask == 0).sum()) for mask in masks), 2 * 6
    cached = count(replay, CachedDecoder(network), bins, condition)
    assert cached == forward - pixels * (masked - residual_biases)
    assert count(replay, NaiveDecoder(network), bins, condition) == 2 * pixels * forward
