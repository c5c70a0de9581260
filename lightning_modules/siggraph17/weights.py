"""What the network may start with: weights of Zhang et al. 2016 or 2017, by their authors' names, or of a run."""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.checkpoint import read_weights
from lightning_modules.cic.bins import bin_centres
from lightning_modules.siggraph17.classes import CLASSES, class_centres

IMPROBABLE = -10.0
"""Logit of a class that occurs nowhere."""
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
            directory or checkpoint. A compact network also starts from a compact CIC, with its classifier.
        blocks: How many of those of 2016 to take, 7 at most.

    Raises:
        OSError: If there is no such file or run, or nothing can be fetched.
        ValueError: If it is something else, or does not fit.
    """
    found, own = renamed(read_weights(path, "cic")), network.state_dict()
    if "stem.1.weight" in found:
        found = from_compact_cic(found)
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


def from_compact_cic(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a compact CIC for a compact network that sees hints, which start at no influence.

    Its 313 bins are among the 529 classes; the others, of colours that sRGB does not have, start improbable. The
    regression, of which it has nothing, starts at grey.
    """
    found = {f"unet.{name}": value for name, value in weights.items()}
    stem = found["unet.stem.1.weight"]
    found["unet.stem.1.weight"] = F.pad(stem, (0, 0, 0, 0, 0, 3 * stem.shape[1]))
    rows = (class_centres().unsqueeze(0) == bin_centres().unsqueeze(1)).all(dim=2).int().argmax(dim=1)  # (313,)
    for part, absent in (("weight", 0.0), ("bias", IMPROBABLE)):
        known = found[f"unet.out.{part}"]
        found[f"unet.out.{part}"] = known.new_full((CLASSES, *known.shape[1:]), absent).index_copy(0, rows, known)
    features = found["unet.out.weight"].shape[1]
    return found | {"out.weight": torch.zeros(2, features, 1, 1), "out.bias": torch.zeros(2)}


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
