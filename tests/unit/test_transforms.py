"""What the methods do to a picture: against Pillow, NumPy and scikit-image, and the places that are drawn."""

import math
from collections import Counter
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab
from torch import Tensor

from datamodules.order import generator_of
from datamodules.transforms import (
    Transform,
    chroma_range,
    colourness,
    crop_and_resize,
    random_box,
    scale_and_crop,
    squash,
)
from tests.conftest import colourful_pictures

TRANSFORMS: dict[str, Transform] = {
    "squash": partial(squash, resolution=24),
    "scale_and_crop": partial(scale_and_crop, short_side=(30, 44), resolution=24),
    "crop_and_resize": partial(crop_and_resize, short_side=40, resolution=24),
}


def hwc(picture: Tensor) -> npt.NDArray[np.uint8]:
    """A picture as Pillow and scikit-image want it."""
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())


def smooth(height: int, width: int) -> Tensor:
    """A smooth colour picture."""
    return colourful_pictures(1, max(height, width))[0][:, :height, :width]


def coordinates(height: int, width: int) -> Tensor:
    """A picture whose pixels say where they are: (row, column, 0)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, torch.zeros_like(rows)]).byte()


def chi_square(counts: list[int]) -> float:
    """How far counts are from even ones."""
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def assert_even(counts: list[int]) -> None:
    """Counts that chance would give hardly ever are refused: five standard deviations of chi-square."""
    freedom = len(counts) - 1
    assert chi_square(counts) < freedom + 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 90), (90, 37), (20, 11)])
def test_squash_resizes_as_pillow_does(height: int, width: int) -> None:
    picture = smooth(height, width)
    (got,) = squash([picture], None, resolution=32)
    wanted = np.asarray(Image.fromarray(hwc(picture)).resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert got.shape == (3, 32, 32)
    assert got.dtype == torch.uint8
    assert np.abs(hwc(got) - wanted).mean() < 0.6
    assert np.abs(hwc(got) - wanted).max() <= 2


def test_squash_antialiases() -> None:
    picture = (torch.arange(64) % 2 * 255).byte().expand(3, 64, 64)
    (got,) = squash([picture], None, resolution=8)
    assert 120 < int(got.min()) <= int(got.max()) < 135


def test_half_of_the_pictures_are_mirrored() -> None:
    picture = coordinates(4, 4)
    seen = [squash([picture], generator_of(0, 0, number), resolution=4)[0] for number in range(400)]
    mirrored = [torch.equal(each, picture.flip(-1)) for each in seen]
    assert all(flag or torch.equal(each, picture) for each, flag in zip(seen, mirrored, strict=True))
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_mirrors_half_of_the_pictures(name: str) -> None:
    picture = coordinates(40, 60)
    seen = [TRANSFORMS[name]([picture], generator_of(1, 0, number))[0] for number in range(200)]
    mirrored = [int(each[1, 0, 0]) > int(each[1, 0, -1]) for each in seen]
    assert 65 < sum(mirrored) < 135


@pytest.mark.parametrize("name", TRANSFORMS)
def test_evaluation_is_never_mirrored_and_always_the_same(name: str) -> None:
    picture = coordinates(40, 60)
    seen = [TRANSFORMS[name]([picture], None)[0] for _ in range(10)]
    assert all(torch.equal(each, seen[0]) for each in seen)
    assert int(seen[0][1, 0, 0]) < int(seen[0][1, 0, -1])


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize(("height", "width"), [(50, 50), (31, 70), (70, 31), (5, 9), (1, 1), (3, 200)])
def test_every_picture_becomes_a_square(name: str, height: int, width: int) -> None:
    for generator in (None, generator_of(0), generator_of(1)):
        (got,) = TRANSFORMS[name]([smooth(height, width)], generator)
        assert got.shape == (3, 24, 24)
        assert got.dtype == torch.uint8


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_same_generator_draws_the_same(name: str) -> None:
    picture = smooth(50, 70)

    def drawn(seed: int) -> Tensor:
        return TRANSFORMS[name]([picture], generator_of(seed))[0]

    assert all(torch.equal(drawn(seed), drawn(seed)) for seed in range(5))
    assert any(not torch.equal(drawn(0), drawn(seed)) for seed in range(1, 9))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_global_generator_is_left_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    TRANSFORMS[name]([smooth(50, 70)], generator_of(0))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("height", "width"), [(12, 15), (15, 12)])
def test_crops_are_cut_everywhere_as_often(height: int, width: int) -> None:
    picture, generator = coordinates(height, width), generator_of(0)
    cut = partial(scale_and_crop, short_side=12, resolution=8)
    crops = [cut([picture], generator)[0] for _ in range(4000)]
    places = Counter((int(crop[0].min()), int(crop[1].min())) for crop in crops)
    assert set(places) == {(top, left) for top in range(height - 7) for left in range(width - 7)}
    assert_even(list(places.values()))


def test_a_crop_is_a_stretch_of_the_picture() -> None:
    picture, generator = coordinates(12, 15), generator_of(0)
    for _ in range(50):
        (crop,) = scale_and_crop([picture], generator, short_side=12, resolution=8)
        top, left = int(crop[0].min()), int(crop[1].min())
        stretch = picture[:, top : top + 8, left : left + 8]
        assert torch.equal(crop, stretch) or torch.equal(crop, stretch.flip(-1))


def test_every_short_side_between_the_bounds_is_drawn_as_often() -> None:
    columns = torch.arange(100).byte().expand(1, 100, 100)
    sides = []
    for number in range(800):
        (crop,) = scale_and_crop([columns], generator_of(number), short_side=(10, 13), resolution=10)
        # ten of `side` columns span nine steps of 100 / side
        sides.append(round(900 / abs(int(crop[0, 0, 0]) - int(crop[0, 0, -1]))))
    counts = Counter(sides)
    assert set(counts) == {10, 11, 12, 13}
    assert_even(list(counts.values()))


def test_bounds_may_be_a_list_of_a_configuration() -> None:
    picture, generators = smooth(40, 50), [generator_of(3), generator_of(3)]
    (first,) = scale_and_crop([picture], generators[0], short_side=[30, 36], resolution=24)
    (second,) = scale_and_crop([picture], generators[1], short_side=(30, 36), resolution=24)
    assert torch.equal(first, second)


@pytest.mark.parametrize(("height", "width"), [(12, 20), (20, 12), (12, 12)])
def test_evaluation_cuts_the_centre(height: int, width: int) -> None:
    picture = smooth(height, width)
    (crop,) = scale_and_crop([picture], None, short_side=12, resolution=8)
    top, left = (height - 8) // 2, (width - 8) // 2
    assert torch.equal(crop, picture[:, top : top + 8, left : left + 8])


@pytest.mark.parametrize(("height", "width"), [(50, 41), (9, 30), (1, 1)])
def test_evaluation_leaves_a_whole_picture_as_it_is(height: int, width: int) -> None:
    picture, mask = smooth(height, width), coordinates(height, width)[:1]
    cut = partial(scale_and_crop, short_side=(30, 36), resolution=24)
    got, got_mask = cut([picture, mask], None, whole=True)
    assert torch.equal(got, picture)
    assert torch.equal(got_mask, mask)
    for seed in range(5):
        wanted = cut([picture, mask], generator_of(seed))
        for each, layer in zip(cut([picture, mask], generator_of(seed), whole=True), wanted, strict=True):
            assert each.shape[1:] == (24, 24), "training cuts squares all the same"
            assert torch.equal(each, layer)


def test_evaluation_takes_the_smallest_side() -> None:
    picture = smooth(60, 90)
    (crop,) = scale_and_crop([picture], None, short_side=(20, 50), resolution=16)
    whole = np.asarray(Image.fromarray(hwc(picture)).resize((30, 20), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(hwc(crop) - whole[2:18, 7:23]).mean() < 0.6


def test_evaluation_of_boxes_takes_the_largest_centred_square() -> None:
    picture = smooth(40, 60)
    (got,) = crop_and_resize([picture], None, short_side=40, resolution=20)
    square = Image.fromarray(hwc(picture)[:, 10:50])
    wanted = np.asarray(square.resize((20, 20), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(hwc(got) - wanted).mean() < 0.6


def test_a_picture_smaller_than_the_crop_is_enlarged_and_keeps_its_aspect() -> None:
    picture = smooth(5, 10)
    (crop,) = scale_and_crop([picture], None, short_side=6, resolution=8)
    whole = np.asarray(Image.fromarray(hwc(picture)).resize((16, 8), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(hwc(crop) - whole[:, 4:12]).mean() < 0.6


@pytest.mark.parametrize(("height", "width"), [(1000, 1000), (1000, 1300), (256, 341), (17, 11), (3, 3), (2, 1)])
def test_boxes_lie_in_the_picture(height: int, width: int) -> None:
    generator = generator_of(0)
    for _ in range(300):
        top, left, box_height, box_width = random_box(height, width, generator)
        assert 0 <= top <= top + box_height <= height
        assert 0 <= left <= left + box_width <= width
        assert box_height > 0
        assert box_width > 0


def test_boxes_keep_to_the_bounds_of_area_and_aspect() -> None:
    generator = generator_of(0)
    boxes = [random_box(3000, 4000, generator)[2:] for _ in range(2000)]
    shares = [height * width / 12e6 for height, width in boxes]
    aspects = [width / height for height, width in boxes]
    assert 0.08 * 0.999 < min(shares) < 0.09
    assert 0.9 < max(shares) <= 1
    assert 0.75 * 0.999 < min(aspects) < 0.76
    assert 1.32 < max(aspects) < 4 / 3 * 1.001


def test_areas_and_aspects_are_even_where_every_box_fits() -> None:
    generator = generator_of(0)
    boxes = [random_box(3000, 3000, generator) for _ in range(5000)]
    # up to three quarters of a square, a box of any aspect from 3:4 to 4:3 fits
    free = [box for box in boxes if box[2] * box[3] < 0.74 * 9e6]
    areas = Counter(int((height * width / 9e6 - 0.08) / 0.66 * 8) for _, _, height, width in free)
    aspects = Counter(
        min(7, max(0, int(8 * (math.log(width / height, 4 / 3) + 1) / 2))) for _, _, height, width in free
    )
    assert set(areas) == set(aspects) == set(range(8))
    assert_even(list(areas.values()))
    assert_even(list(aspects.values()))


def test_boxes_are_laid_everywhere_as_often() -> None:
    generator = generator_of(0)
    boxes = [random_box(300, 400, generator) for _ in range(4000)]
    roomy = [(top, left, 301 - height, 401 - width) for top, left, height, width in boxes if height < 290]
    downs = Counter(top * 5 // rows for top, _, rows, _ in roomy if rows > 50)
    acrosses = Counter(left * 5 // columns for _, left, _, columns in roomy if columns > 50)
    assert set(downs) == set(acrosses) == set(range(5))
    assert_even(list(downs.values()))
    assert_even(list(acrosses.values()))


@pytest.mark.parametrize(
    ("height", "width", "wanted"), [(10, 1000, (0, 495, 10, 10)), (1000, 10, (495, 0, 10, 10))], ids=str
)
def test_very_long_pictures_give_their_centred_square(
    height: int, width: int, wanted: tuple[int, int, int, int]
) -> None:
    assert {random_box(height, width, generator_of(seed)) for seed in range(50)} == {wanted}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3, 4, 5])
def test_masks_lie_where_their_picture_does(name: str, seed: int | None) -> None:
    where = coordinates(60, 80)
    picture, rows, columns = where * 3, where[:1], where[1:2]
    generator = None if seed is None else generator_of(seed)
    got, got_rows, got_columns = TRANSFORMS[name]([picture, rows, columns], generator)
    assert got_rows.shape == got_columns.shape == (1, 24, 24)
    # the nearest pixel lies up to half a step of the enlarging or shrinking away, and edges bend a little
    tolerance = 80 / 24 / 2 + 0.7
    assert float((got[0].float() / 3 - got_rows[0]).abs().max()) < tolerance
    assert float((got[1].float() / 3 - got_columns[0]).abs().max()) < tolerance
    assert abs(float((got[1].float() / 3 - got_columns[0]).mean())) < 0.6


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize(("height", "width"), [(60, 80), (9, 13)])
def test_masks_keep_only_classes_that_were_there(name: str, height: int, width: int) -> None:
    classes = torch.tensor([0, 7, 20, 255], dtype=torch.uint8)
    mask = classes[torch.randint(4, (1, height, width), generator=generator_of(0))]
    for seed in range(5):
        _, got = TRANSFORMS[name]([smooth(height, width), mask], generator_of(seed))
        assert set(got.unique().tolist()) <= set(classes.tolist())


def test_colourness_is_jfifs_chroma() -> None:
    picture = torch.randint(256, (3, 9, 7), dtype=torch.uint8, generator=generator_of(0))
    red, green, blue = picture.numpy().astype(np.float64)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    blue_difference, red_difference = (blue - luma) / 1.772, (red - luma) / 1.402
    wanted = np.maximum(np.abs(blue_difference), np.abs(red_difference)).mean() / 128
    assert colourness(picture) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("rgb", "wanted"), [((255, 0, 0), 127.5 / 128), ((0, 0, 255), 127.5 / 128), ((0, 255, 0), 106.76544 / 128)]
)
def test_colourness_of_pure_colours(rgb: tuple[int, int, int], wanted: float) -> None:
    picture = torch.tensor(rgb, dtype=torch.uint8)[:, None, None].expand(3, 4, 4)
    assert colourness(picture) == pytest.approx(wanted, rel=1e-4)


def test_chroma_range_is_scikit_images() -> None:
    for seed in range(3):
        picture = torch.randint(256, (3, 9, 7), dtype=torch.uint8, generator=generator_of(seed))
        chroma = rgb2lab(hwc(picture))[..., 1:]
        wanted = np.ptp(chroma[..., 0]) + np.ptp(chroma[..., 1])
        assert chroma_range(picture) == pytest.approx(wanted, abs=0.01)


def test_chroma_range_of_one_colour_is_nothing() -> None:
    picture = torch.tensor([200, 30, 90], dtype=torch.uint8)[:, None, None].expand(3, 4, 4)
    assert chroma_range(picture) == 0


def test_grey_has_no_colour() -> None:
    grey = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16)
    assert colourness(grey) == pytest.approx(0, abs=1e-5)
    assert chroma_range(grey) == pytest.approx(0, abs=0.02)
