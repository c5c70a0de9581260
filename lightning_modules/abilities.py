"""What a method may have besides what every method promises."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class ExactLikelihood(Protocol):
    """What a method with an exact likelihood has besides."""

    likelihood_space: str
    """What was modelled: resolution, colour space and quantisation, without which bits/dim mean nothing."""

    def bits_per_dim(self, rgb: Tensor) -> Tensor:
        """-log2 p(chroma | luminance) per modelled value, (B,), of RGB in [0, 1], (B, 3, H, W)."""


def likelihood_of(method: object) -> ExactLikelihood | None:
    """The method, if it has an exact likelihood; one that could have, but lacks a part for it, has no space either."""
    return method if isinstance(method, ExactLikelihood) and method.likelihood_space else None


@runtime_checkable
class Reconstruction(Protocol):
    """What an autoregressive method has besides."""

    def reconstruct(self, rgb: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Redraw every pixel given the true colours before it: RGB in [0, 1], (B, 3, H, W), to the same."""
