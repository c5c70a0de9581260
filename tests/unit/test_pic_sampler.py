"""The cached decoder against the naive one: equal outputs and equal samples."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_modules.layers import logistic_mixture
from lightning_modules.pic.chroma import Canvas, ChromaGrid
from lightning_modules.pic.network import AutoregressiveNetwork
from lightning_modules.pic.sampler import CachedDecoder, Decoder, NaiveDecoder, sample_canvas

EMBEDDING_WIDTH = 5
MIXTURES = 2
MakeNetwork = Callable[..., AutoregressiveNetwork]


def replay(decoder: Decoder, canvas: Tensor, embedding: Tensor, samples: int = 1) -> Tensor:
    """The decoder's parameters, `(B, 8K, H, W)`, when the true `canvas`, `(B, C, H, W)`, is put after each pixel."""
    height, width = canvas.shape[2:]
    decoder.begin(embedding, samples)
    rows = []
    for y in range(height):
        decoder.row(y)
        pixels = []
        for x in range(width):
            pixels.append(decoder.pixel(y, x).clone())
            decoder.put(y, x, canvas[:, :, y, x])
        rows.append(torch.stack(pixels, dim=2))
    return torch.stack(rows, dim=2)


def random_inputs(
    height: int, width: int, batch: int = 1, channels: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """A canvas in [-1, 1] and an embedding."""
    canvas = torch.rand(batch, channels, height, width, dtype=dtype) * 2 - 1
    return canvas, torch.randn(batch, EMBEDDING_WIDTH, height, width, dtype=dtype)


def assert_same(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    """Compare relative to the largest expected value."""
    assert actual.shape == expected.shape
    assert ((actual - expected).abs().max() / expected.abs().max()).item() <= tolerance


def random_draw(pictures: int, samples: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Normalised luminance and the noise of several samples a picture."""
    luminance = torch.rand(pictures, 1, height, width, dtype=torch.float64) * 2 - 1
    return luminance, torch.rand(pictures, samples, height, width, MIXTURES + 2, dtype=torch.float64)


def draw(
    decoder: Decoder,
    embedding: Tensor,
    luminance: Tensor,
    noise: Tensor,
    canvas: Canvas = "rgb",
    temperature: float = 1,
) -> Tensor:
    """Sampled canvases, 8-bit if `canvas` is "rgb"."""
    colour = ChromaGrid(1, canvas=canvas).canvas_of
    return sample_canvas(decoder, embedding, luminance, noise, colour, temperature)


@pytest.mark.parametrize(("channels", "dtype", "tolerance"), [(3, torch.float64, 1e-12), (2, torch.float32, 1e-5)])
def test_replay_equals_the_full_forward(
    make_network: MakeNetwork, channels: int, dtype: torch.dtype, tolerance: float
) -> None:
    network = make_network(channels, blocks=3, dtype=dtype)
    canvas, embedding = random_inputs(5, 4, channels=channels, dtype=dtype)
    assert_same(replay(CachedDecoder(network), canvas, embedding), network(canvas, embedding), tolerance)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (4, 1), (2, 2), (4, 2), (2, 3), (4, 9)])
def test_replay_at_any_size(make_network: MakeNetwork, height: int, width: int) -> None:
    network = make_network(blocks=1)
    canvas, embedding = random_inputs(height, width)
    assert_same(replay(CachedDecoder(network), canvas, embedding), network(canvas, embedding))


def test_replay_by_the_naive_decoder_equals_the_full_forward(make_network: MakeNetwork) -> None:
    network = make_network(blocks=1)
    canvas, embedding = random_inputs(2, 3)
    assert_same(replay(NaiveDecoder(network), canvas, embedding), network(canvas, embedding))


def test_one_decoder_serves_picture_after_picture(make_network: MakeNetwork) -> None:
    network = make_network(blocks=1)
    decoder = CachedDecoder(network)
    for height, width, batch in ((3, 4, 1), (3, 4, 1), (2, 5, 2)):
        canvas, embedding = random_inputs(height, width, batch)
        assert_same(replay(decoder, canvas, embedding), network(canvas, embedding))


def test_pictures_of_a_batch_are_independent(make_network: MakeNetwork) -> None:
    network = make_network()
    canvas, embedding = random_inputs(2, 4, batch=3)
    together = replay(CachedDecoder(network), canvas, embedding)
    canvas[1], embedding[1] = torch.randn_like(canvas[1]), torch.randn_like(embedding[1])
    other = replay(CachedDecoder(network), canvas, embedding)
    assert_same(other[[0, 2]], together[[0, 2]])
    assert (other[1] != together[1]).flatten(1).any(dim=0).all()


def test_samples_of_a_picture_share_its_embedding(make_network: MakeNetwork) -> None:
    network = make_network(blocks=1)
    canvas, _ = random_inputs(2, 3, batch=6)
    _, embedding = random_inputs(2, 3, batch=2)
    expected = network(canvas, embedding.repeat_interleave(3, dim=0))
    assert_same(replay(CachedDecoder(network), canvas, embedding, samples=3), expected)
    assert_same(replay(NaiveDecoder(network), canvas, embedding, samples=3), expected)


def test_future_of_the_canvas_is_never_read(make_network: MakeNetwork) -> None:
    network = make_network(blocks=1)
    canvas, embedding = random_inputs(3, 4)
    expected = network(canvas, embedding)
    cached, naive = CachedDecoder(network), NaiveDecoder(network)
    cached.begin(embedding, 1)
    naive.begin(embedding, 1)
    cached.canvas[:, :, 1:, 1:-1] = float("nan")
    naive.canvas.normal_(std=100)
    for y in range(3):
        for decoder in (cached, naive):
            decoder.row(y)
        for x in range(4):
            for decoder in (cached, naive):
                assert_same(decoder.pixel(y, x), expected[:, :, y, x])
                decoder.put(y, x, canvas[:, :, y, x])


@pytest.mark.parametrize(("height", "width", "samples"), [(3, 4, 1), (2, 2, 2), (1, 4, 1), (3, 1, 1)])
def test_same_noise_gives_the_same_eight_bit_canvas(
    make_network: MakeNetwork, height: int, width: int, samples: int
) -> None:
    network = make_network(blocks=1)
    _, embedding = random_inputs(height, width)
    luminance, noise = random_draw(1, samples, height, width)
    cached, naive = (draw(kind(network), embedding, luminance, noise) for kind in (CachedDecoder, NaiveDecoder))
    assert cached.shape == (samples, 3, height, width)
    torch.testing.assert_close(cached, naive, rtol=0, atol=1e-6)
    levels = cached * 127.5 + 127.5
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-3)
    assert len(levels.round().unique()) > 2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_same_noise_gives_the_same_chroma_in_float32(make_network: MakeNetwork, temperature: float) -> None:
    network = make_network(2, blocks=1, dtype=torch.float32)
    embedding, luminance, noise = (x.float() for x in (random_inputs(3, 3)[1], *random_draw(1, 1, 3, 3)))
    cached, naive = (
        draw(kind(network), embedding, luminance, noise, "ab", temperature) for kind in (CachedDecoder, NaiveDecoder)
    )
    torch.testing.assert_close(cached, naive, rtol=0, atol=1e-4)
    assert cached.std() > 0.1


def test_samples_stand_beside_each_other(make_network: MakeNetwork) -> None:
    network = make_network(2, blocks=1)
    _, embedding = random_inputs(2, 3, batch=2)
    luminance, noise = random_draw(2, 3, 2, 3)
    together = draw(CachedDecoder(network), embedding, luminance, noise, "ab").unflatten(0, (2, 3))
    for i, j in ((0, 1), (1, 0), (1, 2)):
        picture, sample = slice(i, i + 1), slice(j, j + 1)
        alone = draw(CachedDecoder(network), embedding[picture], luminance[picture], noise[picture, sample], "ab")
        assert_same(together[picture, j], alone)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_a_drawn_canvas_explains_itself(make_network: MakeNetwork, temperature: float) -> None:
    """Redrawing every pixel at once from the finished canvas, with the same noise, gives the same canvas."""
    network = make_network(2, blocks=1)
    _, embedding = random_inputs(3, 4)
    luminance, noise = random_draw(1, 1, 3, 4)
    canvas = draw(CachedDecoder(network), embedding, luminance, noise, "ab", temperature)
    parameters, noise = network(canvas, embedding), noise[:, 0].permute(0, 3, 1, 2)
    again = logistic_mixture.sample(parameters, luminance, noise, temperature)
    torch.testing.assert_close(again, canvas, rtol=0, atol=1e-10)


@pytest.mark.parametrize("place", [(0, 0), (1, 3)])
def test_a_changed_embedding_acts_on_both_alike(make_network: MakeNetwork, place: tuple[int, int]) -> None:
    network = make_network(blocks=1)
    canvas, embedding = random_inputs(3, 4)
    before = replay(CachedDecoder(network), canvas, embedding)
    embedding[:, :, place[0], place[1]] += 1
    cached = replay(CachedDecoder(network), canvas, embedding)
    assert_same(cached, network(canvas, embedding))
    assert (cached[:, :, place[0], place[1]] != before[:, :, place[0], place[1]]).any()
