"""Scores a method under a protocol."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sized
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.progress import track
from torch import Tensor

from evaluation.functional.alpha_beta import rmse_alpha_beta, rmse_alpha_beta_norm
from evaluation.functional.psnr import psnr
from evaluation.functional.saturation import saturation
from evaluation.interval import mean_with_interval
from evaluation.protocols import ScoringProtocol
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


class PictureLoader(Protocol):
    """A set of pictures, in batches of `rgb`, uint8 (B, 3, H, W), and `key`."""

    pictures: Sized
    """The set itself."""
    batch_size: int
    """Pictures in a batch, but perhaps the last."""
    bad_pictures: Sized
    """Those that had to be left out."""

    def __len__(self) -> int:
        """Batches."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The batches."""


def evaluate(
    colorizer: Colorizer,
    loader: PictureLoader,
    rules: ScoringProtocol,
    checkpoint: Path,
    data: dict[str, Any],
    limit: int | None = None,
) -> dict[str, Any]:
    """Score a method: what `scores.json` holds.

    Pictures are scored as they would be saved, in eight bits. Those without any colour are counted, and left out of
    the colour measures.

    Args:
        colorizer: On the device to use.
        loader: The set.
        rules: What to measure.
        checkpoint: Of the method, for the record.
        data: The set's config, for the record.
        limit: Score only this many batches; the record then says that the set is not complete.
    """
    generator = torch.Generator(colorizer.device).manual_seed(rules.seed)
    batches = len(loader) if limit is None else min(limit, len(loader))
    chosen = rules.choose(min(len(loader.pictures), batches * loader.batch_size))
    values: dict[str, list[float]] = defaultdict(list)
    keys: list[str] = []
    pixels: list[int] = []
    grey = 0
    for batch in track(islice(loader, batches), f"scoring by {rules.name}", total=batches):
        rgb = to_float(batch["rgb"].to(colorizer.device))
        if isinstance(colorizer, ExactLikelihood):
            with torch.no_grad():
                values["bits_per_dim"] += colorizer.bits_per_dim(rgb).tolist()
        wanted = [len(keys) + index in chosen for index in range(len(rgb))]
        keys += batch["key"]
        rgb = rgb[torch.tensor(wanted, device=rgb.device)]
        has_colour = (rgb.amax(dim=1) > rgb.amin(dim=1)).flatten(1).any(dim=1)
        grey += int((~has_colour).sum())
        rgb = rgb[has_colour]
        if len(rgb):
            pixels += [rgb.shape[2] * rgb.shape[3]] * len(rgb)
            for name, scores in colour_scores(colorizer, rgb, rules.samples, generator).items():
                values[name] += scores
    metrics: dict[str, Any] = {
        name: mean_with_interval(scores, pixels if name in PIXEL_WEIGHTED else None, rules.seed)
        for name, scores in values.items()
    }
    if isinstance(colorizer, ExactLikelihood):
        metrics["bits_per_dim"]["space"] = colorizer.likelihood_space
    return {
        "schema": SCHEMA,
        "protocol": {**vars(rules), "hash": rules.hash},
        "method": type(colorizer).__name__,
        "checkpoint": {"path": str(checkpoint), "sha256": file_sha256(checkpoint)},
        "hyper_parameters": dict(colorizer.hparams),
        "set": {
            "data": data,
            "keys_sha256": hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest(),
            "complete": len(keys) == len(loader.pictures),
        },
        "pictures": {
            "all": len(keys),
            "coloured": len(pixels),
            "grey": grey,
            "unreadable": len(loader.bad_pictures),
        },
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
