"""PixColor's conditioning network: its published size, torchvision's ResNet, and the gradients into it."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet101
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.transforms.v2.functional import normalize

from lightning_modules.pixcolor.conditioning import ConditioningNetwork, begin_with_resnet, gradient_multiplier

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SMALL = (1, 2, 2)

Block = Literal["basic", "bottleneck"]
Stride = Literal[4, 8]


def small_resnet(
    block: type[nn.Module] = Bottleneck, dilated: tuple[bool, bool, bool] = (False, False, False)
) -> ResNet:
    """Torchvision's, shallow, of ten classes, with normalisations other than at the start."""
    network = ResNet(block, [*SMALL, 1], num_classes=10, replace_stride_with_dilation=dilated)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(cast(Tensor, module.running_mean), std=0.2)
            nn.init.uniform_(cast(Tensor, module.running_var), 0.5, 1.5)
    return network.eval()


def features_of(resnet: ResNet, luminance: Tensor) -> Tensor:
    """What `layer3` gives when torchvision's whole network classifies grey pictures."""
    seen: list[Tensor] = []
    hook = resnet.layer3.register_forward_hook(lambda module, inputs, output: seen.append(output))
    resnet(normalize(luminance.expand(-1, 3, -1, -1), MEAN, STD))
    hook.remove()
    return seen[0]


def begun(
    weights: dict[str, Tensor], folder: Path, block: Block = "bottleneck", stride: Stride = 8
) -> ConditioningNetwork:
    """A network, in evaluation mode, of these weights as a file of torchvision's has them."""
    torch.save(weights, folder / "resnet.pth")
    network = ConditioningNetwork(block, SMALL, stride, width=4)
    begin_with_resnet(network.trunk, str(folder / "resnet.pth"))
    return network.eval()


def test_weights_of_the_published_network() -> None:
    with torch.device("meta"):
        network = ConditioningNetwork()
        whole = resnet101()
    convolutions = [module for module in network.trunk.modules() if isinstance(module, nn.Conv2d)]
    bottlenecks = sum(
        blocks * (width * 4 * width + 9 * width * width + width * 4 * width)  # as if all inputs were 4 wide
        + (previous - 4 * width) * width  # the first block's is not,
        + previous * 4 * width  # and its shortcut is a convolution
        for blocks, width, previous in ((3, 64, 64), (4, 128, 256), (23, 256, 512))
    )
    assert sum(module.weight.numel() for module in convolutions) == 3 * 64 * 49 + bottlenecks == 27_452_608
    assert sum(value.numel() for value in network.adaptation.parameters()) == 9 * 64 * (1024 + 64 + 64) == 663_552
    theirs = {name: value.shape for name, value in whole.state_dict().items() if not name.startswith(("layer4", "fc"))}
    assert {name: value.shape for name, value in network.trunk.state_dict().items()} == theirs
    assert set(network.state_dict()) == {f"trunk.{name}" for name in theirs} | {
        f"adaptation.{layer}.weight" for layer in (0, 2, 4)
    }


def test_published_network_sees_224_as_28() -> None:
    with torch.device("meta"):
        network = ConditioningNetwork()
        luminance = torch.empty(2, 1, 224, 224)
    assert network.trunk_features(luminance).shape == (2, 1024, 28, 28)
    assert network(luminance).shape == (2, 64, 28, 28)


@pytest.mark.parametrize(("block", "features"), [("basic", 256), ("bottleneck", 1024)])
@pytest.mark.parametrize("stride", [4, 8])
def test_pictures_need_not_be_square(block: Block, features: int, stride: Stride) -> None:
    network = ConditioningNetwork(block, (1, 1, 1), stride, width=5).eval()
    seen = network.trunk_features(torch.rand(2, 1, 24, 40))
    assert seen.shape == (2, network.features, 24 // stride, 40 // stride)
    assert network.features == features
    assert network(torch.rand(1, 1, 40, 16)).shape == (1, network.width, 40 // stride, 16 // stride)


@pytest.mark.parametrize(("stride", "dilated"), [(8, (False, True, False)), (4, (True, True, False))])
def test_trunk_is_torchvisions_with_dilation(stride: Stride, dilated: tuple[bool, bool, bool], tmp_path: Path) -> None:
    resnet = small_resnet(dilated=dilated)
    luminance = torch.rand(2, 1, 48, 64)
    network = begun(resnet.state_dict(), tmp_path, stride=stride)
    torch.testing.assert_close(network.trunk_features(luminance), features_of(resnet, luminance))


@pytest.mark.parametrize("stride", [4, 8])
def test_trunk_of_basic_blocks_agrees_with_the_strided_one_where_that_has_features(
    stride: Stride, tmp_path: Path
) -> None:
    resnet = small_resnet(BasicBlock)
    luminance = torch.rand(1, 1, 64, 96)
    features = begun(resnet.state_dict(), tmp_path, "basic", stride).trunk_features(luminance)
    step = 16 // stride
    torch.testing.assert_close(features[:, :, ::step, ::step], features_of(resnet, luminance))


def test_adaptation_is_three_convolutions_of_which_the_last_is_linear() -> None:
    network = ConditioningNetwork("basic", (1, 1, 1), width=4).eval()
    luminance = torch.rand(1, 1, 32, 32)
    x = network.trunk_features(luminance)
    for index, weight in enumerate(network.adaptation.parameters()):
        x = torch.conv2d(x if index == 0 else x.clamp(min=0), weight, padding=1)
    torch.testing.assert_close(network(luminance), x)
    assert x.min() < 0


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_gradient_is_multiplied_and_the_value_is_not(factor: float) -> None:
    x, weights = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randn(3, 4, dtype=torch.float64)
    seen = gradient_multiplier(x, factor)
    assert torch.equal(seen, x)
    (seen * weights).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, factor * weights)


def test_a_multiplier_of_zero_trains_the_adaptation_and_not_the_trunk() -> None:
    network = ConditioningNetwork("basic", (1, 1, 1), width=4)
    condition = network.adaptation(gradient_multiplier(network.trunk_features(torch.rand(2, 1, 32, 32)), 0))
    condition.square().mean().backward()
    assert all(value.grad is not None and not value.grad.any() for value in network.trunk.parameters())
    assert all(value.grad is not None and value.grad.any() for value in network.adaptation.parameters())


def test_mixed_precision_stays_finite() -> None:
    network = ConditioningNetwork("basic", (1, 1, 1), width=4)
    with torch.autocast("cpu", torch.bfloat16):
        condition = network(torch.rand(2, 1, 32, 32))
    condition.float().square().mean().backward()
    assert condition.isfinite().all()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())


@pytest.mark.parametrize(
    "saved",
    [
        lambda weights: weights,
        lambda weights: {name: value for name, value in weights.items() if "num_batches" not in name},
        lambda weights: (
            {f"backbone.{name}": value for name, value in weights.items()} | {"aux.0.weight": torch.ones(1)}
        ),
        lambda weights: {
            "method": "PixColor",
            "state_dict": {f"conditioning.trunk.{name}": value for name, value in weights.items()},
        },
    ],
    ids=["classifier", "file before num_batches_tracked", "segmentation network", "checkpoint of a run"],
)
def test_weights_are_found_under_any_prefix(
    saved: Callable[[dict[str, Tensor]], dict[str, object]], tmp_path: Path
) -> None:
    weights = small_resnet(BasicBlock).state_dict()
    (tmp_path / "checkpoints").mkdir()
    torch.save(saved(dict(weights)), tmp_path / "checkpoints" / "last.ckpt")
    network = ConditioningNetwork("basic", SMALL)
    begin_with_resnet(network.trunk, str(tmp_path))
    for name, value in network.trunk.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_weights_that_do_not_fit_are_refused_in_a_sentence(tmp_path: Path) -> None:
    whole = dict(small_resnet(BasicBlock).state_dict())
    name = "layer2.1.bn2.running_var"
    for weights in (
        {key: value for key, value in whole.items() if key != name},
        whole | {name: torch.ones(3)},
        whole | {name: torch.full_like(whole[name], torch.nan)},
    ):
        with pytest.raises(ValueError, match=rf"resnet\.pth cannot start this trunk: {name} is absent.*\[3, 4, 23\]"):
            begun(weights, tmp_path, "basic")
    with pytest.raises(ValueError, match=r"cannot start this trunk: layer1\.0\.conv1\.weight"):
        begun(whole, tmp_path)
    with pytest.raises(ValueError, match=r"cannot start this trunk: conv1\.weight"):
        begun({"features.0.weight": torch.ones(1)}, tmp_path)


def test_files_that_are_no_weights_are_refused_in_a_sentence(tmp_path: Path) -> None:
    trunk = ConditioningNetwork("basic", (1, 1, 1)).trunk
    (tmp_path / "text.pth").write_text("weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, words in (("text", "is not a whole"), ("list", "holds no weights")):
        with pytest.raises(ValueError, match=rf"{name}\.pth {words}"):
            begin_with_resnet(trunk, str(tmp_path / f"{name}.pth"))
    with pytest.raises(FileNotFoundError):
        begin_with_resnet(trunk, str(tmp_path / "absent.pth"))


def test_networks_that_do_not_exist_are_refused() -> None:
    for block, blocks, stride in (("wide", SMALL, 8), ("basic", (2, 2, 2, 2), 8), ("basic", SMALL, 16)):
        with pytest.raises(ValueError, match=f"no conditioning network of {block} blocks, .* at stride {stride};"):
            ConditioningNetwork(cast(Block, block), blocks, cast(Stride, stride))
