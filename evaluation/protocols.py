"""What is measured how: everything that makes two scores comparable, under one name and one hash."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import count
from typing import Any, Literal

import yaml
from torch import Tensor

from evaluation.measures import MEASURES
from lightning_modules.resize import resized, resized_by_short_side

GALLERY = 8
"""Pictures of a set that every method shows."""
GUIDANCE = re.compile(r"truth|same_class|other_class|hints:(0|[1-9][0-9]*)")
"""What a method may be told of each picture; a number is written in one way only, to have one hash."""


@dataclass(frozen=True)
class ScoringProtocol:
    """How pictures are scored.

    Attributes:
        name: What the leaderboard calls it.
        description: Of the set and of the preparation, in a sentence.
        measures: Names of `evaluation.measures.MEASURES`; the first ranked one orders a table.
        set: The published set that is scored; None for anybody's pictures.
        keys_sha256: Of the set's sorted names, one a line. A score bears the set's name only if its pictures' names
            have this sum; without a published list nothing can.
        resize: How truth and prediction are brought to the size at which they are compared: `short_side`, or `square`
            whatever the aspect, in pixels; None leaves them as they are.
        guidance: What a method is told of each picture; None tells nothing. `truth`: the true picture is its reference,
            to have its colours' histogram but not their places (LRAC, Table 4). `same_class`, `other_class`: its
            reference is another picture of the set, with its label or with another; see `evaluation.guidance`.
            `hints:N`: N patches of the true chroma. A method that does not take this guidance cannot be scored so.
        luminance_source: Whether a method colours the `resized` picture or the `original`, and is resized then.
        sampled_pictures: How many of the set's pictures, chosen by the seed and their names, are coloured; None for
            all. Likelihood is measured on all.
        samples: Draws of each picture; a picture's score is the mean over its draws. None takes as many as are given.
        exclude_grey: Whether pictures without any colour are counted and left out of the colour measures.
        bin_width: Of the histograms of a and b, in Lab units.
        mean_color: Of the training set, RGB in [0, 1], for the row that gives every pixel its chroma.
        seed: Of the choice, the draws and the bootstrap.

    Raises:
        ValueError: If there is no such measure, way to resize or guidance.
    """

    name: str
    description: str
    measures: Sequence[str]
    set: str | None = None
    keys_sha256: str | None = None
    resize: Mapping[str, int] | None = None
    guidance: str | None = None
    luminance_source: Literal["resized", "original"] = "resized"
    sampled_pictures: int | None = None
    samples: int | None = 1
    exclude_grey: bool = True
    bin_width: float = 1.0
    mean_color: Sequence[float] = (0.485, 0.456, 0.406)
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := [measure for measure in self.measures if measure not in MEASURES]:
            raise ValueError(f"there is no measure {unknown[0]}; protocol.measures are of {', '.join(MEASURES)}")
        if self.resize is not None and list(self.resize) not in (["short_side"], ["square"]):
            raise ValueError(f"protocol.resize={dict(self.resize)} should be null, {{short_side: N}} or {{square: N}}")
        for name, number in {
            "samples": self.samples,
            "sampled_pictures": self.sampled_pictures,
            **(self.resize or {}),
        }.items():
            if number is not None and number < 1:
                raise ValueError(f"{name}={number} of protocol {self.name} should be 1 or more")
        # 1 and 1.0 are one width, and should have one hash
        object.__setattr__(self, "bin_width", float(self.bin_width))
        object.__setattr__(self, "mean_color", [float(value) for value in self.mean_color])
        if self.guidance is not None and not GUIDANCE.fullmatch(str(self.guidance)):
            raise ValueError(
                f"protocol.guidance={self.guidance} should be null, truth, same_class, other_class or hints:N"
            )
        if self.luminance_source not in ("resized", "original"):
            raise ValueError(f"protocol.luminance_source is resized or original, not {self.luminance_source}")

    @property
    def definition(self) -> dict[str, Any]:
        """All of it, as a record keeps it."""
        return {**asdict(self), "hash": self.hash}

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with anything above but the description."""
        return definition_hash(asdict(self))

    def prepare(self, rgb: Tensor) -> Tensor:
        """Bring RGB, `(..., 3, H, W)`, to the size at which pictures are compared."""
        if self.resize is None:
            return rgb
        if "square" in self.resize:
            return resized(rgb, (self.resize["square"], self.resize["square"]))
        return resized_by_short_side(rgb, self.resize["short_side"])

    def chosen(self, keys: Sequence[str]) -> list[int]:
        """Places of the pictures that are coloured: a picture is chosen by its name, whatever else the set lacks."""
        return smallest_digests(keys, f"{self.seed}", self.sampled_pictures)

    def gallery(self, keys: Sequence[str]) -> list[str]:
        """Names of the pictures that every method shows, whatever the protocol's seed."""
        return [keys[place] for place in smallest_digests(keys, "gallery", GALLERY)]

    def grants_name(self, keys: Collection[str]) -> bool:
        """Whether these are the names of the protocol's set."""
        return self.keys_sha256 is not None and keys_sha256(keys) == self.keys_sha256


def smallest_digests(keys: Sequence[str], salt: str, count: int | None) -> list[int]:
    """Places of the keys with the smallest SHA-256 of salt and key, in the keys' order."""
    return sorted(in_order_of_digests(keys, salt)[:count])


def in_order_of_digests(keys: Sequence[str], salt: str) -> list[int]:
    """Places of the keys in the order of the SHA-256 of salt and key: a random order that follows the names alone."""
    digests = [digest(salt, key) for key in keys]
    return sorted(range(len(keys)), key=digests.__getitem__)


def digest(salt: str, key: str) -> bytes:
    """SHA-256 of salt and key."""
    return hashlib.sha256(os.fsencode(f"{salt} {key}")).digest()


def keys_sha256(keys: Collection[str]) -> str:
    """SHA-256 of a set's names: sorted, one a line, with a final newline."""
    return hashlib.sha256(os.fsencode("".join(f"{key}\n" for key in sorted(keys)))).hexdigest()


def definition_hash(definition: Mapping[str, Any]) -> str:
    """The hash of a protocol's definition, as a record keeps it."""
    kept = {key: value for key, value in definition.items() if key not in ("description", "hash")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def installed(name: str) -> ScoringProtocol | None:
    """The protocol as `configs/protocol` defines it now; None if there is none of this name."""
    path = files("configs").joinpath("protocol", f"{name}.yaml")
    if not (name.isidentifier() and path.is_file()):
        return None
    fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    return ScoringProtocol(**{key: value for key, value in fields.items() if key != "_target_"})


def distinct(keys: Sequence[str]) -> Sequence[str]:
    """Names as they are, but for a number behind those that have occurred before: `a`, `a_2`, `a_3`."""
    if len(taken := set(keys)) == len(keys):
        return keys
    seen, found = Counter[str](), list[str]()
    for key in keys:
        seen[key] += 1
        name = key
        if seen[key] > 1:
            name = next(each for number in count(seen[key]) if (each := f"{key}_{number}") not in taken)
            taken.add(name)
        found.append(name)
    return found
