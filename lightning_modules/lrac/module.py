"""LRAC: Learning Representations for Automatic Colorization, as a LightningModule."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_modules.color import rgb_to_lightness, to_float
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance
from lightning_modules.lrac.decoding import (
    Decoder,
    HueChromaDecoder,
    LabJointDecoder,
    LabL2Decoder,
    LabMarginalDecoder,
    correct_lightness,
    uncertainty,
)
from lightning_modules.lrac.hypercolumn import DENSE_STRIDE
from lightning_modules.lrac.initialization import xavier
from lightning_modules.lrac.network import LRACNetwork
from lightning_modules.lrac.targets import Head, HistogramHead, HueChroma, LabJoint, LabL2, LabMarginal
from lightning_modules.lrac.training import Optimization, VGG16Training, random_locations
from lightning_modules.lrac.transfer import energy_minimization, posterior, quantile_matching
from lightning_modules.resize import resized_luminance
from lightning_modules.upsampling import check_upsampling, enlarge_chroma

HEADS: dict[str, tuple[type[Head], type[Decoder]]] = {
    "hue_chroma": (HueChroma, HueChromaDecoder),
    "lab_marginal": (LabMarginal, LabMarginalDecoder),
    "lab_joint": (LabJoint, LabJointDecoder),
    "lab_l2": (LabL2, LabL2Decoder),
}
"""What the network predicts (Table 1), and what makes colours of it."""
VALIDATION_LOCATIONS = 512


class LRAC(VGG16Training, Colorizer):
    """A VGG-16 on lightness whose hypercolumns predict each pixel's colour, as a histogram (sections 3.1 and 3.2).

    Args:
        resolution: Side in pixels of the squares it is trained on.
        head: A key of `HEADS`.
        head_settings: Of the head: bins, and the weights of its loss.
        decoder: Of the head's decoder (section 3.3, Table 7).
        network: Of `LRACNetwork`.
        locations: Pixels of each picture that a training step looks at.
        window: Side of the square of pixels whose histogram is a target; 1 makes targets one-hot.
        inference_short_side: Pictures with a longer shorter side are shrunk to it before the network sees them; None
            looks at them as they are.
        transfer: How the colours of a reference are followed (section 3.4): `energy` or `quantiles`.
        transfer_weight: lambda of equation 5.
        pretrained: As in `VGG16Training`: a classifier, coloured or grey.
        rebalancing_pictures: Likewise.
        optimization: Likewise.
        upsampling: What is enlarged to the image's size: `histograms`, bilinearly, to be decoded there; or, `guided` by
            lightness, the colours decoded at the prediction's own resolution (see `enlarge_chroma`).

    Raises:
        ValueError: If there is no such head, transfer or upsampling.
    """

    network: LRACNetwork

    def __init__(
        self,
        *,
        resolution: int,
        head: str,
        head_settings: Mapping[str, Any],
        decoder: Mapping[str, Any],
        network: Mapping[str, Any],
        locations: int,
        window: int,
        inference_short_side: int | None,
        transfer: Literal["energy", "quantiles"],
        transfer_weight: float,
        pretrained: str | None,
        rebalancing_pictures: int,
        optimization: Optimization,
        upsampling: Literal["histograms", "guided"] = "histograms",
    ) -> None:
        super().__init__(pretrained, rebalancing_pictures, optimization)
        self.save_hyperparameters()
        if head not in HEADS:
            raise ValueError(f"model.head is one of {', '.join(HEADS)}, not {head}")
        if transfer not in ("energy", "quantiles"):
            raise ValueError(f"model.transfer is energy or quantiles, not {transfer}")
        check_upsampling(upsampling, ("histograms", "guided"))
        make_head, make_decoder = HEADS[head]
        self.head, self.decoder = make_head(**head_settings), make_decoder(**decoder)
        self.network = LRACNetwork(self.head.outputs, **network)
        xavier(self.network)
        self.locations, self.window, self.inference_short_side = locations, window, inference_short_side
        self.transfer, self.transfer_weight, self.upsampling = transfer, transfer_weight, upsampling
        self.validation_loss = MeanMetric()

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Only where the decoder samples."""
        return self.decoder.stochastic

    @property
    def accepts(self) -> frozenset[str]:  # type: ignore[override]
        """A reference picture; a histogram too, where the method predicts histograms."""
        return frozenset({"reference", "histogram"} if isinstance(self.head, HistogramHead) else {"reference"})

    def luminance(self, rgb: Tensor) -> Tensor:
        """(R + G + B) / 3 in [0, 1] (section 3)."""
        return rgb_to_lightness(rgb)

    def seen(self, rgb: Tensor) -> Tensor:
        """Its own luminance."""
        return self.luminance(rgb)

    def predict(self, lightness: Tensor) -> Tensor:
        """What the decoder takes, `(B, axes, K, h, w)` at stride 4, of lightness `(B, 1, H, W)`."""
        height, width = lightness.shape[2:]
        scale = min(1.0, (self.inference_short_side or math.inf) / min(height, width))
        # whole cells, so that the prediction covers the picture and no more
        rows, columns = (max(1, round(side * scale / DENSE_STRIDE)) * DENSE_STRIDE for side in (height, width))
        return self.head.prediction(self.network.dense(resized_luminance(lightness, (rows, columns))))

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: torch.Generator | None) -> Tensor:
        """Decode the predicted histograms, once for each sample if the decoder samples."""
        prediction = self.guided(self.predict(luminance), guidance)
        draws = samples if self.stochastic else 1
        drawn = [self.decode(prediction, luminance, generator) for _ in range(draws)]
        by_quantiles = self.transfer == "quantiles" or not isinstance(self.head, HistogramHead)
        if guidance.reference is not None and by_quantiles:
            drawn = [quantile_matching(each, luminance, guidance.reference) for each in drawn]
        return torch.stack(drawn, dim=1).expand(-1, samples, -1, -1, -1)

    def decode(self, prediction: Tensor, lightness: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """RGB in [0, 1], `(B, 3, H, W)`, of a prediction at stride 4 and the image's lightness, `(B, 1, H, W)`."""
        if self.upsampling == "histograms":
            return self.decoder.decode(prediction, lightness, generator)
        reduced = F.adaptive_avg_pool2d(lightness, (prediction.shape[3], prediction.shape[4]))
        difference = self.decoder.decode(prediction, reduced, generator) - reduced
        return correct_lightness(lightness + enlarge_chroma(difference, lightness, white=1), lightness)

    def guided(self, prediction: Tensor, guidance: Guidance) -> Tensor:
        """The histograms drawn towards those of a reference, or towards given ones (section 3.4, equation 5)."""
        if not isinstance(self.head, HistogramHead):
            return prediction
        if guidance.histogram is not None:
            target = guidance.histogram.unflatten(1, self.head.shape)
        elif guidance.reference is not None and self.transfer == "energy":
            target = self.head.histogram(guidance.reference)
        else:
            return prediction
        return posterior(prediction, energy_minimization(prediction, target, self.transfer_weight))

    @torch.no_grad()
    def biased(self, luminance: Tensor, angles: Sequence[float], strength: float) -> Tensor:
        """The same pictures with one preference rotated through all hues (Figures 9 and 12).

        Args:
            luminance: `(B, 1, H, W)`.
            angles: In radians.
            strength: In nats.

        Returns:
            RGB in [0, 1], `(B, angles, 3, H, W)`.

        Raises:
            ValueError: If the method predicts no histograms.
        """
        if not isinstance(self.head, HistogramHead):
            raise ValueError("only histograms can be biased; lab_l2 predicts none")
        prediction = self.predict(luminance)
        biases = [self.head.rotated_bias(angle, strength) for angle in angles]
        return torch.stack([self.decode(posterior(prediction, bias), luminance) for bias in biases], dim=1)

    @torch.no_grad()
    def uncertainty(self, luminance: Tensor) -> Tensor:
        """How open each pixel's colour is, in [0, 1], `(B, 1, h, w)` at stride 4 (Figure 9).

        Raises:
            ValueError: If the method does not predict hue and chroma.
        """
        if not isinstance(self.head, HueChroma):
            raise ValueError("uncertainty is defined for hue and chroma; take model.head=hue_chroma")
        return uncertainty(self.predict(luminance))

    def loss_at(self, rgb: Tensor, locations: Tensor) -> Tensor:
        """Equation 1, 2 or 3 at some pixels, y and x `(B, N, 2)`, of RGB in [0, 1], `(B, 3, H, W)`."""
        outputs = self.network.sparse(self.luminance(rgb), locations)
        return self.head.loss(outputs, self.head.targets(rgb, locations, self.window))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss at random pixels of each picture (section 3.2)."""
        rgb = to_float(batch["rgb"])
        loss = self.loss_at(rgb, random_locations(rgb, self.locations, None))
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the loss at pixels that are the same every time, the mean over all pictures of all ranks."""
        rgb = to_float(batch["rgb"])
        generator = torch.Generator(rgb.device).manual_seed(batch_idx)
        loss = self.loss_at(rgb, random_locations(rgb, VALIDATION_LOCATIONS, generator))
        self.validation_loss(loss, weight=len(rgb))
        self.log("validation/loss", self.validation_loss, prog_bar=True)
