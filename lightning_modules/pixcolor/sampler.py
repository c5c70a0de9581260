"""Ancestral sampling of the PixelCNN: symbol after symbol, with every activation computed once.

As in PIC's sampler, after Ramachandran et al., "Fast Generation for Convolutional Autoregressive Models", 2017. The
vertical stack sees only rows above, so it is computed a row at a time; of the horizontal one, only what hangs on the
symbol just drawn is left for the symbol. At this width a pixel's time goes into calling operators, not into their
arithmetic: hence buffers that are laid out once, and one product for all that a pixel's left neighbours give to all
blocks and both symbols.
"""

from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.layers.causal import push_row
from lightning_modules.pixcolor.chroma import canvas_of
from lightning_modules.pixcolor.pixelcnn import GatedBlock, PixelCNN, gate

REACH = 3
"""Pixels to the left, and rows above, that the first convolutions see."""


class Decoder(Protocol):
    """Reads the canvas so far; `row` must precede the row's pixels, and `put` must follow each symbol (0 Cr, 1 Cb)."""

    def begin(self, condition: Tensor, samples: int) -> None:
        """Start `samples` empty canvases for each picture of `condition`, `(B, C, H, W)`."""

    def row(self, y: int) -> None:
        """All rows above `y` are on the canvas."""

    def pixel(self, y: int, x: int, symbol: int) -> Tensor:
        """The logits `(B * samples, bins)` of a symbol of pixel (y, x)."""

    def put(self, y: int, x: int, symbol: int, bins: Tensor) -> None:
        """Write a symbol of pixel (y, x), int64 `(B * samples,)`."""


@torch.no_grad()
def sample_bins(decoder: Decoder, condition: Tensor, noise: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Draw the chroma of a batch of pictures, several draws of each.

    Args:
        decoder: Cached or naive.
        condition: `(B, C, H, W)`.
        noise: `(B, samples, H, W, 2)`, uniform in [0, 1).
        temperature: Divides the logits; 0 takes the most probable bin of each symbol.

    Returns:
        Bins of Cr and Cb, int64 `(B * samples, 2, H, W)`, the samples of a picture beside each other, and their
        log-likelihood in nats, at temperature 1, `(B * samples,)`.
    """
    samples, height, width = noise.shape[1:4]
    noise = noise.flatten(0, 1)
    decoder.begin(condition, samples)
    logits, bins = [], []
    for y in range(height):
        decoder.row(y)
        for x in range(width):
            for symbol in (0, 1):
                logits.append(decoder.pixel(y, x, symbol))
                bins.append(draw(logits[-1], noise[:, y, x, symbol], temperature))
                decoder.put(y, x, symbol, bins[-1])
    drawn = torch.stack(bins, dim=1)
    log_likelihood = -F.cross_entropy(torch.stack(logits, dim=2), drawn, reduction="none").sum(dim=1)
    return drawn.view(-1, height, width, 2).permute(0, 3, 1, 2), log_likelihood


def draw(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """The bins `(N,)` at which the cumulative distribution of logits `(N, bins)` passes the noise `(N,)`."""
    if temperature == 0:
        return logits.argmax(dim=1)
    cumulative = (logits / temperature).softmax(dim=1).cumsum(dim=1)
    return (cumulative[:, :-1] <= noise[:, None]).sum(dim=1)


class NaiveDecoder:
    """Runs the whole network again for every symbol: the definition, against which the cached decoder is held."""

    def __init__(self, network: PixelCNN) -> None:
        self.network = network

    def begin(self, condition: Tensor, samples: int) -> None:
        """See `Decoder`."""
        self.condition = condition.repeat_interleave(samples, dim=0)
        self.canvas = condition.new_zeros(len(self.condition), 2, *condition.shape[2:])

    def row(self, y: int) -> None:
        """See `Decoder`."""

    @torch.no_grad()
    def pixel(self, y: int, x: int, symbol: int) -> Tensor:
        """See `Decoder`."""
        logits: Tensor = self.network(self.canvas, self.condition)[:, symbol, :, y, x]
        return logits.clone()  # a view would keep those of all pixels

    def put(self, y: int, x: int, symbol: int, bins: Tensor) -> None:
        """See `Decoder`."""
        self.canvas[:, symbol, y, x] = canvas_of(bins)


def offset(bias: Tensor, projection: nn.Module | None, condition: Tensor, samples: int) -> Tensor:
    """A bias and the condition's share, if there is one, for every sample: `(B * samples, out, H, W)`."""
    values = bias.view(1, -1, 1, 1).expand(len(condition), -1, *condition.shape[2:])
    if projection is not None:
        values = values + projection(condition)
    return values.repeat_interleave(samples, dim=0)


def by_symbol(channels: int) -> Tensor:
    """The order in which Cr's values and gates stand before Cb's, instead of both values before both gates."""
    return torch.arange(channels).view(2, 2, -1).transpose(0, 1).flatten()


class VerticalBlock:
    """A block's vertical stack, a row at a time, and what its horizontal stack knows as the row begins."""

    def __init__(self, block: GatedBlock, condition: Tensor, samples: int) -> None:
        bias, across_bias = cast(Tensor, block.vertical.bias), cast(Tensor, block.across.bias)
        order = by_symbol(len(across_bias)).to(condition.device)
        self.weight, self.across = block.vertical.masked_weight, block.across.weight[order]
        self.condition = offset(bias, block.vertical_condition, condition, samples)
        left_bias = cast(Tensor, block.horizontal.bias) + across_bias
        self.left_condition = offset(left_bias, block.horizontal_condition, condition, samples)[:, order]
        rows, columns = self.weight.shape[2:]
        self.left = columns // 2
        shape = len(self.condition), self.weight.shape[1], rows, condition.shape[3] + columns - 1
        self.inputs = condition.new_zeros(shape)

    def row(self, vertical: Tensor, y: int) -> tuple[Tensor, Tensor]:
        """Take row `y` of the stack, `(N, F, 1, W)`, to the next block's, and to `(N, 2F, 1, W)` by symbol."""
        push_row(self.inputs, vertical, self.left)
        above = F.conv2d(self.inputs, self.weight) + self.condition[:, :, y : y + 1]
        return gate(above), F.conv2d(above, self.across) + self.left_condition[:, :, y : y + 1]


def seen_by(symbol: int, x: Tensor) -> Tensor:
    """The channels, of `(N, channels)`, that serve the symbol or one before it."""
    return x[:, : x.shape[1] // 2 * (symbol + 1)]


def part_of(symbol: int, weight: Tensor) -> Tensor:
    """What of a matrix `(out, in)` gives the symbol's outputs, transposed: a factor from the right."""
    return seen_by(symbol, weight.chunk(2)[symbol]).t().contiguous()


class HorizontalBlock:
    """A block's work for one symbol of a pixel: the tap at the pixel itself, the gate and the residual.

    Args:
        block: Of the network.
        symbol: 0 or 1.
        known: What the pixels before this one give, `(N, 2F)`, by symbol.
        inputs: Of the block, `(N, F)`.
        gated: `(N, 1 + F)`: ones, which carry the residual's bias, and what the gate lets through.
        outputs: Of the block, `(N, F)`.
    """

    def __init__(
        self, block: GatedBlock, symbol: int, known: Tensor, inputs: Tensor, gated: Tensor, outputs: Tensor
    ) -> None:
        tap = block.horizontal.masked_weight[by_symbol(known.shape[1]).to(known.device), :, 0, -1]
        bias, residual = cast(Tensor, block.residual.bias), block.residual.masked_weight[:, :, 0, 0]
        self.known, self.tap = known.chunk(2, dim=1)[symbol], part_of(symbol, tap)
        self.residual = torch.cat([bias.chunk(2)[symbol][None], part_of(symbol, residual)])
        self.seen, self.seen_gated = seen_by(symbol, inputs), gated[:, : len(self.residual)]
        self.hidden = torch.empty_like(inputs)
        self.value, self.gate = self.hidden.chunk(2, dim=1)
        self.input, self.gated, self.output = (x.chunk(2, dim=1)[symbol] for x in (inputs, gated[:, 1:], outputs))

    def pixel(self) -> None:
        """Compute the symbol's half of the outputs."""
        torch.addmm(self.known, self.seen, self.tap, out=self.hidden)
        self.value.tanh_()
        self.gate.sigmoid_()
        torch.mul(self.value, self.gate, out=self.gated)
        torch.addmm(self.input, self.seen_gated, self.residual, out=self.output)


class Head:
    """The last two layers, for one symbol.

    Args:
        network: The PixelCNN.
        symbol: 0 or 1.
        known: The condition's share of the logits and their bias, `(H, W, N, 2 * bins)`.
        inputs: The last block's outputs, `(N, F)`.
        hidden: Between the two layers, `(N, hidden_width)`.
    """

    def __init__(self, network: PixelCNN, symbol: int, known: Tensor, inputs: Tensor, hidden: Tensor) -> None:
        self.known, self.bias = known.chunk(2, dim=3)[symbol], cast(Tensor, network.hidden.bias).chunk(2)[symbol]
        self.first, self.second = (
            part_of(symbol, layer.masked_weight[:, :, 0, 0]) for layer in (network.hidden, network.output)
        )
        self.seen, self.seen_hidden = seen_by(symbol, inputs), seen_by(symbol, hidden)
        self.hidden = hidden.chunk(2, dim=1)[symbol]

    def pixel(self, y: int, x: int) -> Tensor:
        """The symbol's logits, `(N, bins)`."""
        torch.addmm(self.bias, self.seen.relu(), self.first, out=self.hidden)
        self.hidden.relu_()
        return torch.addmm(self.known[y, x], self.seen_hidden, self.second)


def neighbour_weight(block: GatedBlock) -> Tensor:
    """The taps left of the centre, `(2F, 2F)`: inputs the farther pixel's and the nearer's, outputs by symbol."""
    taps = block.horizontal.masked_weight[:, :, 0, :-1]
    return taps[by_symbol(len(taps)).to(taps.device)].permute(2, 1, 0).flatten(0, 1)


class CachedDecoder:
    """Computes every activation once; equal to `NaiveDecoder` to rounding, at the cost of one forward in all."""

    def __init__(self, network: PixelCNN) -> None:
        self.network = network

    @torch.no_grad()
    def begin(self, condition: Tensor, samples: int) -> None:
        """See `Decoder`."""
        network, blocks = self.network, [cast(GatedBlock, block) for block in self.network.blocks]
        batch, columns, width = len(condition) * samples, condition.shape[3], len(network.first_vertical.weight)

        vertical, horizontal = network.first_vertical, network.first_horizontal
        self.first_weight_above = torch.cat([vertical.masked_weight, horizontal.masked_weight[:, :, :REACH]])
        self.first_bias = torch.cat([cast(Tensor, vertical.bias), cast(Tensor, horizontal.bias)])
        first = horizontal.masked_weight[:, :, REACH].transpose(1, 2).flatten(1)
        self.first_weights = [half[:, : 2 * REACH + i].t().contiguous() for i, half in enumerate(first.chunk(2))]
        self.canvas_above = condition.new_zeros(batch, 2, REACH, columns + 2 * REACH)
        self.canvas = condition.new_zeros(batch, 2 * (REACH + columns))

        self.vertical_blocks = [VerticalBlock(block, condition, samples) for block in blocks]
        self.row_known = condition.new_empty(columns, len(blocks), batch, 2 * width)
        self.neighbours = condition.new_empty(len(blocks), batch, 2 * width)
        self.neighbour_weights = torch.stack([neighbour_weight(block) for block in blocks])
        self.known = torch.empty_like(self.neighbours)

        self.streams = condition.new_empty(len(blocks) + 1, batch, width)
        self.first_outputs = self.streams[0].chunk(2, dim=1)
        gated = condition.new_ones(len(blocks), batch, 1 + width)
        hidden = condition.new_empty(batch, len(network.hidden.weight))
        logits = offset(cast(Tensor, network.output.bias), network.output_condition, condition, samples)
        logits = logits.permute(2, 3, 0, 1)
        self.horizontal_blocks, self.heads = [], []
        for symbol in (0, 1):
            buffers = zip(blocks, self.known, self.streams, gated, self.streams[1:], strict=False)
            self.horizontal_blocks.append([HorizontalBlock(block, symbol, *each) for block, *each in buffers])
            self.heads.append(Head(network, symbol, logits, self.streams[-1], hidden))

    @torch.no_grad()
    def row(self, y: int) -> None:
        """See `Decoder`."""
        finished = self.canvas.unflatten(1, (-1, 2))[:, REACH:].transpose(1, 2).unsqueeze(2)
        push_row(self.canvas_above, finished, left=REACH)
        vertical, first = F.conv2d(self.canvas_above, self.first_weight_above, self.first_bias).chunk(2, dim=1)
        self.first_known = first.squeeze(2).unflatten(1, (2, -1)).permute(3, 1, 0, 2).contiguous()
        for block, known in zip(self.vertical_blocks, self.row_known.unbind(1), strict=True):
            vertical, from_above = block.row(vertical, y)
            known.copy_(from_above.squeeze(2).permute(2, 0, 1))
        self.neighbours.zero_()

    @torch.no_grad()
    def pixel(self, y: int, x: int, symbol: int) -> Tensor:
        """See `Decoder`."""
        if symbol == 0:
            torch.baddbmm(self.row_known[x], self.neighbours, self.neighbour_weights, out=self.known)
        window = self.canvas[:, 2 * x : 2 * (x + REACH) + symbol]
        torch.addmm(self.first_known[x, symbol], window, self.first_weights[symbol], out=self.first_outputs[symbol])
        for block in self.horizontal_blocks[symbol]:
            block.pixel()
        return self.heads[symbol].pixel(y, x)

    def put(self, y: int, x: int, symbol: int, bins: Tensor) -> None:
        """See `Decoder`."""
        self.canvas[:, 2 * (x + REACH) + symbol] = canvas_of(bins)
        if symbol == 1:
            farther, nearer = self.neighbours.chunk(2, dim=2)
            farther.copy_(nearer)
            nearer.copy_(self.streams[:-1])
