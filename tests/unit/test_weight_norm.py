"""Weight normalisation against PyTorch's, and the moments after data-dependent initialisation."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lightning_modules.layers.causal import DownConv2d, RightConv2d, shift_down, shift_right
from lightning_modules.layers.weight_norm import WeightNormConv2d, initialize_from_data
from lightning_modules.pic.network import AutoregressiveNetwork, EmbeddingNetwork, GatedBlock, Stage

STAGES: list[Stage] = [
    {"width": 6, "blocks": 1},
    {"width": 8, "stride": 2, "blocks": 1},
    {"width": 8, "blocks": 1, "dilation": 2},
    {"width": 10},
]


def torch_weight_norm(convolution: WeightNormConv2d, padding: int) -> nn.Conv2d:
    """PyTorch's own weight-normalised convolution with the same parameters."""
    out_channels, in_channels, *_ = convolution.direction.shape
    plain = nn.Conv2d(
        in_channels,
        out_channels,
        convolution.kernel_size,
        convolution.stride,
        padding,
        convolution.dilation,
    )
    normalised: nn.Conv2d = parametrizations.weight_norm(plain, dim=0)
    normalised.load_state_dict(
        {
            "bias": convolution.bias,
            "parametrizations.weight.original0": convolution.gain.view(-1, 1, 1, 1),
            "parametrizations.weight.original1": convolution.direction,
        }
    )
    return normalised


def randomized(convolution: WeightNormConv2d) -> WeightNormConv2d:
    """Gains other than 1 and biases other than 0."""
    nn.init.uniform_(convolution.gain, 0.5, 2)
    nn.init.normal_(convolution.bias)
    return convolution


@contextmanager
def recorded_outputs(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The output of every convolution of `network`, by name, filled in by its forward pass."""
    outputs: dict[str, Tensor] = {}

    def record(name: str, output: Tensor) -> None:
        outputs[name] = output

    hooks = [
        module.register_forward_hook(lambda module, arguments, output, name=name: record(name, output))
        for name, module in network.named_modules()
        if isinstance(module, WeightNormConv2d)
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def assert_moments(network: nn.Module, *inputs: Tensor) -> None:
    """Every convolution's output has mean 0 and variance 1, or .01 for the second convolution of a gated block."""
    small = {f"{name}.second" for name, module in network.named_modules() if isinstance(module, GatedBlock)}
    convolutions = {name for name, module in network.named_modules() if isinstance(module, WeightNormConv2d)}
    with recorded_outputs(network), torch.no_grad():
        initialize_from_data(network, *inputs)
    training = network.training
    with recorded_outputs(network.eval()) as outputs, torch.no_grad():
        network(*inputs)
    network.train(training)
    assert outputs.keys() == convolutions
    assert small < convolutions
    for name, output in outputs.items():
        variance = output.var(dim=(0, 2, 3), unbiased=False)
        expected = torch.full_like(variance, 0.01 if name in small else 1)
        torch.testing.assert_close(output.mean(dim=(0, 2, 3)), torch.zeros_like(variance), rtol=0, atol=1e-5, msg=name)
        torch.testing.assert_close(variance, expected, rtol=1e-3, atol=0, msg=name)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (1, 4)])
def test_equals_the_weight_norm_of_torch(stride: int, dilation: int) -> None:
    convolution = randomized(WeightNormConv2d(3, 5, (3, 3), stride, dilation))
    x = torch.randn(2, 3, 9, 12)
    expected = torch_weight_norm(convolution, padding=dilation)(x)
    torch.testing.assert_close(convolution(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("stride", "dilation", "size", "expected"),
    [
        (1, 1, (7, 8), (7, 8)),
        (1, 2, (7, 8), (7, 8)),
        (1, 4, (5, 9), (5, 9)),
        (2, 1, (7, 8), (4, 4)),
        (2, 1, (1, 2), (1, 1)),
    ],
)
def test_output_size(stride: int, dilation: int, size: tuple[int, int], expected: tuple[int, int]) -> None:
    convolution = WeightNormConv2d(2, 3, (3, 3), stride, dilation)
    assert convolution(torch.zeros(1, 2, *size)).shape == (1, 3, *expected)


def test_stride_two_is_centred_on_even_pixels() -> None:
    convolution = randomized(WeightNormConv2d(2, 3))
    strided = WeightNormConv2d(2, 3, stride=2)
    strided.load_state_dict(convolution.state_dict())
    x = torch.randn(1, 2, 8, 6)
    torch.testing.assert_close(strided(x), convolution(x)[:, :, ::2, ::2])


def test_directions_begin_with_deviation_a_twentieth() -> None:
    convolution = WeightNormConv2d(64, 64)
    assert convolution.direction.std().item() == pytest.approx(0.05, rel=0.02)
    assert (convolution.gain == 1).all()
    assert (convolution.bias == 0).all()


@pytest.mark.parametrize(
    ("kind", "kernel", "padding"),
    [
        (DownConv2d, (2, 3), (1, 1, 1, 0)),
        (DownConv2d, (1, 3), (1, 1, 0, 0)),
        (DownConv2d, (3, 3), (1, 1, 2, 0)),
        (RightConv2d, (2, 1), (0, 0, 1, 0)),
        (RightConv2d, (3, 3), (2, 0, 2, 0)),
    ],
)
def test_causal_convolutions_pad_above_and_beside(
    kind: type[WeightNormConv2d], kernel: tuple[int, int], padding: tuple[int, int, int, int]
) -> None:
    convolution = randomized(kind(3, 4, kernel))
    x = torch.randn(2, 3, 5, 6)
    norms = convolution.direction.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
    weight = convolution.gain.view(-1, 1, 1, 1) * convolution.direction / norms
    expected = F.conv2d(F.pad(x, padding), weight, convolution.bias)
    assert expected.shape == (2, 4, 5, 6)
    torch.testing.assert_close(convolution(x), expected, rtol=0, atol=1e-5)


def test_shifts_bring_in_zeros() -> None:
    x = torch.arange(1.0, 7).view(1, 1, 2, 3)
    assert shift_down(x).tolist() == [[[[0, 0, 0], [1, 2, 3]]]]
    assert shift_right(x).tolist() == [[[[0, 1, 2], [0, 4, 5]]]]


def test_moments_of_the_embedding_network_after_initialisation() -> None:
    assert_moments(EmbeddingNetwork(STAGES, dropout=0.5), torch.rand(6, 1, 16, 16) * 2 - 1)


def test_moments_of_the_autoregressive_network_after_initialisation() -> None:
    network = AutoregressiveNetwork(3, 5, width=6, blocks=2, mixtures=2, dropout=0.5)
    assert_moments(network, torch.rand(6, 3, 8, 8) * 2 - 1, torch.randn(6, 5, 8, 8))


def test_initialisation_forgets_earlier_gains_and_keeps_directions() -> None:
    network = EmbeddingNetwork(STAGES[:1], dropout=0.5).train()
    luminance = torch.rand(6, 1, 16, 16)
    directions = {name: value.clone() for name, value in network.state_dict().items() if name.endswith("direction")}
    initialize_from_data(network, luminance)
    first = {name: value.clone() for name, value in network.state_dict().items()}
    for module in network.modules():
        if isinstance(module, WeightNormConv2d):
            randomized(module)
    initialize_from_data(network, luminance)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, first[name], msg=name)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in directions.items())
    assert network.training
