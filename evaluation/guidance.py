"""What a method is told of each picture that it colours, by the protocol's `guidance`.

All of it follows from the protocol's seed and the pictures' names: not from what else is scored, where, or in how many
processes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evaluation.protocols import ScoringProtocol, digest, in_order_of_digests
from lightning_modules.color import is_grey, rgb_to_lab, to_float
from lightning_modules.guidance import Guidance
from lightning_modules.hints import reveal, side_of_a_hint, uniform_patches

if TYPE_CHECKING:
    from evaluation.scorer import Pictures

BY_ANOTHER = {"same_class": "several pictures of a class", "other_class": "pictures of several classes"}
"""Kinds of guidance by another picture of the set, and what they want of the set."""


@dataclass(frozen=True)
class References:
    """Which picture of a set is the reference of which: one with its label, or one with another.

    The labelled pictures stand in a circle, in the order of the SHA-256 of the protocol's seed and their names: each
    class in a circle of its own for `same_class`, all in one for `other_class`. A picture's reference is the next that
    has the wanted label, can be read and has colour.

    Attributes:
        pictures: The set.
        labels: The class of each picture, negative for one without.
        rules: The protocol.
    """

    pictures: Pictures
    labels: Sequence[int]
    rules: ScoringProtocol

    @classmethod
    def wanted_by(cls, rules: ScoringProtocol, pictures: Pictures) -> References | None:
        """Those of a set if the protocol wants some.

        Raises:
            ValueError: If it does, and the set has no labels.
        """
        if rules.guidance not in BY_ANOTHER:
            return None
        labels = getattr(pictures, "labels", None)
        if labels is None:
            raise ValueError(
                f"protocol.guidance={rules.guidance} wants {BY_ANOTHER[rules.guidance]}, and these pictures have no "
                "labels; give them in one folder for each class, or another set"
            )
        return cls(pictures, labels, rules)

    def guided(self, places: Sequence[int]) -> list[int]:
        """Those of some pictures for which the set has a reference, as the labels tell.

        Raises:
            ValueError: If it has none for any.
        """
        counts = Counter(label for label in self.labels if label >= 0)
        references = {
            label: count - 1 if self.same_class else counts.total() - count for label, count in counts.items()
        }
        found = [place for place in places if references.get(self.labels[place])]
        if not found:
            raise ValueError(
                f"protocol.guidance={self.rules.guidance} wants {BY_ANOTHER[str(self.rules.guidance)]}, and of "
                f"{len(places):,} pictures not one has a reference; give a set with more of them"
            )
        return found

    def of(self, place: int) -> Tensor:
        """The reference of a picture, prepared as the protocol prepares pictures: uint8, `(3, h, w)`.

        Raises:
            ValueError: If all that it could be are grey or cannot be read.
        """
        for partner in self.partners(place):
            try:
                reference = self.rules.prepare(self.pictures.at(partner)["rgb"])
            except ValueError:
                continue
            if not is_grey(reference):
                return reference
        raise ValueError(f"{self.pictures.keys[place]} has no reference: those there are are grey or cannot be read")

    def partners(self, place: int) -> Iterator[int]:
        """What could be a picture's reference, the first choice first."""
        circle, number = self.circles[self.circle_of(place)], self.number_in_circle[place]
        for step in range(1, len(circle)):
            partner = circle[(number + step) % len(circle)]
            if self.same_class or self.labels[partner] != self.labels[place]:
                yield partner

    @property
    def same_class(self) -> bool:
        """Whether a reference has the label of its picture."""
        return self.rules.guidance == "same_class"

    def circle_of(self, place: int) -> int:
        """Which circle a picture stands in."""
        return self.labels[place] if self.same_class else 0

    @cached_property
    def circles(self) -> dict[int, list[int]]:
        """The labelled pictures in their circles."""
        circles = defaultdict[int, list[int]](list)
        for place in in_order_of_digests(self.pictures.keys, f"reference {self.rules.seed}"):
            if self.labels[place] >= 0:
                circles[self.circle_of(place)].append(place)
        return circles

    @cached_property
    def number_in_circle(self) -> dict[int, int]:
        """Where each picture stands in its circle."""
        return {place: number for circle in self.circles.values() for number, place in enumerate(circle)}


def guidance_of(group: Sequence[dict[str, Any]], rgb: Tensor, rules: ScoringProtocol) -> Guidance:
    """What a method is told of pictures of one size.

    Args:
        group: Each with its `key` and, if the protocol wants one, its `reference`, uint8 `(3, h, w)`, of one size.
        rgb: As they are coloured, RGB in [0, 1], `(B, 3, H, W)`.
        rules: The protocol.
    """
    kind, _, count = (rules.guidance or "").partition(":")
    if kind == "truth":
        return Guidance(reference=rgb)
    if kind in BY_ANOTHER:
        return Guidance(reference=to_float(torch.stack([item["reference"] for item in group]).to(rgb.device)))
    if kind == "hints":
        size = (rgb.shape[2], rgb.shape[3])
        patches = torch.cat([patches_of(item["key"], int(count), size, rules.seed) for item in group])
        return Guidance(hints=reveal(rgb_to_lab(rgb)[:, 1:], patches.to(rgb.device)))
    return Guidance()


def patches_of(key: str, count: int, size: tuple[int, int], seed: int) -> Tensor:
    """A picture's patches, `(1, count, 3)`, of a person's size, uniformly placed: a larger count begins with these."""
    generator = torch.Generator().manual_seed(int.from_bytes(digest(f"hints {seed}", key)[:8]))
    side = side_of_a_hint(size)
    one_by_one = [uniform_patches(1, 1, size, (side, side), generator, generator.device) for _ in range(count)]
    return torch.cat([torch.empty(1, 0, 3, dtype=torch.int64), *one_by_one], dim=1)
