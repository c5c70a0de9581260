"""The transfer sub-net: an auto-encoder whose features are matched with a reference's on their way.

Xu et al., CVPR 2020, section 3.1 and Figure 2.
"""

from collections.abc import Callable, Collection
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.exemplar.encoder import LEVELS, Encoder, Skip, convolution
from lightning_modules.exemplar.matching import MATCHINGS, describe, match
from lightning_modules.resize import resized

PLACES = ("encoder", "skips", "decoder")
MULTIPLE = 16
"""Of which sides are: at stride 8 there must be two pixels for one to be reflected."""

Visit = Callable[[str, Tensor], Tensor]
"""What is done with the features at a place of this name: they come back changed, or as they are."""


class Decoder(nn.Module):
    """Back from relu4_1 to the picture, the encoder's levels in reverse order (Figure 2).

    Each level but the last enlarges its map and joins it with the skip of that size.

    Args:
        width: Of `Encoder`; 64 makes 5,053,507 weights and biases.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.before, self.after = nn.ModuleDict(), nn.ModuleDict()
        for level, (wide, narrow, layers) in {4: (8, 4, 3), 3: (4, 2, 1), 2: (2, 1, 1)}.items():
            wide, narrow = wide * width, narrow * width
            self.before[f"{level}"] = convolution(wide, narrow)
            joined = [convolution(channels * narrow, narrow) for channels in (3, 1, 1)[:layers]]
            self.after[f"{level}"] = nn.Sequential(*(part for each in joined for part in (each, nn.ReLU(inplace=True))))
        self.before["1"] = convolution(width, 3)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        self.to(memory_format=torch.channels_last)

    def level(self, number: int, features: Tensor, skip: Skip | None) -> Tensor:
        """The map of the level below, or, of level 1, the picture."""
        features = self.before[f"{number}"](features)
        if skip is None:
            return features
        both = (F.interpolate(each, scale_factor=2, mode="nearest") for each in (F.relu(features), skip.pooled))
        joined: Tensor = self.after[f"{number}"](torch.cat([*both, skip.detail], dim=1))
        return joined


class TransferNetwork(nn.Module):
    """Redraws a picture with the colours of a reference (section 3.1).

    Features are matched behind relu1_1 to relu4_1 (`encoder`), where they are pooled for the decoder (`skips`) and
    behind each of its levels (`decoder`), there with those that the reference itself has when it is redrawn.

    Args:
        width: Of `Encoder` and `Decoder`.
        matching: A key of `MATCHINGS`.
        matched_at: Which of `PLACES` (Figure 5).
        alpha: Share of matched features in what goes on; 0 leaves the picture as it is.

    Raises:
        ValueError: If there is no such matching or place, or no such share.
    """

    def __init__(
        self,
        width: int = 64,
        matching: Literal["adain", "wct"] = "adain",
        matched_at: Collection[str] = PLACES,
        alpha: float = 1.0,
    ) -> None:
        super().__init__()
        if matching not in MATCHINGS:
            raise ValueError(f"model.transfer.matching is one of {', '.join(MATCHINGS)}, not {matching}")
        if isinstance(matched_at, str) or not set(matched_at) <= set(PLACES):
            raise ValueError(f"model.transfer.matched_at={matched_at} is no list of {', '.join(PLACES)}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"model.transfer.alpha={alpha} lies outside 0 to 1")
        self.matching, self.matched_at, self.alpha = MATCHINGS[matching], frozenset(matched_at), alpha
        self.encoder, self.decoder = Encoder(width), Decoder(width)
        self.encoder.requires_grad_(False)

    def encode(self, rgb: Tensor, visit: Visit) -> tuple[Tensor, list[Skip | None]]:
        """relu4_1 and the skips, the picture's own size first."""
        features, skips = self.encoder.normalized(rgb), []
        for number in LEVELS:
            features, skip = self.encoder.level(number, features)
            skips.append(skip and Skip(skip.detail, visit(f"skips {number}", skip.pooled)))
            features = visit(f"encoder {number}", features)
        return features, skips

    def decode(self, features: Tensor, skips: list[Skip | None], visit: Visit) -> Tensor:
        """The picture, `(B, 3, H, W)`, not clipped; the list of skips is emptied, as they are large."""
        for number in reversed(LEVELS):
            features = self.decoder.level(number, features, skips.pop())
            if number > 1:
                features = visit(f"decoder {number - 1}", features)
        return features

    def reconstruct(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """The picture redrawn as it is, which the decoder learns, not clipped; and relu4_1 of the picture.

        Args:
            rgb: In [0, 1], `(B, 3, H, W)`, of sides that are multiples of 16.
        """
        features, skips = self.encode(rgb, unchanged)
        return self.decode(features, skips, unchanged), features

    def describe(self, reference: Tensor, labels: Tensor | None) -> dict[str, Any]:
        """What is kept of a reference, of sides that are multiples of 16, as its labels': statistics at each place."""
        found = {}

        def note(place: str, features: Tensor) -> Tensor:
            if place.split()[0] in self.matched_at:
                found[place] = describe(self.matching, features, labels)
            return features

        encoded = self.encode(reference, note)
        if "decoder" in self.matched_at:
            self.decode(*encoded, note)
        return found

    def forward(
        self,
        content: Tensor,
        reference: Tensor,
        labels: Tensor | None = None,
        reference_labels: Tensor | None = None,
    ) -> Tensor:
        """The content with the colours of the reference.

        Args:
            content: RGB in [0, 1], `(B, 3, H, W)`, of any size.
            reference: RGB in [0, 1], `(B, 3, h, w)`, of any size.
            labels: Segmentation of the content, int64, `(B, H, W)`, if features are to be matched label by label.
            reference_labels: Of the reference, `(B, h, w)`.

        Returns:
            RGB in [0, 1], `(B, 3, H, W)`, in float32 even under autocast.
        """
        height, width = content.shape[2:]
        rows, columns = (max(1, round(side / MULTIPLE)) * MULTIPLE for side in reference.shape[2:])
        reference = resized(reference, (rows, columns))  # padded, its border would count more than it shows
        if labels is None or reference_labels is None:
            labels = reference_labels = None
        else:
            labels, reference_labels = laid_over(content, labels), laid_over(reference, reference_labels)
        described = self.describe(reference, reference_labels)

        def blend(place: str, features: Tensor) -> Tensor:
            if place not in described:
                return features
            matched = match(self.matching, features, described[place], labels)
            if self.alpha < 1:
                matched = torch.lerp(features.float(), matched, self.alpha)
            return matched.to(features.dtype)

        redrawn = self.decode(*self.encode(padded(content), blend), blend)
        return redrawn.float()[:, :, :height, :width].clamp(0, 1)


def unchanged(_: str, features: Tensor) -> Tensor:
    """The features as they are."""
    return features


def padded(pixels: Tensor) -> Tensor:
    """`(B, C, H, W)` of any type, to sides that are multiples of 16, by repeating the last column and row."""
    height, width = pixels.shape[2:]
    return F.pad(pixels.float(), (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")


def laid_over(picture: Tensor, labels: Tensor) -> Tensor:
    """Labels, `(B, H, W)` of any size, for each pixel of a picture, `(B, C, h, w)`, once it is padded."""
    nearest = F.interpolate(labels.unsqueeze(1).float(), picture.shape[2:], mode="nearest-exact")
    return padded(nearest)[:, 0].long()
