"""The authors' released network, `siggraph17-df00044c.pth`, as a method here."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_modules.siggraph17.module import SIGGRAPH17
from lightning_modules.siggraph17.weights import renamed

SETTINGS: dict[str, Any] = {
    "resolution": 176,
    "hints": {"sides": [1, 9], "whole_share": 0.01, "none_share": 0.0},
    "decode": "regression",
    "temperature": 0.38,
    "inference_short_side": 256,
    "pretrained": None,
    "loss": {"huber_weight": 20.0, "huber_delta": 1.0, "class_weight": 1.0, "class_apart": True},
    "optimization": {"learning_rate": 1e-5, "weight_decay": 0.0, "decay": 0.1, "epochs": 10},
    "upsampling": "bicubic",
    "variety": 0.0,
}
"""Those of `configs/model/siggraph17.yaml`."""


def from_published(state_dict: Mapping[str, Tensor]) -> SIGGRAPH17:
    """Build the method from the released weights, ready to be used.

    Args:
        state_dict: By the names of the authors' PyTorch code; of any width.

    Raises:
        ValueError: If a weight is absent, of another shape, not finite, or unknown.
    """
    found = renamed(state_dict)
    first = found.get("blocks.1.0.weight")
    width = 64 if first is None else len(first)
    method = SIGGRAPH17(network={"architecture": "published", "width": width}, **SETTINGS)
    for name, own in method.network.state_dict().items():
        value = found.pop(name, None)
        if value is None and name.endswith("num_batches_tracked"):  # PyTorch 0.4.0 did not count them
            continue
        if value is None or value.shape != own.shape or not value.isfinite().all():
            raise ValueError(
                f"these are not the weights of siggraph17-df00044c.pth: {name} is absent, of another shape or not "
                "finite; fetch the file again"
            )
        own.copy_(value)
    if found:
        raise ValueError(
            f"these are not the weights of siggraph17-df00044c.pth: {next(iter(found))} is no part of that network; "
            "give the file of Zhang et al. 2017"
        )
    method.initialized.fill_(True)
    return method.eval()
