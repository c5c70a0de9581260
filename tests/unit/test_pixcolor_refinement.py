"""PixColor's refinement network: its published size, its layers computed one by one, and pictures of any size."""

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_modules.pixcolor.refinement import RefinementNetwork

LOCAL = [(64, 3, 2), (128, 3, 1), (128, 3, 2), (256, 3, 1), (256, 3, 2), (512, 3, 1), (512, 3, 1), (256, 3, 1)]
GLOBAL = [(512, 3, 2), (512, 3, 1), (512, 3, 2), (512, 3, 1), (1024, 5, 1), (512, 3, 1)]
DECODER = [(128, 3, 1), (128, 3, 1), (64, 3, 1), (64, 3, 1), (32, 3, 1), (32, 3, 1), (2, 1, 1)]
"""Table 2: channels, kernel and stride."""


def small_network(width: int = 8) -> RefinementNetwork:
    """A narrow network, in evaluation mode, with biases and normalisations other than at the start."""
    network = RefinementNetwork(width)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(cast(Tensor, module.running_mean), std=0.1)
            nn.init.uniform_(cast(Tensor, module.running_var), 0.7, 1.3)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.3)
    return network.eval().requires_grad_(False)


def stretched(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Stretch maps bilinearly, one axis after the other, pixels being squares whose middles hold the values."""
    for axis, side in zip((2, 3), size, strict=True):
        old = maps.shape[axis]
        at = (np.arange(side) + 0.5) * old / side - 0.5
        lines = maps.movedim(axis, -1)
        values = [np.interp(at, np.arange(old), line) for line in lines.reshape(-1, old).numpy()]
        maps = torch.from_numpy(np.stack(values)).view(*lines.shape[:-1], side).movedim(-1, axis)
    return maps


def naive(network: RefinementNetwork, luminance: Tensor, chroma: Tensor) -> Tensor:
    """The output for a picture of sides that are multiples of 32, a layer of the table after the other."""
    weights = iter(network.state_dict().values())

    def layer(x: Tensor, row: tuple[int, int, int]) -> Tensor:
        x = torch.conv2d(x, next(weights), stride=row[2], padding=row[1] // 2)
        scale, shift, mean, variance, _ = (next(weights) for _ in range(5))
        x = (x.movedim(1, -1) - mean) / (variance + 1e-5).sqrt() * scale + shift
        return x.movedim(-1, 1).clamp(min=0)

    height, width = luminance.shape[2:]
    local = torch.cat([luminance, stretched(chroma, (height, width))], dim=1)
    for row in LOCAL:
        local = layer(local, row)
    wide = local
    for row in GLOBAL:
        wide = layer(wide, row)
    assert wide.shape[2:] == (height // 32, width // 32)
    x = torch.cat([local, stretched(wide, (height // 8, width // 8))], dim=1)
    for index, row in enumerate(DECODER[:-1]):
        if index in (2, 4):
            x = stretched(x, (2 * x.shape[2], 2 * x.shape[3]))
        x = layer(x, row)
    x = torch.conv2d(x, next(weights), next(weights))
    assert x.shape[2:] == (height // 2, width // 2)
    assert next(weights, None) is None
    return stretched(1 / (1 + (-x).exp()), (height, width))


def test_parameters_of_the_published_network() -> None:
    with torch.device("meta"):
        network = RefinementNetwork()
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    shapes = [(module.out_channels, module.kernel_size[0], module.stride[0]) for module in convolutions]
    assert shapes == LOCAL + GLOBAL + DECODER
    scales = [module.weight.numel() for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    parameters = sum(value.numel() for value in network.parameters())
    assert sum(module.weight.numel() for module in convolutions) == 33_080_064
    assert sum(scales) == 6_144
    assert parameters - sum(scales) == 33_086_210, "the normalisations' shifts are the biases"


def test_network_is_the_table_layer_by_layer() -> None:
    network = small_network().double()
    luminance = torch.rand(2, 1, 64, 96, dtype=torch.float64)
    chroma = torch.rand(2, 2, 8, 12, dtype=torch.float64)
    expected = naive(network, luminance, chroma)
    assert expected.std() > 1e-3
    torch.testing.assert_close(network(luminance, chroma).double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(37, 50), (32, 64), (1, 1), (5, 129)])
@pytest.mark.parametrize("hint", [(2, 3), (28, 28), (1, 1)])
def test_any_size_goes_with_any_hint(size: tuple[int, int], hint: tuple[int, int]) -> None:
    refined = small_network()(torch.rand(2, 1, *size), torch.rand(2, 2, *hint))
    assert refined.shape == (2, 2, *size)
    assert refined.dtype == torch.float32
    assert refined.min() >= 0
    assert refined.max() <= 1


def test_a_picture_is_refined_as_part_of_the_one_that_repeats_its_border() -> None:
    network = small_network()
    luminance, chroma = torch.rand(1, 1, 37, 50), torch.rand(1, 2, 37, 50)
    larger = [np.pad(maps.numpy(), ((0, 0), (0, 0), (0, 27), (0, 14)), mode="edge") for maps in (luminance, chroma)]
    refined = network(*map(torch.from_numpy, larger))[:, :, :37, :50]
    torch.testing.assert_close(network(luminance, chroma), refined)


def test_both_channels_of_the_hint_and_luminance_matter() -> None:
    network = small_network()
    luminance, chroma = torch.rand(1, 1, 64, 64).requires_grad_(), torch.rand(1, 2, 8, 8).requires_grad_()
    network(luminance, chroma).sum().backward()
    assert luminance.grad is not None
    assert chroma.grad is not None
    assert luminance.grad.any()
    assert chroma.grad.any(dim=0).any(dim=(1, 2)).all()
    assert not torch.equal(network(luminance, chroma), network(luminance, chroma.flip(1)))


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    network = small_network()
    luminance, chroma = torch.rand(3, 1, 40, 40), torch.rand(3, 2, 5, 5)
    together = network(luminance, chroma)
    assert torch.equal(together, network(luminance, chroma))
    torch.testing.assert_close(together[1:2], network(luminance[1:2], chroma[1:2]))


def test_mixed_precision_stays_finite_and_near() -> None:
    network = small_network()
    luminance, chroma = torch.rand(2, 1, 64, 64), torch.rand(2, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        refined = network(luminance, chroma)
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined, network(luminance, chroma), rtol=0, atol=0.03)
    network.train().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        network(luminance, chroma).mean().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())
