"""The two networks of PIC: the embedding g of the grey picture and the autoregressive f over its chroma.

Royer, Kolesnikov and Lampert, "Probabilistic Image Colorization", BMVC 2017, section 3.3 and Table 1; where the paper
is silent, the authors' TensorFlow code.
"""

from collections.abc import Sequence
from math import prod
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.layers.causal import DownConv2d, RightConv2d, shift_down, shift_right
from lightning_modules.layers.logistic_mixture import PARAMETERS_PER_COMPONENT
from lightning_modules.layers.weight_norm import WeightNormConv2d

SECOND_CONVOLUTION_SCALE = 0.1


class Stage(TypedDict, total=False):
    """One row pair of Table 1: a 3x3 convolution, then gated residual blocks at its width."""

    width: int
    stride: int
    blocks: int
    dilation: int


def concatenated_elu(x: Tensor) -> Tensor:
    """ELU of x and of -x, side by side: `(B, C, H, W)` to `(B, 2C, H, W)`."""
    return F.elu(torch.cat([x, -x], dim=1))


class GatedBlock(nn.Module):
    """The gated residual block of section 3.3, biased by an optional condition after its first convolution.

    Args:
        width: Channels of the input and of the output.
        convolution: The kind of both 3x3 convolutions: centred, downward or rightward.
        condition_width: Channels of the condition; 0 for none.
        dilation: Of the first convolution only.
        dropout: Probability with which single elements are dropped before the second convolution.
    """

    def __init__(
        self,
        width: int,
        convolution: type[WeightNormConv2d] = WeightNormConv2d,
        condition_width: int = 0,
        dilation: int = 1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.first = convolution(2 * width, width, dilation=dilation)
        self.condition = WeightNormConv2d(2 * condition_width, width, (1, 1)) if condition_width else None
        self.dropout = nn.Dropout(dropout)
        self.second = convolution(2 * width, 2 * width, initial_scale=SECOND_CONVOLUTION_SCALE)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map `(B, width, H, W)`, and a condition of the same H x W, to `(B, width, H, W)`."""
        hidden: Tensor = self.first(concatenated_elu(x))
        if self.condition is not None:
            assert condition is not None
            hidden = hidden + self.condition(concatenated_elu(condition))
        hidden = self.second(self.dropout(concatenated_elu(hidden)))
        value, gate = hidden.chunk(2, dim=1)
        return x + value * gate.sigmoid()


class EmbeddingNetwork(nn.Module):
    """g: luminance to an embedding at chroma resolution (Table 1).

    Args:
        stages: The rows of Table 1; the product of the strides is the chroma subsampling.
        dropout: Of every gated block.
    """

    def __init__(self, stages: Sequence[Stage], dropout: float = 0.5) -> None:
        super().__init__()
        self.subsampling = prod(stage.get("stride", 1) for stage in stages)
        self.width = stages[-1]["width"]
        layers: list[nn.Module] = []
        in_channels = 2
        for stage in stages:
            if unknown := stage.keys() - Stage.__annotations__.keys():
                raise ValueError(f"a stage has no {', '.join(unknown)}; it has {', '.join(Stage.__annotations__)}")
            width = stage["width"]
            layers.append(WeightNormConv2d(in_channels, width, stride=stage.get("stride", 1)))
            layers.extend(
                GatedBlock(width, dilation=stage.get("dilation", 1), dropout=dropout)
                for _ in range(stage.get("blocks", 0))
            )
            in_channels = width
        self.layers = nn.Sequential(*layers)

    def forward(self, luminance: Tensor) -> Tensor:
        """Embed normalised luminance `(B, 1, H, W)` as `(B, width, H / subsampling, W / subsampling)`.

        A plane of ones joins the luminance, so that padding can be told from mid-grey. The last layer runs in float32
        even under autocast, since mixture parameters are read from what it returns.
        """
        features = self.layers[:-1](torch.cat([luminance, torch.ones_like(luminance)], dim=1))
        with torch.autocast(device_type=luminance.device.type, enabled=False):
            embedding: Tensor = self.layers[-1](features.to(luminance.dtype))
        return embedding


class AutoregressiveNetwork(nn.Module):
    """f: earlier pixels' colours and the embedding to mixture parameters (section 3.3): PixelCNN++ without resampling.

    The `above` stream sees all rows above the current one; the `left` stream sees the current row's pixels to the
    left too, and reads the `above` stream.

    Args:
        canvas_channels: Channels in which earlier pixels are seen: 3 for RGB, 2 for ab.
        embedding_width: Channels of the embedding.
        width: Channels of every convolution.
        blocks: Gated blocks in each stream.
        mixtures: Components of the logistic mixture.
        dropout: Of every gated block.
    """

    def __init__(
        self,
        canvas_channels: int,
        embedding_width: int,
        width: int = 160,
        blocks: int = 4,
        mixtures: int = 10,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels = canvas_channels + 1
        self.first_above = DownConv2d(channels, width, (2, 3))
        self.first_left_from_above = DownConv2d(channels, width, (1, 3))
        self.first_left = RightConv2d(channels, width, (2, 1))
        self.above = nn.ModuleList(
            GatedBlock(width, DownConv2d, embedding_width, dropout=dropout) for _ in range(blocks)
        )
        self.left = nn.ModuleList(
            GatedBlock(width, RightConv2d, width + embedding_width, dropout=dropout) for _ in range(blocks)
        )
        self.output = WeightNormConv2d(width, PARAMETERS_PER_COMPONENT * mixtures, (1, 1))

    def forward(self, canvas: Tensor, embedding: Tensor) -> Tensor:
        """Predict every pixel's mixture from the pixels before it.

        Args:
            canvas: `(B, canvas_channels, H, W)`, true colours in [-1, 1] (teacher forcing).
            embedding: `(B, embedding_width, H, W)`.

        Returns:
            `(B, 8 * mixtures, H, W)`, in float32 even under autocast: a bfloat16 mean is coarser than its scale.
        """
        canvas = torch.cat([canvas, torch.ones_like(canvas[:, :1])], dim=1)
        above = shift_down(self.first_above(canvas))
        left = shift_down(self.first_left_from_above(canvas)) + shift_right(self.first_left(canvas))
        for above_block, left_block in zip(self.above, self.left, strict=True):
            above = above_block(above, embedding)
            left = left_block(left, torch.cat([above, embedding], dim=1))
        with torch.autocast(device_type=canvas.device.type, enabled=False):
            if left.dtype != torch.float64:
                left = left.float()
            parameters: Tensor = self.output(F.elu(left))
        return parameters
