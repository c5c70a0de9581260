"""Weight-normalised convolutions and their data-dependent initialisation (Salimans and Kingma, 2016)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INITIAL_DIRECTION_STD = 0.05
VARIANCE_EPSILON = 1e-8


class WeightNormConv2d(nn.Module):
    """A convolution whose weight is `gain * direction / ||direction||`, the norm over inputs and kernel.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Rows and columns of the kernel; odd sizes keep the picture's size.
        stride: Step between output positions.
        dilation: Spacing of the kernel's taps.
        initial_scale: Standard deviation of the output after data-dependent initialisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int] = (3, 3),
        stride: int = 1,
        dilation: int = 1,
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation
        self.initial_scale = initial_scale
        self.direction = nn.Parameter(torch.randn(out_channels, in_channels, *kernel_size) * INITIAL_DIRECTION_STD)
        self.gain = nn.Parameter(torch.ones(out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    @property
    def weight(self) -> Tensor:
        """The convolution's weight, `(out, in, rows, columns)`."""
        scale: Tensor = self.gain / self.direction.flatten(1).norm(dim=1)
        return self.direction * scale.view(-1, 1, 1, 1)

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Zeros on the left, right, top and bottom: here as many as keep the kernel centred."""
        rows, columns = (self.dilation * (size // 2) for size in self.kernel_size)
        return columns, columns, rows, rows

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `(B, in, H, W)` to `(B, out, ceil(H / stride), ceil(W / stride))`."""
        left, right, top, bottom = self.padding
        if (left, top) == (right, bottom):
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), self.dilation)
        return F.conv2d(F.pad(x, self.padding), self.weight, self.bias, self.stride, 0, self.dilation)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Choose gain and bias so that each output channel on `x` has mean 0 and deviation `initial_scale`."""
        self.gain.fill_(1)
        self.bias.zero_()
        output = self.forward(x)
        mean, variance = output.mean(dim=(0, 2, 3)), output.var(dim=(0, 2, 3), unbiased=False)
        self.gain.copy_(self.initial_scale / (variance + VARIANCE_EPSILON).sqrt())
        self.bias.copy_(-mean * self.gain)


@torch.no_grad()
def initialize_from_data(network: nn.Module, *inputs: Tensor) -> None:
    """Run `network(*inputs)` once, initialising each convolution from what reaches it through the earlier ones.

    Dropout is off during the pass, so that every convolution's output on these very inputs has the wanted moments.
    """

    def initialize(convolution: WeightNormConv2d, arguments: tuple[Any, ...]) -> None:
        convolution.initialize(arguments[0])

    convolutions = [module for module in network.modules() if isinstance(module, WeightNormConv2d)]
    hooks = [convolution.register_forward_pre_hook(initialize) for convolution in convolutions]
    training = network.training
    try:
        network.eval()
        network(*inputs)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
