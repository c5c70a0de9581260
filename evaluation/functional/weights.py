"""Weights of published networks: local files, which the user names."""

from pathlib import Path

from torch import Tensor, nn

from lightning_modules.pretrained import DOWNLOAD, MODELS
from lightning_modules.pretrained.files import read_archive


class MissingWeightsError(ValueError):
    """A measure needs a network whose weights are not there."""


def read_weights(path: Path | None, measure: str, name: str) -> dict[str, Tensor]:
    """The state dict in a local file, on the CPU.

    Args:
        path: The file; None if the user named none.
        measure: What needs it, for the message.
        name: Of the file in the table of weights, for the message.

    Raises:
        MissingWeightsError: If there is no such file.
        ValueError: If it holds something else.
    """
    model = MODELS[name]
    if path is None or not path.is_file():
        absence = "no path was given" if path is None else f"there is no file {path}"
        raise MissingWeightsError(
            f"{measure} needs {model.file}, but {absence}; write {DOWNLOAD} to have it fetched from "
            f"{model.addresses[0]}"
        )
    weights = read_archive(path)
    if not isinstance(weights, dict):
        raise ValueError(f"{path} holds a {type(weights).__name__}, not a state dict; {measure} wants {model.file}")
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
