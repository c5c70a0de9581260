"""PIC: Probabilistic Image Colorization, as a LightningModule."""

from typing import Any

import torch
from torch import Tensor

from lightning_modules.color import to_float
from lightning_modules.guidance import Guidance
from lightning_modules.layers import logistic_mixture
from lightning_modules.layers.weight_norm import initialize_from_data
from lightning_modules.pic.base import PICBase
from lightning_modules.pic.chroma import CANVAS_CHANNELS, ChromaPicture
from lightning_modules.pic.network import AutoregressiveNetwork
from lightning_modules.pic.sampler import CachedDecoder, sample_canvas


class PIC(PICBase):
    """p(chroma | luminance), pixel after pixel, exactly (equations 1 and 2).

    Args:
        width: Channels of the autoregressive network.
        blocks: Gated blocks in each of its streams.
        auxiliary_weight: Weight in the training loss of the embedding's own prediction (the authors' code: 1).
        temperature: Scale of the logistics in sampling; 0 gives the mean of a drawn component.
        arguments: Those of `PICBase`.
    """

    stochastic = True

    def __init__(
        self, *, width: int, blocks: int, auxiliary_weight: float, temperature: float, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.save_hyperparameters()
        self.auxiliary_weight, self.temperature = float(auxiliary_weight), float(temperature)
        self.autoregressive = AutoregressiveNetwork(
            CANVAS_CHANNELS[self.grid.canvas],
            self.embedding.width,
            width,
            blocks,
            arguments["mixtures"],
            arguments["dropout"],
        )

    def predict(self, picture: ChromaPicture, embedding: Tensor) -> list[Tensor]:
        """The autoregressive network's mixtures, and those of the embedding by itself."""
        return [self.autoregressive(picture.canvas, embedding), embedding[:, : self.parameter_channels]]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Equation 3, in bits/dim, and the embedding's auxiliary prediction besides."""
        log_probabilities = self.log_probabilities(to_float(batch["rgb"]))
        bits, embedding_bits = (logistic_mixture.bits_per_dim(each).mean() for each in log_probabilities)
        self.log("train/bits_per_dim", bits, prog_bar=True, sync_dist=True)
        self.log("train/embedding_bits_per_dim", embedding_bits, sync_dist=True)
        return bits + self.auxiliary_weight * embedding_bits

    @torch.no_grad()
    def initialize(self, rgb: Tensor) -> None:
        """See `PICBase`."""
        super().initialize(rgb)
        training = self.training
        self.eval()
        initialize_from_data(self.autoregressive, self.grid.picture(rgb).canvas, self.embed(self.luminance(rgb)))
        self.train(training)

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: torch.Generator | None) -> Tensor:
        """Ancestral sampling in raster order, the embedding shared by a picture's samples."""
        embedding, small = self.look_at(luminance)
        noise = self.uniform(len(small), samples, *small.shape[2:], generator=generator)
        decoder = CachedDecoder(self.autoregressive)
        with torch.autocast(device_type=embedding.device.type, enabled=False):
            canvas = sample_canvas(decoder, embedding, small, noise, self.grid.canvas_of, self.temperature)
        return self.grid.join(luminance, self.grid.ab_of(canvas))

    @torch.no_grad()
    def reconstruct(self, rgb: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Redraw every pixel given the true colours before it, in one pass: what the network knows of colour.

        Args:
            rgb: RGB in [0, 1], (B, 3, H, W), sides multiples of the chroma subsampling.
            generator: Source of randomness, on the module's device.

        Returns:
            (B, 3, H, W) in [0, 1].
        """
        training = self.training
        self.eval()
        picture, luminance = self.grid.picture(rgb), self.luminance(rgb)
        parameters = self.autoregressive(picture.canvas, self.embed(luminance))
        self.train(training)
        noise = self.uniform(len(rgb), *parameters.shape[2:], generator=generator).movedim(-1, 1)
        chroma = logistic_mixture.sample(parameters, picture.luminance, noise, self.temperature)
        canvas = self.grid.canvas_of(picture.luminance, chroma)
        return self.grid.join(luminance, self.grid.ab_of(canvas)).squeeze(1)
