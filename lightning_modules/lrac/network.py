"""The network of LRAC: VGG-16 on one grey channel, hypercolumns of its layers, and a small predictor upon them.

Larsson, Maire and Shakhnarovich, "Learning Representations for Automatic Colorization", ECCV 2016, section 3.2.
"""

from collections.abc import Iterator
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.lrac.hypercolumn import (
    DENSE_STRIDE,
    STAGES,
    STRIDES,
    DenseProjection,
    layers_between,
    sparse_hypercolumns,
)

COARSEST_STRIDE = 32
WIDTHS = (1, 2, 4, 8, 8)
"""Of the five convolutional stages, in units of the first."""
HALO = 20
"""Rows on either side that conv3_3 sees, 2 of stride 1, 2 of stride 2 and 3 of stride 4, in whole cells of stride 4."""
STRIP_PIXELS = 2**18
"""Of one picture in a strip: the maps of conv1 then take 67 MB each, where 4 megapixels would take 1 GB."""


class Layer(nn.Module):
    """A convolution that keeps the picture's size, with what stands before and after it.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel.
        pooled: Whether the input is max-pooled first, 2 x 2.
        batch_norm: Whether batch normalisation, without scale and shift, stands between convolution and ReLU.
        dropout: Probability after the ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        pooled: bool = False,
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()
        self.convolution = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=not batch_norm
        )
        self.norm = nn.BatchNorm2d(out_channels, affine=False) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, in, H, W)` to `(B, out, H, W)`, of half the size where pooled."""
        features: Tensor = self.dropout(F.relu(self.norm(self.convolution(self.pool(x))), inplace=True))
        return features


class VGG16Trunk(nn.Module):
    """VGG-16 on lightness, fully convolutional, without its classifier fc8 (section 3.2).

    fc6 is a 7x7 convolution and fc7 a 1x1 one. Pictures are padded on the right and below to multiples of 32 by
    repeating their last column and row, so that every map has exactly 1 / stride of one size.

    Args:
        width: Channels of the first stage; the others have 2, 4, 8 and 8 times as many.
        fc_width: Channels of fc6 and fc7.
        last: The last layer; those behind it are not built.
        batch_norm: Batch normalisation without scale and shift in every layer, as training from scratch wants it.
        mean_lightness: Subtracted from the input: 0.4488 when training from scratch, 0 upon pretrained weights.
        dropout: After fc6 and fc7; their maps are read after it.
        in_channels: 1, or 3 for pictures in colour; below, lightness stands for either.

    Attributes:
        channels: Of every layer's map, in order, beginning with `data`.
    """

    def __init__(
        self,
        width: int = 64,
        fc_width: int = 4096,
        last: str = "fc7",
        batch_norm: bool = False,
        mean_lightness: float = 0.0,
        dropout: float = 0.5,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        self.mean_lightness = mean_lightness
        self.channels = {"data": in_channels}
        self.layers = nn.ModuleDict()
        for name in layers_between(f"data..{last}")[1:]:
            stage = next(index for index, names in enumerate(STAGES) if name in names)
            pooled = stage > 0 and name == STAGES[stage][0]
            if name in STAGES[-1]:
                kernel_size = 7 if name == "fc6" else 1
                self.layers[name] = Layer(in_channels, fc_width, kernel_size, pooled, batch_norm, dropout)
                in_channels = fc_width
            else:
                self.layers[name] = Layer(in_channels, WIDTHS[stage] * width, 3, pooled, batch_norm)
                in_channels = WIDTHS[stage] * width
            self.channels[name] = in_channels
        self.to(memory_format=torch.channels_last)  # as bfloat16 convolutions and sparse hypercolumns want it

    def data(self, lightness: Tensor) -> Tensor:
        """The layer `data`: lightness `(B, 1, H, W)` in [0, 1], less its mean and padded to multiples of 32."""
        height, width = lightness.shape[2:]
        padding = (0, -width % COARSEST_STRIDE, 0, -height % COARSEST_STRIDE)
        return F.pad(lightness - self.mean_lightness, padding, mode="replicate")

    def forward(self, lightness: Tensor) -> dict[str, Tensor]:
        """Every layer's map after its ReLU, `(B, channels, H / stride, W / stride)`, from lightness `(B, 1, H, W)`."""
        x = self.data(lightness)
        maps = {"data": x}
        for name, layer in self.layers.items():
            maps[name] = x = layer(x)
        return maps

    def strips(self, data: Tensor, rows: int) -> Iterator[tuple[str, int, Tensor]]:
        """The same maps one after another, those of stride up to 4 a strip of the picture at a time.

        No map of stride 1 or 2 is ever whole, which is what a large picture's memory would go to. A strip runs with
        the rows around it that it sees, so that nothing but the memory differs from `forward`.

        Args:
            data: What `data` returns, `(B, 1, H, W)`.
            rows: Of the picture in a strip, a multiple of 4.

        Yields:
            A layer's name, the first row of a strip of its map, and the strip, `(B, channels, rows, W / stride)`.
        """
        height = data.shape[2]
        fine = [name for name in self.layers if STRIDES[name] <= DENSE_STRIDE]
        finished = []
        for top in range(0, height, rows):
            above, bottom = min(top, HALO), min(top + rows, height)
            x = data[:, :, top - above : bottom + HALO]
            strip = data[:, :, top:bottom]
            yield "data", top, strip
            for name in fine:
                x = self.layers[name](x)
                stride = STRIDES[name]
                strip = x.narrow(2, above // stride, (bottom - top) // stride)
                yield name, top // stride, strip
            finished.append(strip)
        x = torch.cat(finished, dim=2)
        finished.clear()
        for name in list(self.layers)[len(fine) :]:
            x = self.layers[name](x)
            yield name, 0, x


class LRACNetwork(nn.Module):
    """Hypercolumns of a VGG-16, a hidden layer h_fc1 and the outputs (section 3.2 and Figure 2).

    Args:
        outputs: Numbers predicted for each pixel, of all heads together.
        layers: In the hypercolumn, as `layers_between` takes them; see `TABLE_2`.
        width: Channels of the trunk's first stage.
        fc_width: Channels of fc6 and fc7.
        hidden_width: Channels of h_fc1.
        batch_norm: As in `VGG16Trunk`.
        mean_lightness: As in `VGG16Trunk`.
        dropout: After fc6 and fc7.
        hidden_dropout: After h_fc1; 0.5 in the authors' file for training from scratch.
        in_channels: As in `VGG16Trunk`.

    Attributes:
        channels: Of each layer in the hypercolumn, in order; 12,417 in all.
    """

    def __init__(
        self,
        outputs: int,
        layers: str = "data..fc7",
        width: int = 64,
        fc_width: int = 4096,
        hidden_width: int = 1024,
        batch_norm: bool = False,
        mean_lightness: float = 0.0,
        dropout: float = 0.5,
        hidden_dropout: float = 0.0,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        names = layers_between(layers)
        self.trunk = VGG16Trunk(width, fc_width, names[-1], batch_norm, mean_lightness, dropout, in_channels)
        self.channels = {name: self.trunk.channels[name] for name in names}
        self.h_fc1 = nn.Linear(sum(self.channels.values()), hidden_width)
        self.dropout = nn.Dropout(hidden_dropout)
        self.head = nn.Linear(hidden_width, outputs)

    def sparse(self, lightness: Tensor, locations: Tensor) -> Tensor:
        """Predict single pixels, for training: memory grows with the number of pixels, not with the picture.

        Args:
            lightness: `(B, 1, H, W)` in [0, 1].
            locations: Row and column of N pixels of each picture, int64, `(B, N, 2)`.

        Returns:
            `(B, N, outputs)`, in float32 even under autocast.
        """
        maps = self.trunk(lightness)
        columns = sparse_hypercolumns({name: maps[name] for name in self.channels}, locations)
        return self.predict(self.h_fc1(columns))

    def dense(self, lightness: Tensor, strip_pixels: int = STRIP_PIXELS) -> Tensor:
        """Predict a whole picture at stride 4, for inference: a cell's prediction stands at the middle of 4 x 4 pixels.

        A picture of any size runs at that size. The authors' program scales it to at most 512 a side on a square
        canvas first, and enlarges the decoder's probabilities bilinearly afterwards; both are the caller's to choose.

        Args:
            lightness: `(B, 1, H, W)` in [0, 1].
            strip_pixels: How much of each picture runs at once through the layers of stride up to 4. It bounds the
                memory and changes nothing else.

        Returns:
            `(B, outputs, ceil(H / 4), ceil(W / 4))`, in float32 even under autocast.
        """
        data = self.trunk.data(lightness)
        batch, _, height, width = data.shape
        rows = max(1, strip_pixels // (width * DENSE_STRIDE))
        projection = DenseProjection(self.h_fc1, self.channels, (batch, height, width))
        for name, top, features in self.trunk.strips(data, rows * DENSE_STRIDE):
            projection.add(name, top, features)
        strips = []
        for first in range(0, height // DENSE_STRIDE, rows):
            hidden = projection.rows(first, min(first + rows, height // DENSE_STRIDE))
            strips.append(self.predict(hidden.movedim(1, -1)).movedim(-1, 1))
        cells_down, cells_across = (ceil(side / DENSE_STRIDE) for side in lightness.shape[2:])
        return torch.cat(strips, dim=2)[:, :, :cells_down, :cells_across]

    def predict(self, hidden: Tensor) -> Tensor:
        """The outputs, `(..., outputs)`, from h_fc1 before its ReLU, `(..., hidden_width)`."""
        hidden = self.dropout(F.relu(hidden))
        with torch.autocast(device_type=hidden.device.type, enabled=False):
            outputs: Tensor = self.head(hidden.to(self.head.weight.dtype))
        return outputs


class GreyClassifier(nn.Module):
    """The trunk with a classifier fc8, which learns to see without colour before it colours (section 3.2).

    Args:
        trunk: Up to fc7.
        classes: Of the pictures.
    """

    def __init__(self, trunk: VGG16Trunk, classes: int = 1000) -> None:
        super().__init__()
        self.trunk = trunk
        self.fc8 = nn.Linear(trunk.channels["fc7"], classes)

    def forward(self, lightness: Tensor) -> Tensor:
        """Each picture's logits, `(B, classes)`, their mean over all positions, from lightness `(B, 1, H, W)`."""
        logits: Tensor = self.fc8(self.trunk(lightness)["fc7"].mean(dim=(2, 3)))
        return logits
