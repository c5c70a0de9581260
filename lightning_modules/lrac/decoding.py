"""From LRAC's predictions to colours (section 3.3, and the corrective step of appendix A).

A histogram is read at one place on [0, 1], where its bins are equal, by a `Rule`, or averaged over the colours that its
bins stand for. Predictions may be coarser than the picture. They are stretched to it a band of rows at a time, since at
full size the histograms of four megapixels take a gigabyte.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.color import full_precision, hue_chroma_to_rgb, lab_to_rgb, rgb_to_lab_luminance
from lightning_modules.lrac.targets import bin_centres, quantile_to_ab

CircularRule = Literal["sample", "sample_once", "mode", "expectation"]
"""What a circle or a plane has too: neither has a median."""
MarginalRule = Literal[CircularRule, "median", "median_centre"]
Rule = Literal[MarginalRule, "mode_edge"]
"""How a histogram becomes one value.

- `sample`: a bin is drawn for every pixel; `sample_once`: with the same uniform number for the whole picture.
- `mode`: the middle of the fullest bin; `mode_edge`: its lower edge, so that chroma can be 0 (the authors' code).
- `median`: interpolated inside its bin (the paper); `median_centre`: the middle of its bin (the authors' code).
- `expectation`: the mean, which on a circle is a direction (equation 4).
"""

LARGEST_BAND = 2**22
"""How many values of a prediction are stretched at a time."""


def read(histogram: Tensor, rule: Rule, level: Tensor) -> Tensor:
    """One place on [0, 1] for each histogram, by any rule but `expectation`.

    Args:
        histogram: `(B, K, H, W)`.
        rule: See `Rule`.
        level: Where the cumulative histogram is read, in (0, 1], `(B, H, W)` or broadcast to it.

    Returns:
        `(B, H, W)`.
    """
    bins = histogram.shape[1]
    if rule in ("mode", "mode_edge"):
        return (histogram.argmax(dim=1) + (0.5 if rule == "mode" else 0)) / bins
    cumulative = histogram.cumsum(dim=1)
    wanted = (level * cumulative[:, -1]).unsqueeze(1)
    index = (cumulative < wanted).sum(dim=1, keepdim=True)
    if rule != "median":
        return ((index + 0.5) / bins).squeeze(1)
    below = torch.where(index > 0, cumulative.gather(1, (index - 1).clamp(min=0)), 0)
    within = (wanted - below) / (cumulative.gather(1, index) - below)
    return ((index + within) / bins).squeeze(1)


def expectation(histogram: Tensor, values: Tensor) -> Tensor:
    """The mean of what the bins stand for, `(K,)`, under each histogram, `(B, K, H, W)`: `(B, H, W)`."""
    return (histogram * values.view(-1, 1, 1)).sum(dim=1)


def mean_direction(hue: Tensor) -> Tensor:
    """z of equation 4, complex `(B, H, W)`, of hue's histograms, `(B, K, H, W)`; its modulus is at most 1 / K."""
    bins = hue.shape[1]
    angle = 2 * math.pi * bin_centres(bins, hue.device)
    return torch.complex(expectation(hue, angle.cos()), expectation(hue, angle.sin())) / bins


def uncertainty(prediction: Tensor) -> Tensor:
    """How open the colour is: the entropy of hue times the chroma (section 4, Figure 9).

    Args:
        prediction: Of `HueChroma`, `(B, 2, K, h, w)`.

    Returns:
        `(B, 1, h, w)` in [0, 1]: the entropy is over its largest, log K, and the chroma is the median.
    """
    hue, chroma = prediction.unbind(1)
    entropy: Tensor = torch.special.entr(hue).sum(dim=1) / math.log(hue.shape[1])
    return (entropy * read(chroma, "median", hue.new_tensor(0.5))).unsqueeze(1)


def correct_lightness(rgb: Tensor, lightness: Tensor) -> Tensor:
    """Add to all three channels what the lightness lacks, and clip to [0, 1] (appendix A).

    The lightness is then exactly the one that was wanted, except where a channel is clipped.

    Args:
        rgb: `(B, 3, H, W)`.
        lightness: (R + G + B) / 3 as it should be, `(B, 1, H, W)`.
    """
    return (rgb + lightness - rgb.mean(dim=1, keepdim=True)).clamp(0, 1)


def stretched_rows(prediction: Tensor, rows: Tensor, size: tuple[int, int]) -> Tensor:
    """Some rows of a prediction stretched bilinearly to a picture's size, as `F.interpolate` stretches all of it.

    Args:
        prediction: `(B, axes, K, h, w)`, over the whole picture.
        rows: Which of the picture's rows, `(R,)`.
        size: The picture's height and width.

    Returns:
        `(B, axes, K, R, W)`.
    """
    height = prediction.shape[3]
    position = ((rows + 0.5) * (height / size[0]) - 0.5).clamp(0, height - 1)
    lower = position.long()
    upper = (lower + 1).clamp(max=height - 1)
    weight = (position - lower).to(prediction.dtype).view(-1, 1)
    lines = torch.lerp(prediction.index_select(3, lower), prediction.index_select(3, upper), weight)
    stretched: Tensor = F.interpolate(lines.flatten(1, 2), (len(rows), size[1]), mode="bilinear", align_corners=False)
    return stretched.view(*prediction.shape[:3], *stretched.shape[2:])


class Decoder:
    """What the decoders of the four heads have in common."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """How each of the head's distributions is read."""
        raise NotImplementedError

    @property
    def stochastic(self) -> bool:
        """Whether two draws differ."""
        return any(rule in ("sample", "sample_once") for rule in self.rules)

    def colors(self, prediction: Tensor, lightness: Tensor, levels: list[Tensor]) -> Tensor:
        """RGB `(B, 3, H, W)`, before its lightness is corrected.

        Args:
            prediction: `(B, axes, K, H, W)`, as large as the picture.
            lightness: `(B, 1, H, W)`.
            levels: For each of `rules`, what `read` wants.
        """
        raise NotImplementedError

    def levels(self, lightness: Tensor, generator: torch.Generator | None) -> list[Tensor]:
        """Where to read each cumulative histogram: at random in (0, 1], or half way up; broadcast to `(B, H, W)`."""
        batch, _, height, width = lightness.shape
        shapes = {"sample": (batch, height, width), "sample_once": (batch, 1, 1)}
        return [
            1 - torch.rand(shapes[rule], generator=generator, device=lightness.device, dtype=lightness.dtype)
            if rule in shapes
            else lightness.new_full((1, 1, 1), 0.5)
            for rule in self.rules
        ]

    @full_precision
    def decode(self, prediction: Tensor, lightness: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Colour pictures.

        Args:
            prediction: What the head's `prediction` returned, of any size that covers the whole picture,
                `(B, axes, K, h, w)`.
            lightness: (R + G + B) / 3 of the pictures, in [0, 1], `(B, 1, H, W)`.
            generator: Source of randomness, on the prediction's device.

        Returns:
            RGB in [0, 1], `(B, 3, H, W)`, with that lightness wherever no channel is clipped.
        """
        height, width = lightness.shape[2:]
        levels = [level.expand(-1, height, -1) for level in self.levels(lightness, generator)]
        values_in_a_row = prediction[..., 0, 0].numel() * width
        bands = []
        for rows in torch.arange(height, device=lightness.device).split(max(1, LARGEST_BAND // values_in_a_row)):
            band = slice(int(rows[0]), int(rows[-1]) + 1)
            wanted = lightness[:, :, band]
            stretched = stretched_rows(prediction, rows, (height, width))
            colors = self.colors(stretched, wanted, [level[:, band] for level in levels])
            bands.append(correct_lightness(colors, wanted))
        return torch.cat(bands, dim=2)


@dataclass(frozen=True)
class HueChromaDecoder(Decoder):
    """Of `HueChroma`.

    Attributes:
        hue: The rule for hue.
        chroma: The rule for chroma.
        fading: eta of chromatic fading: chroma is multiplied by min(|z| / eta, 1), whatever the rules (the paper prints
            max). z contains 1 / K, so that 0.03 belongs to 32 bins. 0 is no fading.
        boost: What chroma is multiplied by besides.

    Raises:
        ValueError: Of a rule that the distribution does not have, or a number below 0.
    """

    hue: CircularRule = "expectation"
    chroma: Rule = "median"
    fading: float = 0.03
    boost: float = 1.0

    def __post_init__(self) -> None:
        check_rule("hue", self.hue, get_args(CircularRule))
        check_rule("chroma", self.chroma, get_args(Rule))
        if self.fading < 0 or self.boost < 0:
            raise ValueError(f"fading and boost are at least 0, not {self.fading} and {self.boost}")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """See `Decoder`."""
        return self.hue, self.chroma

    def colors(self, prediction: Tensor, lightness: Tensor, levels: list[Tensor]) -> Tensor:
        """See `Decoder`; the bicone's lightness is taken to be (R + G + B) / 3."""
        hue_histogram, chroma_histogram = prediction.unbind(1)
        z = mean_direction(hue_histogram)
        hue = read(hue_histogram, self.hue, levels[0]) if self.hue != "expectation" else z.angle() / (2 * math.pi) % 1
        if self.chroma == "expectation":
            chroma = expectation(chroma_histogram, bin_centres(prediction.shape[2], prediction.device))
        else:
            chroma = read(chroma_histogram, self.chroma, levels[1])
        if self.fading:
            chroma = chroma * (z.abs() / self.fading).clamp(max=1)
        return hue_chroma_to_rgb(lightness, torch.stack([hue, self.boost * chroma], dim=1))


@dataclass(frozen=True)
class LabMarginalDecoder(Decoder):
    """Of `LabMarginal`.

    Attributes:
        ab: The rule for a and for b.

    Raises:
        ValueError: Of a rule that they do not have.
    """

    ab: MarginalRule = "expectation"

    def __post_init__(self) -> None:
        check_rule("ab", self.ab, get_args(MarginalRule))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """See `Decoder`."""
        return self.ab, self.ab

    def colors(self, prediction: Tensor, lightness: Tensor, levels: list[Tensor]) -> Tensor:
        """See `Decoder`."""
        if self.ab == "expectation":
            values = quantile_to_ab(bin_centres(prediction.shape[2], prediction.device))
            ab = [expectation(histogram, values) for histogram in prediction.unbind(1)]
        else:
            histograms = zip(prediction.unbind(1), levels, strict=True)
            ab = [quantile_to_ab(read(histogram, self.ab, level)) for histogram, level in histograms]
        return lightness_and_ab_to_rgb(lightness, torch.stack(ab, dim=1))


@dataclass(frozen=True)
class LabJointDecoder(Decoder):
    """Of `LabJoint`.

    Attributes:
        ab: The rule for both together.

    Raises:
        ValueError: Of a rule that they do not have.
    """

    ab: CircularRule = "expectation"

    def __post_init__(self) -> None:
        check_rule("ab", self.ab, get_args(CircularRule))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """See `Decoder`."""
        return (self.ab,)

    def colors(self, prediction: Tensor, lightness: Tensor, levels: list[Tensor]) -> Tensor:
        """See `Decoder`."""
        cells = prediction.shape[2]
        along_axis = quantile_to_ab(bin_centres(math.isqrt(cells), prediction.device))
        representatives = torch.cartesian_prod(along_axis, along_axis)
        histogram = prediction.squeeze(1)
        if self.ab == "expectation":
            ab = torch.stack([expectation(histogram, values) for values in representatives.unbind(1)], dim=1)
        else:
            cell = (cells * read(histogram, self.ab, levels[0])).long()
            ab = representatives[cell].movedim(-1, 1)
        return lightness_and_ab_to_rgb(lightness, ab)


@dataclass(frozen=True)
class LabL2Decoder(Decoder):
    """Of `LabL2`, which leaves no choice."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """See `Decoder`."""
        return ()

    def colors(self, prediction: Tensor, lightness: Tensor, levels: list[Tensor]) -> Tensor:
        """See `Decoder`."""
        return lightness_and_ab_to_rgb(lightness, prediction.squeeze(2))


def check_rule(name: str, rule: str, rules: tuple[str, ...]) -> None:
    """Refuse a rule that is not among those that there are.

    Raises:
        ValueError: If it is not.
    """
    if rule not in rules:
        raise ValueError(f"{name} is one of {', '.join(rules)}, not {rule}")


def lightness_and_ab_to_rgb(lightness: Tensor, ab: Tensor) -> Tensor:
    """RGB of Lab a and b, `(B, 2, H, W)`, with the L of the grey picture of this lightness, `(B, 1, H, W)`.

    LRAC's lightness is not Lab's: `correct_lightness` makes good the difference.
    """
    luminance = rgb_to_lab_luminance(lightness.expand(-1, 3, -1, -1))
    return lab_to_rgb(torch.cat([luminance, ab], dim=1))
