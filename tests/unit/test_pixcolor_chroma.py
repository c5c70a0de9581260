"""PixColor's chroma against Pillow, JFIF's equations and naive loops."""

from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from lightning_modules.color import to_float, to_uint8
from lightning_modules.pixcolor.chroma import bins_of, canvas_of, chroma_of, join, luminance_and_chroma
from tests.conftest import colourful_pictures


def jfif_rgb(
    y: npt.NDArray[np.float64], cb: npt.NDArray[np.float64], cr: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """JFIF's inverse of YCbCr in 0..255, each `(H, W)`: RGB in [0, 1], clipped, `(3, H, W)`."""
    red = y + 1.402 * (cr - 128)
    green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
    blue = y + 1.772 * (cb - 128)
    return np.stack([red, green, blue]).clip(0, 255) / 255


def stretched(coarse: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float64]:
    """A map, `(h, w)`, whose values stand in the middle of its cells, read linearly at every pixel."""
    for axis, side in ((0, height), (1, width)):
        centres = side / coarse.shape[axis] * (np.arange(coarse.shape[axis]) + 0.5) - 0.5
        coarse = np.apply_along_axis(partial(np.interp, np.arange(side), centres), axis, coarse)
    return coarse


def test_bins_are_the_nearest_multiples_of_eight() -> None:
    special = [0, 3.9, 4.1, 128, 251, 252, 255, 255.5]
    values = [*special, *np.arange(0.05, 255.5, 0.3)]
    wanted = [min(range(32), key=lambda k: abs(8 * k - value)) for value in values]
    assert wanted[:8] == [0, 0, 1, 16, 31, 31, 31, 31]
    found = bins_of(torch.tensor(values, dtype=torch.float32))
    assert found.dtype == torch.int64
    assert found.tolist() == wanted


def test_bins_stand_for_multiples_of_eight_and_are_seen_from_minus_one_to_one() -> None:
    bins = torch.arange(32)
    assert chroma_of(bins).tolist() == [8 * k for k in range(32)]
    assert torch.equal(bins_of(chroma_of(bins)), bins)
    canvas = canvas_of(bins)
    assert canvas.dtype == torch.float32
    assert canvas[[0, -1]].tolist() == [-1, 1]
    assert canvas.tolist() == pytest.approx([(k - 15.5) / 15.5 for k in range(32)])


def test_grey_stays_grey() -> None:
    grey = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, -1, -1)
    luminance, chroma = luminance_and_chroma(to_float(grey))
    bins = bins_of(chroma)
    assert (bins == 16).all()
    assert (chroma_of(bins) == 128).all()
    rgb = join(luminance, chroma_of(bins)[:, :, ::8, ::8])
    assert torch.equal(to_uint8(rgb), grey)
    torch.testing.assert_close(rgb, to_float(grey), rtol=0, atol=1e-6)


def test_luminance_and_chroma_are_pillows_with_cr_first() -> None:
    pictures = torch.cat([colourful_pictures(2, 24), torch.randint(0, 256, (2, 3, 24, 24)).byte()])
    luminance, chroma = luminance_and_chroma(to_float(pictures))
    assert luminance.shape == (4, 1, 24, 24)
    assert chroma.shape == (4, 2, 24, 24)
    for picture, y, (cr, cb) in zip(pictures, luminance, chroma, strict=True):
        theirs = np.asarray(Image.fromarray(picture.permute(1, 2, 0).numpy()).convert("YCbCr"), dtype=np.float64)
        for ours, wanted in zip((255 * y[0], cb, cr), theirs.transpose(2, 0, 1), strict=True):
            assert np.abs(ours.numpy() - wanted).max() <= 1


def test_pure_red_has_the_largest_cr() -> None:
    luminance, chroma = luminance_and_chroma(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1))
    assert luminance.item() == pytest.approx(0.299)
    assert chroma.flatten().tolist() == pytest.approx([255.5, 128 - 255 * 0.299 / 1.772])


def test_joining_chroma_of_full_size_gives_the_picture_back() -> None:
    rgb = torch.rand(3, 3, 11, 17)
    torch.testing.assert_close(join(*luminance_and_chroma(rgb)), rgb, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(16, 24), (13, 37)])
def test_low_chroma_is_stretched_linearly_between_the_middles_of_its_cells(size: tuple[int, int]) -> None:
    luminance, chroma = torch.rand(2, 1, *size), 255 * torch.rand(2, 2, 2, 5)
    rgb = join(luminance, chroma)
    for ours, (y,), (cr, cb) in zip(rgb, luminance.double().numpy(), chroma.double().numpy(), strict=True):
        wanted = jfif_rgb(255 * y, stretched(cb, *size), stretched(cr, *size))
        assert ((wanted > 0) & (wanted < 1)).mean() > 0.3
        assert np.abs(ours.numpy() - wanted).max() < 1e-5
