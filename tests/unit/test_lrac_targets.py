"""LRAC's bins, targets and losses, against SciPy, scikit-image, colorsys and plain loops."""

import colorsys
import math

import numpy as np
import pytest
import skimage.color
import torch
import torch.nn.functional as F
from scipy.stats import entropy, norm
from torch import Tensor

from lightning_modules.lrac.targets import (
    HistogramHead,
    HueChroma,
    LabJoint,
    LabL2,
    LabMarginal,
    Targets,
    bin_centres,
    quantile_to_ab,
)

HISTOGRAM_HEADS = [HueChroma(), HueChroma(bins=7), LabMarginal(), LabJoint(), LabJoint(bins=5)]
HEADS = [*HISTOGRAM_HEADS, LabL2()]
EDGES_OF_32 = [0, 1.960, 3.933, 5.930, 7.966, 10.056, 12.219, 14.478, 16.862, 19.411, 22.179, 25.250, 28.759, 32.950]
EDGES_OF_32 += [38.353, 46.568]
REPRESENTATIVES_OF_16 = [1.960, 5.930, 10.056, 14.478, 19.411, 25.250, 32.950, 46.568]


def corners() -> Tensor:
    """Each corner of a picture, its middle, and one corner again: y and x, `(1, 6, 2)`, of 9 x 12 pixels."""
    return torch.tensor([[[0, 0], [0, 11], [8, 0], [8, 11], [4, 6], [0, 0]]])


def small_picture() -> Tensor:
    """Random eight-bit colours with grey, black and white among them, RGB `(1, 3, 9, 12)`."""
    rgb = torch.randint(0, 256, (1, 3, 9, 12)) / 255
    rgb[:, :, 4:7, 5:9] = 0.4
    rgb[:, :, 0, 0], rgb[:, :, 0, 1] = 0, 1
    return rgb


def naive_bins(head: HistogramHead, rgb: np.ndarray) -> list[int | None]:
    """The bins of one colour, `(3,)`; none for the hue of grey."""
    if isinstance(head, HueChroma):
        hue, chroma = colorsys.rgb_to_hsv(*rgb)[0], rgb.max() - rgb.min()
        return [
            min(int(hue * head.bins), head.bins - 1) if chroma > 0 else None,
            min(int(chroma * head.bins), head.bins - 1),
        ]
    edges = norm(scale=25).ppf(np.arange(1, head.bins) / head.bins)
    a, b = (int((edges <= value).sum()) for value in skimage.color.rgb2lab(rgb)[1:])
    return [a, b] if isinstance(head, LabMarginal) else [a * head.bins + b]


def naive_histograms(head: HistogramHead, pixels: list[np.ndarray]) -> np.ndarray:
    """The empirical histograms of some colours, `(axes, K)`."""
    counts = np.zeros(head.shape)
    for rgb in pixels:
        for axis, found in enumerate(naive_bins(head, rgb)):
            if found is not None:
                counts[axis, found] += 1
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), 1 / head.shape[1])


def naive_window(rgb: Tensor, y: int, x: int, side: int) -> list[np.ndarray]:
    """The colours of the square round a pixel that lie in the picture, `(3, H, W)`."""
    picture, reach = rgb.double().numpy(), side // 2
    height, width = picture.shape[1:]
    return [
        picture[:, row, column]
        for row in range(max(0, y - reach), min(height, y + reach + 1))
        for column in range(max(0, x - reach), min(width, x + reach + 1))
    ]


def random_case(head: HistogramHead) -> tuple[Tensor, Targets]:
    """Outputs and targets, histograms with empty bins, at two times five locations."""
    values = torch.rand(2, 5, *head.shape) * (torch.rand(2, 5, *head.shape) > 0.5)
    weights = torch.rand(2, 5, head.shape[0]) * 3
    return 2 * torch.randn(2, 5, head.outputs), Targets(values / values.sum(dim=-1, keepdim=True), weights)


def test_number_of_outputs() -> None:
    assert [head.outputs for head in (HueChroma(), LabMarginal(), LabJoint(), LabL2())] == [64, 64, 256, 2]
    assert [head.shape for head in (HueChroma(), LabMarginal(), LabJoint(), LabL2())] == [
        (2, 32),
        (2, 32),
        (1, 256),
        (2, 1),
    ]


def test_edges_and_representatives_are_gaussian_quantiles() -> None:
    edges = quantile_to_ab(torch.arange(16, 32) / 32)
    assert edges.tolist() == pytest.approx(EDGES_OF_32, abs=6e-4)
    np.testing.assert_allclose(edges.numpy(), norm(scale=25).ppf(np.arange(16, 32) / 32), rtol=0, atol=1e-4)
    assert quantile_to_ab(bin_centres(32)[[0, -1]]).tolist() == pytest.approx([-53.847, 53.847], abs=6e-4)
    assert quantile_to_ab(bin_centres(16)[8:]).tolist() == pytest.approx(REPRESENTATIVES_OF_16, abs=6e-4)


@pytest.mark.parametrize("head", HISTOGRAM_HEADS)
def test_bins_of_colours(head: HistogramHead) -> None:
    rgb = small_picture()
    index, counted = head.bins_of(rgb)
    for y in range(9):
        for x in range(12):
            naive = naive_bins(head, rgb[0, :, y, x].double().numpy())
            found = [i if c else None for i, c in zip(index[0, :, y, x].tolist(), counted[0, :, y, x], strict=True)]
            assert found == naive


def test_whole_chroma_and_the_last_hue_lie_in_the_last_bin() -> None:
    rgb = torch.tensor([1, 0, 1e-6]).view(1, 3, 1, 1)
    assert HueChroma().bins_of(rgb)[0].flatten().tolist() == [31, 31]


@pytest.mark.parametrize("window", [1, 3, 7])
@pytest.mark.parametrize("head", HISTOGRAM_HEADS)
def test_targets_are_the_windows_histograms(head: HistogramHead, window: int) -> None:
    rgb, locations = small_picture(), corners()
    values = head.targets(rgb, locations, window).values
    for n, (y, x) in enumerate(locations[0].tolist()):
        expected = naive_histograms(head, naive_window(rgb[0], y, x, window))
        np.testing.assert_allclose(values[0, n].numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", HISTOGRAM_HEADS)
def test_a_window_of_one_pixel_is_one_hot_unless_it_has_no_hue(head: HistogramHead) -> None:
    values = head.targets(small_picture(), corners(), 1).values
    assert ((values == 0) | (values == 1)).sum(dim=-1).min() == (0 if isinstance(head, HueChroma) else head.shape[1])
    assert torch.equal(values.sum(dim=-1), torch.ones(1, 6, head.shape[0]))


@pytest.mark.parametrize("window", [1, 7])
def test_l2_targets_are_mean_ab_over_25(window: int) -> None:
    rgb, locations = small_picture(), corners()
    values = LabL2().targets(rgb, locations, window).values
    assert values.shape == (1, 6, 2, 1)
    for n, (y, x) in enumerate(locations[0].tolist()):
        expected = np.mean([skimage.color.rgb2lab(each)[1:] for each in naive_window(rgb[0], y, x, window)], axis=0)
        np.testing.assert_allclose(values[0, n, :, 0].numpy(), expected / 25, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_every_picture_of_a_batch_has_its_own_locations(head: HueChroma | LabL2) -> None:
    rgb, locations = torch.rand(3, 3, 8, 10), torch.randint(0, 8, (3, 4, 2))
    together = head.targets(rgb, locations, 3)
    for i in range(3):
        alone = head.targets(rgb[i : i + 1], locations[i : i + 1], 3)
        torch.testing.assert_close(together.values[i : i + 1], alone.values)
        torch.testing.assert_close(together.weights[i : i + 1], alone.weights)


def test_hue_weighs_by_the_chroma_of_the_middle_pixel() -> None:
    rgb, locations = small_picture(), corners()
    picture = rgb[0].numpy()
    for window in (1, 5):
        weights = HueChroma(hue_weight=4.0).targets(rgb, locations, window).weights[0]
        expected = [4 * np.ptp(picture[:, y, x]) for y, x in locations[0].tolist()]
        np.testing.assert_allclose(weights[:, 0].numpy(), expected, rtol=1e-6)
        assert torch.equal(weights[:, 1], torch.ones(6))


def test_chroma_can_weigh_less_towards_black_and_white() -> None:
    lightness = torch.tensor([0, 0.1, 1 / 3, 0.5, 2 / 3, 0.8, 1])
    rgb = lightness.view(1, 1, 1, 7).expand(1, 3, 1, 7) + torch.tensor([0.0, 0.05, -0.05]).view(1, 3, 1, 1)
    locations = torch.stack([torch.zeros(7), torch.arange(7)], dim=1).long().unsqueeze(0)
    weights = HueChroma(chroma_weighted=True).targets(rgb, locations).weights[0, :, 1]
    assert weights.tolist() == pytest.approx([0, 0.3, 1, 1, 1, 0.6, 0], abs=1e-6)


@pytest.mark.parametrize("head", [LabMarginal(), LabJoint(), LabL2()])
def test_lab_terms_weigh_the_same(head: LabMarginal | LabJoint | LabL2) -> None:
    weights = head.targets(small_picture(), corners(), 3).weights
    assert torch.equal(weights, torch.ones(1, 6, head.shape[0]))


@pytest.mark.parametrize("head", HISTOGRAM_HEADS)
def test_loss_is_the_weighted_divergence(head: HistogramHead) -> None:
    outputs, targets = random_case(head)
    total = 0.0
    for logits, values, weights in zip(
        outputs.flatten(0, 1).double(), targets.values.flatten(0, 1), targets.weights.flatten(0, 1), strict=True
    ):
        for axis in range(head.shape[0]):
            scores = np.exp(logits.view(head.shape)[axis].numpy())
            total += weights[axis].item() * entropy(values[axis].double().numpy(), scores / scores.sum())
    assert head.loss(outputs, targets).item() == pytest.approx(total / 10, rel=1e-5)


def test_loss_of_one_hot_targets_is_the_cross_entropy() -> None:
    rgb, locations, head = small_picture(), torch.tensor([[[0, 2], [8, 11], [3, 3]]]), HueChroma()
    outputs = torch.randn(1, 3, 64)
    bins = [naive_bins(head, rgb[0, :, y, x].double().numpy()) for y, x in locations[0].tolist()]
    chroma = torch.tensor([np.ptp(rgb[0, :, y, x].numpy()) for y, x in locations[0].tolist()])
    hue_bins, chroma_bins = torch.tensor(bins).unbind(1)
    hue_term = F.cross_entropy(outputs[0, :, :32], hue_bins, reduction="none")
    chroma_term = F.cross_entropy(outputs[0, :, 32:], chroma_bins, reduction="none")
    loss = head.loss(outputs, head.targets(rgb, locations))
    torch.testing.assert_close(loss, (chroma_term + 5 * chroma * hue_term).mean())


def test_loss_of_grey_has_no_hue_in_it() -> None:
    rgb, locations = torch.full((1, 3, 4, 4), 0.6), torch.tensor([[[1, 1], [2, 3]]])
    outputs = torch.randn(1, 2, 64, requires_grad=True)
    head = HueChroma()
    loss = head.loss(outputs, head.targets(rgb, locations))
    loss.backward()
    assert outputs.grad is not None
    assert outputs.grad[..., :32].abs().max() == 0
    torch.testing.assert_close(loss, -outputs[0, :, 32:].log_softmax(dim=1)[:, 0].mean())


def test_loss_of_l2_is_the_squared_distance() -> None:
    outputs, values = torch.randn(2, 5, 2), torch.randn(2, 5, 2, 1)
    expected = sum(math.dist(p, q) ** 2 for p, q in zip(outputs.view(-1, 2), values.view(-1, 2), strict=True)) / 10
    loss = LabL2().loss(outputs, Targets(values, torch.ones(2, 5, 2)))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("head", HISTOGRAM_HEADS)
def test_least_loss_is_zero_at_the_target(head: HistogramHead) -> None:
    _, targets = random_case(head)
    outputs = targets.values.clamp(min=1e-30).log().flatten(2)
    assert head.loss(outputs, targets).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("head", HISTOGRAM_HEADS)
def test_prediction_is_a_softmax_of_each_distribution(head: HistogramHead) -> None:
    outputs = torch.randn(2, head.outputs, 3, 4)
    axes, bins = head.shape
    parts = [outputs[:, i * bins : (i + 1) * bins].softmax(dim=1) for i in range(axes)]
    torch.testing.assert_close(head.prediction(outputs), torch.stack(parts, dim=1))


def test_prediction_of_l2_is_in_lab_units() -> None:
    outputs = torch.randn(2, 2, 3, 4)
    assert torch.equal(LabL2().prediction(outputs)[:, :, 0], 25 * outputs)


@pytest.mark.parametrize("head", HEADS)
def test_autocast_changes_nothing(head: HueChroma | LabL2) -> None:
    rgb, locations, outputs = torch.rand(1, 3, 8, 8), torch.randint(0, 8, (1, 5, 2)), torch.randn(1, 5, head.outputs)
    loss, prediction = head.loss(outputs, head.targets(rgb, locations, 3)), head.prediction(outputs.mT.unsqueeze(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head.loss(outputs, head.targets(rgb, locations, 3)), loss)
        assert torch.equal(head.prediction(outputs.mT.unsqueeze(3)), prediction)
    assert head.prediction(outputs.mT.unsqueeze(3).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("head", HISTOGRAM_HEADS)
def test_histogram_of_a_reference(head: HistogramHead) -> None:
    rgb = small_picture()
    expected = naive_histograms(head, [each.double().numpy() for each in rgb[0].flatten(1).unbind(1)])
    np.testing.assert_allclose(head.histogram(rgb)[0].numpy(), expected, rtol=0, atol=1e-6)


def test_histogram_of_a_grey_reference_prefers_no_hue() -> None:
    hue, chroma = HueChroma().histogram(torch.full((1, 3, 5, 5), 0.3))[0]
    assert torch.equal(hue, torch.full((32,), 1 / 32))
    assert chroma[0] == 1


def test_an_even_window_is_refused() -> None:
    with pytest.raises(ValueError, match="a window of 4x4 pixels has no middle"):
        HueChroma().targets(small_picture(), corners(), 4)


@pytest.mark.parametrize("head", [HueChroma, LabMarginal, LabJoint])
def test_too_few_bins_are_refused(head: type[HueChroma | LabMarginal | LabJoint]) -> None:
    with pytest.raises(ValueError, match="at least 2 bins, not 1"):
        head(bins=1)
