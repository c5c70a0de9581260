"""LRAC's hypercolumns: which layers they hold, where each is read, and the whole picture's projection."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

from lightning_modules.lrac.hypercolumn import (
    LAYERS,
    STRIDES,
    TABLE_2,
    DenseProjection,
    layers_between,
    sparse_hypercolumns,
    upsampled_rows,
)

SIDES = {"data": 96, "conv1_2": 96, "conv2_1": 48, "conv3_3": 24, "conv4_2": 12, "conv5_1": 6, "fc7": 3}
OFFSETS = {"data": 0, "conv1_2": 0, "conv2_1": 0.5, "conv3_3": 1.5, "conv4_2": 3.5, "conv5_1": 7.5, "fc7": 15.5}
CHANNELS = {"data": 1, "conv1_2": 3, "conv2_1": 2, "conv3_3": 3, "conv4_2": 4, "conv5_1": 2, "fc7": 5}
WIDER = 32
"""Pixels by which the test's pictures are wider than high."""


def random_maps(batch: int = 2) -> dict[str, Tensor]:
    """Maps of a picture of 96 x 128 pixels."""
    return {
        name: torch.randn(batch, CHANNELS[name], side, side + WIDER * side // 96, dtype=torch.float64)
        for name, side in SIDES.items()
    }


def random_locations(batch: int = 2, count: int = 50) -> Tensor:
    """Pixels anywhere in such a picture, the corners among them."""
    corners = torch.tensor(list(product([0, 95], [0, 95 + WIDER])))
    inside = torch.stack([torch.randint(0, side, (batch, count)) for side in (96, 96 + WIDER)], dim=2)
    return torch.cat([corners.expand(batch, -1, -1), inside], dim=1)


def naive_dense_hypercolumns(maps: dict[str, Tensor]) -> Tensor:
    """All maps brought to stride 4 and concatenated, each by its definition."""
    return torch.cat(
        [
            F.avg_pool2d(features, 4 // STRIDES[name])
            if STRIDES[name] <= 4
            else F.interpolate(features, scale_factor=STRIDES[name] // 4, mode="bilinear")
            for name, features in maps.items()
        ],
        dim=1,
    )


def test_layers_of_the_ablations() -> None:
    assert (
        *("data", "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"),
        *("conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3", "fc6", "fc7"),
    ) == LAYERS
    assert [len(layers_between(ends)) for ends in TABLE_2] == [16, 14, 8, 5, 2, 1]
    assert layers_between("conv5_1..fc7") == ("conv5_1", "conv5_2", "conv5_3", "fc6", "fc7")
    assert layers_between("fc7") == ("fc7",)


@pytest.mark.parametrize("ends", ["fc8", "data..fc8", "fc7..data", "conv1_1..", ""])
def test_unknown_layers_are_refused(ends: str) -> None:
    with pytest.raises(ValueError, match=f"no layers '{ends}'.*data, conv1_1"):
        layers_between(ends)


def test_sparse_hypercolumns_equal_scipy() -> None:
    maps, locations = random_maps(), random_locations()
    columns = sparse_hypercolumns(maps, locations)
    assert columns.shape == (2, 54, sum(CHANNELS.values()))
    for picture in range(2):
        channel = 0
        for name, features in maps.items():
            places = (locations[picture].double() - OFFSETS[name]) / STRIDES[name]
            for plane in features[picture]:
                expected = torch.from_numpy(map_coordinates(plane.numpy(), places.T.numpy(), order=1, mode="nearest"))
                torch.testing.assert_close(columns[picture, :, channel], expected)
                channel += 1


@pytest.mark.parametrize("name", CHANNELS)
def test_cells_are_read_as_they_are_at_their_centres(name: str) -> None:
    features = random_maps()[name]
    cells = torch.cartesian_prod(*(torch.arange(side) for side in features.shape[2:]))
    centres = cells * STRIDES[name] + OFFSETS[name]
    read = sparse_hypercolumns({name: features}, centres.expand(2, -1, -1))
    assert torch.equal(read, features.flatten(2).transpose(1, 2))


def test_averages_of_a_ramp_are_read_as_the_ramp() -> None:
    ramp = torch.arange(128.0, dtype=torch.float64).expand(1, 1, 128, 128)
    ramp = torch.cat([ramp.mT, ramp], dim=1)
    maps = {name: F.avg_pool2d(ramp, STRIDES[name]) for name in CHANNELS}
    locations = torch.randint(16, 112, (1, 40, 2))
    columns = sparse_hypercolumns(maps, locations).view(1, 40, -1, 2)
    torch.testing.assert_close(columns, locations[:, :, None].expand_as(columns).double())


def test_gradient_reaches_the_four_cells_around() -> None:
    features = torch.randn(1, 1, 12, 12, dtype=torch.float64, requires_grad=True)
    sparse_hypercolumns({"conv4_2": features}, torch.tensor([[[22, 42]]])).sum().backward()
    expected = torch.zeros(12, 12, dtype=torch.float64)
    rows, columns = torch.tensor([11, 5]) / 16, torch.tensor([3, 13]) / 16
    expected[2:4, 4:6] = rows[:, None] * columns
    assert features.grad is not None
    torch.testing.assert_close(features.grad[0, 0], expected)


def test_gradients_of_several_pixels_add_up() -> None:
    features = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    locations = torch.randint(0, 96, (2, 9, 2))
    assert torch.autograd.gradcheck(lambda maps: sparse_hypercolumns({"fc6": maps}, locations), features)


def test_reading_keeps_the_maps_own_type() -> None:
    features = torch.randn(1, 2, 6, 6)
    locations = random_locations(1)
    read = sparse_hypercolumns({"conv5_1": features.bfloat16()}, locations)
    assert read.dtype == torch.bfloat16
    torch.testing.assert_close(read.float(), sparse_hypercolumns({"conv5_1": features}, locations), atol=0.03, rtol=0)


@pytest.mark.parametrize("rows", [4, 12, 96])
def test_dense_projection_equals_naive_concatenation(rows: int) -> None:
    maps = random_maps()
    linear = nn.Linear(sum(CHANNELS.values()), 5, dtype=torch.float64)
    expected = F.conv2d(naive_dense_hypercolumns(maps), linear.weight[:, :, None, None], linear.bias)
    projection = DenseProjection(linear, CHANNELS, (2, 96, 96 + WIDER))
    for name, features in maps.items():
        strip = max(rows // STRIDES[name], 1) if STRIDES[name] <= 4 else len(features[0, 0])
        for top in range(0, features.shape[2], strip):
            projection.add(name, top, features[:, :, top : top + strip])
    projection.add("conv1_1", 0, torch.randn(2, 3, 96, 96 + WIDER))
    whole = projection.rows(0, 24)
    torch.testing.assert_close(whole, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.cat([projection.rows(row, row + 1) for row in range(24)], dim=2), whole)


@pytest.mark.parametrize("name", ["conv3_3", "conv4_2", "conv5_1", "fc7"])
def test_sparse_and_dense_agree_at_the_centres_of_stride_4(name: str) -> None:
    features = random_maps(1)[name]
    linear = nn.Linear(CHANNELS[name], CHANNELS[name], dtype=torch.float64)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    projection = DenseProjection(linear, {name: CHANNELS[name]}, (1, 96, 96 + WIDER))
    projection.add(name, 0, features)
    centres = 4 * torch.cartesian_prod(torch.arange(24), torch.arange(32)) + 1.5
    read = sparse_hypercolumns({name: features}, centres[None])
    torch.testing.assert_close(projection.rows(0, 24).flatten(2), read.transpose(1, 2))


@pytest.mark.parametrize("factor", [1, 2, 8])
def test_rows_of_an_upsampled_map(factor: int) -> None:
    coarse = torch.randn(1, 2, 5, 3, dtype=torch.float64)
    whole = F.interpolate(coarse, scale_factor=factor, mode="bilinear")
    for first in range(5 * factor):
        for last in range(first + 1, 5 * factor + 1):
            torch.testing.assert_close(upsampled_rows(coarse, factor, first, last), whole[:, :, first:last])
