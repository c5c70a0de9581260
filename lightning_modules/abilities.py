"""What a method may have besides what every method promises."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from lightning_modules.guidance import Guidance


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


@runtime_checkable
class Stylization(Protocol):
    """What a method has besides that can restyle a picture in colour."""

    def stylize(self, rgb: Tensor, guidance: Guidance) -> Tensor:
        """The picture, RGB in [0, 1], `(B, 3, H, W)`, with the colours of the guidance's reference, to the same."""


@runtime_checkable
class Divisible(Protocol):
    """What a method has besides whose networks can learn in runs of their own, for `lightning_modules.join`.

    The weights of a part, but for the first, all lie in the submodule of its name.
    """

    PARTS: ClassVar[tuple[str, ...]]
    """All parts that there are."""
    parts: tuple[str, ...]
    """Those that this module has."""

    @classmethod
    def joined_settings(cls, owners: Mapping[str, Self]) -> dict[str, Any]:
        """Hyper-parameters of a module with all parts, each as its owner has it.

        Raises:
            ValueError: If they do not fit together.
        """
