"""Welsh: Transferring Color to Greyscale Images, as a LightningModule."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lightning_modules.color import full_precision, lab_to_rgb, rgb_to_lab, rgb_to_lab_luminance
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance

PIXELS_AT_ONCE = 2**14
"""Whose distances to all samples are in memory together."""
SMALLEST_DEVIATION = 1e-3
"""Of a luminance in 0..100: less is rounding, which a remapping must not stretch to a contrast."""


class Welsh(Colorizer):
    """Each pixel takes the chroma of the pixel of a reference that is most like it: the global matching of section 3.1.

    It learns nothing. Luminance and chroma are CIELab's here, and l-alpha-beta's in the paper.

    Args:
        resolution: Side in pixels of the squares that a run scores it on; it colours any size.
        samples: How many pixels of the reference there are to choose from, about.
        neighbourhood: Side of the window in which luminance deviates, in pixels, odd.

    Raises:
        ValueError: If there are no samples, or the window has no pixel at its middle.
    """

    stochastic = True
    accepts = requires = frozenset({"reference"})

    def __init__(self, *, resolution: int, samples: int = 200, neighbourhood: int = 5) -> None:
        super().__init__()
        self.save_hyperparameters()
        if samples < 1:
            raise ValueError(f"model.samples is at least 1, not {samples}")
        if neighbourhood < 1 or neighbourhood % 2 == 0:
            raise ValueError(f"model.neighbourhood is an odd number of pixels, not {neighbourhood}")
        self.samples, self.neighbourhood = samples, neighbourhood
        self.automatic_optimization = False  # for which Lightning would miss a loss

    def luminance(self, rgb: Tensor) -> Tensor:
        """CIELab's L in 0..100."""
        return rgb_to_lab_luminance(rgb)

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: torch.Generator | None) -> Tensor:
        """Transfer colours from pixels of the reference that are chosen anew for each draw."""
        assert guidance.reference is not None
        pairs = zip(luminance, guidance.reference, strict=True)
        return torch.stack([self.transfer(grey, reference, samples, generator) for grey, reference in pairs])

    def transfer(self, luminance: Tensor, reference: Tensor, samples: int, generator: torch.Generator | None) -> Tensor:
        """RGB `(samples, 3, H, W)` of one picture, L `(1, H, W)`, after one reference, RGB `(3, h, w)`."""
        known_luminance, known_chroma = rgb_to_lab(reference).tensor_split([1])
        known = statistics(remapped(known_luminance, luminance), self.neighbourhood)
        wanted = statistics(luminance, self.neighbourhood)
        drawn = []
        for _ in range(samples):
            chosen = jittered_grid(reference.shape[1:], self.samples, generator, reference.device)
            chroma = known_chroma.flatten(1)[:, chosen[most_alike(wanted, known[chosen])]]
            drawn.append(lab_to_rgb(torch.cat([luminance, chroma.view(2, *luminance.shape[1:])])))
        return torch.stack(drawn)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Nothing to learn."""

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Nothing to log."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """No optimiser."""
        return []  # of None, Lightning would warn


@full_precision
def remapped(luminance: Tensor, like: Tensor) -> Tensor:
    """Luminance scaled and shifted to the mean and standard deviation of another's (section 3.1), of any shapes.

    A flat luminance becomes the other's mean.
    """
    variance, mean = torch.var_mean(luminance.double(), correction=0)
    wanted_variance, wanted_mean = torch.var_mean(like.double(), correction=0)
    scale = wanted_variance.sqrt() / variance.sqrt().clamp(min=SMALLEST_DEVIATION)
    return ((luminance - mean) * scale + wanted_mean).to(luminance.dtype)


@full_precision
def statistics(luminance: Tensor, neighbourhood: int) -> Tensor:
    """What pixels are compared by: luminance, and its standard deviation in a square window (section 3.1).

    At the border, the window holds the pixels that there are.

    Args:
        luminance: `(1, H, W)`.
        neighbourhood: Side of the window, odd.

    Returns:
        `(H * W, 2)`.
    """
    powers = torch.stack([luminance.double(), luminance.double().square()])  # float32 would lose small deviations
    mean, square = F.avg_pool2d(powers, neighbourhood, 1, neighbourhood // 2, count_include_pad=False)
    deviation = (square - mean.square()).clamp(min=0).sqrt().to(luminance.dtype)
    return torch.stack([luminance.flatten(), deviation.flatten()], dim=1)


def jittered_grid(size: Sequence[int], samples: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """A pixel at a random place in each cell of a grid, its cells about square, over a picture (section 3.1).

    Args:
        size: Height and width of the picture.
        samples: Cells, about; no more than one to a row or column of pixels.
        generator: On `device`.
        device: Where.

    Returns:
        The pixels' numbers in raster order, `(rows * columns,)`.
    """
    height, width = size
    rows = min(height, samples, max(1, round(math.sqrt(samples * height / width))))
    columns = min(width, max(1, round(samples / rows)))
    jitter = torch.rand(2, rows, columns, generator=generator, device=device, dtype=torch.float64)
    y = (torch.arange(rows, device=device).unsqueeze(1) + jitter[0]) * height / rows
    x = (torch.arange(columns, device=device) + jitter[1]) * width / columns
    return (y.long() * width + x.long()).flatten()


@full_precision
def most_alike(wanted: Tensor, known: Tensor) -> Tensor:
    """For each pixel, the number of the sample that it is nearest to, `(N,)`, of statistics `(N, 2)` and `(M, 2)`.

    The paper weighs the differences of luminance and of deviation by half each, which is to compare their sums.
    """
    return torch.cat([torch.cdist(part, known, p=1).argmin(dim=1) for part in wanted.split(PIXELS_AT_ONCE)])
