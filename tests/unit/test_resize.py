"""Resizing pictures: against the filter spelt out, and Pillow."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from datamodules.transforms import resized as resized_layers
from datamodules.transforms import resized_by_short_side as layers_by_short_side
from lightning_modules.resize import resized, resized_by_short_side, size_by_short_side
from tests.conftest import colourful_pictures

SMALLER = [(9, 7), (20, 30), (1, 5), (40, 7)]
LARGER = [(40, 30), (64, 90)]


def weights(before: int, after: int) -> npt.NDArray[np.float64]:
    """What each of `before` samples adds to each of `after`: Keys' cubic, a = -0.5, widened to a step if it shrinks."""
    scale = before / after
    stretch = max(scale, 1)
    rows = np.zeros((after, before))
    for target in range(after):
        centre = (target + 0.5) * scale
        for source in range(before):
            x = abs((source + 0.5 - centre) / stretch)
            if x < 1:
                rows[target, source] = 1.5 * x**3 - 2.5 * x**2 + 1
            elif x < 2:
                rows[target, source] = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    rows /= rows.sum(axis=1, keepdims=True)
    return rows


def reference(picture: Tensor, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Resized (3, H, W), not clipped."""
    height, width = picture.shape[1:]
    rows, columns = weights(height, size[0]), weights(width, size[1])
    return np.asarray(np.einsum("yh,chw,xw->cyx", rows, picture.double().numpy(), columns), dtype=np.float64)


def noise(height: int = 40, width: int = 30) -> Tensor:
    """Random colours, whose edges make the filter overshoot, uint8 (3, height, width)."""
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [*SMALLER, *LARGER, (20, 31), (1, 1)])
def test_floating_pictures_are_filtered_and_clipped(size: tuple[int, int]) -> None:
    picture = noise() / 255
    wanted = reference(picture, size)
    if size == (64, 90):
        assert wanted.min() < -0.01
        assert wanted.max() > 1.01
    got = resized(picture, size)
    assert got.dtype == torch.float32
    assert np.abs(got.numpy() - wanted.clip(0, 1)).max() < 1e-5


@pytest.mark.parametrize("size", SMALLER)
def test_eight_bit_pictures_are_filtered_and_rounded(size: tuple[int, int]) -> None:
    got = resized(noise(), size)
    assert got.dtype == torch.uint8
    # rows are rounded before columns are summed
    assert np.abs(got.numpy() - reference(noise(), size).clip(0, 255)).max() < 1.1


@pytest.mark.parametrize("size", [*SMALLER, *LARGER])
def test_eight_bit_pictures_are_pillows(size: tuple[int, int]) -> None:
    picture = Image.fromarray(noise().permute(1, 2, 0).contiguous().numpy())
    wanted = np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(resized(noise(), size).permute(1, 2, 0).numpy() - wanted).max() <= 1


def test_samples_of_a_picture_are_resized_alike() -> None:
    pictures = colourful_pictures(6, 20).unflatten(0, (2, 3))
    got = resized(pictures, (8, 9))
    assert got.shape == (2, 3, 3, 8, 9)
    for row in range(2):
        for column in range(3):
            assert torch.equal(got[row, column], resized(pictures[row, column], (8, 9)))


@pytest.mark.parametrize(
    ("height", "width", "short_side", "wanted"),
    [
        (375, 500, 256, (256, 341)),
        (500, 375, 256, (341, 256)),
        (333, 500, 256, (256, 384)),
        (300, 500, 256, (256, 427)),
        (256, 999, 256, (256, 999)),
        (10, 10, 3, (3, 3)),
        (1, 7, 4, (4, 28)),
        (2, 1001, 1, (1, 500)),
    ],
)
def test_the_shorter_side_has_the_length(height: int, width: int, short_side: int, wanted: tuple[int, int]) -> None:
    assert size_by_short_side(height, width, short_side) == wanted


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("short_side", [12, 30, 45])
def test_the_aspect_is_kept(dtype: torch.dtype, short_side: int) -> None:
    picture = noise() if dtype == torch.uint8 else noise() / 255
    got = resized_by_short_side(picture, short_side)
    assert torch.equal(got, resized(picture, (round(short_side * 4 / 3), short_side)))
    if short_side == 30:
        assert torch.equal(got, picture)


def test_layers_are_resized_as_pictures_are() -> None:
    picture, mask = noise(), noise()[:1] // 64
    got, small_mask = layers_by_short_side([picture, mask], 15)
    assert torch.equal(got, resized_by_short_side(picture, 15))
    places = torch.arange(20) * 2 + 1
    assert torch.equal(small_mask[0], mask[0][places][:, places[:15]])
    assert torch.equal(resized_layers([picture], (9, 7))[0], resized(picture, (9, 7)))
