"""Weights of published networks, which are never downloaded here: the user says where they lie."""

from pathlib import Path

import torch
from torch import Tensor, nn


class MissingWeightsError(ValueError):
    """A measure needs a network whose weights are not there."""


def read_weights(path: Path | None, measure: str, published: str) -> dict[str, Tensor]:
    """The state dict in a local file, on the CPU.

    Args:
        path: The file; None if the user named none.
        measure: What needs it, for the message.
        published: Where the file can be had, for the message.

    Raises:
        MissingWeightsError: If there is no such file.
        ValueError: If it holds something else.
    """
    if path is None or not path.is_file():
        absence = "no path was given" if path is None else f"there is no file {path}"
        raise MissingWeightsError(
            f"{measure} needs {Path(published).name}, but {absence}; it is published at {published}"
        )
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make it raise anything
        raise ValueError(f"{path} cannot be read as weights; fetch it again from {published}") from error
    if not isinstance(weights, dict):
        raise ValueError(f"{path} holds a {type(weights).__name__}, not a state dict; {measure} wants {published}")
    return weights


def fill(network: nn.Module, weights: dict[str, Tensor], path: Path | None, measure: str) -> None:
    """Give a network its weights, whole, in float32, fixed and in evaluation mode.

    Args:
        network: May be on the meta device, which spares its random initialisation.
        weights: By the network's own names.
        path: Where they came from, for the message.
        measure: What needs them, for the message.

    Raises:
        ValueError: If the weights are of another network.
    """
    try:
        network.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"{path} does not hold the weights that {measure} needs: {reason}") from error
    network.float().requires_grad_(requires_grad=False).eval()


class FixedNetwork(nn.Module):
    """A network that stays in evaluation mode, whatever the module that holds it does."""

    def train(self, mode: bool = True) -> "FixedNetwork":
        """Keep evaluation mode."""
        super().train(mode=False)
        return self
