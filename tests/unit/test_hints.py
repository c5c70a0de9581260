"""Hints: how many patches there are, of which sides and where, and what they show."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import chisquare, norm
from torch import Tensor

from lightning_modules.hints import (
    joined,
    no_hints,
    random_patches,
    reduced,
    reveal,
    side_of_a_hint,
    some_otherwise,
    uniform_patches,
)

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def shown(patches: Tensor) -> npt.NDArray[np.int64]:
    """Top, left and side of all patches that show something, `(N, 3)`."""
    return np.asarray(patches[patches[..., 2] > 0])


def revealed(chroma: Tensor, patches: Tensor) -> npt.NDArray[np.float64]:
    """Hints, patch after patch over those before."""
    hints = np.zeros((len(chroma), 3, *chroma.shape[2:]))
    for picture, own, each in zip(chroma.double().numpy(), patches.tolist(), hints, strict=True):
        for top, left, side in own:
            if side:
                window = (slice(top, top + side), slice(left, left + side))
                each[:2, *window] = picture[:, *window].mean(axis=(1, 2), keepdims=True)
                each[2, *window] = 1
    return hints


def masked_means(hints: Tensor, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Of the hints in all pixels that a pixel of the smaller picture touches."""
    found = np.zeros((len(hints), 3, *size))
    height, width = hints.shape[2:]
    for picture, row, column in np.ndindex(len(hints), *size):
        seen = [
            hints[picture, :2, y, x].double().numpy()
            for y in range(height)
            for x in range(width)
            if y * size[0] < (row + 1) * height and (y + 1) * size[0] > row * height
            if x * size[1] < (column + 1) * width and (x + 1) * size[1] > column * width
            if hints[picture, 2, y, x]
        ]
        if seen:
            found[picture, :, row, column] = [*np.mean(seen, axis=0), 1]
    return found


def random_hints(count: int, height: int, width: int, share: float) -> Tensor:
    """Hints at a share of pixels; chroma elsewhere is no hint, though it is not 0."""
    mask = (torch.rand(count, 1, height, width) < share).float()
    return torch.cat([30 * torch.randn(count, 2, height, width), mask], dim=1)


# How many, how large and where


def test_number_of_patches_is_geometric_with_a_mean_of_seven() -> None:
    pictures = 20_000
    patches = random_patches(pictures, (40, 40), (1, 9), seeded(), CPU)
    assert patches.dtype == torch.int64
    numbers = (patches[:, :, 2] > 0).sum(dim=1).numpy()
    assert numbers.max() == patches.shape[1]
    chances = np.array([(1 / 8) * (7 / 8) ** n for n in range(30)] + [(7 / 8) ** 30])
    counts = np.bincount(np.minimum(numbers, 30), minlength=31)
    assert chisquare(counts, pictures * chances).pvalue > 1e-3
    error = np.sqrt(7 / 8) / (1 / 8) / np.sqrt(pictures)
    assert numbers.mean() == pytest.approx(7, abs=4 * error)


@pytest.mark.parametrize("sides", [(1, 9), (2, 3), (4, 8)])
def test_all_sides_are_as_likely(sides: tuple[int, int]) -> None:
    least, largest = sides
    for patches in (
        random_patches(2000, (40, 50), sides, seeded(), CPU),
        uniform_patches(100, 90, (40, 50), sides, seeded(), CPU),
    ):
        counts = np.bincount(shown(patches)[:, 2])
        assert not counts[:least].any()
        assert len(counts) == largest + 1
        assert chisquare(counts[least:]).pvalue > 1e-3


@pytest.mark.parametrize("side", [1, 4, 9])
def test_patches_of_training_are_normal_around_the_middle(side: int) -> None:
    size = (20, 31)
    patches = shown(random_patches(4000, size, (side, side), seeded(), CPU))
    for length, starts in zip(size, patches.T, strict=False):
        places = length - side + 1
        middle, deviation = (length - side + 1) / 2, (length - side + 1) / 4
        below = norm.cdf(np.arange(1, places), middle, deviation)
        chances = np.diff(below, prepend=0, append=1)  # what lies outside is clipped to the ends
        assert chisquare(np.bincount(starts, minlength=places), len(starts) * chances).pvalue > 1e-3
    rows, columns = patches.T[:2]
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 4 / np.sqrt(len(patches))


def test_uniform_patches_are_anywhere() -> None:
    patches = uniform_patches(2, 9000, (5, 8), (3, 3), seeded(), CPU)
    assert patches.shape == (2, 9000, 3)
    assert patches.dtype == torch.int64
    for own in patches.numpy():
        counts = np.zeros((3, 6))
        np.add.at(counts, (own[:, 0], own[:, 1]), 1)
        assert chisquare(counts.ravel()).pvalue > 1e-3
    assert not torch.equal(patches[0], patches[1])


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (3, 20), (5, 4), (9, 9), (40, 10)])
def test_patches_lie_within_the_picture(size: tuple[int, int]) -> None:
    for patches in (
        random_patches(300, size, (1, 9), seeded(), CPU),
        uniform_patches(30, 60, size, (1, 9), seeded(), CPU),
    ):
        tops, lefts, sides = shown(patches).T
        assert tops.min() == lefts.min() == 0
        assert (tops + sides).max() == size[0]
        assert (lefts + sides).max() == size[1]
        assert sides.max() == min(9, *size)


def test_draws_follow_their_generator() -> None:
    state = torch.random.get_rng_state()
    draws: list[Callable[[torch.Generator | None], Tensor]] = [
        lambda generator: random_patches(5, (30, 40), (1, 9), generator, CPU),
        lambda generator: uniform_patches(5, 12, (30, 40), (1, 9), generator, CPU),
    ]
    for draw in draws:
        first, same, other = (draw(seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, same)
        assert not torch.equal(first, other)
        assert torch.equal(state, torch.random.get_rng_state()), "the global generator was drawn from"
        following_global = draw(None)
        torch.random.set_rng_state(state)
        assert torch.equal(following_global, draw(None))
        torch.random.set_rng_state(state)


# What they show


@pytest.mark.parametrize("size", [(24, 17), (4, 6), (1, 1), (2, 30)])
def test_hints_are_the_means_of_patches_and_the_last_is_on_top(size: tuple[int, int]) -> None:
    chroma = 30 * torch.randn(6, 2, *size)
    for patches in (
        random_patches(6, size, (1, 9), seeded(), CPU),
        uniform_patches(6, 15, size, (1, 5), seeded(), CPU),
    ):
        wanted = revealed(chroma, patches)
        found = reveal(chroma, patches)
        assert found.dtype == torch.float32
        assert found.shape == (6, 3, *size)
        assert set(found[:, 2].unique().tolist()) <= {0.0, 1.0}
        np.testing.assert_array_equal(found[:, 2], wanted[:, 2])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)


def test_of_two_patches_that_overlap_the_later_wins() -> None:
    chroma = torch.arange(32.0).view(1, 2, 4, 4)
    small, large = [1, 1, 1], [0, 0, 4]
    under, over = (reveal(chroma, torch.tensor([order])) for order in ([small, large], [large, small]))
    assert (under[0, 0] == 7.5).all()
    assert over[0, :, 1, 1].tolist() == [5, 21, 1]
    assert (over[0, 0] == 7.5).sum() == 15


@pytest.mark.parametrize("patches", [torch.zeros(2, 0, 3), torch.zeros(2, 3, 3), torch.tensor([[[2, 2, 0]]] * 2)])
def test_without_patches_nothing_is_shown(patches: Tensor) -> None:
    hints = reveal(torch.randn(2, 2, 4, 5), patches.long())
    assert hints.shape == (2, 3, 4, 5)
    assert not hints.any()


def test_grey_is_a_hint_too() -> None:
    hints = reveal(torch.zeros(1, 2, 4, 4), torch.tensor([[[0, 0, 2]]]))
    assert hints[:, 2].sum() == 4
    assert reduced(hints, (2, 2))[0, 2].tolist() == [[1, 0], [0, 0]]


def test_a_share_of_images_is_shown_whole_and_another_without_hints() -> None:
    images, whole_share, none_share = 8000, 0.1, 0.3
    chroma, hints = torch.randn(images, 2, 2, 3), random_hints(images, 2, 3, 0.3)
    hints[:, 2, 0, 0] = 1  # every image has a hint
    found = some_otherwise(hints, chroma, whole_share, none_share, seeded())
    whole = (found[:, 2] == 1).flatten(1).all(dim=1) & (found[:, :2] == chroma).flatten(1).all(dim=1)
    none = (found == 0).flatten(1).all(dim=1)
    assert torch.equal(found[~whole & ~none], hints[~whole & ~none])
    for chosen, share in ((whole, whole_share), (none, none_share)):
        assert chosen.double().mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / images))
    assert torch.equal(found, some_otherwise(hints, chroma, whole_share, none_share, seeded()))
    assert torch.equal(some_otherwise(hints, chroma, 0.0, 0.0, None), hints)
    assert torch.equal(
        some_otherwise(hints, chroma, 1.0, 0.0, None), torch.cat([chroma, torch.ones(images, 1, 2, 3)], dim=1)
    )


def test_no_hints_show_nothing() -> None:
    hints = no_hints(torch.rand(2, 1, 4, 5))
    assert hints.shape == (2, 3, 4, 5)
    assert not hints.any()


def test_a_side_of_a_persons_hint_is_a_thirty_fifth() -> None:
    sizes = {(176, 176): 5, (176, 400): 5, (400, 176): 5, (256, 341): 7, (1024, 2048): 29, (35, 35): 1, (2, 900): 1}
    assert {size: side_of_a_hint(size) for size in sizes} == sizes


# Two sets of hints, and fewer pixels


def test_of_two_sets_of_hints_the_first_wins() -> None:
    first, second = random_hints(2, 7, 9, 0.4), random_hints(2, 7, 9, 0.4)
    found = joined(first, second)
    for picture, y, x in np.ndindex(2, 7, 9):
        chosen = first if first[picture, 2, y, x] == 1 else second
        assert torch.equal(found[picture, :, y, x], chosen[picture, :, y, x])
    assert len({(int(a), int(b)) for a, b in zip(first[:, 2].flatten(), second[:, 2].flatten(), strict=True)}) == 4


@pytest.mark.parametrize("size", [(6, 4), (4, 3), (1, 1), (5, 7), (11, 8), (12, 5)])
@pytest.mark.parametrize("share", [0.08, 0.7])
def test_reduced_hints_are_the_means_of_those_within_a_pixel(size: tuple[int, int], share: float) -> None:
    hints = random_hints(2, 12, 8, share)
    found, wanted = reduced(hints, size), masked_means(hints, size)
    assert found.shape == (2, 3, *size)
    np.testing.assert_array_equal(found[:, 2], wanted[:, 2])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def test_hints_of_the_wanted_size_are_not_touched() -> None:
    hints = random_hints(2, 5, 6, 0.5)
    assert torch.equal(reduced(hints, (5, 6)), hints)


def test_no_hints_are_reduced_to_none() -> None:
    assert not reduced(torch.zeros(1, 3, 9, 9), (4, 2)).any()
