"""The colourisation sub-net: its published size, Zhang et al.'s networks, whose weights fit it, and its losses."""

from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import huber as scipy_huber
from torch import Tensor, nn

from lightning_modules.siggraph17.classes import class_of
from lightning_modules.siggraph17.losses import huber
from lightning_modules.siggraph17.network import ColorizationNetwork, block
from lightning_modules.siggraph17.weights import begin_with_colorizer

WIDTH = 3


def conv_block(channels: list[int], stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    """3x3 convolutions with ReLU, the last of a stride, and a normalisation."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(channels)):
        step = stride if number == len(channels) - 2 else 1
        layers += [nn.Conv2d(before, after, 3, step, padding=dilation, dilation=dilation), nn.ReLU()]
    return [*layers, nn.BatchNorm2d(channels[-1])]


class Zhang2016(nn.Module):
    """Colorful Image Colorization: layers in the order, and with the names, of its authors' PyTorch code."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        self.model1 = nn.Sequential(*conv_block([1, one, one], stride=2))
        self.model2 = nn.Sequential(*conv_block([one, two, two], stride=2))
        self.model3 = nn.Sequential(*conv_block([two, four, four, four], stride=2))
        self.model4 = nn.Sequential(*conv_block([four, eight, eight, eight]))
        self.model5 = nn.Sequential(*conv_block([eight] * 4, dilation=2))
        self.model6 = nn.Sequential(*conv_block([eight] * 4, dilation=2))
        self.model7 = nn.Sequential(*conv_block([eight] * 4))
        self.model8 = nn.Sequential(
            nn.ConvTranspose2d(eight, four, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(four, 313, 1)
        )
        self.model_out = nn.Conv2d(313, 2, 1, bias=False)

    def fourth(self, luminance: Tensor) -> Tensor:
        """What block 4 gives of Lab L."""
        features: Tensor = self.model4(self.model3(self.model2(self.model1((luminance - 50) / 100))))
        return features


class Zhang2017(nn.Module):
    """Real-Time User-Guided Image Colorization, likewise: 3 strides, three skips."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        self.model1 = nn.Sequential(*conv_block([4, one, one]))
        self.model2 = nn.Sequential(*conv_block([one, two, two]))
        self.model3 = nn.Sequential(*conv_block([two, four, four, four]))
        self.model4 = nn.Sequential(*conv_block([four, eight, eight, eight]))
        self.model5 = nn.Sequential(*conv_block([eight] * 4, dilation=2))
        self.model6 = nn.Sequential(*conv_block([eight] * 4, dilation=2))
        self.model7 = nn.Sequential(*conv_block([eight] * 4))
        self.model8up = nn.Sequential(nn.ConvTranspose2d(eight, four, 4, stride=2, padding=1))
        self.model3short8 = nn.Sequential(nn.Conv2d(four, four, 3, padding=1))
        self.model8 = nn.Sequential(nn.ReLU(), *conv_block([four] * 3))
        self.model9up = nn.Sequential(nn.ConvTranspose2d(four, two, 4, stride=2, padding=1))
        self.model2short9 = nn.Sequential(nn.Conv2d(two, two, 3, padding=1))
        self.model9 = nn.Sequential(nn.ReLU(), *conv_block([two] * 2))
        self.model10up = nn.Sequential(nn.ConvTranspose2d(two, two, 4, stride=2, padding=1))
        self.model1short10 = nn.Sequential(nn.Conv2d(one, two, 3, padding=1))
        self.model10 = nn.Sequential(nn.ReLU(), nn.Conv2d(two, two, 3, padding=1), nn.LeakyReLU(0.2))
        self.model_class = nn.Sequential(nn.Conv2d(four, 529, 1))
        self.model_out = nn.Sequential(nn.Conv2d(two, 2, 1), nn.Tanh())

    def forward(self, luminance: Tensor, hints: Tensor) -> tuple[Tensor, Tensor]:
        """Lab a and b, and the classes' logits, of sides that are multiples of 8."""
        first = self.model1(torch.cat([(luminance - 50) / 100, hints[:, :2] / 110, hints[:, 2:]], dim=1))
        second = self.model2(F.avg_pool2d(first, 1, stride=2))
        third = self.model3(F.avg_pool2d(second, 1, stride=2))
        x = self.model7(self.model6(self.model5(self.model4(F.avg_pool2d(third, 1, stride=2)))))
        eighth = self.model8(self.model8up(x) + self.model3short8(third))
        x = self.model9(self.model9up(eighth) + self.model2short9(second))
        x = self.model10(self.model10up(x) + self.model1short10(first))
        return 110 * self.model_out(x), self.model_class(eighth)


def randomize(network: nn.Module) -> None:
    """Biases and normalisations other than at the start."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(cast(Tensor, module.running_mean), std=0.1)
            nn.init.uniform_(cast(Tensor, module.running_var), 0.3, 0.6)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.3)


def zhangs(kind: type[nn.Module], folder: Path, width: int = WIDTH) -> tuple[nn.Module, str]:
    """One of their networks, in evaluation mode, and a file of its weights."""
    network = kind(width)
    randomize(network)
    torch.save(network.state_dict(), folder / "zhang.pth")
    return network.eval().requires_grad_(False), str(folder / "zhang.pth")


def small_network(class_head: bool = False) -> ColorizationNetwork:
    """A narrow one in evaluation mode."""
    network = ColorizationNetwork(WIDTH, class_head)
    randomize(network)
    return network.eval().requires_grad_(False)


def grey_and_hints(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Random Lab L, and hints at a third of the pixels."""
    mask = (torch.rand(count, 1, height, width) < 1 / 3).float()
    chroma = 40 * torch.randn(count, 2, height, width)
    return 100 * torch.rand(count, 1, height, width), torch.cat([chroma * mask, mask], dim=1)


# The network


def test_parameters_of_the_published_network() -> None:
    with torch.device("meta"):
        plain, classifying = ColorizationNetwork(), ColorizationNetwork(class_head=True)
    assert sum(value.numel() for value in plain.parameters()) == 34_051_074
    assert sum(value.numel() for value in classifying.parameters()) == 34_187_027


@pytest.mark.parametrize("size", [(8, 8), (24, 40)])
def test_it_is_the_network_of_2017(tmp_path: Path, size: tuple[int, int]) -> None:
    theirs, path = zhangs(Zhang2017, tmp_path)
    network = ColorizationNetwork(WIDTH, class_head=True)
    begin_with_colorizer(network, path, 4)
    network.eval()
    luminance, hints = grey_and_hints(2, *size)
    with torch.no_grad():
        wanted, classes = theirs.double()(luminance.double(), hints.double())
        found = network(luminance, hints)
        logits = network.classes(network.features(luminance, hints)[0])
    assert found.dtype == torch.float32
    assert wanted.std() > 5
    assert (wanted.abs() < 109).double().mean() > 0.5
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-2)
    assert logits.shape == (2, 529, size[0] // 4, size[1] // 4)
    torch.testing.assert_close(logits.double(), classes, rtol=1e-4, atol=1e-4)
    without = ColorizationNetwork(WIDTH)
    begin_with_colorizer(without, path, 4)
    assert torch.equal(without.eval()(luminance, hints), found), "the class head changes nothing"


@pytest.mark.parametrize(("dilation", "reach"), [(1, 3), (2, 6)])
def test_a_block_sees_as_far_as_its_dilation_lets_it(dilation: int, reach: int) -> None:
    layers = block([1, 1, 1, 1], dilation).eval()
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    picture = torch.rand(1, 1, 17, 19, requires_grad=True)
    seen = layers(picture)
    assert seen.shape == picture.shape
    seen[0, 0, 8, 9].backward()
    assert picture.grad is not None
    wanted = torch.zeros(17, 19, dtype=torch.bool)
    wanted[8 - reach : 9 + reach : dilation, 9 - reach : 10 + reach : dilation] = True
    assert torch.equal(picture.grad[0, 0] != 0, wanted)


def test_the_middle_blocks_are_the_dilated_ones() -> None:
    dilations = {
        name: {layer.dilation for layer in blocks.modules() if isinstance(layer, nn.Conv2d)}
        for name, blocks in ColorizationNetwork(1).blocks.items()
    }
    assert dilations == {f"{number}": {(2, 2) if number in (5, 6) else (1, 1)} for number in range(1, 11)}


@pytest.mark.parametrize("size", [(1, 1), (1, 20), (9, 1), (2, 2), (13, 27), (16, 24)])
def test_any_picture_is_part_of_the_one_that_repeats_its_border(size: tuple[int, int]) -> None:
    network, (luminance, hints) = small_network(), grey_and_hints(2, *size)
    padding = ((0, 0), (0, 0), (0, -size[0] % 8), (0, -size[1] % 8))
    larger = np.pad(luminance.numpy(), padding, mode="edge"), np.pad(hints.numpy(), padding)
    found = network(luminance, hints)
    assert found.shape == (2, 2, *size)
    assert found.abs().max() <= 110
    torch.testing.assert_close(found, network(*map(torch.from_numpy, larger))[:, :, : size[0], : size[1]])


def test_without_hints_it_is_deterministic_and_with_them_another() -> None:
    network, (luminance, hints) = small_network(), grey_and_hints(2, 24, 16)
    first, second = (network(luminance, torch.zeros_like(hints)) for _ in range(2))
    assert torch.equal(first, second)
    for channel in range(3):
        other = torch.zeros_like(hints)
        other[:, channel] = hints[:, channel]
        assert (network(luminance, other) - first).abs().max() > 0.1


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    network, (luminance, hints) = small_network(), grey_and_hints(3, 16, 24)
    together = network(luminance, hints)
    torch.testing.assert_close(together[1:2], network(luminance[1:2], hints[1:2]), rtol=0, atol=1e-3)


def test_mixed_precision_stays_finite_and_near() -> None:
    network, (luminance, hints) = small_network(), grey_and_hints(2, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(luminance, hints)
    assert found.dtype == torch.float32
    assert (found - network(luminance, hints)).abs().mean() < 5


# Losses


def test_huber_loss_of_the_numbers_computed_by_hand() -> None:
    chroma = torch.zeros(1, 2, 1, 1)
    predicted = chroma + 0.001 * 110
    for mask, wanted in ((1.0, 0.0064545), (0.0, 0.000055)):
        found = huber(predicted, chroma, 1, 1 + 10 * torch.full((1, 1, 1, 1), mask))
        assert found.item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("weight", "delta"), [(10.0, 1.0), (0.0, 1.0), (3.0, 20.0)])
def test_huber_loss_is_the_mean_of_scaled_residuals(weight: float, delta: float) -> None:
    predicted, chroma = 10 * torch.randn(2, 2, 5, 4), 10 * torch.randn(2, 2, 5, 4)
    mask = (torch.rand(2, 1, 5, 4) < 0.5).float()
    total = 0.0
    for picture, channel, y, x in np.ndindex(2, 2, 5, 4):
        residual = (predicted - chroma)[picture, channel, y, x].item() / 110
        residual *= 1 + weight * mask[picture, 0, y, x].item()
        total += scipy_huber(delta / 110, residual) * 110 / delta
    found = huber(predicted, chroma, delta, 1 + weight * mask)
    assert found.item() == pytest.approx(total / predicted.numel(), rel=1e-5)


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


# What it starts with


def test_it_starts_with_the_first_blocks_of_2016_in_which_hints_have_no_influence(tmp_path: Path) -> None:
    theirs, path = zhangs(Zhang2016, tmp_path)
    network = ColorizationNetwork(WIDTH)
    randomize(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    begin_with_colorizer(network, path, 4)
    fourth: list[Tensor] = []
    network.eval().blocks["4"].register_forward_hook(lambda module, inputs, output: fourth.append(output))
    luminance, hints = grey_and_hints(2, 24, 32)
    with torch.no_grad():
        network(luminance, hints)
        wanted = cast(Zhang2016, theirs.double()).fourth(luminance.double())
    torch.testing.assert_close(fourth[0].double(), wanted, rtol=1e-4, atol=1e-4)
    for name, value in network.state_dict().items():
        if not name.startswith(("blocks.1.", "blocks.2.", "blocks.3.", "blocks.4.")):
            assert torch.equal(value, before[name]), f"{name} is another layer there"


def test_after_the_start_of_2016_hints_are_learnt(tmp_path: Path) -> None:
    network = ColorizationNetwork(WIDTH)
    begin_with_colorizer(network, zhangs(Zhang2016, tmp_path)[1], 4)
    network(*grey_and_hints(2, 16, 16)).square().mean().backward()
    first = next(network.blocks["1"].parameters())
    assert first.grad is not None
    assert first.grad.any(dim=(0, 2, 3)).all()


@pytest.mark.parametrize("prefix", ["", "colorization."])
def test_it_starts_from_a_run(tmp_path: Path, prefix: str) -> None:
    source, network = small_network(class_head=True), ColorizationNetwork(WIDTH, class_head=True)
    weights = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    weights |= {"transfer.decoder.before.4.weight": torch.ones(1), "initialized": torch.tensor(True)}
    (tmp_path / "checkpoints").mkdir()
    torch.save({"method": "Exemplar", "state_dict": weights}, tmp_path / "checkpoints" / "last.ckpt")
    begin_with_colorizer(network, str(tmp_path), 4)
    for name, value in network.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


@pytest.mark.parametrize("kind", [Zhang2016, Zhang2017])
def test_weights_that_do_not_fit_are_refused_in_a_sentence(tmp_path: Path, kind: type[nn.Module]) -> None:
    theirs, path = zhangs(kind, tmp_path)
    whole = theirs.state_dict()
    others = {
        r"blocks\.3\.4\.bias": {name: value for name, value in whole.items() if name != "model3.4.bias"},
        r"blocks\.2\.4\.running_var": whole | {"model2.4.running_var": torch.ones(2 * WIDTH + 1)},
        "a weight": whole | {"model4.0.weight": torch.full_like(whole["model4.0.weight"], torch.nan)},
        r"blocks\.1\.0\.weight": {name: value for name, value in whole.items() if name == "model_out.weight"},
    }
    for name, weights in others.items():
        torch.save(weights, path)
        network = ColorizationNetwork(WIDTH)
        before = network.state_dict()["blocks.1.2.weight"].clone()
        with pytest.raises(ValueError, match=rf"zhang\.pth cannot start this network: {name} is absent") as caught:
            begin_with_colorizer(network, path, 4)
        assert "\n" not in str(caught.value)
        assert torch.equal(network.state_dict()["blocks.1.2.weight"], before), "it was begun all the same"
    torch.save(whole, path)
    with pytest.raises(ValueError, match=r"blocks\.1\.0\.weight is absent.* give the network that one's width"):
        begin_with_colorizer(ColorizationNetwork(WIDTH + 1), path, 4)


def test_files_that_are_no_weights_are_refused_in_a_sentence(tmp_path: Path) -> None:
    network = ColorizationNetwork(1)
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at .*absent\.pth; give"):
        begin_with_colorizer(network, str(tmp_path / "absent.pth"), 4)
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(ValueError, match=r"text\.pth cannot be read, neither as") as caught:
        begin_with_colorizer(network, str(tmp_path / "text.pth"), 4)
    assert "\n" not in str(caught.value)
