"""The ablation of section 4.3: the embedding network without the autoregressive one."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_modules.guidance import Guidance
from lightning_modules.layers import logistic_mixture
from lightning_modules.pic.base import PICBase
from lightning_modules.pic.chroma import ChromaPicture, denormalize_chroma

MapComponent = Literal["densest", "random"]


class PICEmbedding(PICBase):
    """The embedding network alone: every pixel's chroma is independent of the others', and the most likely is shown.

    Fine-tuned from a trained PIC, whose embedding network it is.

    Args:
        map_component: Which component's mean is shown: the one densest there (`densest`), or, as the authors' code
            does, one drawn at random (`random`).
        arguments: Those of `PICBase`.
    """

    def __init__(self, *, map_component: MapComponent = "densest", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.save_hyperparameters()
        if map_component not in get_args(MapComponent):
            raise ValueError(f"map_component is one of {', '.join(get_args(MapComponent))}, not {map_component}")
        self.stochastic = map_component == "random"

    def predict(self, picture: ChromaPicture, embedding: Tensor) -> list[Tensor]:
        """See `PICBase`."""
        return [embedding[:, : self.parameter_channels]]

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: torch.Generator | None) -> Tensor:
        """See `Colorizer.colorize`."""
        embedding, small = self.look_at(luminance)
        parameters = embedding[:, : self.parameter_channels].repeat_interleave(samples, dim=0)
        small = small.repeat_interleave(samples, dim=0)
        if self.stochastic:
            noise = self.uniform(len(small), *small.shape[2:], generator=generator)
            chroma = logistic_mixture.sample(parameters, small, noise.movedim(-1, 1), temperature=0)
        else:
            chroma = logistic_mixture.mode(parameters, small)
        return self.grid.join(luminance, denormalize_chroma(chroma))
