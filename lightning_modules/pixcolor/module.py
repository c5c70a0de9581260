"""PixColor: Pixel Recursive Colorization, as a LightningModule."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, TypedDict

import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_modules.color import to_float
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance
from lightning_modules.pixcolor.chroma import BINS, bins_of, canvas_of, chroma_of, join, luminance_and_chroma
from lightning_modules.pixcolor.conditioning import ConditioningNetwork, begin_with_resnet, gradient_multiplier
from lightning_modules.pixcolor.pixelcnn import PixelCNN
from lightning_modules.pixcolor.refinement import RefinementNetwork
from lightning_modules.pixcolor.sampler import CachedDecoder, sample_bins
from lightning_modules.resize import resized_luminance
from lightning_modules.upsampling import Upsampling, check_upsampling

LONGEST_SIDE = 4
"""Of what the conditioning network sees, in units of the shorter; longer strips are squashed to it."""
REFINED_PIXELS = 2**21
"""At most: chroma of larger pictures is refined at this size, where 12 megapixels would want 4 GB, and stretched."""


class GradientMultiplier(TypedDict):
    """What gradients into the trunk are multiplied by `before` and `after` some training step (appendix, Table 2)."""

    before: float
    after: float
    step: int


class Optimization(TypedDict):
    """Adam's numbers."""

    learning_rate: float
    betas: list[float]
    epsilon: float


class PixColor(Colorizer):
    """A PixelCNN draws chroma at low resolution, and a second network refines it (section 3).

    The two learn apart: the refinement sees true chroma of low resolution, never samples. So a module may have one of
    them only, and `python -m lightning_modules.join` joins two such checkpoints.

    Args:
        resolution: Side in pixels of the squares it is trained on, and shorter side of what the PixelCNN sees.
        parts: Which networks there are: `pixelcnn`, with the conditioning network, and `refinement`.
        conditioning: Of `ConditioningNetwork`.
        pixelcnn: Of `PixelCNN`.
        refinement: Of `RefinementNetwork`.
        temperature: Divides the logits in sampling; 0 takes the most probable bin of each symbol.
        refined: Whether chroma is refined, or only stretched (the ablation of Figure 5).
        chroma: Whether low-resolution chroma is `drawn`, or is that of a `reference`, which should be the picture
            itself (the ablation of Figure 5).
        pretrained: Weights for the trunk to start with: torchvision's ResNet-101, a local .pth file, or a run of
            `pixcolor_coco`; None starts anew.
        gradient_multiplier: Of the trunk.
        optimization: Of Adam.
        upsampling: How chroma, refined or not, is enlarged to the image's size; see `enlarge_chroma`.

    Raises:
        ValueError: If there are no such parts, chroma or upsampling, a temperature is negative, or the resolution is no
            multiple of the stride.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("pixelcnn", "refinement")
    initialized: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        parts: Sequence[str],
        conditioning: Mapping[str, Any],
        pixelcnn: Mapping[str, Any],
        refinement: Mapping[str, Any],
        temperature: float,
        refined: bool,
        chroma: Literal["drawn", "reference"],
        pretrained: str | None,
        gradient_multiplier: GradientMultiplier,
        optimization: Optimization,
        upsampling: Upsampling = "bilinear",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if isinstance(parts, str) or not parts or not set(parts) <= set(self.PARTS):
            raise ValueError(
                f"model.parts={parts} is no list of {' and '.join(self.PARTS)}; give model.parts=[pixelcnn], say"
            )
        if chroma not in ("drawn", "reference"):
            raise ValueError(f"model.chroma is drawn or reference, not {chroma}")
        if chroma == "drawn" and "pixelcnn" not in parts:
            raise ValueError("a refinement alone draws nothing; give it model.chroma=reference")
        if temperature < 0:
            raise ValueError(f"model.temperature={temperature} is less than 0")
        check_upsampling(upsampling)
        self.upsampling = upsampling
        self.stride = int(conditioning["stride"])
        if resolution % self.stride:
            raise ValueError(f"model.resolution={resolution} is no multiple of the chroma's stride, {self.stride}")
        self.resolution, self.parts = resolution, tuple(parts)
        self.temperature, self.refined, self.chroma = float(temperature), refined, chroma
        self.pretrained, self.gradient_multiplier, self.optimization = pretrained, gradient_multiplier, optimization
        if "pixelcnn" in parts:
            self.conditioning = ConditioningNetwork(**conditioning)
            self.pixelcnn = PixelCNN(condition_width=self.conditioning.width, bins=BINS, **pixelcnn)
        if "refinement" in parts:
            self.refinement = RefinementNetwork(**refinement)
        self.register_buffer("initialized", torch.tensor(pretrained is None or "pixelcnn" not in parts))
        self.validation_means = torch.nn.ModuleDict({name: MeanMetric() for name in ("loss", *self.losses)})

    @property
    def losses(self) -> tuple[str, ...]:
        """What each part is trained by: bits per symbol of the PixelCNN, mean absolute error of the refinement."""
        return tuple({"pixelcnn": "bits_per_dim", "refinement": "absolute_error"}[part] for part in self.parts)

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Unless it takes chroma from a reference, or the most probable."""
        return self.chroma == "drawn" and self.temperature > 0

    @property
    def accepts(self) -> frozenset[str]:  # type: ignore[override]
        """The reference from which to take the chroma, if it is not drawn."""
        return frozenset({"reference"} if self.chroma == "reference" else ())

    @property
    def requires(self) -> frozenset[str]:  # type: ignore[override]
        """The same."""
        return self.accepts

    @property
    def likelihood_space(self) -> str:
        """What `bits_per_dim` counts, for the record; nothing without a PixelCNN."""
        if "pixelcnn" not in self.parts:
            return ""
        side = self.resolution // self.stride
        return f"YCbCr chroma at {side}x{side}, area filter, {BINS} bins of 8: not to be compared with other bins"

    def luminance(self, rgb: Tensor) -> Tensor:
        """Y of YCbCr, in [0, 1]."""
        return luminance_and_chroma(rgb)[0]

    # Training (section 3.4)

    def log_probabilities(self, luminance: Tensor, bins: Tensor) -> Tensor:
        """log p of every symbol given those before it, in nats, `(B, 2, h, w)`.

        Args:
            luminance: `(B, 1, H, W)`.
            bins: int64, `(B, 2, H / stride, W / stride)`.
        """
        numbers = self.gradient_multiplier
        late = self.training and self.trainer.global_step >= numbers["step"]
        factor = numbers["after"] if late else numbers["before"]
        self.conditioning.trunk.train(self.training and factor != 0)  # frozen, its normalisation too
        features = gradient_multiplier(self.conditioning.trunk_features(luminance), factor)
        logits = self.pixelcnn(canvas_of(bins), self.conditioning.adaptation(features))
        return -F.cross_entropy(logits.movedim(2, 1), bins, reduction="none")

    def bits_per_dim(self, rgb: Tensor) -> Tensor:
        """-log2 p(chroma | luminance) per symbol, `(B,)`, of RGB in [0, 1], `(B, 3, H, W)`.

        Raises:
            ValueError: Of pictures of another size than it was trained on, whose bits would not compare, or without a
                PixelCNN.
        """
        self.require("pixelcnn", "has no likelihood")
        height, width = rgb.shape[2:]
        if (height, width) != (self.resolution, self.resolution):
            raise ValueError(
                f"pictures of {width}x{height} were given to a model of {self.resolution}x{self.resolution}, "
                "and bits/dim compare at one resolution only; resize the pictures, or take the set it was trained on"
            )
        luminance, chroma = luminance_and_chroma(rgb)
        bins = bins_of(self.reduced(chroma, (height // self.stride, width // self.stride)))
        return -self.log_probabilities(luminance, bins).mean(dim=(1, 2, 3)) / math.log(2)

    def losses_of(self, rgb: Tensor) -> dict[str, Tensor]:
        """Each part's mean loss over RGB in [0, 1], `(B, 3, H, W)`, by the names in `losses`."""
        found = {}
        if "pixelcnn" in self.parts:
            found["bits_per_dim"] = self.bits_per_dim(rgb).mean()
        if "refinement" in self.parts:
            luminance, chroma = luminance_and_chroma(rgb)
            small = self.reduced(chroma, (rgb.shape[2] // self.stride, rgb.shape[3] // self.stride))
            refined = self.refinement(luminance, chroma_of(bins_of(small)) / 255)
            found["absolute_error"] = (refined - chroma / 255).abs().mean()
        return found

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross-entropy of the PixelCNN and L1 of the refinement: they share no weights, so the sum trains both."""
        losses = self.losses_of(to_float(batch["rgb"]))
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, prog_bar=True, sync_dist=True)
        return torch.stack([*losses.values()]).sum()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the same, the means over all pictures of all ranks, and their sum as `validation/loss`."""
        losses = self.losses_of(to_float(batch["rgb"]))
        losses["loss"] = torch.stack([*losses.values()]).sum()
        for name, loss in losses.items():
            mean = self.validation_means[name]
            assert isinstance(mean, MeanMetric)
            mean(loss, weight=len(batch["rgb"]))
            self.log(f"validation/{name}", mean, prog_bar=name != "loss")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam at a constant rate."""
        numbers = self.optimization
        first, second = numbers["betas"]
        return torch.optim.Adam(
            self.parameters(), lr=numbers["learning_rate"], betas=(first, second), eps=numbers["epsilon"]
        )

    def on_fit_start(self) -> None:
        """Take the trunk's pretrained weights, once."""
        if not self.initialized and self.pretrained is not None:
            begin_with_resnet(self.conditioning.trunk, self.pretrained)
            self.initialized.fill_(True)

    @classmethod
    def joined_settings(cls, owners: Mapping[str, Self]) -> dict[str, Any]:
        """Those of the PixelCNN's run, with the refinement's from the other.

        Raises:
            ValueError: If the two know chroma of different resolutions.
        """
        pixelcnn, refinement = (owners[part] for part in cls.PARTS)
        if pixelcnn.stride != refinement.stride:
            raise ValueError(
                f"their chroma has strides {pixelcnn.stride} and {refinement.stride}; join runs of one stride"
            )
        return {**pixelcnn.hparams, "parts": list(cls.PARTS), "refinement": refinement.hparams["refinement"]}

    # Sampling and refinement (sections 3.2 and 3.3)

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: torch.Generator | None) -> Tensor:
        """Draw chroma of low resolution, or take the reference's, and refine it at full size."""
        if guidance.reference is not None:
            small = self.reduced(luminance_and_chroma(guidance.reference)[1], self.grid(luminance))
            chroma = chroma_of(bins_of(small)).unsqueeze(1).expand(-1, samples, -1, -1, -1)
        else:
            chroma = chroma_of(self.sample(luminance, samples, generator)[0])
        if self.refined and "refinement" in self.parts:
            # one sample at a time: their chroma is small, their pictures are not
            refined = (self.refine(luminance, each) for each in chroma.unbind(1))
            return torch.stack([join(luminance, each, self.upsampling) for each in refined], dim=1)
        return torch.stack([join(luminance, each, self.upsampling) for each in chroma.unbind(1)], dim=1)

    @torch.no_grad()
    def sample(
        self, luminance: Tensor, samples: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw chroma of low resolution, Cr and then Cb of each pixel in raster order.

        Args:
            luminance: `(B, 1, H, W)`, of any size: its shorter side is brought to the resolution of training.
            samples: Draws of each picture, which share its condition.
            generator: Source of randomness, on the module's device.

        Returns:
            Bins, int64 `(B, samples, 2, h, w)`, and each draw's log-likelihood in nats, `(B, samples)`.

        Raises:
            ValueError: Without a PixelCNN.
        """
        self.require("pixelcnn", "cannot draw colours")
        height, width = self.grid(luminance)
        condition = self.conditioning(resized_luminance(luminance, (height * self.stride, width * self.stride)))
        noise = torch.rand(len(luminance), samples, height, width, 2, generator=generator, device=self.device)
        with torch.autocast(device_type=condition.device.type, enabled=False):
            decoder = CachedDecoder(self.pixelcnn)
            bins, log_likelihood = sample_bins(decoder, condition.float(), noise, self.temperature)
        return bins.unflatten(0, (-1, samples)), log_likelihood.unflatten(0, (-1, samples))

    def refine(self, luminance: Tensor, chroma: Tensor) -> Tensor:
        """Chroma in 0..255 at full size, or at `REFINED_PIXELS`, from chroma of low resolution, `(B, 2, h, w)`."""
        height, width = luminance.shape[2:]
        scale = min(1.0, math.sqrt(REFINED_PIXELS / (height * width)))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        refined: Tensor = self.refinement(resized_luminance(luminance, size), chroma / 255)
        return 255 * refined

    def grid(self, luminance: Tensor) -> tuple[int, int]:
        """Rows and columns of the low-resolution chroma of a picture, `(B, 1, H, W)`."""
        height, width = luminance.shape[2:]
        shorter = min(height, width)
        sides = (self.resolution * min(side / shorter, LONGEST_SIDE) for side in (height, width))
        rows, columns = (round(side / self.stride) for side in sides)
        return rows, columns

    @staticmethod
    def reduced(chroma: Tensor, grid: tuple[int, int]) -> Tensor:
        """Means of chroma, `(B, 2, H, W)`, over the cells of a grid: the low resolution that the PixelCNN models."""
        return F.adaptive_avg_pool2d(chroma, grid)

    def require(self, part: str, what: str) -> None:
        """Refuse what a part is needed for, in a module without it.

        Raises:
            ValueError: If it is not there.
        """
        if part not in self.parts:
            raise ValueError(
                f"a PixColor of {' and '.join(self.parts)} alone {what}; join it with a run that has the {part}: "
                "python -m lightning_modules.join --help"
            )
