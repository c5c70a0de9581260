"""What PIC and its ablation share: the embedding network, the likelihood, the optimisation."""

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_modules.color import rgb_to_lab_luminance, to_float
from lightning_modules.colorizer import Colorizer
from lightning_modules.layers import logistic_mixture
from lightning_modules.layers.weight_norm import initialize_from_data
from lightning_modules.pic.chroma import ChromaGrid, ChromaPicture, normalize_luminance
from lightning_modules.pic.network import EmbeddingNetwork, Stage


class Optimization(TypedDict):
    """Adam and its decay (sections 3.3 and 4): the learning rate is multiplied by `decay` after each iteration."""

    learning_rate: float
    betas: list[float]
    epsilon: float
    decay: float


class PICBase(Colorizer):
    """The embedding network, read as a mixture of its own by its first `8 * mixtures` channels.

    Args:
        resolution: Side in pixels of the square to which pictures are resized before the network sees them.
        embedding: The rows of Table 1.
        optimization: Adam's numbers.
        mixtures: Components of the logistic mixture.
        dropout: In every gated block.
        initialization_pictures: How many pictures the data-dependent initialisation looks at.
        grid: `canvas`, `chroma_filter`, `round_ab` and `upsampling` of `ChromaGrid`.

    Raises:
        ValueError: If the embedding is too narrow for the mixture, or the resolution does not divide by its strides.
    """

    initialized: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        embedding: Sequence[Stage],
        optimization: Optimization,
        mixtures: int,
        dropout: float,
        initialization_pictures: int,
        **grid: Any,
    ) -> None:
        super().__init__()
        self.resolution, self.optimization = resolution, optimization
        self.initialization_pictures = initialization_pictures
        self.embedding = EmbeddingNetwork(embedding, dropout)
        self.grid = ChromaGrid(self.embedding.subsampling, **grid)
        self.parameter_channels = logistic_mixture.PARAMETERS_PER_COMPONENT * mixtures
        self.register_buffer("initialized", torch.tensor(False))
        # Lightning's own mean is wrong where ranks hold different numbers of pictures.
        self.validation_bits = MeanMetric()
        if self.embedding.width < self.parameter_channels:
            raise ValueError(
                f"the embedding's last width is {self.embedding.width}; {mixtures} mixture components are read from "
                f"its first {self.parameter_channels} channels: widen it, or take fewer components"
            )
        if resolution % self.grid.factor:
            raise ValueError(f"resolution {resolution} is no multiple of the chroma subsampling, {self.grid.factor}")

    @property
    def likelihood_space(self) -> str:
        """What `bits_per_dim` counts, for the record."""
        side = self.resolution // self.grid.factor
        values = "whole" if self.grid.round_ab else "unrounded"
        return f"CIELab a and b at {side}x{side}, {values} values, bins of 1 unit, {self.grid.chroma_filter} filter"

    def luminance(self, rgb: Tensor) -> Tensor:
        """CIELab L in 0..100."""
        return rgb_to_lab_luminance(rgb)

    def embed(self, luminance: Tensor) -> Tensor:
        """g: L in 0..100, (B, 1, H, W), to the embedding on the chroma grid."""
        embedding: Tensor = self.embedding(normalize_luminance(luminance))
        return embedding

    def look_at(self, luminance: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding of L in 0..100, of any size, and normalised L on the chroma grid."""
        size = (self.resolution, self.resolution)
        if luminance.shape[2:] != size:
            luminance = F.interpolate(luminance, size, mode="bicubic", antialias=True).clamp(0, 100)
        small = self.grid.subsample(normalize_luminance(luminance))
        return self.embed(luminance), small

    def predict(self, picture: ChromaPicture, embedding: Tensor) -> list[Tensor]:
        """The mixture parameters, (B, 8 * mixtures, h, w), of all trained predictions, the method's own first."""
        raise NotImplementedError

    def log_probabilities(self, rgb: Tensor) -> list[Tensor]:
        """Each pixel's log-probability, (B, h, w), by each prediction.

        Args:
            rgb: RGB in [0, 1], (B, 3, resolution, resolution).

        Raises:
            ValueError: Of pictures of another size, whose bits/dim would not compare.
        """
        height, width = rgb.shape[2:]
        if (height, width) != (self.resolution, self.resolution):
            raise ValueError(
                f"pictures of {width}x{height} were given to a model of {self.resolution}x{self.resolution}, "
                "and bits/dim compare at one resolution only; resize the pictures, or take the set it was trained on"
            )
        picture = self.grid.picture(rgb)
        predictions = self.predict(picture, self.embed(self.luminance(rgb)))
        return [logistic_mixture.log_probability(each, picture.luminance, picture.chroma) for each in predictions]

    def bits_per_dim(self, rgb: Tensor) -> Tensor:
        """-log2 p(chroma | luminance) per modelled value (section 4.1), (B,), of RGB in [0, 1], (B, 3, H, W)."""
        return logistic_mixture.bits_per_dim(self.log_probabilities(rgb)[0])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Equation 3, in bits/dim."""
        loss = self.bits_per_dim(to_float(batch["rgb"])).mean()
        self.log("train/bits_per_dim", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log bits/dim, the mean over all pictures of all ranks."""
        self.validation_bits(self.bits_per_dim(to_float(batch["rgb"])))
        self.log("validation/bits_per_dim", self.validation_bits, prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, its rate decayed after every iteration."""
        numbers = self.optimization
        first, second = numbers["betas"]
        optimizer = torch.optim.Adam(
            self.parameters(), lr=numbers["learning_rate"], betas=(first, second), eps=numbers["epsilon"]
        )
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, numbers["decay"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Data-dependent initialisation (Salimans and Kingma, 2016), once, on the first training pictures."""
        if self.initialized:
            return
        pictures = self.trainer.datamodule.first_pictures(self.initialization_pictures)  # type: ignore[attr-defined]
        self.initialize(to_float(pictures.to(self.device)))
        for tensor in (*self.parameters(), *self.buffers()):
            tensor.data.copy_(self.trainer.strategy.broadcast(tensor.data.cpu()))

    @torch.no_grad()
    def initialize(self, rgb: Tensor) -> None:
        """Choose every convolution's gain and bias on these pictures, RGB in [0, 1], (B, 3, H, W)."""
        initialize_from_data(self.embedding, normalize_luminance(self.luminance(rgb)))
        self.initialized.fill_(True)

    def uniform(self, *shape: int, generator: torch.Generator | None) -> Tensor:
        """Noise for draws of a mixture: `shape`, then the slots that one draw takes."""
        slots = logistic_mixture.noise_slots(self.parameter_channels)
        return torch.rand(*shape, slots, generator=generator, device=self.device)
