"""The colourisation sub-net: a U-Net that completes chroma from luminance and hints.

Xu et al., CVPR 2020, section 3.2, after Zhang et al., "Real-Time User-Guided Image Colorization with Learned Deep
Priors", SIGGRAPH 2017, whose PyTorch weights fit it.
"""

import re
from itertools import pairwise
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.checkpoint import read_weights

LUMINANCE_CENTRE, LUMINANCE_SCALE, CHROMA_SCALE = 50.0, 100.0, 110.0
MULTIPLE = 8
"""Of which sides are."""
CLASS_STEP, CLASSES_A_SIDE = 10, 23
"""The class head knows 23 x 23 cells of a and b, of ten units, around multiples of ten."""
CLASS_STRIDE = 4
COLORFUL_IMAGE_COLORIZATION = "https://colorizers.s3.us-east-2.amazonaws.com/colorization_release_v2-9b330a0b.pth"
"""Of Zhang et al. 2016, whose first four blocks the paper fine-tunes."""
LAYER = re.compile(r"(?:model|blocks\.)(\d+)\.(\d+)\.(\w+)")
OTHER_LAYERS = {
    "model8up.0": "enlarge.8",
    "model9up.0": "enlarge.9",
    "model10up.0": "enlarge.10",
    "model3short8.0": "skips.8",
    "model2short9.0": "skips.9",
    "model1short10.0": "skips.10",
    "model_class.0": "classes",
    "model_out.0": "out",
}
"""The names of Zhang et al. 2017, and those here."""


class ColorizationNetwork(nn.Module):
    """Ten blocks and an output (section 3.2).

    Blocks 1 to 3 are halved behind their last layer, by leaving every second pixel out; 5 and 6 are dilated; 8, 9 and
    10 double the size and add the maps of blocks 3, 2 and 1.

    Args:
        width: Channels of the first block; 64 makes 34,051,074 weights and biases.
        class_head: Whether block 8 also names each pixel's colour, of 529; 135,953 more.
    """

    def __init__(self, width: int = 64, class_head: bool = False) -> None:
        super().__init__()
        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        self.blocks = nn.ModuleDict(
            {
                "1": block([4, one, one]),
                "2": block([one, two, two]),
                "3": block([two, four, four, four]),
                "4": block([four, eight, eight, eight]),
                "5": block([eight, eight, eight, eight], dilation=2),
                "6": block([eight, eight, eight, eight], dilation=2),
                "7": block([eight, eight, eight, eight]),
                "8": nn.Sequential(nn.ReLU(inplace=True), *block([four, four, four])),
                "9": nn.Sequential(nn.ReLU(inplace=True), *block([two, two])),
                "10": nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(two, two, 3, padding=1), nn.LeakyReLU(0.2)),
            }
        )
        self.enlarge = nn.ModuleDict(
            {
                "8": nn.ConvTranspose2d(eight, four, 4, stride=2, padding=1),
                "9": nn.ConvTranspose2d(four, two, 4, stride=2, padding=1),
                "10": nn.ConvTranspose2d(two, two, 4, stride=2, padding=1),
            }
        )
        self.skips = nn.ModuleDict(
            {
                "8": nn.Conv2d(four, four, 3, padding=1),
                "9": nn.Conv2d(two, two, 3, padding=1),
                "10": nn.Conv2d(one, two, 3, padding=1),
            }
        )
        self.out = nn.Conv2d(two, 2, 1)
        if class_head:
            self.classes = nn.Conv2d(four, CLASSES_A_SIDE**2, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.xavier_normal_(self.out.weight)
        self.to(memory_format=torch.channels_last)  # as bfloat16 convolutions want it

    def features(self, luminance: Tensor, hints: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of block 8, `(B, 4 width, H / 4, W / 4)`, rounded up, and of block 10, `(B, 2 width, H, W)`."""
        height, width = luminance.shape[2:]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        luminance = (F.pad(luminance, padding, mode="replicate") - LUMINANCE_CENTRE) / LUMINANCE_SCALE
        hints = F.pad(hints, padding)
        maps = [self.blocks["1"](torch.cat([luminance, hints[:, :2] / CHROMA_SCALE, hints[:, 2:]], dim=1))]
        for number in ("2", "3", "4"):
            maps.append(self.blocks[number](maps[-1][:, :, ::2, ::2]))
        features = maps.pop()
        for number in ("5", "6", "7"):
            features = self.blocks[number](features)
        quarter = features
        for number in ("8", "9", "10"):
            features = self.blocks[number](self.enlarge[number](features) + self.skips[number](maps.pop()))
            quarter = features if number == "8" else quarter
        return quarter[:, :, : ceil(height / 4), : ceil(width / 4)], features[:, :, :height, :width]

    def chroma(self, features: Tensor) -> Tensor:
        """Lab a and b, in float32, of block 10's map."""
        logits: Tensor = self.out(features)
        return CHROMA_SCALE * logits.float().tanh()

    def forward(self, luminance: Tensor, hints: Tensor) -> Tensor:
        """Complete chroma.

        Args:
            luminance: Lab L in 0..100, `(B, 1, H, W)`, of any size.
            hints: As `Guidance.hints`, `(B, 3, H, W)`.

        Returns:
            Lab a and b, `(B, 2, H, W)` in -110..110, in float32 even under autocast.
        """
        return self.chroma(self.features(luminance, hints)[1])


def block(channels: list[int], dilation: int = 1) -> nn.Sequential:
    """3x3 convolutions from each number of channels to the next, each with ReLU, and batch normalisation at the end."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.BatchNorm2d(channels[-1]))


def masked_huber(predicted: Tensor, chroma: Tensor, mask: Tensor, weight: float, delta: float) -> Tensor:
    """The mean Huber loss of residuals that are 1 + `weight` times as large where the mask is 1 (equation 2).

    Args:
        predicted: Lab a and b, `(B, 2, H, W)`.
        chroma: The true ones.
        mask: Where hints are, `(B, 1, H, W)`.
        weight: lambda.
        delta: Lab units up to which the loss is quadratic.
    """
    scale = (1 + weight * mask) / CHROMA_SCALE
    return F.smooth_l1_loss(scale * predicted, scale * chroma, beta=delta / CHROMA_SCALE)


def class_of(chroma: Tensor) -> Tensor:
    """The cell of the class head, int64 `(B, H / 4, W / 4)`, of every fourth pixel's chroma, `(B, 2, H, W)`."""
    cells = (chroma[:, :, ::CLASS_STRIDE, ::CLASS_STRIDE] / CLASS_STEP).round().long() + CLASSES_A_SIDE // 2
    return cells[:, 0] * CLASSES_A_SIDE + cells[:, 1]


def begin_with_colorizer(network: ColorizationNetwork, path: str) -> None:
    """Give a network what another colouriser has of it.

    Args:
        network: Changed in place.
        path: `download` for the weights of Zhang et al. 2016, of which the first four blocks are taken, hints starting
            at no influence; or a local .pth file of these, or of Zhang et al. 2017, which are taken whole; or a run's
            directory or checkpoint.

    Raises:
        OSError: If there is no such file or run, or nothing can be fetched.
        ValueError: If it is something else, or does not fit.
    """
    found, own = renamed(read_weights(path, COLORFUL_IMAGE_COLORIZATION)), network.state_dict()
    first, wanted = found.get("blocks.1.0.weight"), [name for name in own if not name.startswith("classes.")]
    if first is not None and first.shape[1] == 1:  # it sees luminance alone, and its later blocks are others
        wanted = [name for name in own if name.startswith(("blocks.1.", "blocks.2.", "blocks.3.", "blocks.4."))]
        found = {name: value for name, value in found.items() if name in wanted}
        found["blocks.1.0.weight"] = F.pad(first, (0, 0, 0, 0, 0, 3))
    taken = {name: value for name, value in found.items() if name in own and value.shape == own[name].shape}
    absent = [name for name in wanted if name not in taken and not name.endswith("num_batches_tracked")]
    if absent or not all(value.isfinite().all() for value in taken.values()):
        raise ValueError(
            f"{path} cannot start this sub-net: {(absent or ['a weight'])[0]} is absent there, of another shape or not "
            "finite. Give model.colorization.width that one's width (Zhang et al.'s is 64), or "
            "model.pretrained.colorization=null"
        )
    network.load_state_dict(taken, strict=False)


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by their names here."""
    found = {}
    for name, value in weights.items():
        name = name.removeprefix("colorization.")
        if match := LAYER.fullmatch(name):
            name = "blocks.{}.{}.{}".format(*match.groups())
        else:
            layer, _, part = name.rpartition(".")
            name = f"{OTHER_LAYERS.get(layer, layer)}.{part}"
        found[name] = value
    return found
