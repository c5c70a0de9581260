"""Checkpoints: where they are, how they are read, how they are written."""

import os
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_modules import METHODS, TASKS
from lightning_modules.pretrained import MODELS, Model, find, local_file
from lightning_modules.pretrained.files import BUNDLE, read_archive, read_bundle
from lightning_modules.pretrained.hashes import require_published

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


def read_file(path: Path) -> Any:
    """What a bundle or torch's archive holds, its checksums verified.

    Raises:
        ValueError: If the file is damaged or something else.
    """
    return read_bundle(path) if path.suffix == BUNDLE else read_archive(path)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A method's checkpoint or bundle as a dictionary: its `method`, `hyper_parameters`, `state_dict` and more.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is damaged or holds something else.
    """
    path = find_checkpoint(path)
    checkpoint = read_file(path)
    if not isinstance(checkpoint, dict) or str(checkpoint.get("method")) not in METHODS | TASKS:
        raise ValueError(f"{path} is no checkpoint of a method here; those are {', '.join(METHODS | TASKS)}")
    if missing := {"hyper_parameters", "state_dict"} - checkpoint.keys():
        raise ValueError(f"{path} is damaged: it holds no {' and no '.join(sorted(missing))}")
    return checkpoint


def overridden(hyper_parameters: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters with some changed; of one that is a mapping, the given keys."""
    changed = dict(hyper_parameters)
    for setting, value in overrides.items():
        whole = changed.get(setting)
        changed[setting] = {**whole, **value} if isinstance(value, Mapping) and isinstance(whole, Mapping) else value
    return changed


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


def read_pretrained(what: str | os.PathLike[str]) -> dict[str, Any]:
    """A colouriser's checkpoint, as `read_checkpoint` gives one.

    Args:
        what: The name of a colouriser in the table of weights; a published file of one, by its own name; a run's
            directory, a checkpoint or a bundle.

    Raises:
        OSError: If there is nothing of the kind, or it cannot be fetched.
        ValueError: If it is damaged or colours nothing.
    """
    given, published = str(what), {model.file: model.name for model in MODELS.values() if model.loader}
    if given not in MODELS and not Path(given).exists():
        names = ", ".join(model.name for model in MODELS.values() if model.method)
        raise FileNotFoundError(f"there is no {given}: give a run's directory, a checkpoint, or one of {names}")
    name = given if given in MODELS else published.get(Path(given).name)
    if name is None:
        return read_checkpoint(given)
    model = MODELS[name]
    if model.method is None:
        raise ValueError(f"{name} colours nothing; it is for this: {model.used_for}")
    file = find(name) if given == name else Path(given)
    require_published(file, model)
    found = read_checkpoint(file) if model.loader is None else of_published(file, model)
    return {**found, "hyper_parameters": overridden(found["hyper_parameters"], model.settings)}


def of_published(file: Path, model: Model) -> dict[str, Any]:
    """The checkpoint that the method of a published file makes of it.

    Raises:
        ValueError: If the file is damaged.
    """
    assert model.loader is not None
    module, _, function = model.loader.partition(":")
    colorizer = getattr(import_module(module), function)(weights_of(file))
    return {
        "method": type(colorizer).__name__,
        "hyper_parameters": dict(colorizer.hparams),
        "state_dict": colorizer.state_dict(),
    }


def read_weights(setting: str, usual: str) -> dict[str, Tensor]:
    """The weights with which a network may start.

    Args:
        setting: `download` for the usual ones; another name in the table of weights; a local file of such weights; or
            a run's directory, a checkpoint or a bundle.
        usual: The name of the usual weights in the table.

    Raises:
        OSError: If there is no such file or run, or nothing can be fetched.
        ValueError: If the file is something else, or damaged.
    """
    return weights_of(find_checkpoint(local_file(setting, usual)))


def weights_of(file: Path) -> dict[str, Tensor]:
    """The state dict in a file: of a checkpoint or a bundle, or alone.

    Raises:
        ValueError: If the file is something else, or damaged.
    """
    saved = read_file(file)
    weights = saved.get("state_dict", saved) if isinstance(saved, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{file} holds no weights; give a published .pth file, a run or a checkpoint")
    return weights


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there, so that a kill leaves the old one or the new one.

    Lightning's own goes through the system's folder for temporary files, often another disk, from where moving copies.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Save `checkpoint` as `path`.

        Raises:
            OSError: If it cannot be written, as on a full disk, with its name; nothing is left behind then.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(target.name + ".part")
        try:
            torch.save(checkpoint, half)
            half.replace(target)
        except (OSError, RuntimeError) as error:  # what torch makes of a full disk
            free = shutil.disk_usage(target.parent).free / 1e6
            raise OSError(f"{target} cannot be written; its disk has {free:,.1f} MB left ({error})") from error
        finally:
            half.unlink(missing_ok=True)
