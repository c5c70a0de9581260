"""Where arithmetic is done."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


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


def require_synchronizable(model: nn.Module, device: torch.device) -> None:
    """Refuse batch normalisation over all ranks where PyTorch has none.

    Raises:
        ValueError: So.
    """
    if device.type == "cpu" and any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise ValueError("PyTorch synchronises batch normalisation on GPUs only; give trainer.sync_batchnorm=false")
