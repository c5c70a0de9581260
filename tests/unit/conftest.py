"""Small networks, models and pictures that several tests share."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.layers.weight_norm import WeightNormConv2d
from lightning_modules.pic.embedding_only import PICEmbedding
from lightning_modules.pic.module import PIC
from lightning_modules.pic.network import AutoregressiveNetwork

SMALL_MODEL: dict[str, Any] = {
    "resolution": 8,
    "embedding": [{"width": 8, "blocks": 1}, {"width": 20, "stride": 2, "blocks": 1, "dilation": 2}],
    "mixtures": 2,
    "dropout": 0.5,
    "initialization_pictures": 4,
    "optimization": {"learning_rate": 1e-3, "betas": [0.95, 0.9995], "epsilon": 1e-6, "decay": 0.999},
}


def randomize(network: nn.Module) -> None:
    """Give every convolution gains other than 1 and biases other than 0, so that a forgotten one is noticed."""
    for module in network.modules():
        if isinstance(module, WeightNormConv2d):
            nn.init.uniform_(module.gain, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test starts from the same global seed."""
    torch.manual_seed(0)


@pytest.fixture
def make_network() -> Callable[..., AutoregressiveNetwork]:
    """Build a small autoregressive network in evaluation mode, every parameter random."""

    def make(
        canvas_channels: int = 3,
        embedding_width: int = 5,
        width: int = 6,
        blocks: int = 2,
        mixtures: int = 2,
        dtype: torch.dtype = torch.float64,
    ) -> AutoregressiveNetwork:
        network = AutoregressiveNetwork(canvas_channels, embedding_width, width, blocks, mixtures)
        randomize(network)
        return network.to(dtype).eval().requires_grad_(False)

    return make


@pytest.fixture
def make_pic() -> Callable[..., PIC]:
    """Build a small PIC in evaluation mode; keywords change its hyper-parameters."""

    def make(**changes: Any) -> PIC:
        model = PIC(**{**SMALL_MODEL, "width": 6, "blocks": 1, "auxiliary_weight": 1.0, "temperature": 1.0, **changes})
        randomize(model)
        return model.eval()

    return make


@pytest.fixture
def make_pic_embedding() -> Callable[..., PICEmbedding]:
    """Build a small PICEmbedding in evaluation mode; keywords change its hyper-parameters."""

    def make(**changes: Any) -> PICEmbedding:
        model = PICEmbedding(**{**SMALL_MODEL, **changes})
        randomize(model)
        return model.eval()

    return make


@pytest.fixture
def pictures() -> Tensor:
    """Five 8 x 8 pictures of random eight-bit colours, RGB in [0, 1]."""
    return torch.randint(0, 256, (5, 3, 8, 8)) / 255
