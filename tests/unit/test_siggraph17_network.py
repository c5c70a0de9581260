"""SIGGRAPH17's network: its published size, how far it sees, images of any size; and its Huber loss."""

from typing import cast

import numpy as np
import pytest
import torch
from scipy.special import huber as scipy_huber
from torch import Tensor, nn

from lightning_modules.layers.blocks import convolutions
from lightning_modules.siggraph17.losses import huber
from lightning_modules.siggraph17.network import ColorizationNetwork

WIDTH = 3


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


@pytest.mark.parametrize(("dilation", "reach"), [(1, 3), (2, 6)])
def test_a_block_sees_as_far_as_its_dilation_lets_it(dilation: int, reach: int) -> None:
    layers = convolutions([1, 1, 1, 1], dilation=dilation).eval()
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
