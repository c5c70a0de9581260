"""PIC's networks: published sizes, causality and reach."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch import Tensor, nn

from lightning_modules.pic.network import AutoregressiveNetwork, EmbeddingNetwork, GatedBlock, Stage


def read_config(name: str) -> dict[str, Any]:
    """A model's configuration as a plain dictionary."""
    with initialize_config_module("configs", version_base="1.3"):
        return cast(dict[str, Any], OmegaConf.to_container(compose("train", [f"model={name}"]).model))


def count(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def embedding_network(stages: Sequence[Stage]) -> EmbeddingNetwork:
    """The embedding network without storage: shapes only."""
    with torch.device("meta"):
        return EmbeddingNetwork(stages)


def inputs_of(network: AutoregressiveNetwork, height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    """A random canvas and embedding of the right widths, in the network's own type."""
    canvas_channels = network.first_above.direction.shape[1] - 1
    embedding_width = cast(GatedBlock, network.above[0]).condition.direction.shape[1] // 2  # type: ignore[union-attr]
    dtype = network.first_above.direction.dtype
    canvas = torch.rand(batch, canvas_channels, height, width, dtype=dtype) * 2 - 1
    return canvas, torch.randn(batch, embedding_width, height, width, dtype=dtype)


def one_pixel_each(height: int, width: int) -> Tensor:
    """A picture for each pixel, 1 there and 0 elsewhere, `(H * W, 1, H, W)`."""
    return torch.eye(height * width, dtype=torch.float64).view(-1, 1, height, width)


def pixels_changed_by(
    network: AutoregressiveNetwork, canvas: Tensor, embedding: Tensor, old_canvas: Tensor, old_embedding: Tensor
) -> Tensor:
    """Where the output for each of B inputs differs from that for the old one, in raster order, `(B, H * W)`."""
    before: Tensor = network(old_canvas, old_embedding)
    after: Tensor = network(canvas, embedding.expand(len(canvas), -1, -1, -1))
    return ((after - before).abs() > 1e-12).any(dim=1).flatten(1)


@pytest.mark.parametrize(
    ("name", "last_width", "expected"),
    [
        ("pic_cifar10", None, 13_925_504),
        ("pic_imagenet", None, 98_897_472),
        ("pic_imagenet", 512, 100_520_192),
    ],
)
def test_parameters_of_the_embedding_network(name: str, last_width: int | None, expected: int) -> None:
    stages = read_config(name)["embedding"]
    if last_width is not None:
        stages[-1]["width"] = last_width
    assert count(embedding_network(stages)) == expected


@pytest.mark.parametrize(
    ("name", "last_width", "expected"),
    [
        ("pic_cifar10", None, 11_950_560),
        ("pic_imagenet", None, 11_704_800),
        ("pic_imagenet", 512, 12_605_920),
    ],
)
def test_parameters_of_the_autoregressive_network(name: str, last_width: int | None, expected: int) -> None:
    config = read_config(name)
    embedding_width = last_width or config["embedding"][-1]["width"]
    with torch.device("meta"):
        network = AutoregressiveNetwork(3, embedding_width, config["width"], config["blocks"], config["mixtures"])
    assert count(network) == expected


@pytest.mark.parametrize(
    ("name", "factor", "expected"), [("pic_cifar10", 2, (256, 16, 16)), ("pic_imagenet", 4, (160, 32, 32))]
)
def test_chroma_grid_of_the_embedding_network(name: str, factor: int, expected: tuple[int, int, int]) -> None:
    config = read_config(name)
    assert embedding_network(config["embedding"]).width == expected[0]
    narrow = EmbeddingNetwork([cast(Stage, {**stage, "width": 2}) for stage in config["embedding"]])
    assert narrow.subsampling == factor
    luminance = torch.zeros(2, 1, config["resolution"], config["resolution"])
    assert narrow(luminance).shape == (2, 2, *expected[1:])


def test_embedding_network_sees_the_border() -> None:
    network = EmbeddingNetwork([{"width": 4}])
    embedding = network(torch.zeros(1, 1, 5, 5))
    assert not torch.allclose(embedding[:, :, 0, 0], embedding[:, :, 2, 2])


def test_jacobian_is_strictly_causal(make_network: Callable[..., AutoregressiveNetwork]) -> None:
    network = make_network(width=8, blocks=4)
    canvas, embedding = (x.repeat(25, 1, 1, 1) for x in inputs_of(network, 5, 5))
    canvas.requires_grad_()
    network(canvas, embedding).flatten(2).abs().sum(dim=1).diagonal().sum().backward()
    assert canvas.grad is not None
    depends = (canvas.grad != 0).any(dim=1).flatten(1)
    earlier = torch.ones(25, 25).tril(-1).bool()
    assert earlier.sum() == 300
    assert torch.equal(depends, earlier)


def test_receptive_field_of_one_output(make_network: Callable[..., AutoregressiveNetwork]) -> None:
    network = make_network(width=4, blocks=4, mixtures=1)
    canvas, embedding = inputs_of(network, 26, 40)
    canvas.requires_grad_()
    y, x = 23, 22
    network(canvas, embedding)[0, :, y, x].abs().sum().backward()
    assert canvas.grad is not None
    rows, columns = (canvas.grad[0] != 0).any(dim=0).nonzero().unbind(1)
    assert (y - rows).min() == 0
    assert (y - rows).max() == 20
    assert (x - columns).max() == 17
    assert (columns - x).max() == 9
    assert (columns[rows == y] - x).max() == -1
    assert (columns[rows == y - 1] - x).max() == 9


def test_streams_begin_with_zeros_and_not_with_the_bias(make_network: Callable[..., AutoregressiveNetwork]) -> None:
    network = make_network()
    seen: dict[str, Tensor] = {}
    for name in ("above", "left"):
        first_block = cast(nn.ModuleList, getattr(network, name))[0]
        first_block.register_forward_pre_hook(lambda module, arguments, name=name: seen.update({name: arguments[0]}))
    network(*inputs_of(network, 4, 4))
    above, left = seen["above"], seen["left"]
    assert (above[:, :, 0] == 0).all()
    assert (above[:, :, 1:] != 0).all()
    assert (left[:, :, 0, 0] == 0).all()
    assert (left[:, :, 0, 1:] != 0).all()
    assert (left[:, :, 1:] != 0).all()


def test_changing_the_canvas_changes_only_later_pixels(make_network: Callable[..., AutoregressiveNetwork]) -> None:
    network = make_network(blocks=4)
    canvas, embedding = inputs_of(network, 4, 5)
    changed = pixels_changed_by(network, canvas + 0.5 * one_pixel_each(4, 5), embedding, canvas, embedding)
    assert torch.equal(changed, torch.ones(20, 20).triu(1).bool())


def test_changing_the_embedding_changes_every_pixel(make_network: Callable[..., AutoregressiveNetwork]) -> None:
    network = make_network()
    canvas, embedding = inputs_of(network, 4, 5)
    assert pixels_changed_by(network, canvas, embedding + 0.1, canvas, embedding).all()


def test_changing_the_embedding_at_one_place_changes_that_pixel(
    make_network: Callable[..., AutoregressiveNetwork],
) -> None:
    network = make_network()
    canvas, embedding = inputs_of(network, 4, 5)
    other = embedding + 0.5 * one_pixel_each(4, 5)
    changed = pixels_changed_by(network, canvas.expand(20, -1, -1, -1), other, canvas, embedding)
    assert changed.diagonal().all()
    row = torch.arange(20) // 5
    assert not changed[row[:, None] > row].any(), "rows above cannot depend on it"


def test_pixels_keep_to_their_own_picture(make_network: Callable[..., AutoregressiveNetwork]) -> None:
    network = make_network()
    canvas, embedding = inputs_of(network, 4, 5, batch=3)
    together = network(canvas, embedding)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], network(canvas[i : i + 1], embedding[i : i + 1]))


def test_output_is_float32_under_autocast(make_network: Callable[..., AutoregressiveNetwork]) -> None:
    network = make_network(dtype=torch.float32)
    canvas, embedding = inputs_of(network, 4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside: list[torch.dtype] = []
        network.left[0].register_forward_hook(lambda module, arguments, output: inside.append(output.dtype))
        cast(GatedBlock, network.left[0]).first.register_forward_hook(
            lambda module, arguments, output: inside.append(output.dtype)
        )
        parameters = network(canvas, embedding)
    assert torch.bfloat16 in inside
    assert parameters.dtype == torch.float32
    hidden_is_coarse = parameters.bfloat16().float() == parameters
    assert not hidden_is_coarse.all(), "the last layer itself must not be rounded to bfloat16"
    torch.testing.assert_close(parameters, network(canvas, embedding), rtol=0.1, atol=0.1)
