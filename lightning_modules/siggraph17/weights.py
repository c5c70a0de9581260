"""What the network may start with: weights of Zhang et al. 2016 or 2017, by their authors' names, or of a run."""

import re
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.checkpoint import read_weights

LAYER = re.compile(r"(?:model|blocks\.)(\d+)\.(\d+)\.(\w+)")
OTHER_LAYERS = {
    "model8up.0": "enlarge.8",
    "model9up.0": "enlarge.9",
    "model10up.0": "enlarge.10",
    "model3short8.0": "skips.8",
    "model2short9.0": "skips.9",
    "model1short10.0": "skips.10",
    "model_class.0": "classes",
    "model_out.0": "out",
}
"""The authors' names, and those here."""


def begin_with_colorizer(network: nn.Module, path: str, blocks: int) -> None:
    """Give a network what another colouriser has of it.

    Args:
        network: Changed in place.
        path: `download` for the weights of Zhang et al. 2016, of which the first blocks are taken, hints starting at no
            influence; or a local .pth file of these, or of Zhang et al. 2017, which are taken whole; or a run's
            directory or checkpoint.
        blocks: How many of those of 2016 to take, 7 at most.

    Raises:
        OSError: If there is no such file or run, or nothing can be fetched.
        ValueError: If it is something else, or does not fit.
    """
    found, own = renamed(read_weights(path, "cic")), network.state_dict()
    first, wanted = found.get("blocks.1.0.weight"), [name for name in own if not name.startswith("classes.")]
    if first is not None and first.shape[1] == 1:  # it sees luminance alone, and its later blocks are others
        wanted = [name for name in own if name.startswith(tuple(f"blocks.{each}." for each in range(1, blocks + 1)))]
        found = {name: value for name, value in found.items() if name in wanted}
        found["blocks.1.0.weight"] = F.pad(first, (0, 0, 0, 0, 0, 3))
    taken = {name: value for name, value in found.items() if name in own and value.shape == own[name].shape}
    absent = [name for name in wanted if name not in taken and not name.endswith("num_batches_tracked")]
    if absent or not taken or not all(value.isfinite().all() for value in taken.values()):
        raise ValueError(
            f"{path} cannot start this network: {(absent or ['a weight'])[0]} is absent there, of another shape or not "
            "finite; give the network that one's layers and width (Zhang et al.'s is 64), or start from nothing (null)"
        )
    network.load_state_dict(taken, strict=False)


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by their names here."""
    found = {}
    for name, value in weights.items():
        name = name.removeprefix("colorization.").removeprefix("network.")  # in a run of Exemplar, or of SIGGRAPH17
        if match := LAYER.fullmatch(name):
            name = "blocks.{}.{}.{}".format(*match.groups())
        else:
            layer, _, part = name.rpartition(".")
            name = f"{OTHER_LAYERS.get(layer, layer)}.{part}"
        found[name] = value
    return found
