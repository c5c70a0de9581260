"""What everything that trains here promises: to resume exactly, and to be rebuilt from its checkpoint alone."""

import os
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any, Self

import pytorch_lightning as pl
import torch

from lightning_modules import METHODS, TASKS
from lightning_modules.checkpoint import overridden, read_checkpoint, read_pretrained
from lightning_modules.pretrained import MODELS, find


class Task(pl.LightningModule):
    """A network and what it learns: to colour, or what some method learns before colouring or by it.

    Steps get batches as they travel, `rgb` in eight bits.
    """

    def initialize_from(self, path: str | os.PathLike[str]) -> None:
        """Start from other weights: they must be all of this network's; what there is besides is dropped.

        Args:
            path: A run's directory, a checkpoint, a bundle, or the name of a bundled model.

        Raises:
            OSError: If there is nothing of the kind, or it cannot be fetched.
            ValueError: If weights are missing or of another shape.
        """
        weights = read_checkpoint(find(str(path)) if str(path) in MODELS else path)["state_dict"]
        own = self.state_dict()
        missing = [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]
        if missing:
            raise ValueError(
                f"{path} cannot start this {type(self).__name__}: {len(missing)} of its {len(own)} weights are absent "
                f"there or of another shape, first {missing[0]}; give a checkpoint of the same network widths"
            )
        self.load_state_dict({name: weights[name] for name in own})

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Tie the step's dropout to (seed, step, rank), so that a resumed run repeats an uninterrupted one."""
        run = int(os.environ.get("PL_GLOBAL_SEED", 0))
        seed = hash((run, self.trainer.fit_loop.total_batch_idx, self.global_rank)) % 2**63
        # torch.manual_seed would seed every kind of device there is, which takes longer than a small step
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the class, so that `load` can rebuild it."""
        checkpoint["method"] = type(self).__name__

    @classmethod
    def load(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Rebuild from a checkpoint alone, ready to be used.

        Args:
            path: A checkpoint or bundle, or a run's directory, of which the best checkpoint is taken, else the last.
            overrides: Hyper-parameters to change, such as `temperature=0.8`; of one that is a mapping, the given keys.

        Returns:
            The task, in evaluation mode, on the CPU, with its averaged weights.

        Raises:
            FileNotFoundError: If there is no such file, or the directory holds no checkpoint.
            ValueError: If the file is not a whole checkpoint, or of something else, or an override is unknown.
        """
        return cls.rebuilt(read_checkpoint(path), path, overrides)

    @classmethod
    def from_pretrained(cls, what: str | os.PathLike[str], **overrides: Any) -> Self:
        """Load weights by their name, such as `siggraph17`, which are fetched on first use, or as `load` does.

        Args:
            what: A name that `python -m lightning_modules.pretrained` lists; a run's directory, a checkpoint, a bundle
                or a published file.
            overrides: As for `load`.

        Returns:
            The task, in evaluation mode, on the CPU.

        Raises:
            OSError: If there is nothing of the kind, or it cannot be fetched.
            ValueError: If it is damaged or of something else, or an override is unknown.
        """
        return cls.rebuilt(read_pretrained(what), what, overrides)

    @classmethod
    def rebuilt(cls, checkpoint: Mapping[str, Any], path: str | os.PathLike[str], overrides: Mapping[str, Any]) -> Self:
        """Build the class that a checkpoint names and give it its weights, in evaluation mode.

        Args:
            checkpoint: As `read_checkpoint` gives it.
            path: Where it comes from, for messages.
            overrides: As for `load`.

        Raises:
            ValueError: If it is of something else than this class, does not fit, or an override is unknown.
        """
        name = checkpoint["method"]
        kind = getattr(import_module((METHODS | TASKS)[name]), name)
        if not issubclass(kind, cls):
            wanted = cls.__name__ if cls.__name__ in METHODS | TASKS else " or ".join(METHODS)
            raise ValueError(f"{path} holds {name}; give a run of {wanted}")
        # settings younger than the checkpoint have their defaults in the constructor
        known = {**signature(kind).parameters, **checkpoint["hyper_parameters"]}
        if unknown := overrides.keys() - known.keys():
            raise ValueError(f"{name} has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
        try:
            task: Self = kind(**overridden(checkpoint["hyper_parameters"], overrides))
        except TypeError as error:
            raise ValueError(f"{name} cannot be built with {overrides}: {error}") from error
        try:
            task.load_state_dict(checkpoint["state_dict"], strict=True)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise ValueError(f"{path} does not fit {name} as it is now: {reason}") from error
        return task.eval()
