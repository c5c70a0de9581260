"""Colourfulness (Hasler and Suesstrunk 2003, section 6, equation for M^(3)), on the scale of eight-bit RGB."""

import torch
from torch import Tensor

from lightning_modules.color import full_precision


def opponents(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Red against green and yellow against blue, each (B, H, W), in -1..1."""
    red, green, blue = rgb.unbind(1)
    return red - green, torch.lerp(red, green, 0.5).sub_(blue)


def spread_and_mean_(red_green: Tensor, yellow_blue: Tensor) -> Tensor:
    """M^(3): the length of the two standard deviations and 0.3 times that of the two means, (B,).

    It overwrites the opponents: here new memory costs more than arithmetic.
    """
    means = [opponent.mean(dim=(1, 2), keepdim=True) for opponent in (red_green, yellow_blue)]
    # `var` would go over each of them once, but takes ten times the time
    red_green_spread = red_green.sub_(means[0]).square_().mean(dim=(1, 2))
    yellow_blue_spread = yellow_blue.sub_(means[1]).square_().mean(dim=(1, 2))
    return 255 * ((red_green_spread + yellow_blue_spread).sqrt() + 0.3 * torch.hypot(*means).flatten())


@full_precision
def colorfulness(rgb: Tensor) -> Tensor:
    """Colourfulness as published, with signed opponents.

    Args:
        rgb: RGB in [0, 1], (B, 3, H, W).

    Returns:
        (B,): 0 for a grey picture; Hasler and Suesstrunk call 33 moderately, 59 quite and 109 extremely colourful.
    """
    return spread_and_mean_(*opponents(rgb))


@full_precision
def colorfulness_abs(rgb: Tensor) -> Tensor:
    """The variant with absolute opponents that the code of DDColor, CT2 and ColorFormer measures.

    Folding the opponents at zero lowers their spread, so that it reads lower on most pictures: compare it only with
    scores of the same variant.

    Args:
        rgb: RGB in [0, 1], (B, 3, H, W).

    Returns:
        (B,), 0 for a grey picture.
    """
    red_green, yellow_blue = opponents(rgb)
    return spread_and_mean_(red_green.abs_(), yellow_blue.abs_())
