"""Hypercolumns: what every layer of the trunk holds at one pixel, side by side (LRAC, section 3.2).

A layer of stride s has its first cell at pixel (s - 1) / 2 and is read bilinearly between its cells. In training that
happens at a few pixels of each picture; a whole picture is projected at stride 4 and its hypercolumns never formed.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES = (
    ("conv1_1", "conv1_2"),
    ("conv2_1", "conv2_2"),
    ("conv3_1", "conv3_2", "conv3_3"),
    ("conv4_1", "conv4_2", "conv4_3"),
    ("conv5_1", "conv5_2", "conv5_3"),
    ("fc6", "fc7"),
)
"""The layers of VGG-16, each stage at twice the stride of the one before."""
LAYERS = ("data", *(name for stage in STAGES for name in stage))
STRIDES = {"data": 1, **{name: 2**index for index, stage in enumerate(STAGES) for name in stage}}
DENSE_STRIDE = 4

TABLE_2 = ("data..fc7", "data..conv5_3", "conv4_1..fc7", "conv5_1..fc7", "fc6..fc7", "fc7")
"""The hypercolumns whose parts the paper compares."""


def layers_between(ends: str) -> tuple[str, ...]:
    """The layers from the first to the last of `data..fc7`, both included; a single name is that layer alone.

    Raises:
        ValueError: If there is no such layer, or the last comes before the first.
    """
    first, last = ends.split("..")[0], ends.split("..")[-1]
    if not {first, last} <= set(LAYERS) or LAYERS.index(first) > LAYERS.index(last):
        raise ValueError(f"there are no layers {ends!r}; give two in this order, as data..fc7: {', '.join(LAYERS)}")
    return LAYERS[LAYERS.index(first) : LAYERS.index(last) + 1]


def sparse_hypercolumns(maps: Mapping[str, Tensor], locations: Tensor) -> Tensor:
    """Hypercolumns at single pixels.

    Args:
        maps: The layers' maps in order, each `(B, C_l, H / stride, W / stride)`.
        locations: Row and column of N pixels of each picture, or of places between pixels, `(B, N, 2)`. Beyond the
            centres of a map's outermost cells, its border goes on.

    Returns:
        `(B, N, sum of C_l)`. A gradient reaches the four cells of each map between which it was read.
    """
    columns = [read_between_cells(features, locations, STRIDES[name]) for name, features in maps.items()]
    return torch.cat(columns, dim=2)


def read_between_cells(features: Tensor, locations: Tensor, stride: int) -> Tensor:
    """One layer's part of `sparse_hypercolumns`: the map `(B, C, h, w)` at `(B, N, 2)`, as `(B, N, C)`."""
    # Not grid_sample: autocast would have it widen every map to float32. A cell of a channels-last map is one row.
    batch, channels, height, width = features.shape
    rows, row_weights = neighbours(locations[..., 0], stride, height)
    columns, column_weights = neighbours(locations[..., 1], stride, width)
    first = height * width * torch.arange(batch, device=features.device).view(batch, 1, 1, 1)
    cells = first + rows[:, :, None] * width + columns[:, None]
    weights = (row_weights[:, :, None] * column_weights[:, None]).to(features.dtype)
    by_cell = features.permute(0, 2, 3, 1).reshape(-1, channels)
    values = by_cell.index_select(0, cells.flatten()).view(batch, 4, -1, channels)
    return (values * weights.view(batch, 4, -1, 1)).sum(dim=1)


def neighbours(places: Tensor, stride: int, size: int) -> tuple[Tensor, Tensor]:
    """The two cells around each place along one axis, and their weights: `(B, N)` to twice `(B, 2, N)`.

    Args:
        places: In pixels.
        stride: Pixels from cell to cell.
        size: How many cells there are.
    """
    position = ((places - (stride - 1) / 2) / stride).clamp(0, size - 1)
    before = position.floor().long()
    fraction = position - before
    return torch.stack([before, (before + 1).clamp(max=size - 1)], dim=1), torch.stack([1 - fraction, fraction], dim=1)


class DenseProjection:
    """A linear layer over the hypercolumns of a whole picture at stride 4, taken one layer's map at a time.

    Maps of stride 1 and 2 are averaged over the cells of stride 4, deeper ones interpolated bilinearly. Both commute
    with a linear layer, so each map is projected at the coarser of its own stride and 4, and 12,417 channels are never
    formed.

    Args:
        linear: From hypercolumns.
        channels: Of each layer in the hypercolumn, in order.
        size: Pictures, rows and columns; the latter multiples of 32.
    """

    def __init__(self, linear: nn.Linear, channels: Mapping[str, int], size: tuple[int, int, int]) -> None:
        self.size = size
        self.weights = dict(zip(channels, linear.weight.split(list(channels.values()), dim=1), strict=True))
        self.bias = linear.bias.view(-1, 1, 1)
        self.sums: dict[int, Tensor] = {}
        """The projections of all maps of one stride, added up."""

    def add(self, name: str, top: int, features: Tensor) -> None:
        """Take some rows of a layer's map, `(B, C, rows, w)`, the first of which is row `top` of the whole map.

        Rows of a map finer than stride 4 come in whole cells of stride 4. A layer that is not in the hypercolumn
        leaves no trace.
        """
        if name not in self.weights:
            return
        weight = self.weights[name]
        stride = max(STRIDES[name], DENSE_STRIDE)
        if stride not in self.sums:
            batch, height, width = self.size
            self.sums[stride] = weight.new_zeros(batch, len(weight), height // stride, width // stride)
        cell = stride // STRIDES[name]
        features = F.avg_pool2d(features.to(weight.dtype), cell) if cell > 1 else features.to(weight.dtype)
        rows = self.sums[stride].narrow(2, top // cell, features.shape[2])
        rows.view(*rows.shape[:2], -1).baddbmm_(weight.expand(len(features), -1, -1), features.flatten(2))

    def rows(self, first: int, last: int) -> Tensor:
        """The result's rows from `first` to before `last`, `(B, out, last - first, W / 4)`."""
        batch, _, width = self.size
        result = self.bias.repeat(batch, 1, last - first, width // DENSE_STRIDE)
        for stride, projected in self.sums.items():
            result += upsampled_rows(projected, stride // DENSE_STRIDE, first, last)
        return result


def upsampled_rows(coarse: Tensor, factor: int, first: int, last: int) -> Tensor:
    """Rows `first` to before `last` of `(B, C, h, w)` after bilinear upsampling by a factor."""
    if factor == 1:
        return coarse[:, :, first:last]
    top = max(first // factor - 1, 0)
    seen = coarse[:, :, top : (last - 1) // factor + 2]
    return F.interpolate(seen, scale_factor=factor, mode="bilinear")[:, :, first - top * factor : last - top * factor]
