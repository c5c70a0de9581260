"""Turn any of Pillow's images into eight-bit sRGB: wide and float greys, transparency, embedded colour profiles."""

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

PROFILED = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK", "Lab ": "LAB"}
"""Pillow's modes by the colour spaces that profiles describe."""
WHITES = (255, 2**16 - 1, 2**31 - 1, 2**32 - 1)
"""Values that white may have in integers of 32 bits; the smallest that an image does not exceed is taken."""
FLOAT_WHITES = (1, *WHITES[:2])
"""The same of floats."""
UNIT_OVERSHOOT = 2
"""Floats that do not exceed this lie in [0, 1], but for what sharpening adds at edges."""
NEGATIVE = 0.25
"""How far below 0 sharpening may reach, as a share of the largest value."""
LEVELS = np.arange(256, dtype=np.uint8)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""

Convert = Callable[[Image.Image], Image.Image]


def upright_srgb(image: Image.Image) -> Image.Image:
    """Convert as `to_srgb` does, and turn upright by the EXIF orientation."""
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    converted = to_srgb(image)
    return converted if turn is None else converted.transpose(turn)


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image to eight-bit sRGB, mode RGB, as a viewer shows it on white paper.

    An embedded profile is followed, unless it is damaged or of another kind of image: then viewers ignore it, too.

    Raises:
        ValueError: If the values of a wide image cannot be told.
    """
    if image.mode == "RGB" and not image.info.keys() & {"icc_profile", "transparency"}:
        return image
    colour, alpha = colour_and_alpha(image)
    if alpha is None:
        return colour
    paper = Image.new("RGB", colour.size, "white")
    paper.paste(colour, mask=alpha)
    return paper


def to_srgb_with_alpha(image: Image.Image) -> Image.Image:
    """Convert an image to eight-bit sRGB and alpha, mode RGBA, as `to_srgb` does, but not laid on anything."""
    colour, alpha = colour_and_alpha(image)
    layer = colour.convert("RGBA")
    if alpha:
        layer.putalpha(alpha)
    return layer


def colour_and_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """An image in eight-bit sRGB, mode RGB, and its alpha, mode L, if it has transparency.

    Raises:
        ValueError: If the values of a wide image cannot be told.
    """
    convert = to_srgb_by(image.info.get("icc_profile"), image.mode)
    if is_wide(image):
        colour, alpha = eight_bits(image, convert)
    else:
        colour, alpha = separated(image)
        colour = convert(colour) if convert else colour
    return colour.convert("RGB"), alpha


def follows_srgb(profile: bytes | None, mode: str) -> bool:
    """Whether an image of a mode, with a profile or without, is in sRGB already."""
    return to_srgb_by(profile, mode) is None


def separated(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """An image's colours without transparency, and its alpha, mode L, if it has transparency."""
    if not image.has_transparency_data:
        return (image.convert("L") if image.mode == "1" else image.convert("RGB") if image.mode == "P" else image), None
    if isinstance(clear := image.info.get("transparency"), tuple) and max(clear) > 255:  # of 16 bits, as in the file
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    grey = image.mode in ("1", "L", "LA", "La")
    whole = image.convert("LA" if grey else "RGBA")
    return whole.convert("L" if grey else "RGB"), whole.getchannel("A")


def is_wide(image: Image.Image) -> bool:
    """Whether an image is grey, in integers of more than eight bits or in floats."""
    return image.mode.startswith("I") or image.mode == "F"


def eight_bits(image: Image.Image, convert: Convert | None) -> tuple[Image.Image, Image.Image | None]:
    """A wide grey image in sRGB, mode L, and its alpha, if one of its values stands for transparency.

    Args:
        image: The image.
        convert: Follows its profile, of which 256 steps are taken and the values between them interpolated.
    """
    values: NDArray[Any] = np.asarray(image)
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if image.mode == "I" and tags.get(ExifTags.Base.SampleFormat, (1,))[0] == 1:
        values = values.view(np.uint32)  # Pillow reads them as signed
    clear = image.info.get("transparency")
    alpha = None if clear is None else Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    grey = values.astype(np.float32) * np.float32(255 / white_of(image, values))
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # white is 0, which Pillow undoes for eight bits only
        grey = 255 - grey
    if convert:
        grey = np.interp(grey, LEVELS, np.asarray(convert(Image.fromarray(LEVELS[None])).convert("L"))[0])
    return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)), alpha


def white_of(image: Image.Image, values: NDArray[Any]) -> float:
    """The value that white has in a wide image.

    Raises:
        ValueError: If it cannot be told.
    """
    if image.mode.startswith("I;"):
        bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (16,))[0]
        return float(2**bits - 1)
    if image.format in ("PNG", "PPM"):  # whose decoders scale
        return 2**16 - 1
    least, most = values.min(initial=0), values.max(initial=0)
    whites = WHITES if image.mode == "I" else FLOAT_WHITES
    for white in whites:
        if most <= (UNIT_OVERSHOOT if white == 1 else white) and least >= -NEGATIVE * most:
            return white
    raise ValueError(f"its values lie from {least:.6g} to {most:.6g}; save it with values from 0 to 1, or in 16 bits")


@lru_cache(maxsize=16)
def to_srgb_by(profile: bytes | None, mode: str) -> Convert | None:
    """What converts an image of a mode, its transparency taken away, by its profile; None if nothing has to.

    Args:
        profile: The embedded ICC profile, if there is one.
        mode: The image's.
    """
    if not profile and mode != "LAB":
        return None
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        described = PROFILED.get(source.profile.xcolor_space) if profile else "LAB"  # type: ignore[union-attr]
        grey = is_grey_mode(mode)
        if described != mode and not (described == "L" and grey) and not (described == "RGB" and mode != "CMYK"):
            return None
        # unoptimised, a grey image's deep shadows are right; its 256 levels are few
        flags = ImageCms.Flags.NOOPTIMIZE if described == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), described, "RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError):
        return None

    def transformed(image: Image.Image) -> Image.Image:
        found = ImageCms.applyTransform(image.convert(described), transform)
        assert found is not None
        return found

    convert = transformed
    if described == "L":
        curve = transformed(Image.fromarray(LEVELS[None])).getchannel("G").tobytes()

        def convert(image: Image.Image) -> Image.Image:
            return image.convert("L").point(curve)

    return None if is_identity(convert, described) else convert


def is_grey_mode(mode: str) -> bool:
    """Whether images of one of Pillow's modes are grey."""
    return mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")


def is_identity(convert: Convert, mode: str) -> bool:
    """Whether a conversion of images of a mode leaves colours as they are, but for rounding."""
    if mode == "L":
        probe = LEVELS[None]
    elif mode == "RGB":
        steps = np.linspace(0, 255, 9).astype(np.uint8)
        probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    else:
        return False
    image = Image.fromarray(probe)
    return bool(np.abs(np.asarray(convert(image)).astype(int) - probe).max() <= 1)
