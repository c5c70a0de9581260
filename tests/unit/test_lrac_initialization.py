"""How LRAC's network starts: torchvision's VGG-16 made grey, re-balanced, or Xavier."""

from collections import OrderedDict
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import make_layers
from torchvision.transforms.v2.functional import normalize

from lightning_modules.lrac.initialization import FIRST, begin_with, of_channels, rebalance, vgg16, xavier
from lightning_modules.lrac.network import GreyClassifier, Layer, LRACNetwork, VGG16Trunk

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
FC_WIDTH = 6


def small_vgg16() -> nn.Sequential:
    """Torchvision's VGG-16 at a thirty-second of its width, for pictures of 224 x 224, with biases other than 0."""
    widths: list[str | int] = [2, 2, "M", 4, 4, "M", 8, 8, 8, "M", 16, 16, 16, "M", 16, 16, 16, "M"]
    classifier = nn.Sequential(
        *(nn.Linear(16 * 49, FC_WIDTH), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(FC_WIDTH, FC_WIDTH), nn.ReLU(), nn.Dropout()),
        nn.Linear(FC_WIDTH, 3),
    )
    network = nn.Sequential(OrderedDict(features=make_layers(widths), flat=nn.Flatten(), classifier=classifier))
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(cast(Tensor, module.bias), std=0.1)
    return network.eval()


def small_trunk(channels: int = 1) -> VGG16Trunk:
    """A trunk of the same widths, in evaluation mode, with biases other than 0."""
    trunk = VGG16Trunk(width=2, fc_width=FC_WIDTH, in_channels=channels)
    xavier(trunk)
    for layer in trunk.layers.values():
        nn.init.uniform_(cast(Tensor, cast(Layer, layer).convolution.bias), 0, 0.2)
    return trunk.eval()


def test_first_layer_sees_in_grey_what_it_saw_in_colour(tmp_path: Path) -> None:
    theirs, classifier = small_vgg16(), GreyClassifier(small_trunk(), classes=3)
    torch.save(theirs.state_dict(), tmp_path / "vgg16.pth")
    begin_with(classifier, str(tmp_path / "vgg16.pth"))
    trunk = classifier.trunk
    lightness = torch.rand(2, 1, 64, 64)
    expected = F.relu(theirs.get_submodule("features.0")(normalize(lightness.expand(-1, 3, -1, -1), MEAN, STD)))
    seen = trunk(lightness)["conv1_1"]
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(seen[inside], expected[inside])
    assert (seen - expected).abs().max() > 0.01, "the two differ at the border, where the document says so"


@pytest.mark.parametrize("channels", [1, 3])
def test_whole_network_classifies_as_torchvisions(channels: int) -> None:
    theirs, classifier = small_vgg16(), GreyClassifier(small_trunk(channels), classes=3).eval()
    # Of pictures that are not centred, the border is black on both sides, so that all of it must agree.
    weights = vgg16(theirs.state_dict(), mean=(0, 0, 0), std=(0.2, 0.3, 0.4))
    weights[FIRST] = of_channels(weights[FIRST], channels)
    classifier.load_state_dict(weights)
    picture = torch.rand(1, channels, 224, 224)
    colour = picture.expand(-1, 3, -1, -1) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    middle = classifier.trunk(picture)["fc7"][:, :, 3, 3]
    torch.testing.assert_close(classifier.fc8(middle), theirs(colour))


def test_grey_filters_see_in_a_grey_picture_of_three_channels_what_they_saw() -> None:
    weight, lightness = torch.randn(4, 1, 3, 3), torch.rand(1, 1, 8, 8)
    spread = of_channels(weight, 3)
    torch.testing.assert_close(F.conv2d(lightness.expand(-1, 3, -1, -1), spread), F.conv2d(lightness, weight))
    torch.testing.assert_close(of_channels(spread, 1), weight)


def test_a_network_begins_with_all_that_fits_of_another(tmp_path: Path) -> None:
    first, second = (LRACNetwork(outputs, width=2, fc_width=FC_WIDTH, hidden_width=5) for outputs in (4, 7))
    checkpoint = {f"network.{name}": value for name, value in first.state_dict().items()}
    torch.save({"method": "LRAC", "state_dict": checkpoint}, tmp_path / "run.ckpt")
    head = second.head.weight.clone()
    taken = begin_with(second, str(tmp_path / "run.ckpt"))
    assert set(taken) == {name for name in first.state_dict() if not name.startswith("head.")}
    assert all(torch.equal(second.state_dict()[name], value) for name, value in taken.items())
    assert torch.equal(second.head.weight, head)


def test_a_trunk_of_other_layers_is_refused(tmp_path: Path) -> None:
    torch.save(small_vgg16().state_dict(), tmp_path / "vgg16.pth")
    for width, batch_norm in ((3, False), (2, True)):
        network = GreyClassifier(VGG16Trunk(width, FC_WIDTH, batch_norm=batch_norm), classes=3)
        with pytest.raises(ValueError, match=r"vgg16\.pth cannot start this network: trunk\.layers\.conv1_1"):
            begin_with(network, str(tmp_path / "vgg16.pth"))


def test_weights_of_another_network_are_refused() -> None:
    weights = small_vgg16().state_dict()
    del weights["features.14.bias"]
    with pytest.raises(ValueError, match=r"no usable features\.14\.bias"):
        vgg16(weights)
    with pytest.raises(ValueError, match=r"no usable classifier\.0\.weight"):
        vgg16(small_vgg16().state_dict() | {"classifier.0.weight": torch.tensor(torch.nan)})


def test_rebalanced_maps_have_a_second_moment_of_one() -> None:
    trunk = small_trunk().double()
    batches = [torch.rand(3, 1, 64, 64, dtype=torch.float64), torch.rand(1, 1, 96, 64, dtype=torch.float64)]
    before = [trunk(batch) for batch in batches]
    assert max(abs((x**2).mean() - 1) for x in before[0].values()) > 0.5
    factors = rebalance(trunk, batches)
    after = [trunk(batch) for batch in batches]
    for name in trunk.layers:
        together = torch.cat([maps[name].flatten() for maps in after])
        torch.testing.assert_close((together**2).mean().item(), 1.0)
        for old, new in zip(before, after, strict=True):
            torch.testing.assert_close(new[name], factors[name] * old[name])
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new["data"], old["data"])


def test_rebalancing_ignores_dropout_and_keeps_the_mode() -> None:
    trunk = small_trunk()
    state = {name: value.clone() for name, value in trunk.state_dict().items()}
    pictures = [torch.rand(2, 1, 64, 64)]
    expected = rebalance(trunk, pictures)
    trunk.load_state_dict(state)
    assert rebalance(trunk.train(), pictures) == expected
    assert trunk.training


def test_what_cannot_be_balanced_is_refused() -> None:
    pictures = [torch.rand(1, 1, 32, 32)]
    with pytest.raises(ValueError, match="batch normalisation"):
        rebalance(VGG16Trunk(width=2, fc_width=4, batch_norm=True), pictures)
    with pytest.raises(ValueError, match="conv1_1 is 0"):
        rebalance(small_trunk(), [])
    trunk = small_trunk()
    nn.init.constant_(cast(Tensor, cast(Layer, trunk.layers["conv2_2"]).convolution.bias), -1e6)
    with pytest.raises(ValueError, match="conv2_2 is 0"):
        rebalance(trunk, pictures)


def test_xavier() -> None:
    network = nn.Sequential(nn.Conv2d(20, 30, 3), nn.Linear(300, 200))
    xavier(network, torch.Generator().manual_seed(1))
    for module, fans in zip(network, (20 * 9 + 30 * 9, 300 + 200), strict=True):
        weight, bias = (cast(Tensor, getattr(module, name)) for name in ("weight", "bias"))
        bound = (6 / fans) ** 0.5
        assert 0.99 * bound < weight.abs().max() <= bound
        assert abs(weight.std() / (bound / 3**0.5) - 1) < 0.03
        assert (bias == 0).all()
    again = nn.Sequential(nn.Conv2d(20, 30, 3), nn.Linear(300, 200))
    xavier(again, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
