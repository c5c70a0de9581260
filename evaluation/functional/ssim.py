"""Structural similarity (Wang et al. 2004)."""

from torch import Tensor

from evaluation.functional.precision import exact_convolutions
from lightning_modules.color import full_precision

WINDOW = 11
"""Pixels a side of the Gaussian window, whose standard deviation is 1.5."""


@full_precision
def ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """SSIM of each picture, the mean over R, G and B and over all pixels.

    Args:
        prediction: RGB in [0, 1], (B, 3, H, W).
        truth: RGB in [0, 1], (B, 3, H, W).

    Returns:
        (B,), 1 for the truth itself, below 0 for one that is anti-correlated. Borders are mirrored and count;
        scikit-image leaves them out.

    Raises:
        ValueError: If a side is under 11 pixels.
    """
    if min(truth.shape[2:]) < WINDOW:
        raise ValueError(f"SSIM wants pictures of at least {WINDOW} pixels a side, not {min(truth.shape[2:])}")
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds

    with exact_convolutions():
        similarity = structural_similarity_index_measure(prediction, truth, data_range=1.0, reduction="none")
    assert isinstance(similarity, Tensor)  # a pair only where the full picture is asked for
    return similarity
