"""What the pixels of every kind of image mean: against viewers' arithmetic, spelt out here."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from datamodules.pictures import decode_picture, read_picture
from imaging.srgb import to_srgb_with_alpha

ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""The primaries of Adobe RGB (1998), in XYZ under D50."""
XYZ_TO_SRGB = (
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)
"""Bradford-adapted from D50."""


def profile(space: bytes, gamma: float) -> bytes:
    """An ICC profile of version 2, written by hand: grey of a gamma, or Adobe's primaries with it."""

    def fixed(*numbers: float) -> bytes:
        return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = (0.9642, 1.0, 0.8249)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(80),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(*white),
    }
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for letter, primary in zip("rgb", ADOBE, strict=True):
            tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + fixed(*primary)
            tags[f"{letter}TRC".encode()] = curve
    table, body = struct.pack(">I", len(tags)), b""
    for key, value in tags.items():
        table += key + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*white)
    return head.ljust(128, b"\0") + table + body


def encoded(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light in [0, 1] as sRGB in 0..255 (IEC 61966-2-1)."""
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def grey_png(bits: int, rows: NDArray[np.uint8] | NDArray[np.uint16], clear: int) -> bytes:
    """A grey PNG, one of whose values stands for transparency."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], bits, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in rows))
    parts = [(b"IHDR", header), (b"tRNS", struct.pack(">H", clear)), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


RAMP = np.tile(np.arange(64), (48, 1))
EXPECTED = RAMP * 255 / 63


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        ((RAMP / 63).astype(np.float32), "tif"),
        ((RAMP * 255 / 63).astype(np.float32), "tif"),
        ((RAMP * 65535 // 63).astype(np.uint16), "png"),
        ((RAMP * 65535 // 63).astype(np.uint16), "tif"),
        ((RAMP * (2**31 - 1) // 63).astype(np.int32), "tif"),
        ((RAMP * (2**32 - 1) // 63).astype(np.uint32).view(np.int32), "tif"),
    ],
    ids=["unit floats", "floats to 255", "16-bit PNG", "16-bit TIFF", "31 bits", "32 bits"],
)
def test_a_wide_grey_ramp_is_the_eight_bit_one(values: NDArray[np.float32], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values).save(path)
    if values.dtype == np.int32 and values.min() < 0:  # Pillow writes all integers as signed
        signed, unsigned = (struct.pack("<HHIHH", 339, 3, 1, kind, 0) for kind in (2, 1))
        assert signed in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(signed, unsigned))
    read = read_picture(path).numpy()
    assert np.abs(read - EXPECTED).max() <= 1


@pytest.mark.parametrize(
    "values", [RAMP / 31.5 - 1, np.full((4, 4), np.nan), RAMP * 1e6], ids=["-1..1", "nan", "large"]
)
def test_floats_of_an_unknown_range_are_refused(values: NDArray[np.float64], tmp_path: Path) -> None:
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif .*values lie from .*from 0 to 1"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_value_of_a_grey_png_becomes_white_paper(bits: int, tmp_path: Path) -> None:
    rows = np.zeros((6, 8), dtype=np.uint16)
    rows[:, 4:] = 200 if bits == 8 else 200 * 257
    (tmp_path / "a.png").write_bytes(grey_png(bits, rows, 0))
    read = read_picture(tmp_path / "a.png")
    assert (read[:, :, :4] == 255).all()
    assert (read[:, :, 4:] == 200).all()


@pytest.mark.parametrize("mode", ["L", "I;16", "LA"])
def test_a_linear_grey_profile_is_followed(mode: str, tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(levels.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(levels).convert(mode)
    image.save(tmp_path / "a.png", icc_profile=profile(b"GRAY", 1.0))
    read = read_picture(tmp_path / "a.png").numpy()
    assert np.abs(read - encoded(levels / 255)).max() <= 2


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_adobe_rgb_is_followed_by_every_reader(name: str, tmp_path: Path) -> None:
    colour = (60, 180, 90)
    settings = {"quality": 100, "subsampling": 0} if name == "a.jpg" else {"lossless": True} if name == "a.webp" else {}
    Image.new("RGB", (16, 16), colour).save(tmp_path / name, icc_profile=profile(b"RGB ", 2.19921875), **settings)
    linear = (np.array(colour) / 255) ** 2.19921875 @ np.array(ADOBE) @ np.array(XYZ_TO_SRGB).T
    expected = encoded(linear)
    assert np.abs(np.array(colour) - expected).max() > 30, "to pass the profile over would show"
    for read in (read_picture(tmp_path / name), decode_picture((tmp_path / name).read_bytes())):
        assert np.abs(read[:, 8, 8].numpy() - expected).max() <= 3


@pytest.mark.parametrize("icc", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"no profile"])
def test_an_srgb_profile_and_a_damaged_one_change_nothing(icc: bytes) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    with_profile, without = BytesIO(), BytesIO()
    image.save(with_profile, "JPEG", icc_profile=icc)
    image.save(without, "JPEG")
    assert (decode_picture(with_profile.getvalue()) == decode_picture(without.getvalue())).all()


def test_a_profile_of_another_kind_of_image_is_passed_over(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (60, 180, 90)).save(tmp_path / "a.png", icc_profile=profile(b"GRAY", 1.0))
    assert read_picture(tmp_path / "a.png")[:, 0, 0].tolist() == [60, 180, 90]


def test_lab_images_are_read(tmp_path: Path) -> None:
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    image = ImageCms.applyTransform(Image.new("RGB", (4, 4), (60, 180, 90)), lab)
    assert image is not None
    image.save(tmp_path / "a.tif")
    assert np.abs(read_picture(tmp_path / "a.tif")[:, 0, 0].numpy() - (60.0, 180.0, 90.0)).max() <= 4


def test_half_transparent_colours_keep_their_colour_beside_alpha() -> None:
    layer = to_srgb_with_alpha(Image.new("RGBA", (1, 1), (200, 30, 60, 128)))
    assert layer.getpixel((0, 0)) == (200, 30, 60, 128)
