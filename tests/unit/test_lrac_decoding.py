"""LRAC's decoders against published numbers, loops over pixels, colorsys, scikit-image and SciPy."""

import cmath
import colorsys
import math
import re
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import skimage.color
import torch
import torch.nn.functional as F
from scipy.stats import chisquare, entropy, norm
from torch import Tensor

from lightning_modules.lrac import decoding
from lightning_modules.lrac.decoding import (
    CircularRule,
    Decoder,
    HueChromaDecoder,
    LabJointDecoder,
    LabL2Decoder,
    LabMarginalDecoder,
    MarginalRule,
    Rule,
    correct_lightness,
    mean_direction,
    uncertainty,
)

DRAWN = ("sample", "sample_once")


def histograms(*shape: int) -> Tensor:
    """Random histograms over dimension 2, some of their bins all but empty."""
    return (3 * torch.randn(*shape)).softmax(dim=2)


def one_hot(bins: list[int], of: int = 32) -> Tensor:
    """One pixel with these certain bins, `(1, axes, of, 1, 1)`."""
    return F.one_hot(torch.tensor(bins), of).float().view(1, len(bins), of, 1, 1)


def grey(value: float) -> Tensor:
    """The lightness of one pixel."""
    return torch.full((1, 1, 1, 1), value)


def naive_read(histogram: np.ndarray, rule: Rule) -> float:
    """A histogram's place on [0, 1] by one of the rules that draw nothing."""
    bins = len(histogram)
    if rule in ("mode", "mode_edge"):
        return float(histogram.argmax() + (0.5 if rule == "mode" else 0)) / bins
    if rule == "expectation":
        return float(sum(share * (k + 0.5) / bins for k, share in enumerate(histogram)))
    below = 0.0
    for k, share in enumerate(histogram):
        if below + share >= 0.5:
            return (k + (0.5 if rule == "median_centre" else (0.5 - below) / share)) / bins
        below += share
    raise AssertionError


def corrected(rgb: np.ndarray, lightness: float) -> np.ndarray:
    """Appendix A."""
    shifted: np.ndarray = rgb + lightness - np.mean(rgb)
    return shifted.clip(0, 1)


def naive_hue_chroma(hue: np.ndarray, chroma: np.ndarray, lightness: float, decoder: HueChromaDecoder) -> np.ndarray:
    """One pixel's colour, by colorsys."""
    bins = len(hue)
    z = sum(share * cmath.exp(2j * math.pi * (k + 0.5) / bins) for k, share in enumerate(hue)) / bins
    angle = cmath.phase(z) / (2 * math.pi) % 1 if decoder.hue == "expectation" else naive_read(hue, decoder.hue)
    amount = naive_read(chroma, decoder.chroma)
    if decoder.fading:
        amount *= min(abs(z) / decoder.fading, 1)
    value, saturation = lightness + amount / 2, 2 * amount / (2 * lightness + amount) if lightness + amount else 0
    rgb = colorsys.hsv_to_rgb(angle, min(saturation, 1), min(value, 1))
    return corrected(np.array(rgb), lightness)


def naive_ab(ab: np.ndarray, lightness: float) -> np.ndarray:
    """One pixel's colour, by scikit-image."""
    luminance = skimage.color.rgb2lab(np.full(3, lightness))[0]
    return corrected(skimage.color.lab2rgb(np.array([luminance, *ab])), lightness)


def assert_equals_loop(rgb: Tensor, lightness: Tensor, pixel: Callable[..., np.ndarray], tolerance: float) -> None:
    """Compare a picture with what `pixel` makes of each batch index, row, column and lightness."""
    for i, y, x in np.ndindex(lightness[:, 0].shape):
        expected = pixel(i, y, x, lightness[i, 0, y, x].item())
        np.testing.assert_allclose(rgb[i, :, y, x].numpy(), expected, rtol=0, atol=tolerance)


def test_published_colour_of_a_certain_hue() -> None:
    prediction = one_hot([0, 15])  # chroma .484375
    z = mean_direction(prediction[:, 0])
    assert z.abs().item() == pytest.approx(0.03125)
    assert z.angle().item() / (2 * math.pi) == pytest.approx(0.015625)
    decoder = HueChromaDecoder(chroma="median_centre")
    uncorrected = decoder.colors(prediction, grey(0.5), decoder.levels(grey(0.5), None))
    assert uncorrected.flatten().tolist() == pytest.approx([0.7421875, 0.3032227, 0.2578125], abs=1e-6)
    corrected = decoder.decode(prediction, grey(0.5))
    assert corrected.flatten().tolist() == pytest.approx([0.8077799, 0.3688151, 0.3234049], abs=1e-6)


def test_published_fading_of_two_opposite_hues() -> None:
    hue = 0.7 * one_hot([0]) + 0.3 * one_hot([16])
    assert mean_direction(hue[:, 0]).abs().item() == pytest.approx(0.0125)
    prediction = torch.cat([hue, one_hot([15])], dim=1)
    faded, full = (HueChromaDecoder(fading=eta).decode(prediction, grey(0.5)) for eta in (0.03, 0))
    chroma = [(rgb.amax() - rgb.amin()).item() for rgb in (faded, full)]
    assert chroma[0] / chroma[1] == pytest.approx(0.416667, abs=1e-5)


def test_published_medians() -> None:
    histogram = torch.zeros(1, 32, 1, 1)
    histogram[0, :4, 0, 0] = torch.tensor([0.3, 0.3, 0.3, 0.1])
    half = torch.tensor(0.5)
    assert decoding.read(histogram, "median_centre", half).item() == pytest.approx(0.046875)
    assert decoding.read(histogram, "median", half).item() == pytest.approx(0.0520833, abs=1e-6)


def test_hue_near_the_ends_of_the_circle_is_averaged_round_it() -> None:
    hue = 0.5 * (one_hot([0]) + one_hot([30]))
    rgb = HueChromaDecoder(fading=0).decode(torch.cat([hue, one_hot([9])], dim=1), grey(0.5))
    assert colorsys.rgb_to_hsv(*rgb.flatten().tolist())[0] == pytest.approx(31.5 / 32, abs=1e-5)


@pytest.mark.parametrize("fading", [0.0, 0.03, 0.01])
@pytest.mark.parametrize("chroma", sorted(set(get_args(Rule)) - set(DRAWN)))
@pytest.mark.parametrize("hue", ["mode", "expectation"])
def test_hue_and_chroma_equal_a_loop(hue: CircularRule, chroma: Rule, fading: float) -> None:
    decoder = HueChromaDecoder(hue, chroma, fading)
    prediction, lightness = histograms(2, 2, 32, 3, 4), torch.rand(2, 1, 3, 4)
    lightness[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    rgb, exact = decoder.decode(prediction, lightness), prediction.double().numpy()
    assert_equals_loop(
        rgb,
        lightness,
        lambda i, y, x, value: naive_hue_chroma(exact[i, 0, :, y, x], exact[i, 1, :, y, x], value, decoder),
        2e-5,
    )


def test_boost_multiplies_chroma() -> None:
    prediction = torch.cat([one_hot([5]), one_hot([4])], dim=1)
    plain, boosted = (HueChromaDecoder(boost=boost).decode(prediction, grey(0.5)) for boost in (1, 2.5))
    torch.testing.assert_close(boosted - 0.5, 2.5 * (plain - 0.5))


@pytest.mark.parametrize("rule", sorted(set(get_args(MarginalRule)) - set(DRAWN)))
def test_lab_marginals_equal_a_loop(rule: MarginalRule) -> None:
    prediction, lightness = histograms(2, 2, 32, 3, 4), torch.rand(2, 1, 3, 4)
    rgb, exact = LabMarginalDecoder(rule).decode(prediction, lightness), prediction.double().numpy()
    normal = norm(scale=25)
    representatives = normal.ppf((np.arange(32) + 0.5) / 32)

    def value(histogram: np.ndarray) -> float:
        if rule == "expectation":
            return float(histogram @ representatives)
        return float(normal.ppf(naive_read(histogram, rule)))

    assert_equals_loop(
        rgb,
        lightness,
        lambda i, y, x, grey: naive_ab(np.array([value(exact[i, axis, :, y, x]) for axis in (0, 1)]), grey),
        2e-4,
    )


@pytest.mark.parametrize("rule", ["mode", "expectation"])
def test_lab_joint_equals_a_loop(rule: CircularRule) -> None:
    prediction, lightness = histograms(2, 1, 256, 3, 4), torch.rand(2, 1, 3, 4)
    rgb, exact = LabJointDecoder(rule).decode(prediction, lightness), prediction.double().numpy()
    representatives = norm(scale=25).ppf((np.arange(16) + 0.5) / 16)

    def ab(histogram: np.ndarray) -> np.ndarray:
        if rule == "mode":
            return np.array([representatives[each] for each in divmod(int(histogram.argmax()), 16)])
        grid = histogram.reshape(16, 16)
        return np.array([grid.sum(axis=1) @ representatives, grid.sum(axis=0) @ representatives])

    assert_equals_loop(rgb, lightness, lambda i, y, x, grey: naive_ab(ab(exact[i, 0, :, y, x]), grey), 2e-4)


def test_lab_l2_equals_a_loop() -> None:
    prediction, lightness = 30 * torch.randn(2, 2, 1, 3, 4), torch.rand(2, 1, 3, 4)
    rgb, exact = LabL2Decoder().decode(prediction, lightness), prediction.double().numpy()
    assert_equals_loop(rgb, lightness, lambda i, y, x, grey: naive_ab(exact[i, :, 0, y, x], grey), 2e-4)


@pytest.mark.parametrize(
    ("decoder", "shape"),
    [
        (HueChromaDecoder(), (2, 32)),
        (HueChromaDecoder("sample", "sample", fading=0), (2, 32)),
        (LabMarginalDecoder("sample"), (2, 32)),
        (LabJointDecoder(), (1, 256)),
        (LabL2Decoder(), (2, 1)),
    ],
)
def test_lightness_is_kept_wherever_nothing_is_clipped(decoder: Decoder, shape: tuple[int, int]) -> None:
    lightness = torch.rand(2, 1, 20, 30)
    rgb = decoder.decode(histograms(2, *shape, 20, 30), lightness)
    inside = ((rgb > 0) & (rgb < 1)).all(dim=1)
    assert inside.float().mean() > 0.3
    torch.testing.assert_close(rgb.mean(dim=1)[inside], lightness[:, 0][inside], rtol=0, atol=1e-6)
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_lightness_is_corrected_in_all_channels() -> None:
    rgb = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    assert correct_lightness(rgb, grey(0.5)).flatten().tolist() == pytest.approx([0.3, 0.5, 0.7])
    assert correct_lightness(rgb, grey(0.9)).flatten().tolist() == pytest.approx([0.7, 0.9, 1.0])


def test_uniform_hue_is_grey() -> None:
    lightness = torch.rand(1, 1, 5, 6)
    prediction = histograms(1, 2, 32, 5, 6)
    prediction[:, 0] = 1 / 32
    rgb = HueChromaDecoder().decode(prediction, lightness)
    torch.testing.assert_close(rgb, lightness.expand(1, 3, 5, 6), rtol=0, atol=1e-5)


@pytest.mark.parametrize("decoder", [HueChromaDecoder("sample", "sample", fading=0), LabJointDecoder("sample")])
def test_bins_are_drawn_by_their_probabilities(decoder: Decoder) -> None:
    axes, draws = len(decoder.rules), 20_000
    prediction = (2 * torch.randn(1, axes, 16, 1, 1)).softmax(dim=2)
    generator = torch.Generator().manual_seed(2)
    levels = decoder.levels(torch.zeros(1, 1, 1, draws), generator)
    for axis in range(axes):
        places = decoding.read(prediction[:, axis].expand(1, 16, 1, draws), "sample", levels[axis]).flatten()
        counts = np.bincount((16 * places - 0.5).round().int().numpy(), minlength=16)
        expected = draws * prediction[0, axis].flatten().double().numpy()
        assert chisquare(counts, expected * draws / expected.sum()).pvalue > 1e-3


def test_axes_are_drawn_apart() -> None:
    hue, chroma = HueChromaDecoder("sample", "sample").levels(torch.zeros(1, 1, 100, 100), None)
    assert abs(np.corrcoef(hue.flatten().numpy(), chroma.flatten().numpy())[0, 1]) < 0.04


@pytest.mark.parametrize("level", [2.0**-24, 0.3, 1.0])
def test_an_empty_bin_is_never_drawn(level: float) -> None:
    histogram = torch.zeros(1, 32, 1, 1)
    histogram[0, [3, 20], 0, 0] = torch.tensor([0.6, 0.3999])
    place = decoding.read(histogram, "sample", torch.tensor(level)).item()
    assert place == pytest.approx((3.5 if level < 0.6 else 20.5) / 32)


def test_the_least_of_random_numbers_draws_no_empty_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.zeros(*shape))
    rgb = HueChromaDecoder(chroma="sample", fading=0).decode(one_hot([8, 16]), grey(0.5))
    assert (rgb.amax() - rgb.amin()).item() == pytest.approx(16.5 / 32, abs=1e-5)


def test_one_number_for_the_whole_picture() -> None:
    histogram = torch.full((3, 2, 32, 8, 9), 1 / 32)
    once = HueChromaDecoder("sample_once", "sample_once", fading=0).decode(histogram, torch.full((3, 1, 8, 9), 0.5))
    assert torch.equal(once, once[:, :, :1, :1].expand_as(once))
    assert len({tuple(rgb.tolist()) for rgb in once[:, :, 0, 0]}) == 3
    every = HueChromaDecoder("sample", "sample", fading=0).decode(histogram, torch.full((3, 1, 8, 9), 0.5))
    assert not torch.equal(every, every[:, :, :1, :1].expand_as(every))


@pytest.mark.parametrize("rule", DRAWN)
def test_draws_follow_the_generator(rule: CircularRule) -> None:
    prediction, lightness = histograms(1, 2, 32, 4, 5), torch.rand(1, 1, 9, 11)
    decoder = HueChromaDecoder(rule, rule, fading=0)
    assert decoder.stochastic
    first, again, other = (
        decoder.decode(prediction, lightness, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_other_rules_draw_nothing() -> None:
    assert not any(each.stochastic for each in (HueChromaDecoder(), LabMarginalDecoder("median"), LabL2Decoder()))
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    HueChromaDecoder().decode(histograms(1, 2, 32, 4, 5), torch.rand(1, 1, 4, 5), generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("size", [(32, 48), (37, 19), (5, 3), (8, 12), (1, 2)])
def test_predictions_are_stretched_as_a_whole(size: tuple[int, int]) -> None:
    prediction = histograms(2, 2, 6, 8, 12)
    expected = F.interpolate(prediction.flatten(1, 2), size, mode="bilinear", align_corners=False)
    stretched = decoding.stretched_rows(prediction, torch.arange(size[0]), size)
    torch.testing.assert_close(stretched.flatten(1, 2), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("decoder", [HueChromaDecoder(), HueChromaDecoder("sample", "sample_once", fading=0)])
def test_bands_change_nothing(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, lightness = histograms(2, 2, 32, 5, 7), torch.rand(2, 1, 23, 29)
    whole = decoder.decode(prediction, lightness, torch.Generator().manual_seed(0))
    for rows in (0, 1, 7):
        monkeypatch.setattr(decoding, "LARGEST_BAND", rows * prediction[..., 0, 0].numel() * 29)
        in_bands = decoder.decode(prediction, lightness, torch.Generator().manual_seed(0))
        torch.testing.assert_close(in_bands, whole, rtol=0, atol=1e-6)


def test_decoding_is_done_in_full_precision() -> None:
    prediction, lightness = histograms(1, 2, 32, 5, 7).bfloat16(), torch.rand(1, 1, 10, 14)
    expected = HueChromaDecoder().decode(prediction.float(), lightness)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(HueChromaDecoder().decode(prediction, lightness), expected)


def test_uncertainty_is_the_entropy_of_hue_times_the_median_chroma() -> None:
    prediction = histograms(2, 2, 32, 3, 4)
    found, exact = uncertainty(prediction), prediction.double().numpy()
    assert found.shape == (2, 1, 3, 4)
    for i, y, x in np.ndindex(2, 3, 4):
        expected = entropy(exact[i, 0, :, y, x], base=32) * naive_read(exact[i, 1, :, y, x], "median")
        assert found[i, 0, y, x].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("decoder", "arguments", "message"),
    [
        (HueChromaDecoder, {"hue": "median"}, "hue is one of sample, sample_once, mode, expectation, not median"),
        (HueChromaDecoder, {"chroma": "mean"}, "median_centre, mode_edge, not mean"),
        (LabMarginalDecoder, {"ab": "mode_edge"}, "median, median_centre, not mode_edge"),
        (LabJointDecoder, {"ab": "median"}, "ab is one of sample, sample_once, mode, expectation, not median"),
        (HueChromaDecoder, {"fading": -1}, "fading and boost are at least 0, not -1 and 1.0"),
    ],
)
def test_what_a_distribution_lacks_is_refused(decoder: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        decoder(**arguments)
