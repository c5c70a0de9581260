"""The class head's 529 colours: a colour's cell, a distribution's colour, and maps of every fourth pixel."""

import numpy as np
import pytest
import torch

from lightning_modules.siggraph17.classes import class_centres, class_of, enlarged
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


def test_classes_and_their_colours_are_in_one_order() -> None:
    centres = class_centres()
    wanted = [(a, b) for a in range(-110, 120, 10) for b in range(-110, 120, 10)]
    assert [tuple(each) for each in centres.tolist()] == wanted
    assert class_of(centres.view(529, 2, 1, 1)).flatten().tolist() == list(range(529))


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
