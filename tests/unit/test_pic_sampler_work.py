"""How many multiply-adds sampling takes, counted operator by operator, against the closed form.

A convolution is counted at every position of its kernel, on padding too. The counts at the published size run on the
meta device: shapes only.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_modules.pic.network import AutoregressiveNetwork
from lightning_modules.pic.sampler import CachedDecoder, NaiveDecoder

MakeNetwork = Callable[..., AutoregressiveNetwork]

MATRIX_PRODUCTS = {
    torch.ops.aten.mm.default: 0,
    torch.ops.aten.addmm.default: 1,
    torch.ops.aten.bmm.default: 0,
    torch.ops.aten.baddbmm.default: 1,
}
"""Operators that multiply matrices, and which of their arguments is the left factor."""


class MultiplyAdds(TorchDispatchMode):
    """Counts the multiply-adds of convolutions and matrix products within its context."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operator and add its work."""
        output = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.count += output.numel() * args[1][0].numel()
        elif func in MATRIX_PRODUCTS:
            self.count += output.numel() * args[MATRIX_PRODUCTS[func]].shape[-1]
        return output


def count(function: Callable[..., Any], *arguments: Any) -> int:
    """The multiply-adds of `function(*arguments)`."""
    mode = MultiplyAdds()
    with mode, torch.no_grad():
        function(*arguments)
    return mode.count


def per_position(width: int, embedding: int, blocks: int, outputs: int, canvas: int = 4) -> int:
    """Multiply-adds of one position of a full forward."""
    first = (6 + 3 + 2) * canvas * width
    convolutions = 9 * 2 * width * width + 9 * 2 * width * 2 * width
    above = convolutions + 2 * embedding * width
    left = convolutions + 2 * (width + embedding) * width
    return first + blocks * (above + left) + width * outputs


def replaced_by_zeros(height: int, width_of_grid: int, width: int, canvas: int = 4) -> int:
    """Multiply-adds of the outputs that a full forward computes and its three shifts then push out of the grid.

    Of the two taps of the rightward shift, the upper one is computed with its row, out-of-grid column included.
    """
    last_row, last_column = (6 + 3) * width_of_grid, height
    return (last_row + last_column) * canvas * width


def run(decoder: CachedDecoder | NaiveDecoder, embedding: Tensor, samples: int) -> None:
    """Walk over the whole grid, putting zeros."""
    decoder.begin(embedding, samples)
    for y in range(embedding.shape[2]):
        decoder.row(y)
        for x in range(embedding.shape[3]):
            decoder.pixel(y, x)
            decoder.put(y, x, torch.zeros(len(embedding) * samples, 3, dtype=embedding.dtype))


@pytest.fixture
def published() -> tuple[AutoregressiveNetwork, Tensor]:
    """The network of the published size (both widths 160, four blocks) and a 32 x 32 embedding: shapes only."""
    with torch.device("meta"):
        return AutoregressiveNetwork(3, 160).eval(), torch.empty(1, 160, 32, 32)


def test_closed_form_at_the_published_size() -> None:
    assert per_position(160, 160, 4, 80) == 11_693_440
    assert per_position(160, 512, 4, 80) == 12_594_560
    assert per_position(160, 256, 4, 80) == 11_939_200
    assert 32 * 32 * per_position(160, 160, 4, 80) == 11_974_082_560


@pytest.mark.parametrize(("embedding_width", "expected"), [(160, 11_693_440), (256, 11_939_200)])
def test_naive_decoder_at_the_published_widths(make_network: MakeNetwork, embedding_width: int, expected: int) -> None:
    network = make_network(3, embedding_width, width=160, blocks=4, mixtures=10, dtype=torch.float32)
    decoder = NaiveDecoder(network)
    assert count(decoder.begin, torch.zeros(1, embedding_width, 1, 2), 1) == 0
    assert count(decoder.pixel, 0, 0) == 2 * expected


def test_cached_decoder_at_the_published_size(published: tuple[AutoregressiveNetwork, Tensor]) -> None:
    """Each output that is used is computed once.

    The two upper rows of every 3x3 convolution of the `left` stream, and the upper tap of its 2x1, are computed with
    the row: that moves work from the pixels to the row.
    """
    network, embedding = published
    decoder = CachedDecoder(network)
    once = count(decoder.begin, embedding, 1)
    assert once == 419_430_400
    moved = 4 * 6 * 320 * (160 + 320)
    first_row, row = count(decoder.row, 0), count(decoder.row, 1)
    assert row == 183_685_120 + 32 * moved + 32 * 4 * 160
    assert first_row == row - 32 * 9 * 4 * 160
    first_pixel, pixel = count(decoder.pixel, 1, 0), count(decoder.pixel, 1, 1)
    assert pixel == 5_543_680 - moved - 4 * 160
    assert first_pixel == pixel - 4 * 160
    total = once + first_row + 31 * row + 32 * (first_pixel + 31 * pixel)
    assert total == 11_974_082_560 - replaced_by_zeros(32, 32, 160)


@pytest.mark.parametrize(("height", "width"), [(2, 3), (1, 4)])
def test_whole_cached_run_takes_one_forward(make_network: MakeNetwork, height: int, width: int) -> None:
    network = make_network(width=6, embedding_width=5, blocks=2, mixtures=2)
    embedding = torch.randn(1, 5, height, width, dtype=torch.float64)
    forward = count(network, torch.zeros(1, 3, height, width, dtype=torch.float64), embedding)
    assert forward == height * width * per_position(6, 5, 2, 16)
    assert count(run, CachedDecoder(network), embedding, 1) == forward - replaced_by_zeros(height, width, 6)
    assert count(run, NaiveDecoder(network), embedding, 1) == height * width * forward


def test_share_of_the_embedding_is_computed_once_for_all_samples(make_network: MakeNetwork) -> None:
    network = make_network(width=6, embedding_width=5, blocks=2, mixtures=2)
    embedding = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    decoder = CachedDecoder(network)
    shared = count(decoder.begin, embedding, 1)
    assert shared == 2 * (2 * 3) * (2 * 2) * (2 * 5 * 6)
    assert count(decoder.begin, embedding, 7) == shared
    one, seven = count(run, decoder, embedding, 1), count(run, decoder, embedding, 7)
    assert seven - shared == 7 * (one - shared)
