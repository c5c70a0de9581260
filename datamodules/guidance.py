"""What a person tells a method, in files and on a command line: references, colours at places, segmentations."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from datamodules.pictures import opened, read_picture, reason_of, require_regular
from imaging.srgb import to_srgb_with_alpha
from lightning_modules.color import is_grey, rgb_to_lab, to_float
from lightning_modules.guidance import Guidance
from lightning_modules.hints import side_of_a_hint

MARK = re.compile(r"(\d+),(\d+),#([0-9a-f]{6})", re.IGNORECASE)
OPAQUE = 128
"""Pixels of a hint picture count from this alpha on, of 255."""


OPTIONS = {
    "reference": "--reference",
    "hints": "--hint and --hint-picture",
    "labels": "--labels",
    "reference_labels": "--reference-labels",
}
"""Of colorize.py, by the kinds of guidance."""


@dataclass(frozen=True)
class GuidanceFiles:
    """What photos are to be coloured by.

    Attributes:
        references: Photos whose colours to follow, each in turn.
        hints: `x,y,#rrggbb` each; see `hints_of`.
        hint_picture: See `hints_of`.
        labels: A segmentation of the one photo; see `labels_of`.
        reference_labels: Of the one reference.
    """

    references: Sequence[Path]
    hints: Sequence[str]
    hint_picture: Path | None
    labels: Path | None
    reference_labels: Path | None

    @property
    def record(self) -> dict[str, list[str]]:
        """All of it, for the record of what was coloured."""
        return {
            "references": [str(path) for path in self.references],
            "hints": [*self.hints, *([str(self.hint_picture)] if self.hint_picture else [])],
            "labels": [str(path) for path in (self.labels, self.reference_labels) if path],
        }

    @property
    def files(self) -> list[Path]:
        """All files that it lies in."""
        return [path for path in (*self.references, self.hint_picture, self.labels, self.reference_labels) if path]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of guidance that there are: fields of `Guidance`."""
        return frozenset(kind for kind, value in self.given.items() if value)

    @property
    def given(self) -> dict[str, object]:
        """What there is of each kind of guidance."""
        return {
            "reference": self.references,
            "hints": self.hints or self.hint_picture,
            "labels": self.labels,
            "reference_labels": self.reference_labels,
        }

    def require_accepted(self, method: str, accepts: Collection[str], photos: int) -> None:
        """Refuse, before a photo is coloured, what a method cannot follow.

        Args:
            method: Its name.
            accepts: The kinds of guidance that it takes.
            photos: How many are to be coloured.

        Raises:
            ValueError: So; or if there is guidance of one photo, and there are several.
        """
        for kind in (kind for kind in OPTIONS if kind in self.kinds and kind not in accepts):
            takes = " and ".join(option for each, option in OPTIONS.items() if each in accepts) or "no guidance"
            what = "a reference" if kind == "reference" else kind.replace("_", " ")
            raise ValueError(f"{method} cannot follow {what}; leave {OPTIONS[kind]} out: this one takes {takes}")
        for kind in ("hints", "labels"):
            if kind in self.kinds and photos > 1:
                raise ValueError(f"{kind} are of one photo, and {photos} were given; colour them one by one")
        if self.reference_labels and len(self.references) != 1:
            raise ValueError("--reference-labels are of one reference; give one --reference")

    def read_references(self) -> dict[str, Tensor | None]:
        """RGB in [0, 1], `(1, 3, h, w)`, of each reference by its name; without any, one that is none.

        Raises:
            FileNotFoundError: If a file is not there.
            ValueError: If one is grey or cannot be read.
        """
        found: dict[str, Tensor | None] = {}
        for path in self.references:
            rgb = read_picture(path)
            if is_grey(rgb):
                raise ValueError(f"{path} is grey, so that there are no colours to follow; give a photo in colour")
            names = chain([path.stem, path.name.replace(".", "_")], (f"{path.stem}_{number}" for number in count(2)))
            found[next(name for name in names if name not in found)] = to_float(rgb)[None]
        return found or {"": None}

    def for_photo(self, size: tuple[int, int], reference: Tensor | None, device: torch.device) -> Guidance:
        """What a method is told of a photo of a height and width.

        Raises:
            FileNotFoundError: If a file is not there.
            ValueError: If one cannot be read, or does not fit the photo.
        """
        told: dict[str, Tensor | None] = {
            "reference": reference,
            "hints": hints_of(self.hints, self.hint_picture, size) if self.hints or self.hint_picture else None,
            "labels": labels_of(self.labels) if self.labels else None,
            "reference_labels": labels_of(self.reference_labels) if self.reference_labels else None,
        }
        return Guidance(**{kind: value.to(device) for kind, value in told.items() if value is not None})


def hints_of(marks: Sequence[str], picture: Path | None, size: tuple[int, int]) -> Tensor:
    """Hints, as `Guidance.hints`, `(1, 3, H, W)`.

    Args:
        marks: `x,y,#rrggbb` each, in pixels from the top left: a square of a thirty-fifth of the shorter side there.
        picture: Its pixels that are not transparent are hints; marks lie over it.
        size: Height and width of the photo.

    Raises:
        ValueError: If a mark cannot be read or lies outside, or the picture has no transparency or another size.
    """
    height, width = size
    rgb, shown = torch.zeros(3, height, width, dtype=torch.uint8), torch.zeros(1, height, width)
    if picture is not None:
        layers = torch.from_numpy(np.array(upright(picture, to_srgb_with_alpha))).permute(2, 0, 1)
        if layers.shape[1:] != size:
            raise ValueError(
                f"{picture} has {layers.shape[2]}x{layers.shape[1]} pixels, and the photo {width}x{height}; draw hints "
                "on a layer of the photo's size"
            )
        rgb, shown = layers[:3], (layers[3:] >= OPAQUE).float()
        if shown.all():
            raise ValueError(f"{picture} is transparent nowhere; leave the layer empty where there are no hints")
    half = side_of_a_hint(size) // 2
    for mark in marks:
        x, y, colour = read_mark(mark)
        if x >= width or y >= height:
            raise ValueError(f"the hint {mark} lies outside the photo, which has {width}x{height} pixels")
        square = np.s_[:, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
        rgb[square], shown[square] = torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1), 1
    return torch.cat([rgb_to_lab(to_float(rgb))[1:] * shown, shown])[None]


def read_mark(mark: str) -> tuple[int, int, list[int]]:
    """x, y and red, green and blue in 0..255 of `x,y,#rrggbb`.

    Raises:
        ValueError: If it is none.
    """
    if not (match := MARK.fullmatch(mark)):
        raise ValueError(f"{mark} is no hint; give x,y,#rrggbb, such as 120,45,#cc3333, in pixels from the top left")
    return int(match[1]), int(match[2]), list(bytes.fromhex(match[3]))


def labels_of(path: Path) -> Tensor:
    """A segmentation, int64 `(1, h, w)`, of a picture file: each grey level, palette entry or colour is a label.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture.
    """
    picture = upright(path)
    if picture.mode not in ("L", "P", "1", "F") and not picture.mode.startswith("I"):
        picture = picture.convert("RGB")
    values = torch.from_numpy(np.array(picture).astype(np.int64))
    if values.ndim == 3:
        values = (values * torch.tensor([2**16, 2**8, 1])).sum(dim=2)
    return values[None]


def upright(path: Path, convert: Callable[[Image.Image], Image.Image] = Image.Image.copy) -> Image.Image:
    """A picture file, converted and turned upright.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture.
    """
    require_regular(path)
    data = b""
    try:
        data = path.read_bytes()
        with opened(data) as picture:
            return ImageOps.exif_transpose(convert(picture))
    except Exception as error:  # on damaged files decoders raise anything
        raise ValueError(f"{path} cannot be read as a picture: {reason_of(error, data)}") from error
