"""Tests of enlarging chroma."""

import numpy as np
import pytest
import torch
from kornia.filters import guided_blur
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from lightning_modules.upsampling import EDGE, Upsampling, check_upsampling, enlarge_chroma, slopes


def random(*shape: int, seed: int = 0) -> Tensor:
    return 20 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def naive_slopes(chroma: NDArray[np.float64], luminance: NDArray[np.float64], epsilon: float) -> NDArray[np.float64]:
    """Equation 5 of He et al., pixel by pixel: chroma and luminance are `(h, w)`."""
    found = np.zeros_like(chroma)
    for row, column in np.ndindex(*chroma.shape):
        window = slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2)
        guide, values = luminance[window], chroma[window]
        found[row, column] = ((guide * values).mean() - guide.mean() * values.mean()) / (guide.var() + epsilon)
    return found


def naive_areas(luminance: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Means over equal areas whose sides divide the image's."""
    height, width = luminance.shape[0] // rows, luminance.shape[1] // columns
    return np.array(
        [
            [luminance[y * height : (y + 1) * height, x * width : (x + 1) * width].mean() for x in range(columns)]
            for y in range(rows)
        ]
    )


def test_slopes_are_the_guided_filters_by_a_naive_loop() -> None:
    chroma, luminance = random(2, 2, 5, 7).double(), 50 + random(2, 1, 5, 7, seed=1).double()
    found = slopes(chroma, luminance, 100)
    for image in range(2):
        for channel in range(2):
            wanted = naive_slopes(chroma[image, channel].numpy(), luminance[image, 0].numpy(), (100 * EDGE) ** 2)
            np.testing.assert_allclose(found[image, channel].numpy(), wanted, rtol=0, atol=1e-10)


def test_a_filter_of_these_slopes_is_kornias_guided_filter() -> None:
    """kornia smooths slope and offset once more; where both are constant, that changes nothing."""
    luminance = 50 + random(1, 1, 9, 9)
    chroma = 0.3 * luminance + 5
    filtered = guided_blur(luminance, chroma, 3, 1e-6)
    slope = slopes(chroma, luminance, 1e-3 / EDGE)
    torch.testing.assert_close(slope * luminance + 5, filtered, rtol=0, atol=1e-2)


def test_guided_is_interpolation_and_the_slope_times_the_detail() -> None:
    chroma, luminance = random(1, 2, 3, 4).double(), 50 + random(1, 1, 12, 20, seed=1).double()
    reduced = naive_areas(luminance[0, 0].numpy(), 3, 4)
    detail = luminance[0, 0] - interpolate(torch.from_numpy(reduced)[None, None], (12, 20), mode="bicubic")[0, 0]
    for channel in range(2):
        slope = naive_slopes(chroma[0, channel].numpy(), reduced, (100 * EDGE) ** 2)
        stretched = interpolate(torch.from_numpy(slope)[None, None], (12, 20), mode="bilinear")[0, 0]
        wanted = interpolate(chroma[:, channel : channel + 1], (12, 20), mode="bicubic")[0, 0] + stretched * detail
        torch.testing.assert_close(enlarge_chroma(chroma, luminance)[0, channel], wanted, rtol=0, atol=1e-10)


def test_colour_bleeds_over_a_step_edge_when_interpolated_and_not_when_guided() -> None:
    luminance, truth = torch.full((1, 1, 64, 64), 20.0), torch.zeros(1, 2, 64, 64)
    luminance[..., 37:], truth[..., 37:] = 80, 40  # not where two samples meet
    chroma = interpolate(truth, (8, 8), mode="area")
    errors = {
        how: (enlarge_chroma(chroma, luminance, how) - truth).abs()[..., 30:45].mean() / 40
        for how in ("guided", "bicubic", "bilinear")
    }
    assert errors["bicubic"] > 0.14
    assert errors["bilinear"] > 0.14
    assert errors["guided"] < 0.02


@pytest.mark.parametrize("how", ["guided", "bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("grid", "size"), [((2, 2), (2, 2)), ((1, 1), (2, 2)), ((1, 3), (33, 47)), ((8, 8), (5, 21)), ((32, 32), (2, 2))]
)
def test_constant_chroma_stays_constant_at_any_size(
    how: Upsampling, grid: tuple[int, int], size: tuple[int, int]
) -> None:
    chroma = torch.tensor([30.0, -20]).view(1, 2, 1, 1).expand(3, 2, *grid)
    enlarged = enlarge_chroma(chroma, 50 + random(3, 1, *size), how)
    torch.testing.assert_close(enlarged, chroma[..., :1, :1].expand(3, 2, *size), rtol=0, atol=1e-3)


def test_chroma_of_full_size_is_returned_unchanged() -> None:
    chroma = random(1, 2, 6, 7)
    assert enlarge_chroma(chroma, random(1, 1, 6, 7)) is chroma


def test_the_unit_of_luminance_does_not_matter() -> None:
    chroma, luminance = random(1, 2, 4, 4), 50 + random(1, 1, 16, 16, seed=1)
    torch.testing.assert_close(
        enlarge_chroma(chroma, luminance / 100, white=1), enlarge_chroma(chroma, luminance), rtol=0, atol=1e-2
    )


def test_autocast_does_not_reach_it() -> None:
    chroma, luminance = random(1, 2, 4, 4), 50 + random(1, 1, 16, 16, seed=1)
    exact = enlarge_chroma(chroma, luminance)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        enlarged = enlarge_chroma(chroma, luminance)
    assert enlarged.dtype == torch.float32
    assert torch.equal(enlarged, exact)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.upsampling.*guided.*nearest"):
        check_upsampling("nearest")
