"""What is scored: which images of a set, which of them are coloured, and the hash that tells it from anything else."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evaluation.guidance import References
from evaluation.parts import PART
from evaluation.protocols import ScoringProtocol, distinct, keys_sha256
from evaluation.scorer import Entry, Pictures

LOADING = frozenset(
    {"root", "truth", "workers", "start_method", "batch_size", "evaluation_batch_size", "cache", "cache_gigabytes"}
)
"""Settings of a data module that say where images lie and how they are read, and change no score."""


@dataclass(frozen=True)
class Plan:
    """The images to score.

    Attributes:
        entry: Who is scored.
        pictures: The set.
        rules: The protocol.
        data: Where the set comes from.
        keys: The names of the set's images, each once.
        whole: The names of all images of the set, if `pictures` are only those that have predictions.
        wanted: The names that the protocol wants coloured.
        guided: Places of the images to colour.
        places: Places of all images to score: those, and then the others whose likelihood is wanted.
        wants_all: Whether the likelihoods of images that are not coloured are wanted, too.
        references: Which images show a method their colours; None if the protocol wants none to.
    """

    entry: Entry
    pictures: Pictures
    rules: ScoringProtocol
    data: Mapping[str, Any]
    keys: Sequence[str]
    whole: Sequence[str]
    wanted: frozenset[str]
    guided: Sequence[int]
    places: Sequence[int]
    wants_all: bool
    references: References | None

    @classmethod
    def of(
        cls,
        entry: Entry,
        pictures: Pictures,
        rules: ScoringProtocol,
        data: Mapping[str, Any],
        *,
        whole: Sequence[str] | None,
        likelihoods: bool,
        limit: int | None,
    ) -> "Plan":
        """Choose the images by the protocol.

        Args:
            entry: Who is scored.
            pictures: The set.
            rules: The protocol.
            data: Where the set comes from.
            whole: See the class; None takes the names of `pictures`.
            likelihoods: Whether likelihoods are computed, which takes all images.
            limit: Take only so many.

        Raises:
            ValueError: If the limit is below 1, or the set has not what the protocol's guidance wants.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"pictures={limit} should be a number from 1 on, or null for all")
        keys = distinct(pictures.keys)
        whole = keys if whole is None else distinct(whole)
        wanted = frozenset(whole[place] for place in rules.chosen(whole))
        chosen = [place for place, key in enumerate(keys) if key in wanted]
        references = References.wanted_by(rules, pictures) if entry.colorizer else None
        guided = references.guided(chosen) if references else chosen
        coloured = frozenset(guided)
        others = [place for place in range(len(keys)) if place not in coloured] if likelihoods else []
        places = [*guided, *others][:limit]
        return cls(entry, pictures, rules, data, keys, whole, wanted, guided, places, bool(others), references)

    @property
    def parts(self) -> list[Sequence[int]]:
        """The places of each part's images."""
        return in_parts(self.places)

    @property
    def planned(self) -> list[str]:
        """The names of the images to score."""
        return [self.keys[place] for place in self.places]

    @property
    def gallery(self) -> list[str]:
        """The names of the images to show."""
        coloured = frozenset(self.guided)
        return self.rules.gallery([self.keys[place] for place in self.places if place in coloured])

    @cached_property
    def inputs_sha256(self) -> str:
        """SHA-256 over the bytes of all images to score and of their predictions, which are read for it.

        Where an image is coloured by another of the set, over all images of the set.
        """
        by_others = self.references is not None or self.entry.kind == "baseline"
        parts = in_parts(range(len(self.keys))) if by_others else self.parts
        with ThreadPoolExecutor() as pool:
            digests = pool.map(lambda part: b"".join(map(self.pictures.digest, part)), parts)
            return hashlib.sha256(b"".join(digests)).hexdigest()

    @cached_property
    def identity(self) -> str:
        """Twelve hexadecimal digits that change with who is scored, on which images, and by which protocol."""
        colorizer, source = self.entry.colorizer, self.entry.source
        told = {
            "who": [self.entry.kind, self.entry.method, self.entry.variant, source.get("sha256")],
            "hyper_parameters": dict(colorizer.hparams) if colorizer else {},
            "protocol": self.rules.hash,
            "data": {name: value for name, value in self.data.items() if name not in LOADING},
            "images": [keys_sha256(self.planned), self.inputs_sha256],
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]

    def is_completed_by(self, scored: set[str]) -> bool:
        """Whether these images are all that the protocol wants of the whole set: to colour, and for likelihoods."""
        return scored >= (set(self.whole) if self.wants_all else self.wanted) and not self.unguided

    @property
    def unguided(self) -> int:
        """How many images the protocol wants coloured that lack what its guidance wants of the set."""
        return sum(key in self.wanted for key in self.keys) - len(self.guided)


def in_parts(places: Sequence[int]) -> list[Sequence[int]]:
    """Places, `PART` at a time."""
    return [places[start : start + PART] for start in range(0, len(places), PART)]
