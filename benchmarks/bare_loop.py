"""Training without Lightning, which the benchmarks of training measure, or compare with."""

from types import SimpleNamespace
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

from lightning_modules.device import compile_networks
from lightning_modules.task import Task

PUBLISHED = (
    "pic_imagenet",
    "lrac_imagenet",
    "pixcolor_imagenet",
    "pixcolor_refinement_imagenet",
    "exemplar_imagenet",
    "exemplar_transfer_coco",
)
"""The experiments that train the methods' networks at their papers' batches."""
WARM_UP = 10
"""Steps before anything is timed."""


class Bare:
    """Training in plain PyTorch, as a script would have it that knows one network only.

    Args:
        config: An experiment's.
        device: Where it trains.
        decay: Of averaged weights; None keeps none.
    """

    def __init__(self, config: DictConfig, device: torch.device, decay: float | None = None) -> None:
        self.model: Task = instantiate(config.model, _convert_="all")
        layout = torch.channels_last if config.channels_last else torch.preserve_format
        self.model.to(device, memory_format=layout).train()
        vars(self.model).update(log=nothing, log_dict=nothing)
        average = get_ema_multi_avg_fn(decay) if decay else None
        self.averaged = AveragedModel(self.model, multi_avg_fn=average) if average else None
        self.model.trainer = SimpleNamespace(global_step=0, current_epoch=0)  # PixColor asks
        configured: Any = self.model.configure_optimizers()
        configured = configured if isinstance(configured, dict) else {"optimizer": configured}
        self.optimizer = configured["optimizer"]
        schedule = configured.get("lr_scheduler", {"interval": None})
        self.scheduler = schedule["scheduler"] if schedule["interval"] == "step" else None
        self.device, self.mixed = device, config.trainer.precision == "bf16-mixed"
        if config.compile:
            compile_networks(self.model)

    def autocast(self) -> torch.autocast:
        """Of the experiment's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Of a batch."""
        found = self.model.training_step(batch, 0)
        assert isinstance(found, Tensor)
        return found

    def step(self, batch: dict[str, Any]) -> Tensor:
        """Train on a batch; its loss."""
        with self.autocast():
            loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()
        if self.averaged:
            self.averaged.update_parameters(self.model)
        return loss.detach()

    def flops(self, batch: dict[str, Any]) -> float:
        """Operations of a batch's forward and backward pass, two for a multiplication that is added."""
        with FlopCounterMode(display=False) as counter, self.autocast():
            self.loss(batch).backward()
        self.optimizer.zero_grad()
        return float(counter.get_total_flops())


def nothing(*_: Any, **__: Any) -> None:
    """Log nothing."""


def composed(experiment: str, *overrides: str) -> DictConfig:
    """An experiment's config; its training starts from random weights."""
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("train", [f"+experiment={experiment}", *overrides])
    if "pretrained" in config.model.keys():  # noqa: SIM118 -- a mandatory value that is missing is not `in` it
        several = not OmegaConf.is_missing(config.model, "pretrained") and config.model.pretrained is not None
        config.model.pretrained = dict.fromkeys(config.model.pretrained) if several else None
    return config
