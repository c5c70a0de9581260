"""Colour spaces against scikit-image, colorsys and published numbers."""

import colorsys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import skimage.color
import torch
from torch import Tensor

from lightning_modules import color
from lightning_modules.pic.chroma import normalize_chroma


def pixel(*channels: float) -> Tensor:
    """One pixel, `(1, C, 1, 1)`."""
    return torch.tensor(channels, dtype=torch.float32).view(1, -1, 1, 1)


def combinations(*axes: Tensor) -> Tensor:
    """Every combination of three channels' values, `(1, 3, N, 1)`."""
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)[None, :, :, None]


def eight_bit_cube(step: int = 17) -> Tensor:
    """Every colour of a subgrid of the 8-bit cube, corners included, `(1, 3, N, 1)` in [0, 1]."""
    levels = torch.arange(0, 256, step) / 255
    return combinations(levels, levels, levels)


def skimage_convert(convert: Callable[..., np.ndarray], picture: Tensor) -> Tensor:
    """Apply a function of scikit-image, channels last and in float64, to `(B, 3, H, W)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = convert(picture.double().movedim(1, -1).numpy())
    return torch.from_numpy(converted).movedim(-1, 1)


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Compare values, whatever the floating type."""
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=tolerance)


def test_rgb_to_lab_equals_scikit_image() -> None:
    cube = eight_bit_cube()
    expected = skimage_convert(skimage.color.rgb2lab, cube)
    assert_near(color.rgb_to_lab(cube), expected, 1e-4)
    assert_near(color.rgb_to_lab_luminance(cube), expected[:, :1], 1e-4)


def test_lab_to_rgb_equals_scikit_image() -> None:
    lab = skimage_convert(skimage.color.rgb2lab, eight_bit_cube())
    assert_near(color.lab_to_rgb(lab), skimage_convert(skimage.color.lab2rgb, lab), 1e-4)
    assert_near(color.lab_to_rgb(lab.float()), skimage_convert(skimage.color.lab2rgb, lab), 1e-4)


def test_linear_rgb_equals_the_srgb_standard() -> None:
    cube = eight_bit_cube().double()
    expected = torch.where(cube <= 0.04045, cube / 12.92, ((cube + 0.055) / 1.055) ** 2.4)
    assert_near(color.rgb_to_linear_rgb(cube), expected, 1e-9)


@pytest.mark.parametrize(
    "there_and_back",
    [
        lambda rgb: color.lab_to_rgb(color.rgb_to_lab(rgb)),
        lambda rgb: color.ycbcr_to_rgb(color.rgb_to_ycbcr(rgb)),
        lambda rgb: color.alpha_beta_to_rgb(color.rgb_to_lightness(rgb), color.rgb_to_alpha_beta(rgb)),
        lambda rgb: color.hue_chroma_to_rgb(
            (rgb.amax(1, keepdim=True) + rgb.amin(1, keepdim=True)) / 2, color.rgb_to_hue_chroma(rgb)
        ),
    ],
    ids=["lab", "ycbcr", "alpha_beta", "hue_chroma"],
)
def test_every_space_round_trips(there_and_back: Callable[[Tensor], Tensor]) -> None:
    cube = eight_bit_cube()
    assert_near(there_and_back(cube), cube, 1e-4)
    assert torch.equal(color.to_uint8(there_and_back(cube)), (cube * 255).round().to(torch.uint8))


def test_srgb_gamut_in_lab() -> None:
    lab = color.rgb_to_lab(eight_bit_cube()).flatten(2)[0]
    assert_near(lab.amin(1), torch.tensor([0, -86.18, -107.86]), 0.01)
    assert_near(lab.amax(1), torch.tensor([100, 98.23, 94.48]), 0.01)


def test_gamut_guard_clips_b() -> None:
    lab = combinations(torch.linspace(0, 100, 11), torch.linspace(-128, 128, 9), torch.linspace(-128, 256, 25))
    guarded = lab.clone()
    guarded[:, 2] = torch.minimum(lab[:, 2], 200 * (lab[:, 0] + 16) / 116)
    assert (guarded != lab).any()
    rgb = color.lab_to_rgb(lab)
    assert rgb.isfinite().all()
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    assert_near(rgb, color.lab_to_rgb(guarded), 0)
    assert_near(rgb, skimage_convert(skimage.color.lab2rgb, guarded), 2e-4)


def test_ycbcr_of_red_and_of_grey() -> None:
    assert_near(color.rgb_to_ycbcr(pixel(1, 0, 0)), pixel(76.245, 84.972, 255.5), 1e-3)
    assert_near(color.rgb_to_ycbcr(pixel(0.3, 0.3, 0.3)), pixel(76.5, 128, 128), 1e-4)
    assert_near(color.ycbcr_to_rgb(pixel(100, 128, 128)), pixel(100, 100, 100) / 255, 1e-6)


def test_ycbcr_inverse_has_the_coefficients_of_jpeg() -> None:
    y, cb, cr = 120.0, 140.0, 110.0
    expected = pixel(y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128))
    assert_near(color.ycbcr_to_rgb(pixel(y, cb, cr)), expected / 255, 1e-6)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((1, 0, 0), (-1.49955, 2.9991)),
        ((0, 0, 1), (2.9991, 0)),
        ((1, 1, 0), (-1.499775, 0)),
        ((0.2, 0.4, 0.6), (0.749813, -0.499875)),
        ((0, 0, 0), (0, 0)),
    ],
)
def test_alpha_beta_vectors(rgb: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert_near(color.rgb_to_alpha_beta(pixel(*rgb)), pixel(*expected), 2e-6)


@pytest.mark.parametrize(
    ("rgb", "hue", "chroma", "bicone_lightness", "mean_lightness"),
    [((0.5, 0.25, 0.25), 0, 0.25, 0.375, 1 / 3), ((0.2, 0.4, 0.6), 0.583333, 0.4, 0.4, 0.4)],
)
def test_hue_chroma_vectors(
    rgb: tuple[float, ...], hue: float, chroma: float, bicone_lightness: float, mean_lightness: float
) -> None:
    assert_near(color.rgb_to_hue_chroma(pixel(*rgb)), pixel(hue, chroma), 1e-6)
    assert_near(color.hue_chroma_to_rgb(pixel(bicone_lightness), pixel(hue, chroma)), pixel(*rgb), 1e-5)
    assert_near(color.rgb_to_lightness(pixel(*rgb)), pixel(mean_lightness), 1e-6)


def test_hue_chroma_decoding_vector() -> None:
    decoded = color.hue_chroma_to_rgb(pixel(0.5), pixel(0.015625, 0.484375))
    assert_near(decoded, pixel(0.7421875, 0.3032227, 0.2578125), 1e-6)


def test_hue_and_chroma_equal_colorsys() -> None:
    cube = eight_bit_cube()
    hue, chroma = color.rgb_to_hue_chroma(cube)[0, :, :, 0].double()
    colours = cube[0, :, :, 0].t().tolist()
    hsv = torch.tensor([colorsys.rgb_to_hsv(*colour) for colour in colours], dtype=torch.float64)
    assert_near(hue, hsv[:, 0], 1e-5)
    assert_near(chroma, hsv[:, 1] * hsv[:, 2], 1e-6)
    assert hue.min() >= 0
    assert hue.max() < 1


def test_hue_of_a_red_just_below_the_full_circle_is_below_one() -> None:
    hue = color.rgb_to_hue_chroma(pixel(1, 0.5, 0.5 + 6e-8))[0, 0, 0, 0]
    assert 0 <= hue < 1


def test_autocast_changes_nothing() -> None:
    cube = eight_bit_cube()
    lightness = color.rgb_to_lightness(cube)
    calls: list[tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = [
        (color.rgb_to_lab, (cube,)),
        (color.rgb_to_lab_luminance, (cube,)),
        (color.lab_to_rgb, (color.rgb_to_lab(cube),)),
        (color.rgb_to_ycbcr, (cube,)),
        (color.ycbcr_to_rgb, (color.rgb_to_ycbcr(cube),)),
        (color.rgb_to_alpha_beta, (cube,)),
        (color.alpha_beta_to_rgb, (lightness, color.rgb_to_alpha_beta(cube))),
        (color.rgb_to_hue_chroma, (cube,)),
        (color.hue_chroma_to_rgb, (lightness, color.rgb_to_hue_chroma(cube))),
    ]
    for function, arguments in calls:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            within = function(*arguments)
        assert within.dtype == torch.float32
        assert torch.equal(within, function(*arguments))


def test_normalised_chroma_of_white() -> None:
    white = normalize_chroma(color.rgb_to_lab(pixel(1, 1, 1))[:, 1:])
    assert_near(white, pixel(-0.0039, 0.0040), 5e-5)


def test_eight_bit_conversion_rounds_to_the_nearest_level() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(color.to_uint8(color.to_float(levels)), levels)
    assert color.to_uint8(pixel(-0.2, 10.6 / 255, 1.3)).flatten().tolist() == [0, 11, 255]


def test_lab_is_differentiable_at_the_corners_of_the_cube() -> None:
    corners = eight_bit_cube(255).requires_grad_()
    color.lab_to_rgb(color.rgb_to_lab(corners)).sum().backward()
    assert corners.grad is not None
    assert corners.grad.isfinite().all()


def test_large_pictures_are_converted_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = torch.rand(2, 3, 37, 11, generator=torch.Generator().manual_seed(0))
    lab, luminance, back = (
        color.rgb_to_lab(rgb),
        color.rgb_to_lab_luminance(rgb),
        color.lab_to_rgb(color.rgb_to_lab(rgb)),
    )
    for largest in (1, 500, 700):
        monkeypatch.setattr(color, "LARGEST_BAND", largest)
        torch.testing.assert_close(color.rgb_to_lab(rgb), lab, rtol=0, atol=1e-4)
        torch.testing.assert_close(color.rgb_to_lab_luminance(rgb), luminance, rtol=0, atol=1e-4)
        torch.testing.assert_close(color.lab_to_rgb(lab), back)
        assert torch.equal(color.to_uint8(rgb), (rgb * 255).round().to(torch.uint8))


def test_eight_bit_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="rgb_to_lab wants floating colours"):
        color.rgb_to_lab(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
