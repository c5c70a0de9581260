"""What every method promises."""

import os
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, ClassVar, Self

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_modules import METHODS
from lightning_modules.checkpoint import read_checkpoint

SMALLEST_SIDE = 2


@dataclass(frozen=True)
class Guidance:
    """What a person can tell a method about the colours that are wanted.

    Attributes:
        reference: A picture whose colours to follow, RGB in [0, 1], `(B, 3, h, w)`.
        hints: Chroma at chosen pixels and where, Lab a, b and a mask of 0 and 1, `(B, 3, H, W)`.
        labels: Segmentation of the picture, int64, `(B, H, W)`.
        histogram: Colour histogram to match, normalised, `(B, K)`.
    """

    reference: Tensor | None = None
    hints: Tensor | None = None
    labels: Tensor | None = None
    histogram: Tensor | None = None

    def given(self) -> frozenset[str]:
        """The names of the kinds of guidance that are present."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) is not None)


class Colorizer(pl.LightningModule):
    """What every method promises. Pictures are RGB in [0, 1], (B, 3, H, W); luminance is (B, 1, H, W).

    A method implements `luminance`, `draw`, `training_step`, `validation_step` and `configure_optimizers`. Its steps
    get batches as they travel, `rgb` in eight bits. One that has an exact likelihood is also an `ExactLikelihood`.
    """

    stochastic: bool
    """Whether two draws of one picture differ."""
    accepts: ClassVar[frozenset[str]] = frozenset()
    """The kinds of guidance that the method takes: fields of `Guidance`."""

    def luminance(self, rgb: Tensor) -> Tensor:
        """The method's own grey, (B, 1, H, W), of RGB in [0, 1], (B, 3, H, W)."""
        raise NotImplementedError

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: torch.Generator | None) -> Tensor:
        """Colour pictures, as `colorize` promises; called in evaluation mode, without gradients, with valid input."""
        raise NotImplementedError

    @torch.no_grad()
    def colorize(
        self,
        luminance: Tensor,
        *,
        samples: int = 1,
        guidance: Guidance | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Colour grey pictures.

        Args:
            luminance: The method's own grey, (B, 1, H, W).
            samples: How many draws of each picture.
            guidance: What to follow; only the kinds in `accepts`.
            generator: Source of randomness, on the module's device.

        Returns:
            (B, samples, 3, H, W) in [0, 1], at the input's own size, its luminance kept.

        Raises:
            ValueError: Of a shape other than (B, 1, H, W), a side under 2 pixels, luminance that is not finite, or
                guidance that the method does not take.
        """
        if luminance.ndim != 4 or luminance.shape[1] != 1:
            raise ValueError(f"colorize wants luminance of shape (B, 1, H, W), not {tuple(luminance.shape)}")
        if min(luminance.shape[2:]) < SMALLEST_SIDE:
            height, width = luminance.shape[2:]
            raise ValueError(f"a picture of {width}x{height} pixels is too small: {SMALLEST_SIDE} a side is the least")
        if not luminance.isfinite().all():
            raise ValueError("the luminance holds values that are not finite; check how the picture was read")
        guidance = guidance or Guidance()
        if refused := guidance.given() - self.accepts:
            takes = ", ".join(sorted(self.accepts)) or "none"
            raise ValueError(
                f"{type(self).__name__} takes no guidance by {', '.join(sorted(refused))}; it takes {takes}"
            )
        training = self.training
        self.eval()
        try:
            return self.draw(luminance, samples, guidance, generator)
        finally:
            self.train(training)

    def initialize_from(self, path: str | os.PathLike[str]) -> None:
        """Start from another checkpoint's weights: it must hold all of this network's; what it has besides is dropped.

        Raises:
            ValueError: If weights are missing or of another shape.
        """
        weights = read_checkpoint(path)["state_dict"]
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
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        torch.manual_seed(hash((seed, self.trainer.fit_loop.total_batch_idx, self.global_rank)) % 2**63)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the method, so that `load` can rebuild it."""
        checkpoint["method"] = type(self).__name__

    @classmethod
    def load(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Rebuild a method from a checkpoint alone, ready to colour.

        Args:
            path: A checkpoint, or a run's directory, of which the best is taken, else the last.
            overrides: Hyper-parameters to change, such as `temperature=0.8`.

        Returns:
            The method, in evaluation mode, on the CPU, with its averaged weights.

        Raises:
            FileNotFoundError: If there is no such file, or the directory holds no checkpoint.
            ValueError: If the file is not a whole checkpoint of a method, or an override is unknown.
        """
        checkpoint = read_checkpoint(path)
        method = getattr(import_module(METHODS[checkpoint["method"]]), checkpoint["method"])
        hyper_parameters = checkpoint["hyper_parameters"]
        if unknown := overrides.keys() - hyper_parameters.keys():
            raise ValueError(
                f"{method.__name__} has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(hyper_parameters))}"
            )
        colorizer = method(**hyper_parameters | overrides)
        if not isinstance(colorizer, cls):
            raise ValueError(f"{path} holds {method.__name__}, not {cls.__name__}")
        try:
            colorizer.load_state_dict(checkpoint["state_dict"], strict=True)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise ValueError(f"{path} does not fit {method.__name__} as it is now: {reason}") from error
        return colorizer.eval()
