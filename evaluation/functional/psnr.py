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
    return psnr_of_mean_square((prediction - truth).square_().mean(dim=(1, 2, 3)))


def psnr_of_mean_square(error: Tensor) -> Tensor:
    """`psnr` of pictures' mean squared errors, (B,)."""
    return (-10 * error.log10()).clamp(max=HIGHEST_PSNR)


def psnr_geometric_mean(values: Tensor) -> Tensor:
    """The geometric mean of a set's PSNRs, which Cheng et al. 2015 report and Larsson et al. 2016 for SUN-A.

    Args:
        values: PSNR of each picture in dB, (N,).

    Returns:
        A float64 scalar, in dB; 0 if one picture's is.

    Raises:
        ValueError: If there is no value, or a negative one.
    """
    if not len(values):
        raise ValueError("no picture was scored, so there is no PSNR to average; check the set and its exclusions")
    if not (values >= 0).all():
        raise ValueError(f"a PSNR of {values.min().item():.2f} dB has no geometric mean; are the pictures in [0, 1]?")
    return values.double().log().mean().exp()
