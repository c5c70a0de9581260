"""The conditional PixelCNN of PixColor: a picture's features and the chroma so far to the next symbol's distribution.

Guadarrama et al., "PixColor: Pixel Recursive Colorization", BMVC 2017; layers as in Table 2 of arXiv 1705.07208v1. How
the two stacks are wired and where the features enter, the paper leaves open: the wiring is that of the gated PixelCNN
(van den Oord et al., "Conditional Image Generation with PixelCNN Decoders", 2016), which has no blind spot.
"""

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INITIAL_DEVIATION = 0.1


def groups(channels: int, parts: int = 1) -> Tensor:
    """Which of the two symbols each channel serves: in each of the `parts`, 0 (Cr) in the first half, 1 (Cb) after."""
    return torch.arange(2).repeat_interleave(channels // (2 * parts)).repeat(parts)


def causal_mask(kernel_size: tuple[int, int], inputs: Tensor, outputs: Tensor, own: bool = True) -> Tensor:
    """Mask B, or mask A if not `own`: the pixels before, and at the pixel itself the groups before.

    Args:
        kernel_size: Rows and columns, both odd.
        inputs: The group of each input channel.
        outputs: The group of each output channel.
        own: Whether a group sees itself.

    Returns:
        `(outputs, inputs, rows, columns)` of zeros and ones.
    """
    rows, columns = kernel_size
    taps, centre = torch.arange(rows * columns).view(rows, columns), rows * columns // 2
    before = inputs[None, :] < outputs[:, None] + int(own)
    return torch.where(taps == centre, before[:, :, None, None], taps < centre).float()


def rows_mask(kernel_size: tuple[int, int], inputs: int, outputs: int, rows: int) -> Tensor:
    """`(outputs, inputs, *kernel_size)`: ones in the first `rows` of the kernel."""
    mask = torch.zeros(outputs, inputs, *kernel_size)
    mask[:, :, :rows] = 1
    return mask


class MaskedConv2d(nn.Conv2d):
    """A convolution whose kernel is masked, on zero padding that keeps the size.

    Rows and columns at the kernel's end that the mask leaves nothing of are not computed.

    Args:
        mask: `(out_channels, in_channels, rows, columns)` of zeros and ones; rows and columns odd.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        outputs, inputs, rows, columns = mask.shape
        super().__init__(inputs, outputs, (rows, columns))
        used_rows, used_columns = (int(used.max()) + 1 for used in mask.sum(dim=(0, 1)).cpu().nonzero().unbind(1))
        self.register_buffer("mask", mask[:, :, :used_rows, :used_columns].clone(), persistent=False)
        self.margins = columns // 2, used_columns - 1 - columns // 2, rows // 2, used_rows - 1 - rows // 2

    @property
    def masked_weight(self) -> Tensor:
        """The kernel as it is applied, `(out_channels, in_channels, used rows, used columns)`."""
        rows, columns = self.mask.shape[2:]
        return self.weight[:, :, :rows, :columns] * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, in_channels, H, W)` to `(B, out_channels, H, W)`."""
        return F.conv2d(F.pad(x, self.margins) if any(self.margins) else x, self.masked_weight, self.bias)


class GatedBlock(nn.Module):
    """A gated layer of both stacks; the horizontal one reads the vertical one before its gate.

    Args:
        width: Channels of each stack.
        condition_width: Channels of the condition in the gates; 0 for none.
    """

    def __init__(self, width: int, condition_width: int = 0) -> None:
        super().__init__()
        # The vertical stack begins above the current row, so the row of its centre is in the past as well.
        self.vertical = MaskedConv2d(rows_mask((5, 5), width, 2 * width, 3))
        self.horizontal = MaskedConv2d(causal_mask((1, 5), groups(width), groups(2 * width, parts=2)))
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.residual = MaskedConv2d(causal_mask((1, 1), groups(width), groups(width)))
        self.vertical_condition = nn.Conv2d(condition_width, 2 * width, 1, bias=False) if condition_width else None
        self.horizontal_condition = nn.Conv2d(condition_width, 2 * width, 1, bias=False) if condition_width else None

    def forward(self, vertical: Tensor, horizontal: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Map both stacks, `(B, width, H, W)`, with a condition of the same H x W, to both stacks."""
        above = self.vertical(vertical)
        if self.vertical_condition is not None:
            above = above + self.vertical_condition(condition)
        left = self.horizontal(horizontal) + self.across(above)
        if self.horizontal_condition is not None:
            left = left + self.horizontal_condition(condition)
        return gate(above), horizontal + self.residual(gate(left))


def gate(x: Tensor) -> Tensor:
    """The first half of the channels through tanh, let through by the sigmoid of the second."""
    value, openness = x.chunk(2, dim=1)
    return value.tanh() * openness.sigmoid()


class PixelCNN(nn.Module):
    """Chroma bins in raster order, in each pixel Cr before Cb (Table 2, "PixelCNN colorization network").

    Half of the channels of every layer serve Cr and see nothing of their own pixel; the other half serve Cb and see
    its Cr.

    Args:
        condition_width: Channels of the condition.
        width: Channels of both stacks, even.
        blocks: Gated layers.
        hidden_width: Channels before the last layer, even.
        bins: Values of a symbol.
        conditioning: Whether the condition enters every gate or is added to the logits (both by 1x1 projections).
    """

    def __init__(
        self,
        condition_width: int = 64,
        width: int = 64,
        blocks: int = 10,
        hidden_width: int = 1024,
        bins: int = 32,
        conditioning: Literal["gates", "logits"] = "gates",
    ) -> None:
        super().__init__()
        if width % 2 or hidden_width % 2:
            raise ValueError(f"width ({width}) and hidden_width ({hidden_width}) must be even: Cr and Cb halve them")
        if conditioning not in ("gates", "logits"):
            raise ValueError(f"model.pixelcnn.conditioning is gates or logits, not {conditioning}")
        in_gates = conditioning == "gates"
        self.first_vertical = MaskedConv2d(rows_mask((7, 7), 2, width, 3))
        self.first_horizontal = MaskedConv2d(causal_mask((7, 7), groups(2), groups(width), own=False))
        self.blocks = nn.ModuleList(GatedBlock(width, condition_width if in_gates else 0) for _ in range(blocks))
        self.hidden = MaskedConv2d(causal_mask((1, 1), groups(width), groups(hidden_width)))
        self.output = MaskedConv2d(causal_mask((1, 1), groups(hidden_width), groups(2 * bins)))
        self.output_condition = None if in_gates else nn.Conv2d(condition_width, 2 * bins, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                limit = 2 * INITIAL_DEVIATION
                nn.init.trunc_normal_(module.weight, std=INITIAL_DEVIATION, a=-limit, b=limit)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, canvas: Tensor, condition: Tensor) -> Tensor:
        """Predict every symbol from the symbols before it.

        Args:
            canvas: `(B, 2, H, W)`, the true Cr and Cb in [-1, 1] (teacher forcing).
            condition: `(B, condition_width, H, W)`.

        Returns:
            Logits `(B, 2, bins, H, W)` of Cr and of Cb, in float32 even under autocast.
        """
        vertical, horizontal = self.first_vertical(canvas), self.first_horizontal(canvas)
        for block in self.blocks:
            vertical, horizontal = block(vertical, horizontal, condition)
        hidden = F.relu(self.hidden(F.relu(horizontal)))
        with torch.autocast(device_type=canvas.device.type, enabled=False):
            dtype = self.output.weight.dtype
            logits = self.output(hidden.to(dtype))
            if self.output_condition is not None:
                logits = logits + self.output_condition(condition.to(dtype))
        return cast(Tensor, logits.unflatten(1, (2, -1)))
