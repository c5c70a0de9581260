"""Ancestral sampling: pixel after pixel in raster order, with every activation computed once.

An output of a causal convolution never changes once its inputs are known (Ramachandran et al., "Fast Generation for
Convolutional Autoregressive Models", 2017). The caches keep what later outputs can still reach. What is taken further
here: of a 3x3 convolution in the `left` stream, the two rows above are known as soon as the row begins, so they are
convolved for the whole row at once, and a pixel adds the three taps of its own row.
"""

from collections.abc import Callable
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.layers import logistic_mixture
from lightning_modules.layers.causal import push_row
from lightning_modules.pic.network import AutoregressiveNetwork, GatedBlock, concatenated_elu


class Decoder(Protocol):
    """Reads the canvas so far; `row` must precede the row's pixels, and `put` must follow each."""

    def begin(self, embedding: Tensor, samples: int) -> None:
        """Start `samples` empty canvases for each picture of `embedding`, `(B, E, H, W)`."""

    def row(self, y: int) -> None:
        """All rows above `y` are on the canvas."""

    def pixel(self, y: int, x: int) -> Tensor:
        """The mixture parameters `(B * samples, 8K)` of pixel (y, x)."""

    def put(self, y: int, x: int, value: Tensor) -> None:
        """Write the canvas value `(B * samples, C)` of pixel (y, x)."""


def sample_canvas(
    decoder: Decoder,
    embedding: Tensor,
    luminance: Tensor,
    noise: Tensor,
    colour: Callable[[Tensor, Tensor], Tensor],
    temperature: float = 1.0,
) -> Tensor:
    """Draw the canvases of a batch of pictures, several of each.

    Args:
        decoder: Cached or naive.
        embedding: `(B, E, H, W)`.
        luminance: `(B, 1, H, W)`, normalised, on the chroma grid.
        noise: `(B, samples, H, W, K + 2)`, uniform in [0, 1).
        colour: From normalised luminance and chroma, `(N, 1, 1, 1)` and `(N, 2, 1, 1)`, to the canvas value.
        temperature: Of the logistics.

    Returns:
        `(B * samples, C, H, W)`, the samples of a picture beside each other.
    """
    samples, height, width = noise.shape[1:4]
    luminance, noise = luminance.repeat_interleave(samples, dim=0), noise.flatten(0, 1)
    decoder.begin(embedding, samples)
    rows = []
    for y in range(height):
        decoder.row(y)
        values = []
        for x in range(width):
            parameters = decoder.pixel(y, x)
            chroma = logistic_mixture.sample(parameters, luminance[:, :, y, x], noise[:, y, x], temperature)
            value = colour(luminance[:, :, y, x, None, None], chroma[:, :, None, None])[:, :, 0, 0]
            decoder.put(y, x, value)
            values.append(value)
        rows.append(torch.stack(values, dim=2))
    return torch.stack(rows, dim=2)


class NaiveDecoder:
    """Runs the whole network again for every pixel: the definition, against which the cached decoder is held."""

    def __init__(self, network: AutoregressiveNetwork) -> None:
        self.network = network

    def begin(self, embedding: Tensor, samples: int) -> None:
        """See `Decoder`."""
        self.embedding = embedding.repeat_interleave(samples, dim=0)
        channels = self.network.first_above.direction.shape[1] - 1
        self.canvas = self.embedding.new_zeros(len(self.embedding), channels, *embedding.shape[2:])

    def row(self, y: int) -> None:
        """See `Decoder`."""

    def pixel(self, y: int, x: int) -> Tensor:
        """See `Decoder`."""
        return cast(Tensor, self.network(self.canvas, self.embedding))[:, :, y, x]

    def put(self, y: int, x: int, value: Tensor) -> None:
        """See `Decoder`."""
        self.canvas[:, :, y, x] = value


class AboveBlock:
    """A gated block of the `above` stream, a row at a time."""

    def __init__(self, block: GatedBlock, embedding: Tensor, samples: int, columns: int) -> None:
        assert block.condition is not None
        self.first, self.second = block.first.weight, block.second.weight
        self.second_bias = block.second.bias
        condition = F.conv2d(concatenated_elu(embedding), block.condition.weight, block.condition.bias)
        self.condition = (condition + block.first.bias.view(1, -1, 1, 1)).repeat_interleave(samples, dim=0)
        shape = (len(self.condition), self.first.shape[1], 3, columns + 2)
        self.first_inputs, self.second_inputs = embedding.new_zeros(shape), embedding.new_zeros(shape)

    def row(self, above: Tensor, y: int) -> Tensor:
        """Take row `y` of the stream, `(N, F, 1, W)`, to the next block's."""
        push_row(self.first_inputs, concatenated_elu(above))
        hidden = F.conv2d(self.first_inputs, self.first) + self.condition[:, :, y : y + 1]
        push_row(self.second_inputs, concatenated_elu(hidden))
        value, gate = F.conv2d(self.second_inputs, self.second, self.second_bias).chunk(2, dim=1)
        return above + value * gate.sigmoid()


class LeftConvolution:
    """A rightward 3x3 convolution: two rows above at the row's start, three taps of its own row at each pixel."""

    def __init__(self, weight: Tensor, batch: int, columns: int) -> None:
        self.weight_above = weight[:, :, :2].contiguous()
        self.weight_left = weight[:, :, 2].permute(2, 1, 0).flatten(0, 1).contiguous()
        self.channels = weight.shape[1]
        self.inputs_above = weight.new_zeros(batch, self.channels, 2, columns + 2)
        self.inputs = weight.new_zeros(batch, columns + 2, self.channels)
        self.flat_inputs = self.inputs.view(batch, -1)

    def row(self, known: Tensor) -> None:
        """Push the finished row up, and begin the next with what is `known`, `(N, out, 1, W)` or broadcast to it."""
        push_row(self.inputs_above, self.inputs[:, 2:].transpose(1, 2).unsqueeze(2), left=2)
        from_above = F.conv2d(self.inputs_above, self.weight_above) + known
        self.known = from_above.squeeze(2).permute(2, 0, 1).contiguous()

    def pixel(self, x: int, value: Tensor) -> Tensor:
        """The output `(N, out)` at column `x`, whose input `(N, channels / 2)`, before concatenated ELU, is given."""
        entry = self.inputs[:, x + 2]
        half = self.channels // 2
        entry[:, :half] = value
        torch.neg(value, out=entry[:, half:])
        F.elu(entry, inplace=True)
        window = self.flat_inputs[:, x * self.channels : (x + 3) * self.channels]
        return torch.addmm(self.known[x], window, self.weight_left)


class LeftBlock:
    """A gated block of the `left` stream, a pixel at a time.

    Its condition is the `above` stream's row beside the embedding: the embedding's share is computed once, that of
    the `above` stream once a row.
    """

    def __init__(self, block: GatedBlock, embedding: Tensor, samples: int) -> None:
        assert block.condition is not None
        batch, columns = len(embedding) * samples, embedding.shape[3]
        width = block.first.direction.shape[0]
        positive, negative = block.condition.weight.chunk(2, dim=1)
        self.above_weight = torch.cat([positive[:, :width], negative[:, :width]], dim=1)
        embedding_weight = torch.cat([positive[:, width:], negative[:, width:]], dim=1)
        condition = F.conv2d(concatenated_elu(embedding), embedding_weight, block.condition.bias)
        self.condition = (condition + block.first.bias.view(1, -1, 1, 1)).repeat_interleave(samples, dim=0)
        self.first = LeftConvolution(block.first.weight, batch, columns)
        self.second = LeftConvolution(block.second.weight, batch, columns)
        self.second_bias = block.second.bias.view(1, -1, 1, 1)

    def row(self, above: Tensor, y: int) -> None:
        """Begin row `y`, given the `above` stream's, `(N, F, 1, W)`."""
        self.first.row(self.condition[:, :, y : y + 1] + F.conv2d(concatenated_elu(above), self.above_weight))
        self.second.row(self.second_bias)

    def pixel(self, x: int, left: Tensor) -> Tensor:
        """Take the stream at column `x` of the row, `(N, F)`, to the next block's."""
        value, gate = self.second.pixel(x, self.first.pixel(x, left)).chunk(2, dim=1)
        return torch.addcmul(left, value, gate.sigmoid())


class CachedDecoder:
    """Computes every activation once; equal to `NaiveDecoder` to rounding, at the cost of one forward in all."""

    def __init__(self, network: AutoregressiveNetwork) -> None:
        self.network = network

    @torch.no_grad()
    def begin(self, embedding: Tensor, samples: int) -> None:
        """See `Decoder`."""
        network = self.network
        batch, columns = len(embedding) * samples, embedding.shape[3]
        self.above_blocks = [
            AboveBlock(cast(GatedBlock, block), embedding, samples, columns) for block in network.above
        ]
        self.left_blocks = [LeftBlock(cast(GatedBlock, block), embedding, samples) for block in network.left]
        self.first_left = network.first_left.weight[:, :, 1, 0].t().contiguous()
        self.output_weight, self.output_bias = network.output.weight[:, :, 0, 0].t().contiguous(), network.output.bias
        channels = network.first_above.direction.shape[1]
        self.canvas = embedding.new_zeros(batch, channels, embedding.shape[2] + 1, columns + 2)

    @torch.no_grad()
    def row(self, y: int) -> None:
        """See `Decoder`."""
        network, canvas = self.network, self.canvas
        batch, columns = len(canvas), canvas.shape[3] - 2
        if y == 0:
            above = canvas.new_zeros(batch, len(network.first_above.bias), 1, columns)
            left = above
        else:
            above = F.conv2d(canvas[:, :, y - 1 : y + 1], network.first_above.weight, network.first_above.bias)
            first = network.first_left_from_above
            left = F.conv2d(canvas[:, :, y : y + 1], first.weight, first.bias)
        beside = F.conv2d(canvas[:, :, y : y + 1, :-2], network.first_left.weight[:, :, :1], network.first_left.bias)
        beside[:, :, :, 0] = 0  # what shift_right lets in: zeros, not the bias
        self.left_row = (left + beside).squeeze(2).permute(2, 0, 1).contiguous()
        for above_block, left_block in zip(self.above_blocks, self.left_blocks, strict=True):
            above = above_block.row(above, y)
            left_block.row(above, y)

    @torch.no_grad()
    def pixel(self, y: int, x: int) -> Tensor:
        """See `Decoder`."""
        left = self.left_row[x]
        if x > 0:
            left = torch.addmm(left, self.canvas[:, :, y + 1, x], self.first_left)
        for block in self.left_blocks:
            left = block.pixel(x, left)
        return torch.addmm(self.output_bias, F.elu(left), self.output_weight)

    def put(self, y: int, x: int, value: Tensor) -> None:
        """See `Decoder`."""
        self.canvas[:, :-1, y + 1, x + 1] = value
        self.canvas[:, -1, y + 1, x + 1] = 1
