"""What SIGGRAPH17's network starts with: ports of the authors' two networks, whose weights it takes, and runs."""

from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from lightning_modules.chroma import annealed_mean
from lightning_modules.cic.bins import bin_centres
from lightning_modules.cic.module import CompactCIC
from lightning_modules.guidance import Guidance
from lightning_modules.siggraph17.classes import class_centres
from lightning_modules.siggraph17.compact import CompactColorizationNetwork
from lightning_modules.siggraph17.network import ColorizationNetwork
from lightning_modules.siggraph17.published import SETTINGS, from_published
from lightning_modules.siggraph17.weights import begin_with_colorizer
from tests.conftest import PROJECT
from tests.unit.test_exemplar_module import assert_close, painted
from tests.unit.test_siggraph17_network import WIDTH, grey_and_hints, randomize, small_network


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

    def features(self, luminance: Tensor, blocks: int) -> Tensor:
        """What the last of some blocks gives of Lab L."""
        features = (luminance - 50) / 100
        for number in range(1, blocks + 1):
            features = self.get_submodule(f"model{number}")(features)
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


def zhangs(kind: type[nn.Module], folder: Path, width: int = WIDTH) -> tuple[nn.Module, str]:
    """One of their networks, in evaluation mode, and a file of its weights."""
    network = kind(width)
    randomize(network)
    torch.save(network.state_dict(), folder / "zhang.pth")
    return network.eval().requires_grad_(False), str(folder / "zhang.pth")


# What it starts with


@pytest.mark.parametrize("blocks", [4, 7])
def test_it_starts_with_the_first_blocks_of_2016_in_which_hints_have_no_influence(tmp_path: Path, blocks: int) -> None:
    theirs, path = zhangs(Zhang2016, tmp_path)
    network = ColorizationNetwork(WIDTH)
    randomize(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    begin_with_colorizer(network, path, blocks)
    last: list[Tensor] = []
    network.double().eval().blocks[f"{blocks}"].register_forward_hook(
        lambda module, inputs, output: last.append(output)
    )
    luminance, hints = (each.double() for each in grey_and_hints(2, 24, 32))
    with torch.no_grad():
        network(luminance, hints)
        wanted = cast(Zhang2016, theirs.double()).features(luminance, blocks)
    torch.testing.assert_close(last[0], wanted, rtol=1e-9, atol=1e-9)
    taken = tuple(f"blocks.{number}." for number in range(1, blocks + 1))
    for name, value in network.state_dict().items():
        if not name.startswith(taken) and value.is_floating_point():
            assert torch.equal(value.float(), before[name]), f"{name} is another layer there"


def test_after_the_start_of_2016_hints_are_learnt(tmp_path: Path) -> None:
    network = ColorizationNetwork(WIDTH)
    begin_with_colorizer(network, zhangs(Zhang2016, tmp_path)[1], 4)
    network(*grey_and_hints(2, 16, 16)).square().mean().backward()
    first = next(network.blocks["1"].parameters())
    assert first.grad is not None
    assert first.grad.any(dim=(0, 2, 3)).all()


@pytest.mark.parametrize("prefix", ["", "colorization.", "network."])
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
    with pytest.raises(
        ValueError, match=r"blocks\.1\.0\.weight is absent.* give the network that one's layers and width"
    ):
        begin_with_colorizer(ColorizationNetwork(WIDTH + 1), path, 4)


def test_files_that_are_no_weights_are_refused_in_a_sentence(tmp_path: Path) -> None:
    network = ColorizationNetwork(1)
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at .*absent\.pth; give"):
        begin_with_colorizer(network, str(tmp_path / "absent.pth"), 4)
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(ValueError, match=r"text\.pth is not a whole") as caught:
        begin_with_colorizer(network, str(tmp_path / "text.pth"), 4)
    assert "\n" not in str(caught.value)


# The released network


def both(width: int = WIDTH) -> tuple[Zhang2017, dict[str, Tensor]]:
    """The port in double precision, and its weights as the authors' file has them."""
    port = Zhang2017(width)
    randomize(port)
    weights = {name: value.clone() for name, value in port.state_dict().items()}
    return port.double().eval().requires_grad_(False), weights


@pytest.mark.parametrize(("size", "width"), [((8, 8), 64), ((24, 40), WIDTH), ((16, 16), WIDTH)])
@pytest.mark.parametrize("hinted", [True, False])
def test_released_weights_are_the_same_network_here(size: tuple[int, int], width: int, hinted: bool) -> None:
    port, weights = both(width)
    network = from_published(weights).network.double()
    luminance, hints = (each.double() for each in grey_and_hints(2, *size))
    hints = hints * hinted
    with torch.no_grad():
        wanted, wanted_logits = port(luminance, hints)
        quarter, full = network.features(luminance, hints)
        found, logits = network.chroma(full), network.classes(quarter)
    assert wanted.std() > 5
    assert (wanted.abs() < 109).double().mean() > 0.5
    torch.testing.assert_close(found.double() / 110, wanted / 110, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits, wanted_logits, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
@pytest.mark.parametrize("hinted", [True, False])
def test_released_weights_colour_images(hinted: bool) -> None:
    port, weights = both()
    luminance, hints = grey_and_hints(1, 16, 24)
    hints = hints * hinted
    method = from_published({name: value for name, value in weights.items() if "num_batches" not in name})
    found = method.colorize(luminance, guidance=Guidance(hints=hints) if hinted else None)
    assert not method.training
    assert_close(found[:, 0], painted(luminance, port(luminance.double(), hints.double())[0]), 2e-3)


def test_settings_of_the_released_network_are_those_of_the_config() -> None:
    config = yaml.safe_load((PROJECT / "configs/model/siggraph17.yaml").read_text())
    given: dict[str, Any] = {name: value for name, value in config.items() if name not in ("_target_", "pretrained")}
    assert {**given, "pretrained": None} == {**SETTINGS, "network": {"architecture": "published", "width": 64}}


def test_other_weights_are_refused_in_a_sentence() -> None:
    _, weights = both()
    others = {
        r"blocks\.3\.4\.bias is absent": {name: value for name, value in weights.items() if name != "model3.4.bias"},
        r"out\.weight is absent, of another shape": weights | {"model_out.0.weight": torch.ones(3, 2 * WIDTH, 1, 1)},
        r"blocks\.4\.0\.weight .* not finite": weights
        | {"model4.0.weight": torch.full_like(weights["model4.0.weight"], torch.nan)},
        r"model11\.weight is no part": weights | {"model11.weight": torch.ones(1)},
        r"blocks\.1\.0\.weight": Zhang2016().state_dict(),
        "absent": {},
    }
    for words, other in others.items():
        with pytest.raises(ValueError, match=rf"not the weights of siggraph17-df00044c\.pth: .*{words}") as caught:
            from_published(other)
        assert "\n" not in str(caught.value)


def test_a_compact_network_starts_from_a_compact_cic_and_predicts_what_it_predicts(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"widths": [4, 8, 8, 8], "blocks": [1, 1, 1, 1], "head": 8}
    torch.manual_seed(0)
    cic = CompactCIC(313, **settings).eval()
    torch.save({f"network.{name}": value for name, value in cic.state_dict().items()}, tmp_path / "cic.pth")
    network = CompactColorizationNetwork(**settings).eval()
    begin_with_colorizer(network, str(tmp_path / "cic.pth"), 7)
    luminance = 100 * torch.rand(1, 1, 32, 24)
    hints = torch.cat([80 * torch.rand(1, 2, 32, 24), torch.ones(1, 1, 32, 24)], dim=1)
    with torch.no_grad():
        quarter, full = network.features(luminance, hints)
        centres, wanted = class_centres(), annealed_mean(cic(luminance), bin_centres(), 1.0)
        found = annealed_mean(network.classes(quarter), centres, 1.0)
        assert network.chroma(full).abs().max() == 0
    torch.testing.assert_close(found, wanted, atol=0.3, rtol=0)  # 216 classes of e^-10 each pull a little
