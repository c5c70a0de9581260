"""Who is scored, on which pictures, and how a part of them is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from evaluation.guidance import References, guidance_of
from evaluation.parts import Part, Parts, Table
from evaluation.protocols import ScoringProtocol
from evaluation.record import file_sha256
from evaluation.report.cases import save_gallery
from evaluation.statistics import Pairs, Statistic, statistics_of
from lightning_modules.abilities import likelihood_of
from lightning_modules.color import is_grey, to_float, to_uint8
from lightning_modules.device import is_out_of_memory

if TYPE_CHECKING:
    from lightning_modules.colorizer import Colorizer

PIXELS_AT_ONCE = 2**22
"""Pixels that a method colours in one batch, but one picture at least."""


class Pictures(Protocol):
    """A set of pictures that can be visited in any order.

    One that knows the class of each picture has them as `labels`, negative for a picture without one.
    """

    @property
    def keys(self) -> Sequence[str]:
        """Their names."""

    def at(self, number: int) -> dict[str, Any]:
        """`rgb`, uint8 (3, H, W), and `key`; where somebody has coloured it, `samples`, uint8 (S, 3, h, w).

        Raises:
            ValueError: If this picture cannot be read.
            OSError: If none can be read any more.
        """

    def digest(self, number: int) -> bytes:
        """SHA-256 that changes with a picture's bytes and those of its predictions."""


@dataclass(frozen=True)
class Entry:
    """Who is scored: a row of the leaderboard.

    Attributes:
        method: The row's name.
        kind: Whether a checkpoint colours the pictures, or they come with somebody's predictions, or with those of a
            standing row.
        source: Path and SHA-256 of the checkpoint or of the predictions.
        colorizer: The checkpoint's method, on the device to use.
        samples: Colourings of each picture.
        variant: What distinguishes this row from others of the method.
    """

    method: str
    kind: Literal["checkpoint", "predictions", "baseline"]
    source: dict[str, str] = field(default_factory=dict)
    colorizer: Colorizer | None = None
    samples: int = 1
    variant: str | None = None

    def __post_init__(self) -> None:
        for name in (self.method, self.variant or ""):
            if not name.isprintable():
                raise ValueError(f"{name!r} is no name for a row; leave out what cannot be printed")

    @classmethod
    def of_checkpoint(
        cls,
        checkpoint: Path,
        colorizer: Colorizer,
        rules: ScoringProtocol,
        method: str | None = None,
        variant: str | None = None,
    ) -> Entry:
        """A checkpoint's method, with as many samples as the protocol wants."""
        source = {"path": str(checkpoint), "sha256": file_sha256(checkpoint)}
        return cls(method or type(colorizer).__name__, "checkpoint", source, colorizer, rules.samples or 1, variant)


@dataclass(frozen=True)
class Scorer:
    """Scores one part after another.

    Attributes:
        entry: Who is scored.
        pictures: The set.
        keys: The pictures' names, each once.
        rules: The protocol.
        plan: Places of each part's pictures in the set.
        chosen: Places of the pictures to colour.
        wanted: Names of the statistics.
        networks: Statistics that need a network.
        parts: Where the parts go.
        gallery: Names of the pictures to show, and where.
        unreadable: Whether to stop at a picture that cannot be read, or to leave it out and count it.
        references: Which pictures of the set show a method their colours; None if the protocol wants none to.
    """

    entry: Entry
    pictures: Pictures
    keys: Sequence[str]
    rules: ScoringProtocol
    plan: list[Sequence[int]]
    chosen: frozenset[int]
    wanted: frozenset[str]
    networks: Mapping[str, Statistic]
    parts: Parts
    gallery: tuple[frozenset[str], Path]
    unreadable: Literal["stop", "leave_out"]
    references: References | None

    def read(self, number: int, only: Collection[str] | None = None) -> list[dict[str, Any]]:
        """A part's pictures as they are coloured (`rgb`) and compared (`truth`, `samples`), or what is wrong with one.

        Args:
            number: Of the part.
            only: Names of the pictures to read; None reads all.

        Raises:
            ValueError: If a prediction has another size than its picture, or one cannot be read and none may be left
                out.
        """
        items = []
        for place in self.plan[number]:
            if only is not None and self.keys[place] not in only:
                continue
            item: dict[str, Any] = {"key": self.keys[place]}
            try:
                item = self.prepared(place)
            except ValueError as error:
                self.leave_out(item, str(error))
            except (MemoryError, RuntimeError) as error:
                self.leave_out_if_too_large(item, error)
            items.append(item)
        return items

    def leave_out(self, item: dict[str, Any], failure: str) -> None:
        """Note why a picture is not scored.

        Raises:
            ValueError: If none may be left out.
        """
        if self.unreadable == "stop":
            raise ValueError(failure)
        item["failure"] = failure

    def leave_out_if_too_large(self, item: dict[str, Any], error: BaseException) -> None:
        """Leave out a picture for which there is not enough memory; any other error is raised again."""
        if not is_out_of_memory(error):
            raise error
        self.leave_out(item, f"{item['key']} is too large for the memory there is")

    def prepared(self, place: int) -> dict[str, Any]:
        """A picture of the set, at the size at which it is coloured and compared, and its reference if it needs one.

        Raises:
            ValueError: If it, a prediction of it or every reference for it cannot be read, or the first two do not fit.
        """
        item = self.pictures.at(place) | {"key": self.keys[place]}
        rgb, truth = item["rgb"], self.rules.prepare(item["rgb"])
        item |= {"truth": truth, "rgb": truth if self.rules.luminance_source == "resized" else rgb}
        item["grey"] = is_grey(truth)
        item["coloured"] = place in self.chosen and not (self.rules.exclude_grey and item["grey"])
        if "samples" in item:
            item["samples"] = self.compared(item["samples"], rgb, truth, item["key"])
        if self.references and item["coloured"]:
            item["reference"] = self.references.of(place)
        return item

    def compared(self, samples: Tensor, rgb: Tensor, truth: Tensor, key: str) -> Tensor:
        """Predictions of the picture's own size are resized as the picture is; those of the protocol's are ready."""
        if samples.shape[1:] == truth.shape:
            return samples
        if samples.shape[1:] == rgb.shape:
            return self.rules.prepare(samples)
        sizes = [f"{picture.shape[-1]}x{picture.shape[-2]}" for picture in (samples, rgb, truth)]
        either = sizes[1] if sizes[1] == sizes[2] else f"{sizes[1]}, or {sizes[2]} as {self.rules.name} compares them"
        raise ValueError(f"the prediction for {key} is {sizes[0]}, but the picture {either}; predict whole pictures")

    def score(self, number: int, items: list[dict[str, Any]]) -> None:
        """Write the part of these pictures."""
        coloured = []
        for item, samples in self.colourings(number, items):
            pairs = Pairs(samples, item["truth"], label=item.get("label"), bin_width=self.rules.bin_width)
            try:
                statistics = statistics_of(pairs, self.wanted, self.networks)
            except ValueError as error:
                raise ValueError(f"{item['key']}: {error}") from error
            except (MemoryError, RuntimeError) as error:
                self.leave_out_if_too_large(item, error)
                continue
            rows = {name: values.numpy() for name, values in statistics.items()}
            coloured.append((item["key"], tuple(item["truth"].shape[1:]), rows))
            if item["key"] in self.gallery[0]:
                save_gallery(self.gallery[1], item["key"], samples, item["truth"])
        modelled = list(self.modelled(items))
        seen = [item for item in items if "failure" not in item]
        counts = {
            "read": len(seen),
            "grey": sum(item["grey"] for item in seen),
        }
        for name in ("grey_prediction", "mislabelled", "lossy"):
            counts[name] = sum(bool(item.get(name)) for item in seen if item["coloured"])
        failed = {item["key"]: item["failure"] for item in items if "failure" in item}
        tables = (Table.of([row for row in rows if row[0] not in failed]) for rows in (coloured, modelled))
        self.parts.save(number, Part(next(tables), next(tables), failed, counts))

    def colourings(self, number: int, items: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Tensor]]:
        """Those of a part's pictures that are coloured, with their samples, uint8 (S, 3, H, W): the same every time."""
        wanted = [item for item in items if item.get("coloured") and "failure" not in item]
        colorizer = self.entry.colorizer
        if colorizer is None:
            yield from ((item, item["samples"][: self.rules.samples]) for item in wanted)
            return
        generator = torch.Generator(colorizer.device).manual_seed(hash((self.rules.seed, number)) % 2**63)

        def draw(group: list[dict[str, Any]]) -> Tensor:
            rgb = to_float(torch.stack([item["rgb"] for item in group]).to(colorizer.device))
            drawn = colorizer.colorize(
                colorizer.luminance(rgb),
                samples=self.entry.samples,
                guidance=guidance_of(group, rgb, self.rules),
                generator=generator,
            )
            if not drawn.isfinite().all():
                raise ValueError(
                    f"{self.entry.method} gives {group[0]['key']}, or a picture beside it, colours that are not "
                    "numbers; did its training diverge?"
                )
            return to_uint8(drawn)

        for item, samples in self.within_memory(wanted, draw):
            item["truth"] = item["truth"].to(samples.device)
            yield item, self.rules.prepare(samples)

    def within_memory(
        self, items: list[dict[str, Any]], compute: Callable[[list[dict[str, Any]]], Tensor]
    ) -> Iterator[tuple[dict[str, Any], Tensor]]:
        """Each picture and what is computed of it: of alike ones together or, if memory runs out, of each alone.

        One that is too large even so is left out.
        """
        groups = deque(alike(items))
        while groups:
            group = groups.popleft()
            try:
                computed = compute(group)
            except (MemoryError, RuntimeError) as error:
                if len(group) == 1:
                    self.leave_out_if_too_large(group[0], error)
                elif not is_out_of_memory(error):
                    raise
                else:
                    groups.extendleft([item] for item in reversed(group))
                continue
            yield from zip(group, computed, strict=True)

    def modelled(self, items: list[dict[str, Any]]) -> Iterator[tuple[str, tuple[int, int], dict[str, Any]]]:
        """Each picture's likelihood, grey ones too."""
        colorizer = self.entry.colorizer
        likelihood = likelihood_of(colorizer)
        if colorizer is None or likelihood is None or "bits_per_dim" not in self.rules.measures:
            return

        def bits(group: list[dict[str, Any]]) -> Tensor:
            rgb = to_float(torch.stack([item["truth"] for item in group]).to(colorizer.device))
            with torch.no_grad():
                return likelihood.bits_per_dim(rgb).double().cpu()

        for item, value in self.within_memory([item for item in items if "failure" not in item], bits):
            if value.isnan():
                raise ValueError(f"{self.entry.method} gives {item['key']} no likelihood; did its training diverge?")
            found = value.view(1).numpy()
            size = (item["truth"].shape[1], item["truth"].shape[2])
            yield item["key"], size, {"bits_per_dim": found, "likelihood_pictures": found * 0 + 1}


def alike(items: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Pictures of one size, and references of one size, together, no more than fit at once."""
    groups: dict[tuple[torch.Size, ...], list[dict[str, Any]]] = {}
    for item in items:
        sizes = tuple(item[name].shape for name in ("rgb", "reference") if name in item)
        groups.setdefault(sizes, []).append(item)
    for (shape, *_), group in groups.items():
        count = max(1, PIXELS_AT_ONCE // (shape[1] * shape[2]))
        yield from (group[start : start + count] for start in range(0, len(group), count))
