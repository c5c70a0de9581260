"""What every method promises."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from lightning_modules.guidance import Guidance
from lightning_modules.task import Task

SMALLEST_SIDE = 2
RANGE_TOLERANCE = 0.01
"""How far beyond black and white luminance may lie, as a share of what is between them: rounding and resizing do so."""


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
            ValueError: If the shape is not (B, 1, H, W), a side is under 2 pixels, luminance is not finite or not
                within the method's range, or guidance is not what the method takes, lacks what the method wants, or
                is of another number of pictures.
        """
        if luminance.ndim != 4 or luminance.shape[1] != 1:
            raise ValueError(f"colorize wants luminance of shape (B, 1, H, W), not {tuple(luminance.shape)}")
        if min(luminance.shape[2:]) < SMALLEST_SIDE:
            height, width = luminance.shape[2:]
            raise ValueError(f"a picture of {width}x{height} pixels is too small: {SMALLEST_SIDE} a side is the least")
        luminance = luminance.float()
        self.require_luminance_in_range(luminance)
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

    def require_luminance_in_range(self, luminance: Tensor) -> None:
        """Refuse luminance beyond that of black and white, as of an image that is not in [0, 1].

        Raises:
            ValueError: If some is, or is not finite.
        """
        if not luminance.numel():
            return
        ends = torch.zeros(2, 3, SMALLEST_SIDE, SMALLEST_SIDE, device=luminance.device)
        ends[1] = 1
        black, white = (end.mean().item() for end in self.luminance(ends))
        least, most = (end.item() for end in luminance.aminmax())
        if not math.isfinite(least) or not math.isfinite(most):
            raise ValueError("the luminance holds values that are not finite; check how the picture was read")
        beyond = RANGE_TOLERANCE * (white - black)
        if least < black - beyond or most > white + beyond:
            raise ValueError(
                f"the luminance lies in {least:.4g}..{most:.4g}, and {type(self).__name__}'s in {black:.4g}.."
                f"{white:.4g}; take that of RGB in [0, 1]"
            )
