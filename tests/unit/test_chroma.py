"""PIC's chroma grid: normalisation, subsampling and the way back, against plain NumPy, PyTorch and scikit-image."""

import numpy as np
import pytest
import skimage.color
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.pic import chroma
from lightning_modules.pic.chroma import ChromaGrid


def tensorflow_bilinear(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """TensorFlow 1's bilinear resize with its default flags, of `(H, W)`: output i samples position i * in / out."""
    height, width = picture.shape
    resized = np.empty((rows, columns))
    for y in range(rows):
        for x in range(columns):
            at_y, at_x = y * height / rows, x * width / columns
            top, left = int(at_y), int(at_x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = picture[top, left] + (at_x - left) * (picture[top, right] - picture[top, left])
            lower = picture[bottom, left] + (at_x - left) * (picture[bottom, right] - picture[bottom, left])
            resized[y, x] = upper + (at_y - top) * (lower - upper)
    return resized


def interpolated(picture: Tensor, size: tuple[int, int], factor: int, first_pixel: float) -> Tensor:
    """Bilinear interpolation by `numpy.interp`, sample i standing at pixel `first_pixel + i * factor` of the model.

    A picture of another size than the model's is the model's, stretched edge to edge.
    """
    values = picture.numpy()
    for axis, wanted in zip((2, 3), size, strict=True):
        samples = values.shape[axis]
        stands_at = first_pixel + factor * np.arange(samples)
        pixels = (np.arange(wanted) + 0.5) * samples * factor / wanted - 0.5
        values = np.apply_along_axis(lambda line, x, at: np.interp(x, at, line), axis, values, pixels, stands_at)
    return torch.from_numpy(values)


def random_grid(rows: int, columns: int) -> Tensor:
    """A random picture on the chroma grid, in float64."""
    return torch.randn(2, 3, rows, columns, dtype=torch.float64)


def random_lab(colours: int = 500) -> tuple[Tensor, np.ndarray]:
    """Lab of random eight-bit colours, `(1, 3, N, 1)` in float64, and the colours, `(N, 3)`."""
    rgb = np.random.default_rng(0).integers(0, 256, (colours, 3))
    lab = skimage.color.rgb2lab(rgb / 255)
    return torch.from_numpy(lab).t()[None, :, :, None], rgb


def test_normalisation_vectors() -> None:
    assert chroma.normalize_luminance(torch.tensor([0.0, 50, 70, 100])).tolist() == pytest.approx([-1, 0, 0.4, 1])
    ab = torch.tensor([[[-127.0, 128, 0.5, 10]], [[-128.0, 127, -0.5, -20]]]).transpose(0, 1)
    expected = torch.tensor([[[-1.0, 1, 0, 0.0745098], [-1, 1, 0, -0.1529412]]])
    torch.testing.assert_close(chroma.normalize_chroma(ab), expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(chroma.denormalize_chroma(expected), ab, rtol=0, atol=1e-5)


def test_one_unit_is_two_255ths() -> None:
    ab = torch.randn(1, 2, 4, 4) * 40
    difference = chroma.normalize_chroma(ab + 1) - chroma.normalize_chroma(ab)
    torch.testing.assert_close(difference, torch.full_like(ab, 2 / 255), rtol=0, atol=1e-6)


def test_rounding_gives_the_nearest_whole_values() -> None:
    ab = torch.rand(1, 2, 50, 50, dtype=torch.float64) * 254 - 127
    rounded = chroma.denormalize_chroma(ChromaGrid(4, round_ab=True).rounded(chroma.normalize_chroma(ab)))
    expected = torch.from_numpy(np.rint(ab.numpy()))
    torch.testing.assert_close(rounded, expected, rtol=0, atol=1e-9)


def test_whole_values_survive_rounding_in_float32() -> None:
    a = torch.arange(-127.0, 129)
    ab = torch.stack([a, a - 1])[None, :, :, None]
    normalised = chroma.normalize_chroma(ab)
    assert torch.equal(ChromaGrid(4, round_ab=True).rounded(normalised), normalised)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_stride_takes_every_factor_th_pixel_as_tensorflow_does(factor: int) -> None:
    picture = torch.randn(1, 1, 3 * factor, 5 * factor, dtype=torch.float64)
    small = ChromaGrid(factor).subsample(picture)
    assert torch.equal(small, picture[:, :, ::factor, ::factor])
    assert np.array_equal(small[0, 0].numpy(), tensorflow_bilinear(picture[0, 0].numpy(), 3, 5))


def test_area_takes_the_mean_of_each_block() -> None:
    picture = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    small = ChromaGrid(4, chroma_filter="area").subsample(picture)
    expected = picture.view(2, 3, 2, 4, 3, 4).mean(dim=(3, 5))
    torch.testing.assert_close(small, expected)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_phase_puts_each_sample_back_where_it_was_taken(factor: int) -> None:
    grid = random_grid(4, 6)
    full = ChromaGrid(factor).upsample(grid, (4 * factor, 6 * factor))
    torch.testing.assert_close(full[:, :, ::factor, ::factor], grid, rtol=0, atol=1e-12)


def test_phase_restores_a_linear_ramp() -> None:
    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 8, 16) + 10 * torch.arange(8.0).view(1, 1, 8, 1)
    full = ChromaGrid(4).upsample(ChromaGrid(4).subsample(ramp), (8, 16))
    torch.testing.assert_close(full[:, :, :5, :13], ramp[:, :, :5, :13])


def test_phase_after_area_is_half_pixel_interpolation() -> None:
    grid = random_grid(4, 6)
    full = ChromaGrid(4, chroma_filter="area").upsample(grid, (16, 24))
    torch.testing.assert_close(full, F.interpolate(grid, (16, 24), mode="bilinear", align_corners=False))


@pytest.mark.parametrize("size", [(16, 24), (37, 19), (8, 8), (5, 3), (4, 6)])
def test_corner_is_corner_aligned_interpolation(size: tuple[int, int]) -> None:
    grid = random_grid(4, 6)
    full = ChromaGrid(4, upsampling="corner").upsample(grid, size)
    torch.testing.assert_close(full, F.interpolate(grid, size, mode="bilinear", align_corners=True))


@pytest.mark.parametrize(("chroma_filter", "first_pixel"), [("stride", 0), ("area", 1.5)])
@pytest.mark.parametrize("size", [(16, 24), (37, 19), (64, 200), (5, 3), (1, 2)])
def test_phase_at_any_size(chroma_filter: chroma.ChromaFilter, first_pixel: float, size: tuple[int, int]) -> None:
    grid = random_grid(4, 6)
    full = ChromaGrid(4, chroma_filter=chroma_filter).upsample(grid, size)
    torch.testing.assert_close(full, interpolated(grid, size, 4, first_pixel), rtol=0, atol=1e-12)


@pytest.mark.parametrize("upsampling", ["phase", "corner"])
@pytest.mark.parametrize("chroma_filter", ["stride", "area"])
@pytest.mark.parametrize(
    ("grid_size", "size"), [((4, 6), (33, 17)), ((1, 3), (7, 5)), ((1, 1), (4, 4)), ((2, 2), (1, 1))]
)
def test_constants_stay_constant(
    upsampling: chroma.Upsampling, chroma_filter: chroma.ChromaFilter, grid_size: tuple[int, int], size: tuple[int, int]
) -> None:
    grid = torch.full((1, 2, *grid_size), 0.3)
    full = ChromaGrid(4, chroma_filter=chroma_filter, upsampling=upsampling).upsample(grid, size)
    assert torch.equal(full, torch.full((1, 2, *size), 0.3))


@pytest.mark.parametrize("upsampling", ["phase", "corner"])
def test_a_grid_of_one_row_varies_only_along_it(upsampling: chroma.Upsampling) -> None:
    grid = random_grid(1, 5)
    full = ChromaGrid(4, upsampling=upsampling).upsample(grid, (6, 20))
    assert full.shape == (2, 3, 6, 20)
    assert torch.equal(full, full[:, :, :1].expand_as(full))


def test_canvas_holds_the_eight_bit_colours_of_scikit_image() -> None:
    lab, rgb = random_lab()
    luminance, normalised = chroma.normalize_luminance(lab[:, :1]), chroma.normalize_chroma(lab[:, 1:])
    canvas = ChromaGrid(4, canvas="rgb", round_ab=False).canvas_of(luminance, normalised)
    levels = (canvas * 127.5 + 127.5)[0, :, :, 0].t().numpy()
    np.testing.assert_allclose(levels, rgb, rtol=0, atol=1e-3)


def test_canvas_is_eight_bit_and_in_gamut_for_any_chroma() -> None:
    luminance, normalised = torch.rand(1, 1, 30, 30) * 2 - 1, torch.rand(1, 2, 30, 30) * 2 - 1
    canvas = ChromaGrid(4, canvas="rgb", round_ab=False).canvas_of(luminance, normalised)
    levels = canvas * 127.5 + 127.5
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-3)
    assert levels.round().min() == 0
    assert levels.round().max() == 255


def test_canvas_with_rounding_depends_on_the_whole_values_only() -> None:
    lab, _ = random_lab()
    lab[:, 1:] = lab[:, 1:].round()
    luminance = chroma.normalize_luminance(lab[:, :1])
    nudged = chroma.normalize_chroma(lab[:, 1:] + torch.rand_like(lab[:, 1:]) * 0.8 - 0.4)
    whole = chroma.normalize_chroma(lab[:, 1:])
    assert torch.equal(ChromaGrid(4, canvas="ab", round_ab=False).canvas_of(luminance, nudged), nudged)
    torch.testing.assert_close(ChromaGrid(4, canvas="ab", round_ab=True).canvas_of(luminance, nudged), whole)
    from_nudged, from_whole = (
        ChromaGrid(4, canvas="rgb", round_ab=True).canvas_of(luminance, each) for each in (nudged, whole)
    )
    assert torch.equal(from_nudged, from_whole)
    expected = skimage.color.lab2rgb(lab[0, :, :, 0].t().numpy()) * 2 - 1
    np.testing.assert_allclose(from_whole[0, :, :, 0].t().numpy(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("canvas", ["rgb", "ab"])
@pytest.mark.parametrize("round_ab", [False, True])
def test_training_and_sampling_see_the_same_canvas(canvas: chroma.Canvas, round_ab: bool) -> None:
    rgb = torch.randint(0, 256, (2, 3, 16, 16)) / 255
    picture = ChromaGrid(4, canvas=canvas, round_ab=round_ab).picture(rgb)
    drawn = ChromaGrid(4, canvas=canvas, round_ab=round_ab).canvas_of(picture.luminance, picture.chroma)
    torch.testing.assert_close(drawn, picture.canvas, rtol=0, atol=1e-5)
