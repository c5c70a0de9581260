"""Guidance in files and on a command line: marks, hint pictures, label maps, references."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

from datamodules.guidance import GuidanceFiles, hints_of, labels_of, read_mark

CPU = torch.device("cpu")


def layer(path: Path, size: tuple[int, int], pixels: dict[tuple[int, int], tuple[int, ...]]) -> Path:
    """A transparent picture of a width and height with some pixels, by x and y, red, green, blue and alpha."""
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    for place, colour in pixels.items():
        picture.putpixel(place, colour)
    picture.save(path)
    return path


def chroma_of(colour: tuple[int, ...]) -> list[float]:
    """CIELab's a and b of eight-bit RGB, by scikit-image."""
    return list(rgb2lab(np.array(colour[:3], dtype=np.float64)[None, None] / 255)[0, 0, 1:])


def test_marks_are_squares_of_a_thirty_fifth_of_the_shorter_side() -> None:
    hints = hints_of(["40,10,#cc3333", "3,104,#1F3A6E"], None, (105, 140))[0]
    shown = np.zeros((105, 140), dtype=bool)
    shown[9:12, 39:42] = shown[103:105, 2:5] = True  # 105 / 35 = 3, cut off at the border
    np.testing.assert_array_equal(hints[2].numpy(), shown)
    np.testing.assert_allclose(hints[:2, 10, 40].numpy(), chroma_of((0xCC, 0x33, 0x33)), atol=1e-3)
    np.testing.assert_allclose(hints[:2, 104, 3].numpy(), chroma_of((0x1F, 0x3A, 0x6E)), atol=1e-3)
    assert not hints[:2, ~torch.from_numpy(shown)].any()


def test_pixels_of_a_hint_picture_that_are_not_transparent_are_hints_and_marks_lie_over_them(tmp_path: Path) -> None:
    painted: dict[tuple[int, int], tuple[int, ...]] = {
        (2, 1): (200, 30, 30, 255),
        (5, 3): (30, 200, 30, 128),
        (6, 6): (9, 9, 200, 127),
    }
    path = layer(tmp_path / "hints.png", (8, 9), painted)
    hints = hints_of(["2,1,#0000ff"], path, (9, 8))[0]
    places = {(int(x), int(y)) for y, x in hints[2].nonzero()}
    assert places == {(2, 1), (5, 3)}
    np.testing.assert_allclose(hints[:2, 1, 2].numpy(), chroma_of((0, 0, 255)), atol=1e-3)
    np.testing.assert_allclose(hints[:2, 3, 5].numpy(), chroma_of((30, 200, 30)), atol=1e-3)


@pytest.mark.parametrize("mark", ["1,2", "1,2,red", "1,2,#12345", "-1,2,#123456", "1.5,2,#123456", "1,2,#12345g"])
def test_what_is_no_mark_is_refused(mark: str) -> None:
    with pytest.raises(ValueError, match="is no hint; give x,y,#rrggbb"):
        read_mark(mark)


@pytest.mark.parametrize("mark", ["8,0,#123456", "0,9,#123456"])
def test_marks_outside_are_refused(mark: str) -> None:
    with pytest.raises(ValueError, match="lies outside the photo, which has 8x9 pixels"):
        hints_of([mark], None, (9, 8))


def test_a_hint_picture_of_another_size_or_without_transparency_is_refused(tmp_path: Path) -> None:
    path = layer(tmp_path / "hints.png", (9, 8), {})
    with pytest.raises(ValueError, match="has 9x8 pixels, and the photo 8x9"):
        hints_of([], path, (9, 8))
    Image.new("RGB", (8, 9)).save(path)
    with pytest.raises(ValueError, match="is transparent nowhere"):
        hints_of([], path, (9, 8))


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "I;16"])
def test_labels_are_levels_palette_entries_or_colours(tmp_path: Path, mode: str) -> None:
    regions = np.random.default_rng(0).integers(0, 3, (7, 5))
    path = tmp_path / "labels.png"
    if mode == "RGB":
        Image.fromarray(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)[regions]).save(path)
    elif mode == "I;16":
        Image.fromarray((regions * 1000).astype(np.uint16)).save(path)
    else:
        picture = Image.fromarray(regions.astype(np.uint8))
        if mode == "P":
            picture.putpalette([9, 9, 9, 9, 9, 9, 7, 7, 7])  # of one colour, and different labels all the same
        picture.save(path)
    labels = labels_of(path)[0].numpy()
    assert labels.shape == (7, 5)
    same = labels.ravel()[:, None] == labels.ravel()
    np.testing.assert_array_equal(same, regions.ravel()[:, None] == regions.ravel())


def test_everything_that_is_given_is_told_and_nothing_else(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 4, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.new("L", (8, 9)).save(tmp_path / "labels.png")
    files = GuidanceFiles([tmp_path / "a.png"], ["1,1,#123456"], None, tmp_path / "labels.png", tmp_path / "labels.png")
    ((name, reference),) = files.read_references().items()
    assert name == "a"
    told = files.for_photo((9, 8), reference, CPU)
    assert told.given() == {"reference", "hints", "labels", "reference_labels"}
    assert told.reference is not None
    assert told.reference.shape == (1, 3, 6, 4)
    nothing = GuidanceFiles([], [], None, None, None)
    assert nothing.read_references() == {"": None}
    assert not nothing.for_photo((9, 8), None, CPU).given()


def test_references_of_one_name_are_told_apart(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 4, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.bmp")
    assert list(GuidanceFiles([tmp_path / "a.png", tmp_path / "a.bmp"], [], None, None, None).read_references()) == [
        "a",
        "a_bmp",
    ]


def test_guidance_that_a_method_or_the_photos_do_not_take_is_refused() -> None:
    one = Path("one.png")
    everything = {"reference", "hints", "labels", "reference_labels"}
    for files, accepts, photos, sentence in (
        (
            GuidanceFiles([one], [], None, None, None),
            set[str](),
            1,
            "PIC cannot follow a reference; leave --reference out",
        ),
        (GuidanceFiles([], ["1,1,#123456"], None, None, None), {"reference"}, 1, "this one takes --reference$"),
        (GuidanceFiles([], [], one, None, None), {"reference"}, 1, "cannot follow hints"),
        (GuidanceFiles([], [], None, one, None), everything, 2, "labels are of one photo, and 2 were given"),
        (GuidanceFiles([], [], one, None, None), everything, 2, "hints are of one photo, and 2 were given"),
        (GuidanceFiles([one, one], [], None, None, one), everything, 1, "--reference-labels are of one reference"),
    ):
        with pytest.raises(ValueError, match=sentence):
            files.require_accepted("PIC", accepts, photos)
    GuidanceFiles([one], ["1,1,#123456"], one, one, one).require_accepted("Exemplar", everything, 1)
