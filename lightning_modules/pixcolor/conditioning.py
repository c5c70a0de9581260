"""What PixColor's PixelCNN sees of the grey picture: a ResNet-101 without its last stage, and three convolutions.

Guadarrama et al., "PixColor: Pixel Recursive Colorization", BMVC 2017, section 3.1; Table 2 of arXiv 1705.07208v1.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from lightning_modules.checkpoint import read_weights
from lightning_modules.color import IMAGENET_MEAN, IMAGENET_STD

BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
STRIDES = (4, 8)
STAGE_WIDTH = 256
"""Of the last stage's blocks, inside; a bottleneck's output has four times as many."""
FIRST_OF_A_BLOCK = "layer1.0.conv1.weight"
"""What any ResNet's state dict has once, behind the prefix of all its names."""


class ConditioningNetwork(nn.Module):
    """Features of the grey picture at the resolution of the chroma (section 3.1 and Table 2).

    The trunk is torchvision's ResNet up to `layer3`, which gives dilation for its stride, as DeepLab does; so does
    `layer2` where the stride is 4. The adaptation network upon it starts as He et al. (2015): the paper's deviation of
    0.1 would make a map of 1024 channels eight times as large in the first layer alone.

    Args:
        block: Of the trunk: `bottleneck` as in ResNet-50 and above, or `basic` as in ResNet-18 and 34.
        blocks: In each of the three stages.
        stride: Of the features, 8 or 4.
        width: Channels of the adaptation network.

    Attributes:
        stride: The same.
        width: The same.
        features: Channels of the trunk's output.
        trunk: Its names are torchvision's.
        adaptation: Three 3x3 convolutions, the last without ReLU; none has biases, and 1024 channels make 0.66 million
            weights.

    Raises:
        ValueError: If there is no such block or stride, or there are not three stages.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        block: Literal["basic", "bottleneck"] = "bottleneck",
        blocks: Sequence[int] = (3, 4, 23),
        stride: Literal[4, 8] = 8,
        width: int = 64,
    ) -> None:
        super().__init__()
        if block not in BLOCKS or stride not in STRIDES or len(blocks) != 3:
            raise ValueError(
                f"there is no conditioning network of {block} blocks, {list(blocks)} a stage, at stride {stride}; "
                f"blocks are {' or '.join(BLOCKS)}, in three stages, and strides {' or '.join(map(str, STRIDES))}"
            )
        self.stride, self.width, self.features = stride, width, STAGE_WIDTH * BLOCKS[block].expansion
        whole = ResNet(BLOCKS[block], [*blocks, 1])
        if stride == 4:
            dilate(whole.layer2, 1)
        dilate(whole.layer3, 8 // stride)
        self.trunk = nn.Sequential(OrderedDict(list(whole.named_children())[:-3]))  # without layer4, avgpool and fc
        self.adaptation: nn.Module = nn.Sequential(
            nn.Conv2d(self.features, width, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        for layer in self.adaptation.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # as bfloat16 convolutions want it
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def trunk_features(self, luminance: Tensor) -> Tensor:
        """The trunk's output, `(B, features, H / stride, W / stride)`.

        Args:
            luminance: `(B, 1, H, W)` in [0, 1], of sides that are multiples of the stride; red, green and blue of a
                grey picture.
        """
        features: Tensor = self.trunk((luminance - self.mean) / self.deviation)
        return features

    def forward(self, luminance: Tensor) -> Tensor:
        """The condition, `(B, width, H / stride, W / stride)`, from luminance as in `trunk_features`."""
        condition: Tensor = self.adaptation(self.trunk_features(luminance))
        return condition


def dilate(stage: nn.Sequential, dilation: int) -> None:
    """Take a stage's stride of 2 away and dilate what stands behind it instead, in place.

    Every second row and column of its map is then what the stage computed before. torchvision's
    `replace_stride_with_dilation` does the same, but refuses basic blocks.

    Args:
        stage: Of a ResNet.
        dilation: That its input has.
    """
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            factor, module.stride = module.stride[0], (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)
                dilation *= factor


class GradientMultiplier(torch.autograd.Function):
    """The identity, whose gradient is multiplied."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, factor: float) -> Tensor:
        """`x` as it is."""
        ctx.factor = factor  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient times the factor."""
        return ctx.factor * gradients[0], None  # type: ignore[attr-defined]


def gradient_multiplier(x: Tensor, factor: float) -> Tensor:
    """`x` as it is, whose gradient is multiplied by `factor`: 0 trains nothing that `x` comes from (Table 2)."""
    scaled: Tensor = GradientMultiplier.apply(x, factor)
    return scaled


def begin_with_resnet(trunk: nn.Module, path: str) -> None:
    """Give a trunk the weights of another ResNet of the same blocks; what that has besides is left.

    Args:
        trunk: Of a `ConditioningNetwork`; changed in place.
        path: `download` for torchvision's ResNet-101; `deeplab` for its segmentation network, such as the
            paper's; a local file of either; or a run's directory or checkpoint of something with such a trunk.

    Raises:
        OSError: If there is no such file or run, or nothing can be fetched.
        ValueError: If it is something else, or its weights do not fit.
    """
    weights = read_weights(path, "resnet101")
    prefix = next((name.removesuffix(FIRST_OF_A_BLOCK) for name in weights if name.endswith(FIRST_OF_A_BLOCK)), "")
    own = trunk.state_dict()
    taken = {name: weights[prefix + name] for name in own if prefix + name in weights}
    for name, value in own.items():
        if name.endswith("num_batches_tracked"):  # nothing depends on it, and older files have none
            continue
        if name not in taken or taken[name].shape != value.shape or not taken[name].isfinite().all():
            raise ValueError(
                f"{path} cannot start this trunk: {name} is absent there, of another shape or not finite. Give "
                "model.conditioning that one's block and blocks (ResNet-101's: bottleneck, [3, 4, 23]), or "
                "model.pretrained=null"
            )
    trunk.load_state_dict(taken, strict=False)
