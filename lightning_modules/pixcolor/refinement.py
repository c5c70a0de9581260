"""PixColor's second network, which sharpens chroma of low resolution by the grey picture.

Guadarrama et al., "PixColor: Pixel Recursive Colorization", BMVC 2017, section 3.2; Table 2 of arXiv 1705.07208v1.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Row = tuple[float, int, int]
"""Of Table 2: a convolution's channels, in units of the network's width, its kernel's side and its stride."""

LOCAL: tuple[Row, ...] = (
    *((1, 3, 2), (2, 3, 1), (2, 3, 2), (4, 3, 1), (4, 3, 2)),
    *((8, 3, 1), (8, 3, 1), (4, 3, 1)),
)
"""Down to an eighth of the picture."""
GLOBAL: tuple[Row, ...] = (
    *((8, 3, 2), (8, 3, 1), (8, 3, 2), (8, 3, 1)),
    *((16, 5, 1), (8, 3, 1)),
)
"""On, down to a thirty-second, where Iizuka et al. have dense layers in the place of the last two."""
DECODER: tuple[tuple[Row, ...], ...] = (
    ((2, 3, 1), (2, 3, 1)),
    ((1, 3, 1), (1, 3, 1)),
    ((1 / 2, 3, 1), (1 / 2, 3, 1)),
)
"""At an eighth, a quarter and a half of the picture."""
COARSEST_STRIDE = 32


class RefinementNetwork(nn.Module):
    """Chroma of full size from luminance and chroma of low resolution (section 3.2 and Table 2).

    The table is the network of Iizuka et al. (2016) row by row, with more layers in the decoder, and is wired like it:
    the global map, stretched to an eighth of the picture, joins the local one there. Unlike theirs, the global branch
    begins at the last local map, as the table's order has it, and both are maps. Every convolution but the last has
    batch normalisation, whose shift is its bias, and ReLU; weights start as He et al. (2015).

    Args:
        width: Channels of the first layer, even; all others are in proportion. 64 makes 33,086,210 weights and biases,
            and 6,144 scales of the normalisation.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(
                f"model.refinement.width={width} is odd, and the last layers have half of it; give an even one"
            )
        self.local = convolutions(3, LOCAL, width)
        self.wide = convolutions(4 * width, GLOBAL, width)
        self.decoder = nn.Sequential(
            convolutions((4 + 8) * width, DECODER[0], width),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            convolutions(2 * width, DECODER[1], width),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            convolutions(width, DECODER[2], width),
            nn.Conv2d(width // 2, 2, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.to(memory_format=torch.channels_last)  # as bfloat16 convolutions want it

    def forward(self, luminance: Tensor, chroma: Tensor) -> Tensor:
        """Refine chroma of low resolution.

        Args:
            luminance: `(B, 1, H, W)` in [0, 1], of any size.
            chroma: Two channels in [0, 1] of any lower resolution, `(B, 2, h, w)`.

        Returns:
            The same channels, `(B, 2, H, W)` in [0, 1], in float32 even under autocast.
        """
        height, width = luminance.shape[2:]
        hint = F.interpolate(chroma, (height, width), mode="bilinear")
        padding = (0, -width % COARSEST_STRIDE, 0, -height % COARSEST_STRIDE)
        local = self.local(F.pad(torch.cat([luminance, hint], dim=1), padding, mode="replicate"))
        wide = F.interpolate(self.wide(local), local.shape[2:], mode="bilinear")
        logits: Tensor = self.decoder(torch.cat([local, wide], dim=1))
        return F.interpolate(logits.float().sigmoid(), scale_factor=2, mode="bilinear")[:, :, :height, :width]


def convolutions(in_channels: int, rows: Sequence[Row], width: int) -> nn.Sequential:
    """Rows of Table 2, each a convolution, batch normalisation and ReLU, at a width of the network."""
    layers: list[nn.Module] = []
    for units, side, stride in rows:
        channels = int(units * width)
        layers += [
            nn.Conv2d(in_channels, channels, side, stride, padding=side // 2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
        in_channels = channels
    return nn.Sequential(*layers)
