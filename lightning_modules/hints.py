"""Hints: chroma that is known at some places, as `Guidance.hints` has it: Lab a, b and a mask of 0 and 1, (B, 3, H, W).

They are shown in square patches. A set of patches is int64 `(B, N, 3)`, the top, left and side of each; one of side 0
shows nothing.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

GEOMETRIC = 1 / 8
"""Chance at which a picture's hints end after each patch, in training."""
RELATIVE_SIDE = 35
"""Shorter sides of a picture to the side of one patch of a person's: 5 of 176, the mean that Xu et al. train with."""


def random_patches(
    pictures: int, size: tuple[int, int], sides: Sequence[int], generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Patches as Xu et al. train with them (section 3.2, after Zhang et al. 2017).

    Their number is geometric, P(n) = (1 / 8) (7 / 8) ** n; they are likelier near the centre: top and left are normal
    around the middle, with half of it as deviation.

    Args:
        pictures: How many pictures, B.
        size: Height and width.
        sides: The least and the largest side, each as likely as those between.
        generator: On `device`.
        device: Where.

    Returns:
        `(B, N, 3)`, N the largest number of any picture.
    """
    chances = torch.rand(pictures, generator=generator, device=device, dtype=torch.float64)
    numbers = (torch.log1p(-chances) / math.log1p(-GEOMETRIC)).floor().long()  # a chance may be 0, and is never 1
    count = int(numbers.max())
    side = random_sides((pictures, count), size, sides, generator, device)
    ends = []
    for length in size:
        middle = (length - side + 1) / 2
        place = middle + middle / 2 * torch.randn(side.shape, generator=generator, device=device)
        ends.append(torch.minimum(place.clamp(min=0), length - side).long())
    shown = torch.arange(count, device=device) < numbers.unsqueeze(1)
    return torch.stack([*ends, side * shown], dim=2)


def uniform_patches(
    pictures: int,
    count: int,
    size: tuple[int, int],
    sides: Sequence[int],
    generator: torch.Generator | None,
    device: torch.device,
) -> Tensor:
    """A number of patches of each picture, every place as likely; see `random_patches`."""
    side = random_sides((pictures, count), size, sides, generator, device)
    ends = [
        (torch.rand(side.shape, generator=generator, device=device) * (length - side + 1)).long() for length in size
    ]
    return torch.stack([*ends, side], dim=2)


def random_sides(
    shape: tuple[int, int],
    size: tuple[int, int],
    sides: Sequence[int],
    generator: torch.Generator | None,
    device: torch.device,
) -> Tensor:
    """Sides of patches, none longer than the picture's."""
    least, largest = sides
    return torch.randint(least, largest + 1, shape, generator=generator, device=device).clamp(max=min(size))


def reveal(chroma: Tensor, patches: Tensor) -> Tensor:
    """Hints that show the mean chroma of each patch, the later of two that overlap.

    Args:
        chroma: Lab a and b, `(B, 2, H, W)`.
        patches: Within the picture.

    Returns:
        `(B, 3, H, W)`.
    """
    width = chroma.shape[3]
    top, left, side = patches.unsqueeze(-1).unbind(2)  # (B, N, 1)
    steps = torch.arange(int(side.max()) if side.numel() else 0, device=chroma.device)
    within = (steps < side).unsqueeze(3) & (steps < side).unsqueeze(2)  # (B, N, S, S)
    pixels = ((top + steps) * width).unsqueeze(3) + (left + steps).unsqueeze(2)
    pixels = torch.where(within, pixels, 0)
    seen = (
        chroma.flatten(2)
        .gather(2, pixels.flatten(1).unsqueeze(1).expand(-1, 2, -1))
        .view(len(chroma), 2, *within.shape[1:])
    )
    means = (seen * within.unsqueeze(1)).sum(dim=(3, 4)) / side.squeeze(2).square().clamp(min=1).unsqueeze(1)
    order = torch.arange(1, patches.shape[1] + 1, device=chroma.device).view(-1, 1, 1) * within
    last = torch.zeros_like(chroma[:, 0], dtype=torch.int64).flatten(1)
    last.scatter_reduce_(1, pixels.flatten(1), order.flatten(1), "amax")
    shown = F.pad(means, (1, 0)).gather(2, last.unsqueeze(1).expand(-1, 2, -1))
    return torch.cat([shown, (last > 0).unsqueeze(1).to(shown.dtype)], dim=1).view(-1, 3, *chroma.shape[2:])


def some_otherwise(
    hints: Tensor, chroma: Tensor, whole_share: float, none_share: float, generator: torch.Generator | None
) -> Tensor:
    """Hints, but of some images all of their chroma, so that hints are kept as they are, and of others nothing.

    Zhang et al. 2017 show a hundredth whole.

    Args:
        hints: `(B, 3, H, W)`.
        chroma: Lab a and b, `(B, 2, H, W)`.
        whole_share: Chance of each image to be shown whole.
        none_share: Chance of each image to be shown nothing of.
        generator: On the images' device.
    """
    draw = torch.rand(len(hints), generator=generator, device=hints.device).view(-1, 1, 1, 1)
    hints = torch.where(draw < whole_share, F.pad(chroma, (0, 0, 0, 0, 0, 1), value=1.0), hints)
    return torch.where(draw >= 1 - none_share, 0.0, hints)


def no_hints(image: Tensor) -> Tensor:
    """Hints that show nothing, for `(B, C, H, W)`."""
    return torch.zeros_like(image[:, :1]).expand(-1, 3, -1, -1)


def side_of_a_hint(size: tuple[int, int]) -> int:
    """Side in pixels of the square that a person's hint marks in a picture of a height and width."""
    return max(1, round(min(size) / RELATIVE_SIDE))


def joined(hints: Tensor, others: Tensor) -> Tensor:
    """Two sets of hints; where both have one, the first's."""
    return torch.where(hints[:, 2:] > 0, hints, others)


def reduced(hints: Tensor, size: tuple[int, int]) -> Tensor:
    """Hints of a smaller picture: each pixel shows the mean of those that fall into it, if there is any."""
    if hints.shape[2:] == size:
        return hints
    share = F.adaptive_avg_pool2d(torch.cat([hints[:, :2] * hints[:, 2:], hints[:, 2:]], dim=1), size)
    known = share[:, 2:] > 0
    return torch.cat([share[:, :2] / torch.where(known, share[:, 2:], 1), known.to(hints.dtype)], dim=1)
