"""Scores a method under a protocol."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from evaluation.functional.alpha_beta import rmse_alpha_beta, rmse_alpha_beta_norm
from evaluation.functional.psnr import psnr
from evaluation.functional.saturation import saturation
from evaluation.interval import mean_with_interval
from evaluation.protocols import Protocol
from evaluation.record import SCHEMA, file_sha256
from lightning_modules.color import to_float, to_uint8
from lightning_modules.colorizer import Colorizer, ExactLikelihood

COLOUR_MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rmse_alpha_beta": rmse_alpha_beta,
    "rmse_alpha_beta_norm": rmse_alpha_beta_norm,
    "psnr": psnr,
    "saturation": lambda prediction, _: saturation(prediction),
    "saturation_of_truth": lambda _, truth: saturation(truth),
}
PIXEL_WEIGHTED = ("rmse_alpha_beta", "rmse_alpha_beta_norm")


def evaluate(
    colorizer: Colorizer, batches: Iterable[dict[str, Any]], protocol: Protocol, checkpoint: Path, total: int
) -> dict[str, Any]:
    """Score a method: what `scores.json` holds.

    Pictures are scored as they would be saved, in eight bits. Those without any colour are counted, and left out of
    the colour measures.

    Args:
        colorizer: On the device to use.
        batches: `rgb`, uint8 (B, 3, H, W), and `key`.
        protocol: What to measure.
        checkpoint: Of the method, for the record.
        total: How many batches there are, for the progress bar.
    """
    generator = torch.Generator(colorizer.device).manual_seed(protocol.seed)
    values: dict[str, list[float]] = defaultdict(list)
    pixels: list[int] = []
    pictures = coloured = grey = 0
    for batch in track(batches, f"scoring by {protocol.name}", total=total):
        rgb = to_float(batch["rgb"].to(colorizer.device))
        pictures += len(rgb)
        if isinstance(colorizer, ExactLikelihood):
            with torch.no_grad():
                values["bits_per_dim"] += colorizer.bits_per_dim(rgb).tolist()
        wanted = len(rgb) if protocol.sampled_pictures is None else protocol.sampled_pictures - coloured
        rgb = rgb[: max(wanted, 0)]
        coloured += len(rgb)
        has_colour = (rgb.amax(dim=1) > rgb.amin(dim=1)).flatten(1).any(dim=1)
        grey += int((~has_colour).sum())
        rgb = rgb[has_colour]
        if len(rgb):
            pixels += [rgb.shape[2] * rgb.shape[3]] * len(rgb)
            for name, scores in colour_scores(colorizer, rgb, protocol.samples, generator).items():
                values[name] += scores
    metrics: dict[str, Any] = {
        name: mean_with_interval(scores, pixels if name in PIXEL_WEIGHTED else None, protocol.seed)
        for name, scores in values.items()
    }
    if isinstance(colorizer, ExactLikelihood) and "bits_per_dim" in metrics:
        metrics["bits_per_dim"]["space"] = colorizer.likelihood_space
    return {
        "schema": SCHEMA,
        "protocol": {**vars(protocol), "hash": protocol.hash},
        "method": type(colorizer).__name__,
        "checkpoint": {"path": str(checkpoint), "sha256": file_sha256(checkpoint)},
        "pictures": {"all": pictures, "coloured": coloured, "grey": grey},
        "metrics": metrics,
    }


def colour_scores(
    colorizer: Colorizer, rgb: Tensor, samples: int, generator: torch.Generator
) -> dict[str, list[float]]:
    """Each colour measure of each picture, the mean over its samples."""
    drawn = colorizer.colorize(colorizer.luminance(rgb), samples=samples, generator=generator)
    drawn = to_float(to_uint8(drawn)).flatten(0, 1)
    truth = rgb.repeat_interleave(samples, dim=0)
    return {
        name: measure(drawn, truth).unflatten(0, (len(rgb), samples)).mean(dim=1).tolist()
        for name, measure in COLOUR_MEASURES.items()
    }
