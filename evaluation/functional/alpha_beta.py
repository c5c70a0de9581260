"""RMSE in alpha-beta, as Larsson et al. 2016 report it (section 5.1, equation 9; after Deshpande et al. 2015)."""

from torch import Tensor

from lightning_modules.color import rgb_to_alpha_beta


def rmse_alpha_beta(prediction: Tensor, truth: Tensor) -> Tensor:
    """The error as it was published: each pixel's root mean square over alpha and beta, averaged over the picture.

    Equation 9 prints the norm (see `rmse_alpha_beta_norm`), but only with the division by the two channels does
    "no colourisation" come near the published 0.333 and 0.343.

    Args:
        prediction: RGB in [0, 1], (B, 3, H, W).
        truth: RGB in [0, 1], (B, 3, H, W).

    Returns:
        (B,), averages of pixels; the published figure averages over all pixels of all pictures.
    """
    return rmse_alpha_beta_norm(prediction, truth) / 2**0.5


def rmse_alpha_beta_norm(prediction: Tensor, truth: Tensor) -> Tensor:
    """The error as equation 9 prints it: the norm of each pixel's (alpha, beta) error, averaged over the picture."""
    return alpha_beta_distance(prediction, truth).mean(dim=(1, 2))


def alpha_beta_distance(prediction: Tensor, truth: Tensor) -> Tensor:
    """The norm of each pixel's (alpha, beta) error: (B, H, W) of RGB in [0, 1], (B, 3, H, W)."""
    squares = rgb_to_alpha_beta(prediction).sub_(rgb_to_alpha_beta(truth)).square_()
    return squares[:, 0].add_(squares[:, 1]).sqrt_()
