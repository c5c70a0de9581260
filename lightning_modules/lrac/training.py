"""What the trainings of LRAC's network share: before colouring, for colouring, and upon it."""

from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightning_modules.color import to_float
from lightning_modules.lrac.initialization import begin_with, rebalance
from lightning_modules.lrac.network import VGG16Trunk
from lightning_modules.task import Task


class Optimization(TypedDict):
    """Stochastic gradient descent: the rate is multiplied by `decay` at each of `milestones`, in iterations."""

    learning_rate: float
    momentum: float
    weight_decay: float
    milestones: list[int]
    decay: float


class VGG16Training(Task):
    """Trains a network upon a `VGG16Trunk`, from another network's weights or anew.

    A subclass has the network as `network`, and says what it sees.

    Args:
        pretrained: Whose weights training starts with: torchvision's VGG-16, a local .pth file or `download`, or a
            run's directory or checkpoint of another training here; None starts anew.
        rebalancing_pictures: On so many the layers of a pretrained trunk are brought to unit second moment, before a
            new hypercolumn reads them.
        optimization: Of stochastic gradient descent; biases learn at twice the rate and do not decay.
    """

    network: nn.Module
    initialized: Tensor

    def __init__(self, pretrained: str | None, rebalancing_pictures: int, optimization: Optimization) -> None:
        super().__init__()
        self.pretrained, self.rebalancing_pictures = pretrained, rebalancing_pictures
        self.optimization = optimization
        self.register_buffer("initialized", torch.tensor(pretrained is None))

    def seen(self, rgb: Tensor) -> Tensor:
        """What the network sees of RGB in [0, 1], `(B, 3, H, W)`."""
        raise NotImplementedError

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Stochastic gradient descent with momentum, as the authors' training file has it."""
        numbers = self.optimization
        rate, named = numbers["learning_rate"], dict(self.named_parameters())
        biases = [value for name, value in named.items() if name.endswith("bias")]
        weights = [value for name, value in named.items() if not name.endswith("bias")]
        groups: list[dict[str, Any]] = [
            {"params": weights, "lr": rate, "weight_decay": numbers["weight_decay"]},
            {"params": biases, "lr": 2 * rate, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.SGD(groups, momentum=numbers["momentum"])
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, numbers["milestones"], numbers["decay"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Take the pretrained weights, and balance their layers for a hypercolumn that is new, once."""
        if self.initialized or self.pretrained is None:
            return
        taken = begin_with(self.network, self.pretrained)
        if hypercolumn_is_new(self.network, taken):
            pictures = self.trainer.datamodule.first_pictures(self.rebalancing_pictures)  # type: ignore[attr-defined]
            assert isinstance(self.network.trunk, VGG16Trunk)
            rebalance(self.network.trunk, self.seen(to_float(pictures.to(self.device))).split(1))
        self.initialized.fill_(True)
        for tensor in (*self.parameters(), *self.buffers()):
            tensor.data.copy_(self.trainer.strategy.broadcast(tensor.data.cpu()))


def hypercolumn_is_new(network: nn.Module, taken: Mapping[str, Tensor]) -> bool:
    """Whether a predictor starts upon layers whose scales no batch normalisation has brought together."""
    normalized = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    return hasattr(network, "h_fc1") and "h_fc1.weight" not in taken and not normalized


def random_locations(pictures: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Row and column of pixels of each picture `(B, C, H, W)`, int64 `(B, count, 2)`, every pixel as likely."""
    height, width = pictures.shape[2:]
    return torch.stack(
        [
            torch.randint(side, (len(pictures), count), generator=generator, device=pictures.device)
            for side in (height, width)
        ],
        dim=2,
    )
