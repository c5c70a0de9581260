"""PixColor's PixelCNN: published size, the order of its symbols, where the condition enters."""

from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.pixcolor.pixelcnn import MaskedConv2d, PixelCNN, causal_mask, groups, rows_mask

CONDITION_WIDTH = 5


def small_pixelcnn(dtype: torch.dtype = torch.float64, **changes: Any) -> PixelCNN:
    """A narrow network with biases other than 0, so that a forgotten one is noticed."""
    network = PixelCNN(**{"condition_width": CONDITION_WIDTH, "width": 32, "blocks": 2, "hidden_width": 32, **changes})
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.3)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.3)
    return network.to(dtype).eval().requires_grad_(False)


def random_inputs(height: int, width: int, batch: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A canvas in [-1, 1] and a condition."""
    canvas = torch.rand(batch, 2, height, width, dtype=dtype) * 2 - 1
    return canvas, torch.randn(batch, CONDITION_WIDTH, height, width, dtype=dtype)


def in_order(x: Tensor) -> Tensor:
    """`(B, 2, H, W)` with its symbols in the order of the factorisation, `(B, H * W * 2)`."""
    return x.permute(0, 2, 3, 1).flatten(1)


def dependencies(network: PixelCNN, height: int, width: int) -> Tensor:
    """Whether each symbol's logits (rows) have a gradient with respect to each symbol (columns), both in order."""
    symbols = height * width * 2
    canvas, condition = (x.repeat(symbols, 1, 1, 1) for x in random_inputs(height, width))
    canvas.requires_grad_()
    in_order(network(canvas, condition).abs().sum(dim=2)).diagonal().sum().backward()
    assert canvas.grad is not None
    return in_order(canvas.grad != 0)


def parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_of_the_published_size() -> None:
    assert parameters(PixelCNN(conditioning="logits")) == 2_975_552 - 20 * 64 * 128 + 64 * 64
    network = PixelCNN()
    assert parameters(network) == 2_975_552
    assert sum(buffer.numel() for buffer in network.state_dict().values()) == 2_975_552, "masks are not saved"


def test_new_layers_begin_small_and_ten_blocks_keep_the_scale() -> None:
    network = PixelCNN()
    weight = network.blocks[0].vertical.weight  # type: ignore[union-attr]
    assert isinstance(weight, Tensor)
    assert weight.abs().max().item() <= 0.2
    assert weight.std().item() == pytest.approx(0.088, abs=0.001), "0.1, cut at two deviations"
    assert all((value == 0).all() for name, value in network.named_parameters() if name.endswith("bias"))
    logits = network(torch.rand(2, 2, 12, 12) * 2 - 1, torch.randn(2, 64, 12, 12))
    assert 0.1 < logits.std().item() < 1


@pytest.mark.parametrize("kernel_size", [(1, 1), (1, 5), (3, 3), (7, 7)])
@pytest.mark.parametrize("own", [False, True])
def test_causal_mask_against_the_definition(kernel_size: tuple[int, int], own: bool) -> None:
    inputs, outputs = [0, 0, 1, 1], [0, 1, 0, 1]
    mask = causal_mask(kernel_size, groups(4), groups(4, parts=2), own)
    rows, columns = kernel_size
    for output in range(4):
        for channel in range(4):
            for row in range(rows):
                for column in range(columns):
                    seen = (row, column, inputs[channel])
                    current = (rows // 2, columns // 2, outputs[output])
                    assert mask[output, channel, row, column].item() == (seen < current or (own and seen == current))


@pytest.mark.parametrize("height", [1, 6])
@pytest.mark.parametrize(
    "mask",
    [
        rows_mask((5, 5), 4, 6, 3),
        rows_mask((7, 7), 4, 6, 3),
        causal_mask((1, 5), groups(4), groups(6)),
        causal_mask((7, 7), groups(4), groups(6), own=False),
    ],
)
def test_masked_convolution_equals_the_full_kernel(mask: Tensor, height: int) -> None:
    convolution = MaskedConv2d(mask)
    x = torch.randn(2, 4, height, 5)
    padding = mask.shape[2] // 2, mask.shape[3] // 2
    expected = F.conv2d(x, convolution.weight * mask, convolution.bias, padding=padding)
    torch.testing.assert_close(convolution(x), expected)


@pytest.mark.parametrize("conditioning", ["gates", "logits"])
@pytest.mark.parametrize(("height", "width"), [(4, 5), (1, 6), (5, 1), (1, 1)])
def test_every_symbol_sees_all_before_it_and_none_after(
    height: int, width: int, conditioning: Literal["gates", "logits"]
) -> None:
    symbols = height * width * 2
    depends = dependencies(small_pixelcnn(conditioning=conditioning), height, width)
    assert torch.equal(depends, torch.ones(symbols, symbols).tril(-1).bool())


def test_cb_sees_its_own_cr_and_cr_sees_neither() -> None:
    network = small_pixelcnn()
    canvas, condition = random_inputs(3, 3)
    before = network(canvas, condition)
    changed = {}
    for symbol in (0, 1):
        other = canvas.clone()
        other[0, symbol, 1, 1] += 0.5
        changed[symbol] = (network(other, condition) != before)[0, :, :, 1, 1].any(dim=1).tolist()
    assert changed == {0: [False, True], 1: [False, False]}


def test_receptive_field() -> None:
    network = small_pixelcnn(blocks=10)
    canvas, condition = random_inputs(26, 50)
    canvas.requires_grad_()
    y, x = 24, 25
    network(canvas, condition)[0, :, :, y, x].abs().sum().backward()
    assert canvas.grad is not None
    rows, columns = (canvas.grad[0] != 0).any(dim=0).nonzero().unbind(1)
    assert (y - rows).max() == 23
    assert (x - columns).max() == 23
    assert (columns - x).max() == 23
    assert (columns[rows == y] - x).max() == 0


@pytest.mark.parametrize("place", [(0, 0), (1, 2)])
def test_condition_in_the_gates_acts_at_its_place_and_below(place: tuple[int, int]) -> None:
    network = small_pixelcnn()
    canvas, condition = random_inputs(3, 4)
    other = condition.clone()
    other[:, :, place[0], place[1]] += 1
    changed = (network(canvas, other) != network(canvas, condition)).any(dim=2)[0]
    assert changed[:, place[0], place[1]].all()
    assert changed[:, place[0] + 1, place[1]].all()
    assert not changed[:, : place[0]].any(), "rows above cannot depend on it"


def test_zero_projections_shut_the_condition_out() -> None:
    network = small_pixelcnn()
    projections = [value for name, value in network.named_parameters() if "condition" in name]
    assert len(projections) == 2 * 2
    canvas, condition = random_inputs(3, 4)
    assert not torch.equal(network(canvas, condition), network(canvas, 2 * condition))
    for projection in projections:
        nn.init.zeros_(projection)
    assert torch.equal(network(canvas, condition), network(canvas, 2 * condition))


def test_condition_at_the_logits_is_added_pixel_by_pixel() -> None:
    network = small_pixelcnn(conditioning="logits", bins=6)
    canvas, condition = random_inputs(3, 4, batch=2)
    added = network(canvas, condition) - network(canvas, torch.zeros_like(condition))
    assert network.output_condition is not None
    weight = network.output_condition.weight[:, :, 0, 0].view(2, 6, CONDITION_WIDTH)
    torch.testing.assert_close(added, torch.einsum("skc,bchw->bskhw", weight, condition))


def test_pictures_of_a_batch_are_independent() -> None:
    network = small_pixelcnn()
    canvas, condition = random_inputs(3, 4, batch=3)
    together = network(canvas, condition)
    assert together.shape == (3, 2, 32, 3, 4)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], network(canvas[i : i + 1], condition[i : i + 1]))


@pytest.mark.parametrize("conditioning", ["gates", "logits"])
def test_logits_are_float32_under_autocast(conditioning: Literal["gates", "logits"]) -> None:
    network = small_pixelcnn(torch.float32, conditioning=conditioning)
    canvas, condition = random_inputs(3, 4, dtype=torch.float32)
    inside: list[torch.dtype] = []
    network.hidden.register_forward_hook(lambda module, arguments, output: inside.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(canvas, condition.bfloat16())
    assert inside == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert not (logits.bfloat16().float() == logits).all(), "the last layer itself must not be rounded to bfloat16"
    torch.testing.assert_close(logits, network(canvas, condition), rtol=0.1, atol=0.2)


@pytest.mark.parametrize("widths", [{"width": 7}, {"hidden_width": 7}])
def test_odd_widths_are_refused(widths: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be even"):
        PixelCNN(**widths)  # type: ignore[arg-type]
