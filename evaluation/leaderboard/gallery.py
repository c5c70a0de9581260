"""The few pictures that every method shows, small enough to travel in a page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from evaluation.leaderboard.rows import Row

PICTURE = (1024, 384)
SHEET = (1200, 4096)
"""Width and height, in pixels, that are not exceeded."""


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
            next(filter(Path.is_file, (row.folder / "gallery" / f"{key}_{what}.png" for row, _ in having)), None)
            for what in ("grey", "truth")
        )
        by_method = [row.folder / "gallery" / f"{key}_0.png" for row, _ in having]
        captions = ["grey", *(name for _, name in having), "truth"]
        shown = [
            to_show(path, caption) if path and path.is_file() else Shown(caption)
            for path, caption in zip((grey, *by_method, truth), captions, strict=True)
        ]
        if any(picture.address for picture in shown):
            strips.append(Strip(key, shown))
    return strips


def sheets(row: Row) -> list[Shown]:
    """The row's own contact sheets: its best, median and worst pictures, and pairs of samples."""
    captions = {"cases.png": "Best, median and worst pictures", "diversity.png": "Pairs of samples"}
    return [
        to_show(row.folder / name, caption, SHEET)
        for name, caption in captions.items()
        if (row.folder / name).is_file()
    ]


def to_show(path: Path, caption: str, limits: tuple[int, int] = PICTURE) -> Shown:
    """A picture, shrunk to limits of width and height.

    It becomes a JPEG with undivided chroma, which is what the pictures are about, so not a smaller WebP.
    """
    with Image.open(path) as file:
        picture = file.convert("RGB")
    picture.thumbnail(limits, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85, subsampling=0, optimize=True)
    address = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Shown(caption, address, *picture.size)
