"""The rows that every leaderboard has, as predictions: what one gets without a method.

They are the sanity check of each measure: the truth, no colour, one colour, and right colours in the wrong places.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evaluation.protocols import ScoringProtocol, distinct
from lightning_modules.color import is_grey, lab_to_rgb, rgb_to_lab, rgb_to_lightness, to_float, to_uint8
from lightning_modules.resize import resized

if TYPE_CHECKING:
    from evaluation.scorer import Pictures

STANDING_ROWS = ("truth", "grey", "mean_color", "permuted_chroma")


@dataclass(frozen=True)
class StandingRow:
    """A set of pictures that one of the standing rows has coloured.

    Attributes:
        pictures: The set.
        rules: The protocol, whose pictures' sizes, mean colour and seed are taken.
        name: One of `STANDING_ROWS`.
    """

    pictures: "Pictures"
    rules: ScoringProtocol
    name: str

    def __post_init__(self) -> None:
        if self.name not in STANDING_ROWS:
            raise ValueError(f"baseline={self.name} is none of {', '.join(STANDING_ROWS)}")
        if self.name == "permuted_chroma" and len(self.circle) < 2:
            raise ValueError("permuted_chroma takes the chroma of another picture, and this set has only one")

    @cached_property
    def keys(self) -> Sequence[str]:
        """The pictures' names, each once."""
        return distinct(self.pictures.keys)

    def digest(self, number: int) -> bytes:
        """That of the picture: its colours follow from the set and the protocol."""
        return self.pictures.digest(number)

    def at(self, number: int) -> dict[str, Any]:
        """A picture with one sample."""
        item = self.pictures.at(number)
        truth = self.rules.prepare(item["rgb"])
        colour: dict[str, Callable[[], Tensor]] = {
            "truth": lambda: truth,
            "grey": lambda: to_uint8(rgb_to_lightness(to_float(truth)).expand(truth.shape)),
            "mean_color": lambda: with_chroma(truth, torch.tensor(self.rules.mean_color).view(3, 1, 1)),
            "permuted_chroma": lambda: with_chroma(
                truth, to_float(resized(self.partner(number), (truth.shape[1], truth.shape[2])))
            ),
        }
        return item | {"samples": colour[self.name]().unsqueeze(0)}

    def partner(self, number: int) -> Tensor:
        """The next of the pictures that are coloured, uint8 (3, h, w), that has colour."""
        places = self.circle
        for step in range(1, len(places)):
            try:
                found: Tensor = self.pictures.at(places[(self.place_in_circle[number] + step) % len(places)])["rgb"]
            except ValueError:
                continue
            if not is_grey(found):
                return found
        raise ValueError("permuted_chroma wants a second picture with colour, and none can be read")

    @cached_property
    def circle(self) -> list[int]:
        """The pictures that are coloured, in a random order: each takes the chroma of the next."""
        chosen = self.rules.chosen(self.keys)
        order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(self.rules.seed))
        return [chosen[place] for place in order.tolist()]

    @cached_property
    def place_in_circle(self) -> dict[int, int]:
        """Where each picture stands in the circle."""
        return {number: place for place, number in enumerate(self.circle)}


def with_chroma(rgb: Tensor, colours: Tensor) -> Tensor:
    """Lab L of a picture, uint8 (3, H, W), with the a and b of colours, RGB in [0, 1] (3, H, W) or (3, 1, 1): uint8.

    What lies outside sRGB is clipped.
    """
    lightness, chroma = rgb_to_lab(to_float(rgb))[:1], rgb_to_lab(colours)[1:]
    return to_uint8(lab_to_rgb(torch.cat([lightness, chroma.expand(2, *lightness.shape[1:])])))
