"""Where arithmetic is done."""

import re
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

OUT_OF_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)
"""What torch says, in a plain `RuntimeError` on a CPU."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was not enough memory, of a GPU or of the machine."""
    return isinstance(error, MemoryError) or bool(OUT_OF_MEMORY.search(str(error)))


def choose_device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:1` names; `auto` takes a GPU where there is one.

    Raises:
        ValueError: If it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"there is no device {name} on this machine; take auto or cpu") from error
    return device


def compile_networks(model: nn.Module, **settings: Any) -> None:
    """Compile the parts of a method's networks, in place, so that everything else sees the method as it was.

    Args:
        model: The method: its children that have parameters are its networks.
        settings: Of `torch.compile`.
    """
    for network in model.children():
        for part in (network, *network.children()):
            if next(part.parameters(), None) is not None:
                part.compile(**settings)


def require_synchronizable(model: nn.Module, device: torch.device) -> None:
    """Refuse batch normalisation over all ranks where PyTorch has none.

    Raises:
        ValueError: So.
    """
    if device.type == "cpu" and any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise ValueError("PyTorch synchronises batch normalisation on GPUs only; give trainer.sync_batchnorm=false")
