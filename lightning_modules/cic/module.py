"""CIC: Colorful Image Colorization, as a LightningModule."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lightning_modules.checkpoint import read_checkpoint
from lightning_modules.chroma import coloured, drawn_chroma
from lightning_modules.cic.bins import bin_centres, prior_of, rebalancing_weights, soft_encoded
from lightning_modules.cic.network import LUMINANCE_CENTRE, LUMINANCE_SCALE, CICNetwork
from lightning_modules.color import full_precision, rgb_to_lab, rgb_to_lab_luminance, to_float
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance
from lightning_modules.layers.compact_unet import CompactUNet
from lightning_modules.resize import resized_luminance, size_within
from lightning_modules.upsampling import Upsampling, check_upsampling

CHROMA_STRIDE = 4
"""Of the network's output."""
CHROMA_SCALE = 110.0
"""Lab units to one unit of what the L2 network predicts."""
GREY = 5.0
"""An image without a or b beyond this, in Lab units, teaches nothing (authors' code)."""
PRIOR_BATCH = 64
"""Images at a time while the prior is measured."""


class CompactCIC(CompactUNet):
    """The small U-Net in the place of CIC's network."""

    def __init__(self, outputs: int, **settings: Any) -> None:
        super().__init__(1, outputs, **settings)

    def forward(self, luminance: Tensor) -> Tensor:
        """As `CICNetwork.forward`."""
        return super().forward((luminance - LUMINANCE_CENTRE) / LUMINANCE_SCALE)


NETWORKS: dict[str, Callable[..., nn.Module]] = {"published": CICNetwork, "compact": CompactCIC}


class Optimization(TypedDict):
    """Adam's numbers.

    `schedule` is `thirds`, in which the rate is divided by about 3 after each third of the run, or `linear`, in which
    it falls to 0. `decoupled` chooses AdamW's weight decay in place of L2 regularisation.
    """

    learning_rate: float
    betas: list[float]
    weight_decay: float
    decoupled: bool
    schedule: Literal["thirds", "linear"]


class CIC(Colorizer):
    """Classifies each pixel's colour, rare colours weighing more, and takes the annealed mean (sections 2.1 to 2.3).

    Args:
        resolution: Side in pixels of the squares it is trained on.
        target: `classes` learns distributions over 313 bins; `values` learns a and b themselves by squared error, the
            paper's L2 variants.
        reduction: How chroma is brought to the output's size: `strided` takes every fourth pixel, as the authors' code
            does, `mean` averages.
        network: Its `architecture`, `published` or `compact`, and the arguments of `CICNetwork` or `CompactUNet`.
        uniform: lambda of equation 4: 0.5 in the paper, 1 for its variant without rebalancing.
        prior: A file that `python -m datamodules.color_prior` wrote; None measures the prior at the start of training.
        prior_images: On how many training images, if so.
        temperature: T of equation 5, which the distribution is annealed by: 1 takes its mean, 0 its mode.
        inference_short_side: Images with a longer shorter side are shrunk to it before the network sees them; None
            takes them as they are.
        pretrained: A run whose weights to start with, as the paper's fine-tuned L2 variant does; its last layer is
            taken if it fits. None starts anew.
        optimization: Of Adam.
        upsampling: How chroma is enlarged to the image's size; see `enlarge_chroma`.
        variety: How much several colourings of one image differ; see `drawn_chroma`. 0 makes them alike.

    Raises:
        ValueError: If there is no such target, reduction, architecture, schedule or way to enlarge, or lambda or the
            temperature is out of range.
    """

    centres: Tensor
    weights: Tensor
    initialized: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        target: Literal["classes", "values"],
        reduction: Literal["strided", "mean"],
        network: Mapping[str, Any],
        uniform: float,
        prior: str | None,
        prior_images: int,
        temperature: float,
        inference_short_side: int | None,
        pretrained: str | None,
        optimization: Optimization,
        upsampling: Upsampling = "bilinear",
        variety: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        settings = dict(network)
        architecture = settings.pop("architecture")
        for name, given, known in (
            ("target", target, ("classes", "values")),
            ("reduction", reduction, ("strided", "mean")),
            ("network.architecture", architecture, tuple(NETWORKS)),
            ("optimization.schedule", optimization["schedule"], tuple(SCHEDULES)),
        ):
            if given not in known:
                raise ValueError(f"model.{name} is {' or '.join(known)}, not {given}")
        check_upsampling(upsampling)
        if not 0 <= uniform <= 1:
            raise ValueError(f"model.uniform={uniform} is not between 0 and 1")
        if temperature < 0:
            raise ValueError(f"model.temperature={temperature} is less than 0")
        self.target, self.reduction = target, reduction
        self.uniform, self.temperature = uniform, float(temperature)
        self.prior, self.prior_images, self.pretrained = prior, prior_images, pretrained
        self.inference_short_side, self.upsampling = inference_short_side, upsampling
        self.optimization, self.variety = optimization, float(variety)
        if variety < 0:
            raise ValueError(f"model.variety={variety} is less than 0")
        self.register_buffer("centres", bin_centres(), persistent=False)
        self.register_buffer("weights", torch.ones(len(self.centres)))
        self.register_buffer("initialized", torch.tensor(False))
        self.network = NETWORKS[architecture](len(self.centres) if target == "classes" else 2, **settings)
        self.validation_means = nn.ModuleDict({name: MeanMetric() for name in ("loss", self.measure)})

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Whether draws are varied."""
        return self.variety > 0 and self.target == "classes"

    @property
    def measure(self) -> str:
        """What is logged beside the loss, unweighted: a divergence in nats a pixel, or a squared error."""
        return "divergence" if self.target == "classes" else "squared_error"

    def luminance(self, rgb: Tensor) -> Tensor:
        """CIELab L in 0..100."""
        return rgb_to_lab_luminance(rgb)

    # Training (sections 2.1 and 2.2)

    def on_fit_start(self) -> None:
        """Take the pretrained weights and measure the prior, once; all ranks start from the first one's."""
        if self.initialized:
            return
        if self.pretrained is not None:
            self.begin_with(self.pretrained)
        if self.target == "classes" and self.uniform < 1:
            prior = self.measured_prior() if self.prior is None else read_prior(self.prior)
            self.weights.copy_(rebalancing_weights(prior.to(self.weights.device), self.uniform))
        self.initialized.fill_(True)
        for tensor in (*self.parameters(), *self.buffers()):
            tensor.data.copy_(self.trainer.strategy.broadcast(tensor.data.cpu()))

    def measured_prior(self) -> Tensor:
        """The prior of the first images that training shows, `(313,)`."""
        images = self.trainer.datamodule.first_pictures(self.prior_images)  # type: ignore[attr-defined]
        several = images.split(PRIOR_BATCH)
        priors = [
            len(each) * prior_of(self.reduced(rgb_to_lab(to_float(each))[:, 1:]), self.centres.cpu())
            for each in several
        ]
        return torch.stack(priors).sum(dim=0) / len(images)

    def reduced(self, chroma: Tensor) -> Tensor:
        """Chroma, `(B, 2, H, W)`, at a quarter of the size, rounded up."""
        if self.reduction == "strided":
            return chroma[:, :, ::CHROMA_STRIDE, ::CHROMA_STRIDE]
        return F.avg_pool2d(chroma, CHROMA_STRIDE, ceil_mode=True)

    def begin_with(self, path: str) -> None:
        """Take the weights of another run, and of its last layer's, if they fit.

        Raises:
            ValueError: If another layer's are absent there or of another shape.
        """
        found = {
            name.removeprefix("network."): value
            for name, value in read_checkpoint(path)["state_dict"].items()
            if name.startswith("network.")
        }
        own = self.network.state_dict()
        taken = {name: value for name, value in found.items() if name in own and value.shape == own[name].shape}
        if absent := [name for name in own if name not in taken and not name.startswith("out.")]:
            raise ValueError(
                f"{path} cannot start this CIC: {absent[0]} is absent there or of another shape; give a run of the "
                "same network, or model.pretrained=null"
            )
        self.network.load_state_dict(taken, strict=False)

    def losses_of(self, rgb: Tensor) -> dict[str, Tensor]:
        """The mean loss of RGB in [0, 1], `(B, 3, H, W)`, and `measure`, both over pixels at a quarter of the size."""
        chroma = self.reduced(rgb_to_lab(rgb)[:, 1:])
        outputs = self.network(self.luminance(rgb))
        if self.target == "values":
            error = values_loss(outputs, chroma)
            return {"loss": error / 2, "squared_error": CHROMA_SCALE**2 * error.detach()}
        divergence, nearest = classes_loss(outputs, chroma, self.centres)  # (B, H/4, W/4)
        coloured = (chroma.abs() > GREY).flatten(1).any(dim=1).view(-1, 1, 1)
        return {
            "loss": (divergence * self.weights[nearest] * coloured).mean(),
            "divergence": divergence.detach().mean(),
        }

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Rebalanced cross-entropy, or squared error."""
        losses = self.losses_of(to_float(batch["rgb"]))
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, prog_bar=True, sync_dist=True)
        return losses["loss"]

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the same, the means over all images of all ranks."""
        for name, loss in self.losses_of(to_float(batch["rgb"])).items():
            mean = self.validation_means[name]
            assert isinstance(mean, MeanMetric)
            mean(loss, weight=len(batch["rgb"]))
            self.log(f"validation/{name}", mean, prog_bar=name == "loss")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, whose rate falls over the run."""
        numbers = self.optimization
        first, second = numbers["betas"]
        make = torch.optim.AdamW if numbers["decoupled"] else torch.optim.Adam
        optimizer = make(
            self.parameters(),
            lr=numbers["learning_rate"],
            betas=(first, second),
            weight_decay=numbers["weight_decay"],
        )
        factor = partial(SCHEDULES[numbers["schedule"]], int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # Inference (section 2.3)

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: torch.Generator | None) -> Tensor:
        """Enlarge the predicted chroma to the size of the luminance."""
        height, width = luminance.shape[2:]
        # whole cells, so that the enlarged chroma covers the image and no more
        size = size_within((height, width), self.inference_short_side, CHROMA_STRIDE)
        outputs = self.network(100 * resized_luminance(luminance / 100, size)).float()
        if self.target == "values":
            chroma = CHROMA_SCALE * outputs.unsqueeze(1).expand(-1, samples, -1, -1, -1)
        else:
            chroma = drawn_chroma(outputs, self.centres, self.temperature, self.variety, samples, generator)
        return coloured(luminance, chroma, self.upsampling, self.stochastic)


@full_precision
def classes_loss(logits: Tensor, chroma: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """How far predicted distributions are from the colours, spread over their bins (equation 2).

    Args:
        logits: `(B, Q, h, w)`.
        chroma: Lab a and b, `(B, 2, h, w)`.
        centres: Of the bins, `(Q, 2)`.

    Returns:
        The Kullback-Leibler divergence in nats, and the nearest bin, int64, both `(B, h, w)`. Its gradient is that of
        the paper's cross-entropy, which is larger by the entropy of the target.
    """
    bins, shares = soft_encoded(chroma, centres)
    log_probabilities = logits.log_softmax(dim=1).gather(1, bins)
    return (shares * (shares.clamp(min=1e-30).log() - log_probabilities)).sum(dim=1), bins[:, 0]


@full_precision
def values_loss(predicted: Tensor, chroma: Tensor) -> Tensor:
    """The squared distance of predicted a and b, in units of `CHROMA_SCALE`, to Lab a and b, the mean over pixels."""
    return (predicted - chroma / CHROMA_SCALE).square().sum(dim=1).mean()


def in_thirds(steps: int, step: int) -> float:
    """What the rate is multiplied by: 1, 1/3 and 1/10 in the thirds of the run (3e-5, 1e-5 and 3e-6)."""
    return (1.0, 1 / 3, 0.1)[min(2, 3 * step // max(1, steps))]


def linear(steps: int, step: int) -> float:
    """What the rate is multiplied by: it falls from 1 to 0 over the run."""
    return max(0.0, 1 - step / steps)


SCHEDULES: dict[str, Callable[[int, int], float]] = {"thirds": in_thirds, "linear": linear}


def read_prior(path: str) -> Tensor:
    """The prior that `python -m datamodules.color_prior` wrote, `(313,)`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold 313 shares.
    """
    try:
        prior = torch.tensor(json.loads(Path(path).read_text(encoding="utf-8"))["prior"], dtype=torch.float64)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no model.prior={path}; python -m datamodules.color_prior makes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"model.prior={path} is no file that python -m datamodules.color_prior wrote") from error
    if prior.shape != (len(bin_centres()),) or not prior.isfinite().all() or prior.min() < 0 or prior.sum() <= 0:
        raise ValueError(f"model.prior={path} does not hold {len(bin_centres())} shares of at least 0")
    return prior / prior.sum()
