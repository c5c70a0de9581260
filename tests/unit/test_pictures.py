"""Reading every kind of picture file."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image, ImageOps
from torch import Tensor

from datamodules.pictures import (
    decode_picture,
    find_pictures,
    format_named,
    read_picture,
    read_picture_and_format,
    read_pictures,
)
from lightning_modules.color import is_grey
from tests.conftest import colourful_pictures


@pytest.fixture
def colour(photo_folder: Path) -> Tensor:
    """The picture that all files of the folder hold, uint8 (3, 40, 30)."""
    return torch.from_numpy(np.asarray(Image.open(photo_folder / "colour.png")).copy()).permute(2, 0, 1)


@pytest.mark.parametrize("name", ["colour.png", "transparent.png"])
def test_lossless_colour(photo_folder: Path, colour: Tensor, name: str) -> None:
    assert torch.equal(read_picture(photo_folder / name), colour)


@pytest.mark.parametrize(("name", "tolerance"), [("print.jpg", 12), ("palette.png", 40), ("album/colour.jpg", 12)])
def test_lossy_colour(photo_folder: Path, colour: Tensor, name: str, tolerance: int) -> None:
    difference = (read_picture(photo_folder / name).int() - colour.int()).abs().float()
    assert difference.mean() < tolerance


def test_grey_and_sixteen_bit_agree(photo_folder: Path) -> None:
    grey, sixteen_bit = read_picture(photo_folder / "grey.png"), read_picture(photo_folder / "sixteen_bit.png")
    assert is_grey(grey)
    assert torch.equal(grey, sixteen_bit)
    assert not is_grey(read_picture(photo_folder / "colour.png"))


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png") == 255).all()


def test_turned_upright_by_exif(photo_folder: Path, colour: Tensor) -> None:
    upright = read_picture(photo_folder / "sideways.jpg")
    assert upright.shape == (3, 30, 40)
    quarter_turn = colour.rot90(-1, (1, 2))
    assert (upright.int() - quarter_turn.int()).abs().float().mean() < 12


@pytest.mark.parametrize("name", ["cut_short.jpg", "no_picture.png"])
def test_broken_files_are_named(photo_folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        read_picture(photo_folder / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no picture .*nowhere\.png"):
        read_picture(tmp_path / "nowhere.png")


def test_read_pictures_keeps_order_and_goes_on_after_an_error(photo_folder: Path) -> None:
    paths = [photo_folder / name for name in ("colour.png", "no_picture.png", "grey.png")]
    first, second, third = read_pictures(paths, "reading")
    assert isinstance(first, Tensor)
    assert isinstance(second, ValueError)
    assert isinstance(third, Tensor)
    assert is_grey(third)


def test_large_pictures_are_shrunk(photo_folder: Path) -> None:
    (small,) = read_pictures([photo_folder / "colour.png"], "reading", longest_side=20)
    assert isinstance(small, Tensor)
    assert small.shape == (3, 20, 15)


def test_find_pictures_looks_into_folders(photo_folder: Path, tmp_path: Path) -> None:
    found = find_pictures(photo_folder)
    assert photo_folder / "album" / "colour.jpg" in found
    assert len(found) == 11
    with pytest.raises(FileNotFoundError, match="no folder"):
        find_pictures(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no pictures"):
        find_pictures(tmp_path / "empty")


@pytest.mark.parametrize("name", [".hidden.png", ".thumbnails/colour.png", "album/.cache/deep/colour.png"])
def test_find_pictures_passes_hidden_ones_over(photo_folder: Path, name: str) -> None:
    (photo_folder / name).parent.mkdir(parents=True, exist_ok=True)
    (photo_folder / name).write_bytes((photo_folder / "colour.png").read_bytes())
    assert len(find_pictures(photo_folder)) == 11


@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize(
    "settings", [{"subsampling": "4:4:4"}, {"subsampling": "4:2:0"}, {"progressive": True}], ids=str
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_are_read_as_pillow_reads_them(
    tmp_path: Path, mode: str, settings: dict[str, Any], orientation: int | None
) -> None:
    pixels = colourful_pictures(1, 61)[0, :, :, :53].permute(1, 2, 0).contiguous().numpy()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.jpg", "JPEG", quality=90, exif=exif, **settings)
    with Image.open(tmp_path / "a.jpg") as opened:
        wanted = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    got = read_picture(tmp_path / "a.jpg")
    assert got.is_contiguous()
    assert np.array_equal(got.permute(1, 2, 0).numpy(), wanted)


def test_a_jpeg_with_a_fault_is_read_as_pillow_reads_it(photo_folder: Path) -> None:
    data = (photo_folder / "album" / "colour.jpg").read_bytes().removesuffix(b"\xff\xd9") + b"stray bytes\xff\xd9"
    path = photo_folder / "faulty.jpg"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="Corrupt JPEG data"):
        simplejpeg.decode_jpeg(data)
    with Image.open(path) as opened:
        wanted = np.asarray(opened.convert("RGB"))
    assert np.array_equal(read_picture(path).permute(1, 2, 0).numpy(), wanted)


@pytest.mark.parametrize(
    ("suffix", "wanted"),
    [(".png", "PNG"), (".JPEG", "JPEG"), (".jpe", "JPEG"), (".jpg", "JPEG"), (".Tif", "TIFF"), (".pgm", "PPM")],
)
def test_formats_by_suffix_and_by_content(tmp_path: Path, suffix: str, wanted: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (4, 4)).save(path)
    assert format_named(path) == read_picture_and_format(path)[1] == wanted
    Image.new("RGB", (4, 4)).save(path, "GIF")
    assert (format_named(path), read_picture_and_format(path)[1]) == (wanted, "GIF")


def test_several_jpegs_in_one_file_are_a_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))])
    with Image.open(tmp_path / "a.jpg") as opened:
        assert opened.format == "MPO"
    assert read_picture_and_format(tmp_path / "a.jpg")[1] == "JPEG"


def test_text_has_no_format(photo_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no_picture\.png cannot be read as a picture"):
        read_picture_and_format(photo_folder / "no_picture.png")


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_encoded_jpegs_decode_to_pillows_pixels(mode: str, subsampling: str) -> None:
    picture = Image.fromarray(colourful_pictures(1, 61)[0, :, :, :53].permute(1, 2, 0).contiguous().numpy())
    stored = BytesIO()
    picture.convert(mode).save(stored, "JPEG", quality=90, subsampling=subsampling)
    decoded = decode_picture(stored.getvalue())
    assert decoded.shape == (3, 61, 53)
    with Image.open(stored) as wanted:
        assert np.array_equal(decoded.permute(1, 2, 0).numpy(), np.asarray(wanted.convert("RGB")))


def test_encoded_pngs_keep_their_pixels() -> None:
    stored = BytesIO()
    pixels = colourful_pictures(1, 20)[0]
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(stored, "PNG")
    assert torch.equal(decode_picture(stored.getvalue()), pixels)


def test_bytes_that_are_no_picture_are_refused() -> None:
    for data in (b"", b"text", b"\xff\xd8 text"):
        with pytest.raises(ValueError, match="cannot be read as a picture"):
            decode_picture(data)
