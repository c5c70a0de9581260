"""Checkpoints: where they are, how they are read, how they are written."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_modules import METHODS, TASKS

DOWNLOAD = "download"
"""In the place of a path to torchvision's weights."""
CHECKPOINT_NAMES = ("best.ckpt", "last.ckpt")


def find_checkpoint(path: str | os.PathLike[str]) -> Path:
    """The checkpoint that a file, a run's directory or its `checkpoints` folder stands for.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    for folder in (path / "checkpoints", path):
        for name in CHECKPOINT_NAMES:
            if (folder / name).is_file():
                return folder / name
    if path.is_dir():
        raise FileNotFoundError(f"{path} holds no checkpoint ({' or '.join(CHECKPOINT_NAMES)}); give a run's directory")
    raise FileNotFoundError(f"there is no checkpoint at {path}; give a .ckpt file or a run's directory")


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A method's checkpoint as a dictionary, read with `weights_only=True`.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is damaged or holds something else.
    """
    path = find_checkpoint(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is not a whole checkpoint: it may be cut short, or no checkpoint at all") from error
    if not isinstance(checkpoint, dict) or checkpoint.get("method") not in METHODS | TASKS:
        raise ValueError(f"{path} is no checkpoint of a method here; those are {', '.join(METHODS | TASKS)}")
    return checkpoint


def require_same_model(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse to go on from a checkpoint of another model than a config's.

    Args:
        path: Of the checkpoint.
        config: Of the model: its class, as `_target_`, and its hyper-parameters.

    Raises:
        ValueError: If one of them differs, or the checkpoint is damaged.
    """
    checkpoint = read_checkpoint(path)
    saved = {**checkpoint["hyper_parameters"], "_target_": checkpoint["method"]}
    for name, value in {**config, "_target_": config["_target_"].rpartition(".")[2]}.items():
        if saved.get(name) != value:
            raise ValueError(
                f"{path} was trained with model.{name}={saved.get(name)}, not {value}; "
                "repeat the run's own experiment and model to go on with it"
            )


def best_score(trainer: pl.Trainer) -> dict[str, Any] | None:
    """The validation score of the best checkpoint, by whatever it is chosen; None if there is none yet."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_score is not None:
            value = callback.best_model_score.item()
            return {"monitor": callback.monitor, "mode": callback.mode, "value": value}
    return None


def read_weights(path: str, url: str) -> dict[str, Tensor]:
    """The weights with which a network may start.

    Args:
        path: `download` for torchvision's at `url`; or a local .pth file of torchvision's; or a run's directory or
            checkpoint.
        url: Of torchvision's weights.

    Raises:
        OSError: If there is no such file or run, or nothing can be fetched.
        ValueError: If the file is something else, or damaged.
    """
    if path == DOWNLOAD:
        return downloaded(url)
    file = find_checkpoint(path)
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
        weights: dict[str, Tensor] = dict(saved.get("state_dict", saved))
    except Exception as error:  # damaged files make it raise anything
        raise ValueError(
            f"{file} cannot be read, neither as torchvision's {Path(url).name} nor as a run's checkpoint; give either"
        ) from error
    return weights


def downloaded(url: str) -> dict[str, Tensor]:
    """torchvision's weights, fetched once into torch's cache and checked by the sum in their name.

    Raises:
        OSError: If they cannot be had.
    """
    try:
        found: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise OSError(f"{url} cannot be fetched ({error}); fetch it elsewhere, and give its path") from error
    return found


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there, so that a kill leaves the old one or the new one.

    Lightning's own goes through the system's folder for temporary files, often another disk, from where moving copies.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Save `checkpoint` as `path`."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(target.name + ".part")
        torch.save(checkpoint, half)
        half.replace(target)
