"""One walk over the pixels of a picture and its samples, which sums up what most measures of colour follow from.

`evaluation.functional` has the same measures in torch, one after another, of any floating pictures. Here pictures have
eight bits, and each block of their pixels is converted, compared and counted while the processor's cache holds it.
Equal colours have equal values wherever they stand.

Every processor finds the same sums, to the last bit: of floating numbers no compiled loop is `fastmath`, which would
reorder sums by the width of the processor's vectors. Counts and sums of levels are integers, exact in any order.

numba compiles the walk when this module is first imported, and keeps the code beside this file or, where that cannot be
written, among the user's caches. It compiles anew when this file changes, and only then: touch the file after a change
to a constant that it imports.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numba import njit, types
from numpy import float32, float64, int32, int64, uint16
from torch import Tensor

from evaluation.functional.area_under_curve import COLORS, GRID, GRID_SIDE, LARGEST_DISTANCE
from evaluation.functional.error_distribution import ERROR_STEPS
from evaluation.functional.lab_histogram import LARGEST_AB, number_of_bins
from lightning_modules.color import ALPHA_BETA_EPSILON, rgb_to_linear_rgb

TRUTH, SAMPLE = 0, 1
BLOCK = 512
"""Pixels that are walked over at once."""
AREAS = np.clip(2 * LARGEST_DISTANCE + 1 - 2 * np.arange(LARGEST_DISTANCE + 2), 0, 2 * LARGEST_DISTANCE)
"""The area under a pixel's own curve, a step at its `threshold_index`, in halves: the trapezia leave one of them out.

A set's `area_under_curve` is the sum of these over all pixels by how many there are; the rebalanced one is the mean,
over the true colours that occur, of each colour's own quotient.
"""

LEVELS = torch.arange(256, dtype=torch.float64) / 255
LINEAR_LEVELS = rgb_to_linear_rgb(LEVELS.expand(3, 1, 256))[0, 0].float().numpy()
LINEAR_RGB_TO_YXZ = np.array(
    [
        [0.212671, 0.715160, 0.072169],
        [0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047],
        [0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883],
    ],
    dtype=float32,
)
"""Y, X and Z, each over that of the white of D65; coefficients and white as kornia and scikit-image take them."""
DARKEST = float32((6 / 29) ** 3)
"""Below it CIELab follows not the cube root, but its tangent."""
SLOPE = float32((29 / 6) ** 2 / 3)
THIRD = float32(1 / 3)
BITS_OF_INVERSE_ROOT = int32(0x54A21D2A)
"""From which a third of a number's bits are taken to have, within 7%, those of its inverse cube root."""

Function = TypeVar("Function", bound=Callable[..., Any])


class PixelSums(NamedTuple):
    """Sums over the pixels of S samples and of their truth, float64; where both have them, `of` is `TRUTH` or `SAMPLE`.

    Attributes:
        levels: Red, green and blue, 0..255, (S, of, 3).
        opponents: For twice red - green, and for red + green - 2 blue: they, their sizes and their squares,
            (S, of, 2, 3).
        saturation: C / sqrt(C^2 + L^2), (S, of).
        ab_counts: The histograms of a and b, (S, of, 2, bins).
        color_counts: How many true pixels have each `color_index`, (S, 529).
        squared_error: Over red, green and blue, 0..255, (S,).
        alpha_beta_error: The norms of the errors in alpha-beta, (S,).
        error_counts: How many of these are in each bin of `functional.error_distribution.error_counts`, (S, 102).
        distance_counts: How many pixels have each `threshold_index`, (S, 152).
        color_areas: The areas under the curves of each true colour's pixels, in halves as `AREAS`, (S, 529).
    """

    levels: Tensor
    opponents: Tensor
    saturation: Tensor
    ab_counts: Tensor
    color_counts: Tensor
    squared_error: Tensor
    alpha_beta_error: Tensor
    error_counts: Tensor
    distance_counts: Tensor
    color_areas: Tensor


def pixel_sums(samples: Tensor, truth: Tensor, bin_width: float) -> PixelSums:
    """The sums of a picture's samples beside it.

    Args:
        samples: Eight-bit RGB, uint8 (S, 3, H, W).
        truth: Eight-bit RGB, uint8 (1, 3, H, W).
        bin_width: Of the histograms of a and b, in Lab units.

    Raises:
        ValueError: If the bins do not fill the range.
    """
    pictures = [picture.flatten(1).cpu().contiguous().numpy() for picture in (*truth, *samples)]
    walks = [walk(pictures[0], sample, number_of_bins(bin_width)) for sample in pictures[1:]]
    return PixelSums(*(torch.from_numpy(np.array(sums, dtype=float64)) for sums in zip(*walks, strict=True)))


def compiled(signature: Any = None, **options: Any) -> Callable[[Function], Function]:
    """Have numba compile a function; where no folder can be written, every process does it again."""

    def decorate(function: Function) -> Function:
        try:
            found: Function = njit(signature, error_model="numpy", cache=True, **options)(function)
        except RuntimeError:
            found = njit(signature, error_model="numpy", **options)(function)
        return found

    return decorate


@compiled()
def root_or_tangent(value: Any) -> Any:
    """CIELab's function of Y, X and Z, plus 2 / 29, to 1e-7: Newton's steps towards 1 / root, then one to the root."""
    bright = float32(max(value, DARKEST))
    inverse = int32(BITS_OF_INVERSE_ROOT - int32(float32(bright.view(int32)) * THIRD)).view(float32)
    for _ in range(2):
        inverse *= float32(4 / 3) - THIRD * bright * inverse * inverse * inverse
    root = bright * inverse * inverse
    root += (bright - root * root * root) * inverse * inverse * THIRD
    return root + SLOPE * min(value, DARKEST)


@compiled()
def convert(rgb: Any, ab: Any, alpha_beta: Any, saturation: Any) -> None:
    """Fill in CIELab a and b, alpha and beta, and the saturation of a block, (3, N)."""
    for pixel in range(rgb.shape[1]):
        red, green, blue = LINEAR_LEVELS[rgb[0, pixel]], LINEAR_LEVELS[rgb[1, pixel]], LINEAR_LEVELS[rgb[2, pixel]]
        weights = LINEAR_RGB_TO_YXZ
        y = root_or_tangent(weights[0, 0] * red + weights[0, 1] * green + weights[0, 2] * blue)
        x = root_or_tangent(weights[1, 0] * red + weights[1, 1] * green + weights[1, 2] * blue)
        z = root_or_tangent(weights[2, 0] * red + weights[2, 1] * green + weights[2, 2] * blue)
        luminance, a, b = float32(116) * y - float32(24), float32(500) * (x - y), float32(200) * (y - z)
        ab[0, pixel], ab[1, pixel] = a, b
        chroma = a * a + b * b
        saturation[pixel] = np.sqrt(chroma / max(chroma + luminance * luminance, float32(1e-30)))  # 0 if black

        red, green, blue = float32(rgb[0, pixel]), float32(rgb[1, pixel]), float32(rgb[2, pixel])
        scale = float32(1) / ((red + green + blue) * THIRD + float32(255 * ALPHA_BETA_EPSILON))
        alpha_beta[0, pixel] = (blue - float32(0.5) * (red + green)) * scale
        alpha_beta[1, pixel] = (red - green) * scale


@compiled()
def measure_distance(first: Any, second: Any, distance: Any) -> None:
    """Fill in how far the points of a plane, (2, N), are apart."""
    for pixel in range(first.shape[1]):
        across, along = first[0, pixel] - second[0, pixel], first[1, pixel] - second[1, pixel]
        distance[pixel] = np.sqrt(across * across + along * along)


@compiled()
def round_up(values: Any, scale: Any, last: Any, bins: Any) -> None:
    """Fill in scaled values, rounded up, at most `last`."""
    for pixel in range(values.shape[0]):
        bins[pixel] = uint16(int32(min(np.ceil(values[pixel] * scale), last)))


@compiled()
def find_ab_bins(ab: Any, scale: Any, bins: Any) -> None:
    """Fill in the bins of a and of b, (2, N): `scale` is of how many to a Lab unit."""
    for axis in range(2):
        for pixel in range(ab.shape[1]):
            bins[axis, pixel] = uint16(int32((ab[axis, pixel] + float32(LARGEST_AB)) * scale))


@compiled()
def find_colors(ab: Any, colors: Any) -> None:
    """Fill in each pixel's `color_index`."""
    for pixel in range(ab.shape[1]):
        row, column = np.rint(ab[0, pixel] / float32(GRID)), np.rint(ab[1, pixel] / float32(GRID))
        colors[pixel] = uint16(int32(float32(GRID_SIDE) * row + column + float32(COLORS // 2)))


@compiled()
def total(levels: Any) -> Any:
    """Add up a block's levels."""
    found: Any = 0
    for pixel in range(levels.shape[0]):
        found += int64(levels[pixel])
    return found


@compiled()
def add_by_place(values: Any, sums: Any) -> None:
    """Add a block's values, each to the sum of its place in the block.

    One sum of all of them would wait for each addition to end, unless they were reordered; these do not.
    """
    for pixel in range(values.shape[0]):
        sums[pixel] += float64(values[pixel])


@compiled()
def add_opponent(first: Any, second: Any, third: Any, sums: Any) -> None:
    """Add first + second - 2 third of a block's levels, its size and its square: integers, exact in any order."""
    signed = size = square = 0
    for pixel in range(first.shape[0]):
        value: Any = int32(first[pixel]) + int32(second[pixel]) - 2 * int32(third[pixel])
        signed += value
        size += abs(value)
        square += value * value
    sums[0] += signed
    sums[1] += size
    sums[2] += square


@compiled()
def squared_error(first: Any, second: Any) -> Any:
    """Of two blocks, over red, green and blue."""
    found: Any = 0
    for channel in range(3):
        for pixel in range(first.shape[1]):
            found += (int64(first[channel, pixel]) - int64(second[channel, pixel])) ** 2
    return found


@compiled()
def count_ab(bins: Any, counts: Any) -> None:
    """Count a block's bins of a and of b."""
    for pixel in range(bins.shape[1]):
        counts[0, bins[0, pixel]] += 1
        counts[1, bins[1, pixel]] += 1


@compiled((types.uint8[:, ::1], types.uint8[:, ::1], types.int64))
def walk(truth: Any, sample: Any, bins: Any) -> Any:
    """What `PixelSums` holds, in its order, of one sample; of pictures as uint8 (3, N)."""
    levels, opponents = np.zeros((2, 3), int64), np.zeros((2, 2, 3), int64)
    ab_counts, color_counts = np.zeros((2, 2, bins), int64), np.zeros(COLORS, int64)
    squared, error_counts = np.zeros(1, int64), np.zeros(ERROR_STEPS + 2, int64)
    distance_counts, color_areas = np.zeros(LARGEST_DISTANCE + 2, int64), np.zeros(COLORS, int64)
    saturation, error = np.zeros((2, BLOCK)), np.zeros(BLOCK)  # by place in the block
    # Of a block
    ab, alpha_beta = np.empty((2, 2, BLOCK), float32), np.empty((2, 2, BLOCK), float32)
    values, ab_bins = np.empty(BLOCK, float32), np.empty((2, BLOCK), uint16)
    colors, errors, distances = np.empty(BLOCK, uint16), np.empty(BLOCK, uint16), np.empty(BLOCK, uint16)
    for start in range(0, truth.shape[1], BLOCK):
        blocks = truth[:, start : start + BLOCK], sample[:, start : start + BLOCK]
        size = blocks[0].shape[1]
        for of, rgb in enumerate(blocks):
            convert(rgb, ab[of], alpha_beta[of], values)
            add_by_place(values[:size], saturation[of])
            for channel in range(3):
                levels[of, channel] += total(rgb[channel])
            add_opponent(rgb[0], rgb[0], rgb[1], opponents[of, 0])
            add_opponent(rgb[0], rgb[1], rgb[2], opponents[of, 1])
            find_ab_bins(ab[of], float32(bins / (2 * LARGEST_AB)), ab_bins)
            count_ab(ab_bins[:, :size], ab_counts[of])
        find_colors(ab[TRUTH], colors)
        squared[0] += squared_error(*blocks)
        measure_distance(alpha_beta[TRUTH], alpha_beta[SAMPLE], values)
        add_by_place(values[:size], error)
        round_up(values, float32(ERROR_STEPS / 2**0.5), float32(ERROR_STEPS + 1), errors)
        measure_distance(ab[TRUTH], ab[SAMPLE], values)
        round_up(values, float32(1), float32(LARGEST_DISTANCE + 1), distances)
        for pixel in range(size):
            color_counts[colors[pixel]] += 1
            color_areas[colors[pixel]] += AREAS[distances[pixel]]
            error_counts[errors[pixel]] += 1
            distance_counts[distances[pixel]] += 1
    return (
        levels, opponents, np.array([saturation[TRUTH].sum(), saturation[SAMPLE].sum()]), ab_counts, color_counts,
        squared[0], error.sum(), error_counts, distance_counts, color_areas,
    )  # fmt: skip
