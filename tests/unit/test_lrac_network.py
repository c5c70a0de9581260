"""LRAC's network: published sizes, what its layers are, and one pixel's prediction against the whole picture's."""

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from lightning_modules.lrac.hypercolumn import LAYERS, STRIDES, TABLE_2
from lightning_modules.lrac.initialization import xavier
from lightning_modules.lrac.network import GreyClassifier, Layer, LRACNetwork, VGG16Trunk


def count(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def small_network(layers: str = "data..fc7", batch_norm: bool = False, mean_lightness: float = 0.0) -> LRACNetwork:
    """A narrow network in float64 and evaluation mode, with biases and running moments other than at the start."""
    network = LRACNetwork(6, layers, 2, 5, 7, batch_norm, mean_lightness)
    xavier(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(cast(Tensor, module.running_mean), std=0.3)
            nn.init.uniform_(cast(Tensor, module.running_var), 0.5, 1.5)
    return network.double().eval().requires_grad_(False)


def naive_dense(network: LRACNetwork, lightness: Tensor) -> Tensor:
    """The prediction at stride 4 from hypercolumns that are formed."""
    maps = network.trunk(lightness)
    columns = [
        F.avg_pool2d(maps[name], 4 // STRIDES[name])
        if STRIDES[name] <= 4
        else F.interpolate(maps[name], scale_factor=STRIDES[name] // 4, mode="bilinear")
        for name in network.channels
    ]
    hidden = F.relu(network.h_fc1(torch.cat(columns, dim=1).movedim(1, -1)))
    outputs: Tensor = network.head(hidden).movedim(-1, 1)
    return outputs


def test_parameters_of_the_published_network() -> None:
    with torch.device("meta"):
        network = LRACNetwork(64)
        from_scratch = LRACNetwork(64, batch_norm=True)
    assert count(network) == 147_041_024
    assert count(network) - count(from_scratch) == 64 * 2 + 128 * 2 + 256 * 3 + 512 * 6 + 4096 * 2


@pytest.mark.parametrize(
    ("layers", "expected"), zip(TABLE_2, [12_417, 4_225, 11_264, 9_728, 8_192, 4_096], strict=True)
)
def test_channels_of_the_ablations(layers: str, expected: int) -> None:
    with torch.device("meta"):
        network = LRACNetwork(64, layers)
    assert sum(network.channels.values()) == network.h_fc1.in_features == expected
    assert ("fc6" in network.trunk.layers) == layers.endswith("fc7")


def test_trunk_is_vgg16() -> None:
    widths: list[str | int] = [2, 2, "M", 4, 4, "M", 8, 8, 8, "M", 16, 16, 16, "M", 16, 16, 16]
    reference = cast(nn.Sequential, make_layers(widths))
    reference[0] = nn.Conv2d(1, 2, 3, padding=1)
    trunk = VGG16Trunk(width=2, fc_width=5).eval()
    theirs = [module for module in reference if isinstance(module, nn.Conv2d)]
    for layer, convolution in zip(trunk.layers.values(), theirs, strict=False):
        convolution.load_state_dict(cast(Layer, layer).convolution.state_dict())
    lightness = torch.rand(2, 1, 64, 96)
    maps = trunk(lightness)
    assert tuple(maps) == LAYERS
    assert torch.equal(maps["data"], lightness)
    x, seen = lightness, []
    for module in reference:
        x = module(x)
        if isinstance(module, nn.ReLU):
            seen.append(x)
    for expected, features in zip(seen, list(maps.values())[1:14], strict=True):
        torch.testing.assert_close(features, expected)
    fc6, fc7 = (cast(Layer, trunk.layers[name]).convolution for name in ("fc6", "fc7"))
    expected = F.relu(F.conv2d(F.max_pool2d(x, 2), fc6.weight, fc6.bias, padding=3))
    torch.testing.assert_close(maps["fc6"], expected)
    torch.testing.assert_close(maps["fc7"], F.relu(F.conv2d(expected, fc7.weight, fc7.bias)))
    for name, features in maps.items():
        assert features.shape == (2, trunk.channels[name], 64 // STRIDES[name], 96 // STRIDES[name])


def test_batch_normalisation_has_no_scale_and_shift() -> None:
    trunk = VGG16Trunk(width=2, fc_width=5, batch_norm=True)
    norms = [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 15
    assert all(len(list(norm.parameters())) == 0 for norm in norms)
    assert all(cast(Layer, layer).convolution.bias is None for layer in trunk.layers.values())
    before: list[Tensor] = []
    cast(Layer, trunk.layers["conv3_2"]).norm.register_forward_hook(
        lambda module, arguments, output: before.append(output.clone())
    )
    maps = trunk(torch.rand(4, 1, 64, 64))
    torch.testing.assert_close(before[0].mean(dim=(0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(before[0].var(dim=(0, 2, 3), correction=0), torch.ones(8), atol=0.05, rtol=0)
    assert torch.equal(maps["conv3_2"], before[0].relu())


def test_mean_lightness_is_subtracted() -> None:
    lightness = torch.rand(1, 1, 32, 32)
    data = VGG16Trunk(width=1, fc_width=1, mean_lightness=0.4488)(lightness)["data"]
    torch.testing.assert_close(data, lightness - 0.4488)


def test_dropout_follows_fc6_and_fc7_only() -> None:
    trunk = VGG16Trunk(width=1, fc_width=2000, dropout=0.25)
    for layer in trunk.layers.values():
        convolution = cast(Layer, layer).convolution
        nn.init.zeros_(convolution.weight)
        nn.init.ones_(cast(Tensor, convolution.bias))
    maps = trunk(torch.rand(1, 1, 32, 32))
    for name in LAYERS[1:-2]:
        assert (maps[name] == 1).all()
    for name in ("fc6", "fc7"):
        kept = maps[name] != 0
        assert (maps[name][kept] == 1 / 0.75).all()
        assert 0.70 < kept.float().mean() < 0.80
    assert all((features == 1).all() for features in list(trunk.eval()(torch.rand(1, 1, 32, 32)).values())[1:])


@pytest.mark.parametrize(("height", "width"), [(2, 2), (33, 70), (64, 31)])
def test_pictures_of_any_size(height: int, width: int) -> None:
    network = small_network()
    lightness = torch.rand(2, 1, height, width, dtype=torch.float64)
    dense = network.dense(lightness)
    assert dense.shape == (2, 6, -(-height // 4), -(-width // 4))
    rows = torch.arange(-(-height // 32) * 32).clamp(max=height - 1)
    columns = torch.arange(-(-width // 32) * 32).clamp(max=width - 1)
    padded = lightness[:, :, rows][:, :, :, columns]
    torch.testing.assert_close(dense, naive_dense(network, padded)[:, :, : dense.shape[2], : dense.shape[3]])
    corner = torch.tensor([height - 1, width - 1]).expand(2, 1, 2)
    torch.testing.assert_close(network.sparse(lightness, corner), network.sparse(padded, corner))


@pytest.mark.parametrize("layers", TABLE_2)
def test_dense_prediction_equals_the_naive_one(layers: str) -> None:
    network = small_network(layers, mean_lightness=0.4)
    lightness = torch.rand(2, 1, 64, 96, dtype=torch.float64)
    torch.testing.assert_close(network.dense(lightness), naive_dense(network, lightness), atol=1e-10, rtol=0)


@pytest.mark.parametrize("rows", [4, 8, 28, 32, 64, 92])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_strips_equal_the_whole(rows: int, batch_norm: bool) -> None:
    network = small_network(batch_norm=batch_norm)
    lightness = torch.rand(2, 1, 96, 64, dtype=torch.float64)
    strips: dict[str, list[Tensor]] = {}
    for name, top, features in network.trunk.strips(lightness, rows):
        assert top == sum(strip.shape[2] for strip in strips.setdefault(name, []))
        strips[name].append(features)
        assert features.shape[2] <= max(rows // STRIDES[name], 96 // 8)
    assert len(strips["conv1_1"]) == -(-96 // rows)
    for name, features in network.trunk(lightness).items():
        torch.testing.assert_close(torch.cat(strips[name], dim=2), features, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        network.dense(lightness, strip_pixels=rows * 64), network.dense(lightness), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("layers", ["data", "data..conv1_2", "conv2_1", "conv3_2..conv4_1"])
def test_trunk_that_ends_early(layers: str) -> None:
    network = small_network(layers)
    lightness = torch.rand(1, 1, 64, 32, dtype=torch.float64)
    dense = network.dense(lightness, strip_pixels=16 * 32)
    torch.testing.assert_close(dense, naive_dense(network, lightness))


def test_sparse_prediction_equals_dense_where_hypercolumns_do() -> None:
    network = small_network("conv3_1..fc7")
    lightness = torch.rand(2, 1, 64, 96, dtype=torch.float64)
    centres = 4 * torch.cartesian_prod(torch.arange(16), torch.arange(24)) + 1.5
    sparse = network.sparse(lightness, centres.expand(2, -1, -1))
    assert sparse.shape == (2, 16 * 24, 6)
    torch.testing.assert_close(sparse.transpose(1, 2), network.dense(lightness).flatten(2))


def test_a_step_trains_every_parameter() -> None:
    network = LRACNetwork(6, width=2, fc_width=8, hidden_width=16, hidden_dropout=0.5)
    xavier(network)
    network.sparse(torch.rand(2, 1, 64, 64), torch.randint(0, 64, (2, 32, 2))).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_hidden_dropout_changes_training_only() -> None:
    network = LRACNetwork(6, "data..conv1_1", width=2, hidden_width=16, hidden_dropout=0.5)
    lightness, locations = torch.rand(1, 1, 32, 32), torch.randint(0, 32, (1, 8, 2))
    assert not torch.equal(network.sparse(lightness, locations), network.sparse(lightness, locations))
    network.eval()
    assert torch.equal(network.sparse(lightness, locations), network.sparse(lightness, locations))


def test_output_is_float32_under_autocast() -> None:
    network = small_network().float()
    lightness = torch.rand(1, 1, 64, 64)
    centres = torch.randint(0, 64, (1, 20, 2))
    sparse, dense = network.sparse(lightness, centres), network.dense(lightness)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network.trunk(lightness)["conv2_1"].dtype == torch.bfloat16
        coarse_sparse, coarse_dense = network.sparse(lightness, centres), network.dense(lightness)
    for coarse, fine in ((coarse_sparse, sparse), (coarse_dense, dense)):
        assert coarse.dtype == torch.float32
        assert not (coarse.bfloat16().float() == coarse).all(), "the head itself must not be rounded to bfloat16"
        torch.testing.assert_close(coarse, fine, rtol=0.1, atol=0.1)


def test_grey_classifier_averages_over_positions() -> None:
    classifier = GreyClassifier(VGG16Trunk(width=2, fc_width=5), classes=3).eval()
    xavier(classifier)
    lightness = torch.rand(2, 1, 96, 64)
    fc7 = classifier.trunk(lightness)["fc7"]
    everywhere = F.conv2d(fc7, classifier.fc8.weight[:, :, None, None], classifier.fc8.bias)
    assert everywhere.shape == (2, 3, 3, 2)
    torch.testing.assert_close(classifier(lightness), everywhere.mean(dim=(2, 3)))
