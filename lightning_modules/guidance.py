"""What a person can tell a method."""

from dataclasses import dataclass, fields

from torch import Tensor


@dataclass(frozen=True)
class Guidance:
    """What a person can tell a method about the colours that are wanted.

    Attributes:
        reference: A picture whose colours to follow, RGB in [0, 1], `(B, 3, h, w)`.
        hints: Chroma at chosen pixels and where, Lab a, b and a mask of 0 and 1, `(B, 3, H, W)`.
        labels: Segmentation of the picture, int64, `(B, H, W)`.
        reference_labels: Segmentation of the reference, with the same numbers, int64, `(B, h, w)`.
        histogram: Colour histogram to match, normalised, `(B, K)`.
    """

    reference: Tensor | None = None
    hints: Tensor | None = None
    labels: Tensor | None = None
    reference_labels: Tensor | None = None
    histogram: Tensor | None = None

    def given(self) -> frozenset[str]:
        """The names of the kinds of guidance that are present."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) is not None)
