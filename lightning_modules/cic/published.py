"""The weights that the authors released for PyTorch, `colorization_release_v2-9b330a0b.pth`."""

import re

import torch
from torch import Tensor

from lightning_modules.cic.bins import bin_centres
from lightning_modules.cic.module import CHROMA_SCALE, CIC, Optimization

LAYER = re.compile(r"model(\d)\.(\d+)\.(\w+)")
TO_COLOUR = "model_out.weight"
"""The last layer of the release, which is fixed: the bins' centres over 110, `(2, 313, 1, 1)`."""
OPTIMIZATION: Optimization = {
    "learning_rate": 3e-5,
    "betas": [0.9, 0.99],
    "weight_decay": 5.2e-7,
    "decoupled": False,
    "schedule": "thirds",
}


def from_published(weights: dict[str, Tensor]) -> CIC:
    """CIC with released weights, in evaluation mode.

    The release takes the mean of the distribution as it is: its code has no temperature.

    Args:
        weights: The release's state dict.

    Raises:
        ValueError: If the weights are not CIC's, or belong to other bins.
    """
    colorizer = CIC(
        resolution=176,
        target="classes",
        reduction="strided",
        network={"architecture": "published", "width": 64},
        uniform=0.5,
        prior=None,
        prior_images=2000,
        temperature=1.0,
        inference_short_side=256,
        pretrained=None,
        optimization=OPTIMIZATION,
    )
    named = {renamed(name): value for name, value in weights.items() if name != TO_COLOUR}
    wrong = colorizer.network.load_state_dict(named, strict=False) if shapes_fit(named, colorizer) else None
    if wrong is None or wrong.missing_keys or wrong.unexpected_keys:
        raise ValueError("these weights are not those of CIC's PyTorch release, colorization_release_v2-9b330a0b.pth")
    centres = CHROMA_SCALE * weights[TO_COLOUR].flatten(1).T if TO_COLOUR in weights else bin_centres()
    if centres.shape != bin_centres().shape or not torch.allclose(centres, bin_centres(), atol=0.01):
        raise ValueError(f"{TO_COLOUR} does not hold the 313 colours of CIC in their published order")
    colorizer.initialized.fill_(True)
    return colorizer.eval()


def shapes_fit(weights: dict[str, Tensor], colorizer: CIC) -> bool:
    """Whether all weights of a name that the network knows have its shape there."""
    own = colorizer.network.state_dict()
    return all(value.shape == own[name].shape for name, value in weights.items() if name in own)


def renamed(name: str) -> str:
    """A weight's name in the release to its name here."""
    if not (match := LAYER.fullmatch(name)):
        return name
    block, layer, part = int(match[1]), int(match[2]), match[3]
    if block < 8:
        return f"blocks.{block - 1}.{layer}.{part}"
    return {0: f"enlarge.{part}", 6: f"out.{part}"}.get(layer, f"last.{layer - 1}.{part}")
