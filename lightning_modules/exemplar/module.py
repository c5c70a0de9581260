"""Exemplar: Stylization-Based Architecture for Fast Deep Exemplar Colorization, as a LightningModule."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self, TypedDict

import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_modules.chroma import with_chroma
from lightning_modules.color import rgb_to_lab, rgb_to_lab_luminance, to_float
from lightning_modules.colorizer import Colorizer
from lightning_modules.exemplar.encoder import begin_with_vgg19
from lightning_modules.exemplar.transfer import TransferNetwork, padded
from lightning_modules.guidance import Guidance
from lightning_modules.hints import joined, no_hints, random_patches, reduced, reveal, uniform_patches
from lightning_modules.pretrained import DOWNLOAD
from lightning_modules.resize import resized, resized_luminance, size_within
from lightning_modules.siggraph17.losses import class_loss, huber
from lightning_modules.siggraph17.network import ColorizationNetwork
from lightning_modules.siggraph17.weights import begin_with_colorizer
from lightning_modules.upsampling import Upsampling, check_upsampling

CIC_BLOCKS = 4
"""Of the network of Zhang et al. 2016, with which the colourisation sub-net starts (section 3.2)."""
LOSSES = {"colorization": ("hinted", "automatic"), "transfer": ("reconstruction",)}
"""What each part is judged by in validation."""


class Hints(TypedDict):
    """The patches of chroma that training reveals, and of a coarse map in the pipeline."""

    sides: list[int]
    """The least and the largest side in pixels."""
    patches: int
    """Of a coarse map, in the pipeline."""
    positions: Literal["uniform", "training"]
    """Of those: every place alike, or their number too as in training."""
    empty_from_epoch: int
    """From this epoch on, counted from 0, training reveals nothing."""


class Loss(TypedDict):
    """The numbers of the losses."""

    hint_weight: float
    """lambda of equation 2."""
    huber_delta: float
    """In Lab units."""
    class_weight: float
    """Of the class head's cross-entropy; 0 builds none."""
    reconstruction_weight: float
    """Of the decoder's mean squared error."""
    perceptual_weight: float
    """Of its mean squared error in relu4_1."""


class Schedule(TypedDict):
    """Adam's rate, which is multiplied by `decay` every so many `epochs`."""

    learning_rate: float
    decay: float
    epochs: int


class Pretrained(TypedDict):
    """Weights to start with: `download`, a local file, a run's directory or checkpoint, or None."""

    encoder: str | None
    """Of VGG-19: torchvision's, or a run of `vgg_tiny`."""
    colorization: str | None
    """Of the colourisation sub-net: those of Zhang et al. 2016 or 2017."""


class Exemplar(Colorizer):
    """A transfer sub-net proposes the reference's colours, and a colourisation sub-net refines some of them (Figure 1).

    The two learn apart, and neither from pairs: the one to redraw pictures, the other to complete chroma from hints. So
    a module may have one of them only, and `python -m lightning_modules.join` joins two such checkpoints.

    Args:
        resolution: Side in pixels of the squares it is trained on.
        parts: Which sub-nets there are: `colorization` and `transfer`.
        colorization: Of `ColorizationNetwork`.
        transfer: Of `TransferNetwork`.
        hints: The patches of chroma that training reveals, and the pipeline.
        precolored: Whether the transfer sub-net sees the picture in automatic colours, or in grey (Figure 3).
        refined: Whether the transferred chroma is refined, or shown as it is (Figure 4).
        inference_short_side: Pictures and references with a longer shorter side are shrunk to it before the sub-nets
            see them, and chroma is enlarged; None takes them as they are.
        pretrained: What the sub-nets start with.
        loss: The numbers of the losses.
        optimization: Of each part's training.
        upsampling: How chroma is enlarged to the image's size; see `enlarge_chroma`.

    Raises:
        ValueError: If there are no such parts, positions of hints or upsampling.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("colorization", "transfer")
    stochastic = False
    """Without a reference; with one, draws differ by the patches of the transferred chroma that are taken as hints."""
    initialized: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        parts: Sequence[str],
        colorization: Mapping[str, Any],
        transfer: Mapping[str, Any],
        hints: Hints,
        precolored: bool,
        refined: bool,
        inference_short_side: int | None,
        pretrained: Pretrained,
        loss: Loss,
        optimization: Mapping[str, Schedule],
        upsampling: Upsampling = "bicubic",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if isinstance(parts, str) or not parts or not set(parts) <= set(self.PARTS):
            raise ValueError(
                f"model.parts={parts} is no list of {' and '.join(self.PARTS)}; give model.parts=[transfer], say"
            )
        if hints["positions"] not in ("uniform", "training"):
            raise ValueError(f"model.hints.positions is uniform or training, not {hints['positions']}")
        check_upsampling(upsampling)
        self.parts, self.hints, self.loss, self.upsampling = tuple(parts), hints, loss, upsampling
        self.precolored, self.refined, self.inference_short_side = precolored, refined, inference_short_side
        self.pretrained, self.optimization = pretrained, optimization
        if "colorization" in parts:
            self.colorization = ColorizationNetwork(**colorization, class_head=loss["class_weight"] > 0)
        if "transfer" in parts:
            self.transfer = TransferNetwork(**transfer)
        self.register_buffer("initialized", torch.tensor(False))
        losses = [name for part in parts for name in LOSSES[part]]
        self.validation_means = torch.nn.ModuleDict({name: MeanMetric() for name in ("loss", *losses)})

    @property
    def accepts(self) -> frozenset[str]:  # type: ignore[override]
        """Hints; a reference too, with or without labels, where there is a transfer sub-net."""
        hints = {"hints"} if "colorization" in self.parts else set()
        return frozenset(hints | ({"reference", "labels", "reference_labels"} if "transfer" in self.parts else set()))

    @property
    def requires(self) -> frozenset[str]:  # type: ignore[override]
        """A reference, if there is nothing else that could colour."""
        return frozenset() if "colorization" in self.parts else frozenset({"reference"})

    @property
    def remarks(self) -> tuple[str, ...]:  # type: ignore[override]
        """Whether the encoder is another than the paper's."""
        start = self.pretrained["encoder"]
        if "transfer" not in self.parts or start in (DOWNLOAD, "vgg19") or str(start).endswith(".pth"):
            return ()
        return (f"its encoder and perceptual network is not ImageNet's VGG-19 but {start or 'an untrained one'}",)

    def luminance(self, rgb: Tensor) -> Tensor:
        """CIELab L in 0..100."""
        return rgb_to_lab_luminance(rgb)

    # Training (sections 3.2 and 4.1)

    def completion_loss(self, lab: Tensor, hints: Tensor) -> Tensor:
        """How well the colourisation sub-net completes the hints to CIELab, `(B, 3, H, W)` (equation 2)."""
        luminance, chroma = lab[:, :1], lab[:, 1:]
        quarter, features = self.colorization.features(luminance, hints)
        numbers = self.loss
        predicted = self.colorization.chroma(features)
        loss = huber(predicted, chroma, numbers["huber_delta"], 1 + numbers["hint_weight"] * hints[:, 2:])
        if numbers["class_weight"] > 0:
            loss = loss + numbers["class_weight"] * class_loss(self.colorization.classes(quarter), chroma)
        return loss

    def reconstruction_loss(self, rgb: Tensor) -> Tensor:
        """How well the decoder redraws RGB in [0, 1], by pixels and by relu4_1 (section 4.1)."""
        redrawn, wanted = (each.float() for each in self.transfer.reconstruct(rgb))
        numbers = self.loss
        perceptual = F.mse_loss(self.transfer.encoder(redrawn).float(), wanted)
        return numbers["reconstruction_weight"] * F.mse_loss(redrawn, rgb) + numbers["perceptual_weight"] * perceptual

    def training_hints(self, lab: Tensor, generator: torch.Generator | None) -> Tensor:
        """Hints for CIELab, `(B, 3, H, W)`, as training has them: patches of its own chroma."""
        size = (lab.shape[2], lab.shape[3])
        return reveal(lab[:, 1:], random_patches(len(lab), size, self.hints["sides"], generator, lab.device))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Huber loss of completed chroma, and how well pictures are redrawn: the sub-nets share no trained weights."""
        rgb, losses = to_float(batch["rgb"]), {}
        if "colorization" in self.parts:
            lab, empty = rgb_to_lab(rgb), self.current_epoch >= self.hints["empty_from_epoch"]
            hints = no_hints(lab) if empty else self.training_hints(lab, None)
            losses["automatic" if empty else "hinted"] = self.completion_loss(lab, hints)
        if "transfer" in self.parts:
            losses["reconstruction"] = self.reconstruction_loss(padded(rgb))
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, prog_bar=True, sync_dist=True)
        return torch.stack([*losses.values()]).sum()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the losses with hints that are the same every time, without, and of redrawing; and their sum."""
        rgb, losses = to_float(batch["rgb"]), {}
        if "colorization" in self.parts:
            lab, generator = rgb_to_lab(rgb), torch.Generator(rgb.device).manual_seed(batch_idx)
            losses["hinted"] = self.completion_loss(lab, self.training_hints(lab, generator))
            losses["automatic"] = self.completion_loss(lab, no_hints(lab))
        if "transfer" in self.parts:
            losses["reconstruction"] = self.reconstruction_loss(padded(rgb))
        losses["loss"] = torch.stack([*losses.values()]).sum()
        for name, loss in losses.items():
            mean = self.validation_means[name]
            assert isinstance(mean, MeanMetric)
            mean(loss, weight=len(rgb))
            self.log(f"validation/{name}", mean, prog_bar=name != "loss")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, each part at its own rate."""
        groups: list[dict[str, Any]] = []
        factors: list[Callable[[int], float]] = []
        for part in self.parts:
            schedule, weights = self.optimization[part], self.get_submodule(part).parameters()
            groups.append({"params": [each for each in weights if each.requires_grad], "lr": schedule["learning_rate"]})
            factors.append(partial(factor, schedule))
        optimizer = torch.optim.Adam(groups)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}

    def on_fit_start(self) -> None:
        """Take the pretrained weights, once."""
        if self.initialized:
            return
        encoder, colorization = self.pretrained["encoder"], self.pretrained["colorization"]
        if "transfer" in self.parts and encoder is not None:
            begin_with_vgg19(self.transfer.encoder, encoder)
        if "colorization" in self.parts and colorization is not None:
            begin_with_colorizer(self.colorization, colorization, CIC_BLOCKS)
        self.initialized.fill_(True)

    @classmethod
    def joined_settings(cls, owners: Mapping[str, Self]) -> dict[str, Any]:
        """Those of the colourisation sub-net's run, with what concerns the transfer sub-net from the other."""
        first, second = (owners[part].hparams for part in cls.PARTS)
        redrawing = {name: second["loss"][name] for name in ("reconstruction_weight", "perceptual_weight")}
        return {
            **first,
            "parts": list(cls.PARTS),
            "transfer": second["transfer"],
            "pretrained": {**first["pretrained"], "encoder": second["pretrained"]["encoder"]},
            "loss": {**first["loss"], **redrawing},
            "optimization": {**first["optimization"], "transfer": second["optimization"]["transfer"]},
        }

    # The pipeline (sections 3 and 4.1)

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: torch.Generator | None) -> Tensor:
        """Colour by hints and, if there is a reference, by patches of the chroma that it suggests."""
        if guidance.given() - {"hints"}:
            self.require_transfer(guidance)
        if guidance.reference is not None and guidance.hints is not None and not self.refined:
            raise ValueError("hints are for the second pass, which refined=false leaves out; give either, not both")
        height, width = luminance.shape[2:]
        size = size_within((height, width), self.inference_short_side)
        small = 100 * resized_luminance(luminance / 100, size)
        given = no_hints(small) if guidance.hints is None else reduced(guidance.hints, size)
        if guidance.reference is None:
            drawn = [self.colorization(small, given)]
        else:
            coarse = self.transferred(small, guidance)
            drawn = [coarse]
            if self.refined and "colorization" in self.parts:
                drawn = [
                    self.colorization(small, joined(given, reveal(coarse, self.patches(coarse, generator))))
                    for _ in range(samples)
                ]
        pictures = [with_chroma(luminance, chroma, self.upsampling) for chroma in drawn]
        return torch.stack(pictures, dim=1).expand(-1, samples, -1, -1, -1)

    def transferred(self, luminance: Tensor, guidance: Guidance) -> Tensor:
        """The coarse chroma that the reference suggests, Lab a and b, `(B, 2, H, W)`, of L in 0..100."""
        assert guidance.reference is not None
        chroma = torch.zeros_like(luminance).expand(-1, 2, -1, -1)
        if self.precolored and "colorization" in self.parts:
            chroma = self.colorization(luminance, no_hints(luminance))
        return rgb_to_lab(self.stylize(with_chroma(luminance, chroma), guidance))[:, 1:]

    def stylize(self, rgb: Tensor, guidance: Guidance) -> Tensor:
        """The picture redrawn with the colours of the reference, light and dark too (sections 4.4 and 4.5).

        Args:
            rgb: In [0, 1], `(B, 3, H, W)`.
            guidance: With a reference, and perhaps labels of both.

        Returns:
            The same, no larger than `inference_short_side` has it.
        """
        self.require_transfer(guidance)
        assert guidance.reference is not None
        content, reference = (self.seen(each) for each in (rgb, guidance.reference))
        labels = [guidance.labels, guidance.reference_labels]
        redrawn: Tensor = self.transfer(content, reference, *labels)
        return redrawn

    def require_transfer(self, guidance: Guidance) -> None:
        """Refuse a module without the transfer sub-net, no reference, and labels of one picture only.

        Raises:
            ValueError: So.
        """
        if "transfer" not in self.parts:
            raise ValueError(
                "an Exemplar of its colourisation sub-net alone follows no reference; join it with a run of "
                "exemplar_transfer_coco: python -m lightning_modules.join --help"
            )
        if guidance.reference is None:
            raise ValueError("without a reference there are no colours to take; give one")
        if (guidance.labels is None) != (guidance.reference_labels is None):
            raise ValueError("labels are matched with the reference's; give labels and reference_labels, or neither")

    def seen(self, rgb: Tensor) -> Tensor:
        """A picture, RGB in [0, 1], `(B, 3, H, W)`, no larger than `inference_short_side` has it."""
        height, width = rgb.shape[2:]
        return resized(rgb, size_within((height, width), self.inference_short_side))

    def patches(self, coarse: Tensor, generator: torch.Generator | None) -> Tensor:
        """Those of the coarse chroma, `(B, 2, H, W)`, that the colourisation sub-net is shown."""
        numbers, size = self.hints, (coarse.shape[2], coarse.shape[3])
        if numbers["positions"] == "training":
            return random_patches(len(coarse), size, numbers["sides"], generator, coarse.device)
        return uniform_patches(len(coarse), numbers["patches"], size, numbers["sides"], generator, coarse.device)


def factor(schedule: Schedule, epoch: int) -> float:
    """What Adam's rate is multiplied by in an epoch, counted from 0."""
    return schedule["decay"] ** (epoch // schedule["epochs"])
