"""The few pictures that every method shows, small enough to travel in a page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from evaluation.leaderboard.records import complain
from evaluation.leaderboard.rows import Row
from evaluation.report.cases import file_of

PICTURE = (1024, 384)
SHEET = (1200, 4096)
"""Width and height, in pixels, that are not exceeded."""
LARGEST = 2**27
"""Pixels of a picture that is opened."""
PNG = "PNG"
"""The format of all that a scoring draws."""


@dataclass(frozen=True)
class Shown:
    """A picture as a data: address with its size in pixels; without an address where the method has none."""

    caption: str
    address: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Strip:
    """One picture of the set: grey, by each method, and as it is."""

    key: str
    pictures: list[Shown]


def gallery(rows: Sequence[Row], names: Sequence[str]) -> list[Strip]:
    """A strip for each picture that any row shows, methods in the order of the rows.

    Args:
        rows: Of one set; those that show no pictures at all have no place in the strips.
        names: Their captions.
    """
    having = [(row, name) for row, name in zip(rows, names, strict=True) if row.scores.get("gallery")]
    strips = []
    for key in dict.fromkeys(key for row, _ in having for key in row.scores["gallery"]):
        grey, truth = (
            next(filter(None, (to_show(row.folder, file_of(key, what), what) for row, _ in having)), Shown(what))
            for what in ("grey", "truth")
        )
        by_method = [to_show(row.folder, file_of(key, "0"), name) or Shown(name) for row, name in having]
        shown = [grey, *by_method, truth]
        if any(picture.address for picture in shown):
            strips.append(Strip(key, shown))
    return strips


def sheets(row: Row) -> list[Shown]:
    """The row's own contact sheets: its best, median and worst pictures, and pairs of samples."""
    captions = {"cases.png": "Best, median and worst pictures", "diversity.png": "Pairs of samples"}
    return list(filter(None, (to_show(row.folder, name, caption, SHEET) for name, caption in captions.items())))


def to_show(folder: Path, name: str, caption: str, limits: tuple[int, int] = PICTURE) -> Shown | None:
    """A picture of a folder, shrunk to limits of width and height; None if it is not there or cannot be shown.

    It becomes a JPEG with undivided chroma, which is what the pictures are about, so not a smaller WebP. What a link
    leads to outside the folder is not shown: a record from elsewhere must not fetch files into a page that is shared.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"it lies outside {folder}")
        with Image.open(path, formats=[PNG]) as file:
            if file.width * file.height > LARGEST:
                raise ValueError(f"{file.width}x{file.height} pixels are too many")
            picture = file.convert("RGB")
    except Exception as error:  # on damaged files decoders raise anything
        reason = f"it is no {PNG}" if isinstance(error, UnidentifiedImageError) else str(error)
        complain(f"{path} cannot be shown: {reason}")
        return None
    picture.thumbnail(limits, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85, subsampling=0, optimize=True)
    address = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Shown(caption, address, *picture.size)
