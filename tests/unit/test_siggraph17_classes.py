"""The class head's 529 colours: a colour's cell, a distribution's colour, and maps of every fourth pixel."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from lightning_modules.siggraph17.classes import annealed_mean, class_of, enlarged
from lightning_modules.siggraph17.losses import class_loss


def test_class_is_the_nearest_of_529_cells() -> None:
    chroma = torch.stack([175 * torch.rand(2, 12, 20) - 85, 190 * torch.rand(2, 12, 20) - 104], dim=1)
    chroma[0, :, 0, 0] = torch.tensor([-110.0, -110.0])
    chroma[0, :, 0, 4] = torch.tensor([110.0, 110.0])
    found = class_of(chroma)
    assert found.shape == (2, 3, 5)
    assert found.dtype == torch.int64
    centres = range(-110, 120, 10)
    for picture, row, column in np.ndindex(2, 3, 5):
        a, b = (
            min(range(23), key=lambda k, value=value: abs(centres[k] - value))  # type: ignore[misc]
            for value in chroma[picture, :, 4 * row, 4 * column].tolist()
        )
        assert found[picture, row, column] == 23 * a + b
    assert found[0, 0, :2].tolist() == [0, 528]


@pytest.mark.parametrize("temperature", [1.0, 0.38, 2.0])
def test_annealed_mean_is_the_mean_of_the_sharpened_distribution(temperature: float) -> None:
    logits = 3 * torch.randn(2, 529, 2, 3)
    found = annealed_mean(logits, temperature)
    shares = softmax(logits.double().numpy() / temperature, axis=1)
    centres = np.array([(a, b) for a in range(-110, 120, 10) for b in range(-110, 120, 10)])
    np.testing.assert_allclose(found, np.einsum("bkyx,kc->bcyx", shares, centres), rtol=0, atol=1e-3)


def test_annealed_mean_of_two_colours() -> None:
    chroma = torch.tensor([[0.0, 0.0], [50.0, 50.0]]).view(2, 2, 1, 1)
    logits = torch.full((1, 529, 1, 1), -torch.inf)
    logits[0, class_of(chroma).flatten(), 0, 0] = torch.tensor([0.6, 0.4]).log()
    for temperature, wanted in ((1.0, 20.0), (0.38, 12.7986), (0.01, 0.0)):
        assert annealed_mean(logits, temperature).flatten().tolist() == pytest.approx([wanted, wanted], abs=1e-3)


def test_annealed_mean_is_exact_under_mixed_precision() -> None:
    logits = 3 * torch.randn(1, 529, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found = annealed_mean(logits, 0.38)
    assert torch.equal(found, annealed_mean(logits, 0.38))


def test_loss_of_even_chances_is_the_logarithm_of_their_number() -> None:
    chroma = 40 * torch.randn(2, 2, 9, 8)
    assert class_loss(torch.zeros(2, 529, 3, 2), chroma).item() == pytest.approx(np.log(529))
    sure = torch.zeros(2, 529, 3, 2).scatter_(1, class_of(chroma).unsqueeze(1), 100)
    assert class_loss(sure, chroma).item() == pytest.approx(0)


@pytest.mark.parametrize("size", [(1, 1), (8, 12), (9, 10), (7, 16)])
def test_a_map_of_every_fourth_pixel_is_stretched_in_its_place(size: tuple[int, int]) -> None:
    height, width = size
    full = torch.randn(2, 2, -(-height // 4) * 4 + 1, -(-width // 4) * 4 + 1)
    quarter = full[:, :, :height:4, :width:4]
    found = enlarged(quarter, size)
    assert found.shape == (2, 2, *size)
    assert torch.allclose(found[:, :, ::4, ::4], quarter)
    rows, columns = (np.arange(-(-side // 4)) * 4 for side in size)
    for image, channel in np.ndindex(2, 2):
        along = np.stack([np.interp(np.arange(width), columns, line) for line in quarter[image, channel].numpy()])
        wanted = np.stack([np.interp(np.arange(height), rows, line) for line in along.T], axis=1)
        np.testing.assert_allclose(found[image, channel], wanted, rtol=0, atol=1e-5)
