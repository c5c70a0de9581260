"""CIC's network: eight blocks that keep an eighth of the resolution, and a distribution of colours at a quarter."""

from torch import Tensor, nn

from lightning_modules.layers.blocks import convolutions, initialize, padded_to

LUMINANCE_CENTRE, LUMINANCE_SCALE = 50.0, 100.0
MULTIPLE = 8
"""Sides of what the network sees are multiples of this."""


class CICNetwork(nn.Module):
    """A VGG-like network without pooling (Figure 2; layers as in the authors' second release).

    Args:
        outputs: Channels of the output: 313 bins, or 2 values.
        width: Channels of the first block; 64 makes 32,235,385 weights and biases for 313 outputs.
    """

    def __init__(self, outputs: int, width: int = 64) -> None:
        super().__init__()
        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        self.blocks = nn.Sequential(
            convolutions([1, one, one], stride=2),  # (B, width, H/2, W/2)
            convolutions([one, two, two], stride=2),  # (B, 2 width, H/4, W/4)
            convolutions([two, four, four, four], stride=2),  # (B, 4 width, H/8, W/8)
            convolutions([four, eight, eight, eight]),  # (B, 8 width, H/8, W/8), and so on
            convolutions([eight, eight, eight, eight], dilation=2),
            convolutions([eight, eight, eight, eight], dilation=2),
            convolutions([eight, eight, eight, eight]),
        )
        self.enlarge = nn.ConvTranspose2d(eight, four, 4, stride=2, padding=1)  # (B, 4 width, H/4, W/4)
        self.last = nn.Sequential(nn.ReLU(inplace=True), *convolutions([four, four, four])[:-1])
        self.out = nn.Conv2d(four, outputs, 1)
        initialize(self)

    def forward(self, luminance: Tensor) -> Tensor:
        """Predict each pixel's colour.

        Args:
            luminance: Lab L in 0..100, `(B, 1, H, W)`, of any size.

        Returns:
            `(B, outputs, H / 4, W / 4)`, rounded up.
        """
        height, width = luminance.shape[2:]
        seen = (padded_to(MULTIPLE, luminance) - LUMINANCE_CENTRE) / LUMINANCE_SCALE
        outputs: Tensor = self.out(self.last(self.enlarge(self.blocks(seen))))
        return outputs[:, :, : -(-height // 4), : -(-width // 4)]
