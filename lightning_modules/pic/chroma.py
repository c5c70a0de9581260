"""PIC's tensors: normalised Lab, chroma at a fraction of the resolution, and the way back (section 3.1 and 3.3)."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.color import lab_to_rgb, rgb_to_lab, to_float, to_uint8
from lightning_modules.upsampling import enlarge_chroma

Canvas = Literal["rgb", "ab"]
ChromaFilter = Literal["stride", "area"]
Upsampling = Literal["phase", "corner", "guided"]

CANVAS_CHANNELS: dict[Canvas, int] = {"rgb": 3, "ab": 2}


class ChromaPicture(NamedTuple):
    """A batch of pictures on the chroma grid, all normalised: the regressor, what the network sees, and the target."""

    luminance: Tensor
    canvas: Tensor
    chroma: Tensor


def normalize_luminance(luminance: Tensor) -> Tensor:
    """L in 0..100 to [-1, 1]."""
    return (luminance - 50) / 50


def normalize_chroma(ab: Tensor) -> Tensor:
    """`(B, 2, ...)` with a in -127..128 and b in -128..127 to [-1, 1]; one Lab unit is 2/255."""
    return torch.cat([ab[:, :1] - 0.5, ab[:, 1:] + 0.5], dim=1) / 127.5


def denormalize_chroma(chroma: Tensor) -> Tensor:
    """The inverse of `normalize_chroma`."""
    return torch.cat([127.5 * chroma[:, :1] + 0.5, 127.5 * chroma[:, 1:] - 0.5], dim=1)


@dataclass(frozen=True)
class ChromaGrid:
    """The grid on which chroma is modelled, and the choices on which the paper's text and code differ.

    Attributes:
        factor: Chroma subsampling.
        canvas: Whether earlier pixels are seen as RGB (the authors' code) or as ab (the paper's text).
        chroma_filter: Whether the grid takes every factor-th pixel (`stride`, the authors' code) or block means
            (`area`).
        round_ab: Whether chroma takes the 256 whole values of a and of b, which makes the likelihood a discrete
            one; the authors model the unrounded values.
        upsampling: Whether a sample returns to where it was taken (`phase`), or the grid is stretched corner to corner
            (`corner`, the authors' code), which shifts colour by up to `factor - 1` pixels; or whether it returns there
            and luminance guides the rest (`guided`, see `enlarge_chroma`).
    """

    factor: int
    canvas: Canvas = "rgb"
    chroma_filter: ChromaFilter = "stride"
    round_ab: bool = False
    upsampling: Upsampling = "phase"

    def __post_init__(self) -> None:
        for name, choices in (("canvas", Canvas), ("chroma_filter", ChromaFilter), ("upsampling", Upsampling)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} is one of {', '.join(get_args(choices))}, not {getattr(self, name)}")

    def picture(self, rgb: Tensor) -> ChromaPicture:
        """The regressor, canvas and target that RGB in [0, 1], `(B, 3, H, W)`, gives on the grid."""
        small = self.subsample(rgb)
        lab = rgb_to_lab(small)
        luminance, chroma = normalize_luminance(lab[:, :1]), normalize_chroma(lab[:, 1:])
        if self.canvas == "rgb" and not self.round_ab:
            return ChromaPicture(luminance, 2 * to_float(to_uint8(small)) - 1, chroma)
        return ChromaPicture(luminance, self.canvas_of(luminance, chroma), self.rounded(chroma))

    def subsample(self, picture: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, C, H / factor, W / factor)`."""
        if self.chroma_filter == "stride":
            return picture[:, :, :: self.factor, :: self.factor]
        return F.avg_pool2d(picture, self.factor)

    def rounded(self, chroma: Tensor) -> Tensor:
        """Normalised chroma, at the whole values of a and b if that is what is modelled."""
        return normalize_chroma(denormalize_chroma(chroma).round()) if self.round_ab else chroma

    def canvas_of(self, luminance: Tensor, chroma: Tensor) -> Tensor:
        """What the autoregressive network sees of pixels with this normalised luminance and chroma.

        As the authors do, an RGB canvas holds eight-bit colours inside the gamut, at sampling time as in training.
        With `round_ab` it holds the colours of the rounded chroma itself, so that the product of the conditionals is
        the likelihood of a discrete picture.

        Args:
            luminance: `(B, 1, H, W)`.
            chroma: `(B, 2, H, W)`.

        Returns:
            `(B, CANVAS_CHANNELS[canvas], H, W)` in [-1, 1].
        """
        chroma = self.rounded(chroma)
        if self.canvas == "ab":
            return chroma
        rgb = lab_to_rgb(torch.cat([50 * luminance + 50, denormalize_chroma(chroma)], dim=1))
        return 2 * (rgb if self.round_ab else to_float(to_uint8(rgb))).to(luminance.dtype) - 1

    def ab_of(self, canvas: Tensor) -> Tensor:
        """Lab a and b of what stands on a canvas: inside the gamut and of eight bits, if that is RGB."""
        return denormalize_chroma(canvas) if self.canvas == "ab" else rgb_to_lab((canvas + 1) / 2)[:, 1:]

    def upsample(self, picture: Tensor, size: tuple[int, int]) -> Tensor:
        """Bilinear interpolation from the grid, `(B, C, h, w)`, to a picture of any size, `(B, C, *size)`."""
        for dimension, wanted in zip((2, 3), size, strict=True):
            samples = picture.shape[dimension]
            position = self.positions(samples, wanted).to(picture)
            lower = position.long().clamp(max=max(samples - 2, 0))
            upper = (lower + 1).clamp(max=samples - 1)
            weight = (position - lower).view([-1 if axis == dimension else 1 for axis in range(4)])
            picture = torch.lerp(picture.index_select(dimension, lower), picture.index_select(dimension, upper), weight)
        return picture

    def positions(self, samples: int, pixels: int) -> Tensor:
        """Where on a grid of `samples` each of `pixels` reads, `(pixels,)` in [0, samples - 1], along one side."""
        pixel = torch.arange(pixels, dtype=torch.float64)
        if self.upsampling == "corner":
            return pixel * ((samples - 1) / max(pixels - 1, 1))
        first_pixel = 0 if self.chroma_filter == "stride" else (self.factor - 1) / 2
        model_pixel = (pixel + 0.5) * (samples * self.factor / pixels) - 0.5
        return ((model_pixel - first_pixel) / self.factor).clamp(0, samples - 1)

    def join(self, luminance: Tensor, ab: Tensor) -> Tensor:
        """RGB `(B, samples, 3, H, W)` of L `(B, 1, H, W)` and of ab on the grid, `(B * samples, 2, h, w)`."""
        draws = ab.unflatten(0, (len(luminance), -1)).unbind(1)
        pictures = [lab_to_rgb(torch.cat([luminance, self.enlarged(each, luminance)], dim=1)) for each in draws]
        return torch.stack(pictures, dim=1)

    def enlarged(self, ab: Tensor, luminance: Tensor) -> Tensor:
        """Chroma on the grid, `(B, 2, h, w)`, enlarged to the size of L, `(B, 1, H, W)`: `(B, 2, H, W)`."""
        if self.upsampling != "guided":
            return self.upsample(ab, (luminance.shape[2], luminance.shape[3]))
        centred = self.upsample(ab, (ab.shape[2], ab.shape[3]))  # each sample at the middle of what it stands for
        return enlarge_chroma(centred, luminance)
