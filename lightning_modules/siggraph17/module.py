"""SIGGRAPH17: Real-Time User-Guided Image Colorization with Learned Deep Priors, as a LightningModule."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, TypedDict

import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_modules.chroma import coloured, drawn_chroma
from lightning_modules.color import rgb_to_lab, rgb_to_lab_luminance, to_float
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance
from lightning_modules.hints import no_hints, random_patches, reduced, reveal, some_otherwise
from lightning_modules.resize import resized_luminance, size_within
from lightning_modules.siggraph17.classes import STRIDE, class_centres, enlarged
from lightning_modules.siggraph17.compact import CompactColorizationNetwork
from lightning_modules.siggraph17.losses import class_loss, huber
from lightning_modules.siggraph17.network import ColorizationNetwork
from lightning_modules.siggraph17.weights import begin_with_colorizer
from lightning_modules.upsampling import Upsampling, check_upsampling

NETWORKS: dict[str, Callable[..., ColorizationNetwork | CompactColorizationNetwork]] = {
    "published": partial(ColorizationNetwork, class_head=True),
    "compact": CompactColorizationNetwork,
}

CIC_BLOCKS = 7
"""Of the network of Zhang et al. 2016, with which training starts."""


class Hints(TypedDict):
    """The chroma that training reveals."""

    sides: list[int]
    """The least and the largest side of a patch in pixels."""
    whole_share: float
    """Of the images, those of which all chroma is revealed."""
    none_share: float
    """Of the images, those of which nothing is revealed, beside the eighth whose number of patches is 0."""


class Loss(TypedDict):
    """The numbers of the losses."""

    huber_weight: float
    """Of the Huber loss of chroma."""
    huber_delta: float
    """In Lab units."""
    class_weight: float
    """Of the class head's cross-entropy."""
    class_apart: bool
    """Whether the class head alone learns by it, and not the blocks before."""


class Optimization(TypedDict):
    """Adam's numbers."""

    learning_rate: float
    weight_decay: float
    """Decoupled from the gradient."""
    decay: float
    """By what the rate is multiplied every so many epochs."""
    epochs: int | None
    """None lets the rate fall evenly to 0 over the run instead."""


class SIGGRAPH17(Colorizer):
    """A U-Net completes the chroma that a person gives at some places, or at none; a second head classifies it.

    Args:
        resolution: Side in pixels of the squares it is trained on.
        network: Its `architecture`, `published` or `compact`, and the arguments of `ColorizationNetwork` or
            `CompactUNet`.
        hints: The chroma that training reveals; None reveals nothing.
        decode: Whether colours are those of the regression, or of the class head's distribution.
        temperature: Of the distribution: 1 takes its mean, 0 its mode, and between them colours are more vivid.
        inference_short_side: Images with a longer shorter side are shrunk to it before the network sees them, and
            chroma is stretched; None takes them as they are.
        pretrained: What the network starts with: `download` for the weights of Zhang et al. 2016, their file, the file
            of Zhang et al. 2017, a run's directory or checkpoint, or None.
        loss: The numbers of the losses.
        optimization: Of Adam.
        upsampling: How chroma is enlarged to the image's size; see `enlarge_chroma`.
        variety: How much several colourings of one image differ; see `drawn_chroma`. 0 makes them alike.

    Raises:
        ValueError: If there is no such architecture or way to decode or to enlarge, or the temperature is less than 0.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"hints"})
    initialized: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        network: Mapping[str, Any],
        hints: Hints | None,
        decode: Literal["regression", "distribution"],
        temperature: float,
        inference_short_side: int | None,
        pretrained: str | None,
        loss: Loss,
        optimization: Optimization,
        upsampling: Upsampling = "bicubic",
        variety: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        settings = dict(network)
        architecture = settings.pop("architecture")
        if architecture not in NETWORKS:
            raise ValueError(f"model.network.architecture is {' or '.join(NETWORKS)}, not {architecture}")
        if decode not in ("regression", "distribution"):
            raise ValueError(f"model.decode is regression or distribution, not {decode}")
        check_upsampling(upsampling)
        if variety < 0:
            raise ValueError(f"model.variety={variety} is less than 0")
        if temperature < 0:
            raise ValueError(f"model.temperature={temperature} is less than 0")
        self.hints, self.decode, self.temperature = hints, decode, temperature
        self.inference_short_side, self.pretrained = inference_short_side, pretrained
        self.loss, self.optimization, self.upsampling = loss, optimization, upsampling
        self.variety = float(variety)
        self.network = NETWORKS[architecture](**settings)
        self.register_buffer("initialized", torch.tensor(False))
        losses = ("automatic", "loss") if hints is None else ("hinted", "automatic", "loss")
        self.validation_means = torch.nn.ModuleDict({name: MeanMetric() for name in losses})

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Whether draws are varied."""
        return self.variety > 0 and self.decode == "distribution"

    def luminance(self, rgb: Tensor) -> Tensor:
        """CIELab L in 0..100."""
        return rgb_to_lab_luminance(rgb)

    def completion_loss(self, lab: Tensor, hints: Tensor) -> Tensor:
        """How well the network completes the hints to CIELab, `(B, 3, H, W)`, by both heads."""
        luminance, chroma, numbers = lab[:, :1], lab[:, 1:], self.loss
        quarter, full = self.network.features(luminance, hints)
        logits = self.network.classes(quarter.detach() if numbers["class_apart"] else quarter)
        regression = huber(self.network.chroma(full), chroma, numbers["huber_delta"])
        return numbers["huber_weight"] * regression + numbers["class_weight"] * class_loss(logits, chroma)

    def training_hints(self, lab: Tensor, generator: torch.Generator | None) -> Tensor:
        """Hints for CIELab, `(B, 3, H, W)`, as training has them: patches of its own chroma, or seldom all of it."""
        if self.hints is None:
            return no_hints(lab)
        size, chroma = (lab.shape[2], lab.shape[3]), lab[:, 1:]
        hints = reveal(chroma, random_patches(len(lab), size, self.hints["sides"], generator, lab.device))
        return some_otherwise(hints, chroma, self.hints["whole_share"], self.hints["none_share"], generator)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss with random hints."""
        lab = rgb_to_lab(to_float(batch["rgb"]))
        loss = self.completion_loss(lab, self.training_hints(lab, None))
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the loss with hints that are the same every time, the loss without, and their sum."""
        lab = rgb_to_lab(to_float(batch["rgb"]))
        losses = {"automatic": self.completion_loss(lab, no_hints(lab))}
        if self.hints is not None:
            generator = torch.Generator(lab.device).manual_seed(batch_idx)
            losses["hinted"] = self.completion_loss(lab, self.training_hints(lab, generator))
        losses["loss"] = torch.stack([*losses.values()]).sum()
        for name, loss in losses.items():
            mean = self.validation_means[name]
            assert isinstance(mean, MeanMetric)
            mean(loss, weight=len(lab))
            self.log(f"validation/{name}", mean, prog_bar=name != "loss")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, its rate falling in steps, or evenly."""
        numbers = self.optimization
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=numbers["learning_rate"], weight_decay=numbers["weight_decay"]
        )
        scheduler: torch.optim.lr_scheduler.LRScheduler
        if numbers["epochs"] is None:
            steps = int(self.trainer.estimated_stepping_batches)
            scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, steps)
        else:
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, numbers["epochs"], numbers["decay"])
        interval = "step" if numbers["epochs"] is None else "epoch"
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    def on_fit_start(self) -> None:
        """Take the pretrained weights, once."""
        if self.pretrained is not None and not self.initialized:
            begin_with_colorizer(self.network, self.pretrained, CIC_BLOCKS)
        self.initialized.fill_(True)

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: torch.Generator | None) -> Tensor:
        """Complete the hints, or colour without any; all samples are the same."""
        height, width = luminance.shape[2:]
        guided = self.upsampling == "guided"
        size = size_within((height, width), self.inference_short_side, STRIDE if guided else 1)
        small = 100 * resized_luminance(luminance / 100, size)
        hints = no_hints(small) if guidance.hints is None else reduced(guidance.hints, size)
        quarter, full = self.network.features(small, hints)
        if self.decode == "regression":
            chroma = self.network.chroma(full).unsqueeze(1).expand(-1, samples, -1, -1, -1)
        else:
            logits = self.network.classes(quarter)
            centres = class_centres().to(logits.device)
            chroma = drawn_chroma(logits, centres, self.temperature, self.variety, samples, generator)
            stretched = enlarged(chroma.flatten(0, 1), size)
            # guided, luminance has more to say than interpolation
            chroma = (F.avg_pool2d(stretched, STRIDE) if guided else stretched).unflatten(0, (-1, samples))
        return coloured(luminance, chroma, self.upsampling, self.stochastic)
