"""The 313 colours that CIC classifies into, and how a colour is spread over them (section 2.1)."""

import torch
from torch import Tensor

from lightning_modules.color import full_precision

STEP = 10
"""Side of a bin, in Lab units."""
NEIGHBOURS = 10
"""Bins over which one colour is spread: 10 in the authors' code; the paper's 5 is a misprint, as they say."""
SIGMA = 5.0
"""Standard deviation of that spread, in Lab units."""
GAMUT = {
    -90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100),
    -40: (-40, 100), -30: (-50, 100), -20: (-50, 100), -10: (-60, 100), 0: (-70, 100),
    10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90), 50: (-100, 80),
    60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0),
}  # fmt: skip
"""The least and the largest b of each a, both multiples of ten, in the order of the published `pts_in_hull.npy`.

No rule about the sRGB gamut gives the authors' set exactly. The corners of all cells of the grid that hold an eight-bit
sRGB colour give 309 of them; (40, 90), (100, -90), (100, -10) and (100, 0) are the other four.
"""


def bin_centres() -> Tensor:
    """The centres of the bins, Lab a and b, float32 `(313, 2)`, sorted by a and then b.

    >>> bin_centres().shape, bin_centres()[120].tolist()
    (torch.Size([313, 2]), [0.0, 0.0])
    """
    pairs = [(a, b) for a, (least, largest) in GAMUT.items() for b in range(least, largest + 1, STEP)]
    return torch.tensor(pairs, dtype=torch.float32)


@full_precision
def soft_encoded(chroma: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Spread colours over their nearest bins, by a Gaussian of their distances.

    Args:
        chroma: Lab a and b, `(B, 2, h, w)`.
        centres: Of the bins, `(Q, 2)`.

    Returns:
        The nearest bins, nearest first, int64 `(B, NEIGHBOURS, h, w)`, and each one's share, of the same shape, 1 in
        sum.
    """
    batch, _, height, width = chroma.shape
    colours = chroma.movedim(1, -1).reshape(-1, 2)  # (B h w, 2)
    distances, bins = torch.cdist(colours, centres).topk(NEIGHBOURS, dim=1, largest=False)  # (B h w, NEIGHBOURS)
    shares = torch.softmax(-distances.square() / (2 * SIGMA**2), dim=1)
    bins, shares = (each.view(batch, height, width, NEIGHBOURS).movedim(-1, 1) for each in (bins, shares))
    return bins, shares


def prior_of(chroma: Tensor, centres: Tensor) -> Tensor:
    """The share of each bin among colours that are spread over them, `(Q,)`, 1 in sum (section 2.2).

    Args:
        chroma: Lab a and b, `(B, 2, h, w)`.
        centres: Of the bins, `(Q, 2)`.
    """
    bins, shares = soft_encoded(chroma, centres)
    counts = torch.zeros(len(centres), dtype=torch.float64, device=chroma.device)
    counts.index_add_(0, bins.flatten(), shares.flatten().double())
    return counts / counts.sum()


def rebalancing_weights(prior: Tensor, uniform: float) -> Tensor:
    """What a pixel weighs in the loss, by its nearest bin, `(Q,)`: 1 in expectation (equation 4).

    Bins that never occur weigh nothing.

    Args:
        prior: The share of each bin in the training set, `(Q,)`.
        uniform: lambda, how much of a uniform distribution is mixed to the prior: 1 weighs all alike, 0 by the inverse
            of the prior alone.

    >>> rebalancing_weights(torch.tensor([0.8, 0.2]), uniform=0.0)
    tensor([0.6250, 2.5000])
    """
    occurring = prior > 0
    mixed = (1 - uniform) * prior + uniform * occurring / occurring.sum()
    weights = torch.where(occurring, 1 / mixed, 0.0)
    return weights / (prior * weights).sum()
