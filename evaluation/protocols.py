"""What is measured how: everything that makes two scores comparable, under one name and one hash."""

import hashlib
import json
from dataclasses import asdict, dataclass

import torch


@dataclass(frozen=True)
class ScoringProtocol:
    """How pictures are scored.

    Attributes:
        name: What the leaderboard calls it.
        description: Of the set and of the preparation, in a sentence.
        sampled_pictures: How many of the set's pictures, chosen by the seed, are coloured for the colour measures;
            None for all. Likelihood is measured on all.
        samples: Draws of each picture; a picture's score is the mean over its draws.
        seed: Of the choice, the draws and the bootstrap.
    """

    name: str
    description: str
    sampled_pictures: int | None
    samples: int
    seed: int

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with anything above but the description."""
        definition = {key: value for key, value in asdict(self).items() if key != "description"}
        return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:12]

    def choose(self, pictures: int) -> set[int]:
        """Which of so many pictures, by their place in the set, are coloured."""
        order = torch.randperm(pictures, generator=torch.Generator().manual_seed(self.seed))
        return set(order[: self.sampled_pictures].tolist())
