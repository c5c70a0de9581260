"""Contact sheets: pictures in rows, a caption over each column."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lightning_modules.abilities import Reconstruction
from lightning_modules.color import to_uint8
from lightning_modules.guidance import Guidance

if TYPE_CHECKING:
    from lightning_modules.colorizer import Colorizer

GAP = 6
FONT = Path("mpl-data/fonts/ttf/DejaVuSans.ttf")
"""In matplotlib, with Greek letters, which Pillow's own font has not."""
CAPTION_SIZE = 12
CAPTION_HEIGHT = 20
PAPER, INK = "white", "#333333"


def to_image(rgb: Tensor) -> Image.Image:
    """RGB in [0, 1] or uint8, (3, H, W), as a picture."""
    return Image.fromarray((to_uint8(rgb) if rgb.is_floating_point() else rgb).permute(1, 2, 0).cpu().numpy())


def contact_sheet(
    rows: Sequence[Sequence[Tensor | Image.Image]],
    captions: Sequence[str],
    cell_height: int = 128,
    labels: Sequence[str] = (),
    title: str = "",
) -> Image.Image:
    """Lay pictures out in rows of one height.

    Args:
        rows: Pictures, or RGB, (3, H, W).
        captions: One for each column.
        cell_height: Of every picture, in pixels; small pictures are enlarged without smoothing.
        labels: One for each row, to its left.
        title: Above all.
    """
    captions, labels = [printable(text) for text in captions], [printable(text) for text in labels]
    cells = [[fit(to_image(cell) if isinstance(cell, Tensor) else cell, cell_height) for cell in row] for row in rows]
    widths = [max(row[column].width for row in cells) for column in range(len(captions))]
    font = caption_font()
    widths = [max(width, int(font.getlength(text)) + 2) for width, text in zip(widths, captions, strict=True)]
    left = GAP + max((int(font.getlength(label)) + 2 * GAP for label in labels), default=0)
    top = CAPTION_HEIGHT * (2 if title else 1)
    width = max(left + sum(widths) + GAP * len(widths), int(font.getlength(title)) + 2 * GAP)
    sheet = Image.new("RGB", (width, top + len(cells) * (cell_height + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 4), title, fill=INK, font=font)
    for number, label in enumerate(labels):
        pen.text((GAP, top + number * (cell_height + GAP) + 4), label, fill=INK, font=font)
    for column, width in enumerate(widths):
        pen.text((left, top - CAPTION_HEIGHT + 4), captions[column], fill=INK, font=font)
        for number, row in enumerate(cells):
            sheet.paste(row[column], (left, top + number * (cell_height + GAP)))
        left += width + GAP
    return sheet


def caption_font() -> ImageFont.FreeTypeFont:
    """The font of all captions, found without importing matplotlib."""
    package = find_spec("matplotlib")
    assert package is not None
    assert package.origin is not None
    return ImageFont.truetype(str(Path(package.origin).parent / FONT), CAPTION_SIZE)


def printable(text: str) -> str:
    """A text that a font can draw: bytes of a file name that is no UTF-8 as escapes."""
    return text.encode(errors="backslashreplace").decode()


def fit(picture: Image.Image, height: int) -> Image.Image:
    """Resize to a height, the aspect kept."""
    if picture.height == height:
        return picture
    width = max(1, round(picture.width * height / picture.height))
    resample = Image.Resampling.LANCZOS if picture.height > height else Image.Resampling.NEAREST
    return picture.resize((width, height), resample)


def grey_of(rgb: Tensor) -> Tensor:
    """The picture without its chroma, as JPEG decoders show it: (B, 3, H, W)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=rgb.device).view(1, 3, 1, 1)
    return (rgb * weights).sum(dim=1, keepdim=True).expand_as(rgb)


def method_sheet(colorizer: Colorizer, rgb: Tensor, samples: int, seed: int, cell_height: int = 128) -> Image.Image:
    """Grey, samples, the reconstruction where the method has one, and the truth, a picture a row.

    A method that cannot do without a reference is shown the picture itself.

    Args:
        colorizer: The method.
        rgb: Pictures, RGB in [0, 1], (B, 3, H, W), on the method's device.
        samples: Draws of each.
        seed: Of the draws.
        cell_height: Of every picture on the sheet.
    """
    generator = torch.Generator(rgb.device).manual_seed(seed)
    guidance = Guidance(reference=rgb if "reference" in colorizer.requires else None)
    drawn = colorizer.colorize(colorizer.luminance(rgb), samples=samples, guidance=guidance, generator=generator)
    columns = {"grey": grey_of(rgb)} | {f"sample {i + 1}": drawn[:, i] for i in range(samples)}
    if isinstance(colorizer, Reconstruction):
        columns["reconstruction"] = colorizer.reconstruct(rgb, generator=generator)
    columns["truth"] = rgb
    return contact_sheet(list(zip(*columns.values(), strict=True)), list(columns), cell_height)
