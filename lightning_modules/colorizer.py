"""What every method promises."""

from typing import ClassVar

import torch
from torch import Tensor

from lightning_modules.guidance import Guidance
from lightning_modules.task import Task

SMALLEST_SIDE = 2


class Colorizer(Task):
    """What every method promises. Pictures are RGB in [0, 1], (B, 3, H, W); luminance is (B, 1, H, W).

    A method implements `luminance`, `draw`, `training_step`, `validation_step` and `configure_optimizers`. One
    that has an exact likelihood is also an `ExactLikelihood`.
    """

    stochastic: bool
    """Whether two draws of one picture differ."""
    accepts: ClassVar[frozenset[str]] = frozenset()
    """The kinds of guidance that the method takes: fields of `Guidance`."""
    requires: ClassVar[frozenset[str]] = frozenset()
    """Those of them without which it cannot colour."""
    remarks: tuple[str, ...] = ()
    """What a reader of its scores should know, in sentences."""

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
            guidance: What to follow; only the kinds in `accepts`, and all of `requires`.
            generator: Source of randomness, on the module's device.

        Returns:
            (B, samples, 3, H, W) in [0, 1], at the input's own size, its luminance kept.

        Raises:
            ValueError: Of a shape other than (B, 1, H, W), a side under 2 pixels, luminance that is not finite, or
                guidance that the method does not take, wants and does not get, or gets of another number of pictures.
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
        if wanted := self.requires - guidance.given():
            raise ValueError(
                f"{type(self).__name__} colours by a {' and a '.join(sorted(wanted))}, and got none; give colorize.py "
                "--reference, or a score protocol.guidance=truth, same_class or other_class"
            )
        for kind in sorted(guidance.given()):
            if (count := len(getattr(guidance, kind))) != len(luminance):
                raise ValueError(f"{len(luminance)} pictures want as many of guidance by {kind}, not {count}")
        training = self.training
        self.eval()
        try:
            return self.draw(luminance, samples, guidance, generator)
        finally:
            self.train(training)
