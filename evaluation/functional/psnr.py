"""Peak signal-to-noise ratio."""

from torch import Tensor

HIGHEST_PSNR = 100.0


def psnr(prediction: Tensor, truth: Tensor) -> Tensor:
    """PSNR in dB of each picture over its 3HW values, capped at 100 where a picture is reproduced exactly.

    Args:
        prediction: RGB in [0, 1], (B, 3, H, W).
        truth: RGB in [0, 1], (B, 3, H, W).

    Returns:
        (B,); Larsson et al. 2016 (section 5.1) report the arithmetic mean over pictures.
    """
    error = (prediction - truth).square().mean(dim=(1, 2, 3))
    return (-10 * error.log10()).clamp(max=HIGHEST_PSNR)
