"""A small U-Net in the place of the published network, where there is no GPU: this project's own, after no paper."""

from typing import Any

from torch import Tensor, nn

from lightning_modules.layers.compact_unet import CompactUNet
from lightning_modules.siggraph17.classes import CLASSES, enlarged
from lightning_modules.siggraph17.network import CHROMA_SCALE, network_input


class CompactColorizationNetwork(nn.Module):
    """Both heads at a quarter of the resolution, from which the regression is stretched.

    Args:
        settings: Of `CompactUNet`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.unet = CompactUNet(4, CLASSES, **settings)
        self.out = nn.Conv2d(self.unet.out.in_channels, 2, 1)

    def features(self, luminance: Tensor, hints: Tensor) -> tuple[Tensor, Tensor]:
        """The map before both heads, `(B, head, H / 4, W / 4)`, rounded up, and the regression's, `(B, 2, H, W)`."""
        quarter = self.unet.features(network_input(luminance, hints))
        height, width = luminance.shape[2:]
        return quarter, enlarged(self.out(quarter).float(), (height, width))

    def classes(self, quarter: Tensor) -> Tensor:
        """The class head's logits, `(B, 529, H / 4, W / 4)`, of the map before it."""
        logits: Tensor = self.unet.out(quarter)
        return logits

    def chroma(self, features: Tensor) -> Tensor:
        """Lab a and b, in float32, of the regression's map."""
        return CHROMA_SCALE * features.tanh()
