"""Gain of colourisers over no colour at all (Lab L alone), on a folder of images at their own size.

A row a model: PSNR and its gain over grey, both the mean over images with a 95% bootstrap interval; by how much RMSE
alpha-beta of all pixels is lower than grey's, in percent; mean chroma as a share of the truth's; seconds an image. Grey
images are left out. Of a model that draws several colourings, the first is taken.

    python benchmarks/colourisers.py FOLDER --model cic-compact --model runs/lrac_tiny/RUN
    python benchmarks/colourisers.py FOLDER --model cic-compact --set temperature=0.8 --sheet sheet.png
"""

import argparse
import time
from pathlib import Path
from typing import Any

import configs.process  # noqa: F401  # isort: skip
import numpy as np
import torch
from omegaconf import OmegaConf
from rich.progress import track
from timing import where
from torch import Tensor

from datamodules.pictures import find_pictures, read_picture
from evaluation.interval import mean_with_interval
from evaluation.report.sheet import contact_sheet
from lightning_modules.color import is_grey, lab_to_rgb, rgb_to_alpha_beta, rgb_to_lab, to_float
from lightning_modules.colorizer import Colorizer

SHOWN = 40
"""Rows of a sheet."""


def scores_of(rgb: Tensor, truth: Tensor) -> list[float]:
    """PSNR, squared error of alpha and beta, pixels and mean chroma of an image, both RGB in [0, 1], `(1, 3, H, W)`."""
    psnr = -10 * (rgb - truth).square().mean().clamp(min=1e-10).log10()
    error = (rgb_to_alpha_beta(rgb) - rgb_to_alpha_beta(truth)).square().sum()
    return [float(psnr), float(error), truth[0, 0].numel(), float(rgb_to_lab(rgb)[:, 1:].norm(dim=1).mean())]


def print_table(found: dict[str, list[list[float]]], seconds: dict[str, float]) -> None:
    """Print a row for each model."""
    print("| model | PSNR, dB | gain, dB | RMSE alpha-beta | lower by, % | chroma, % of truth | s an image |")
    print("|---|---|---|---|---|---|---|")
    columns = {name: np.array(rows).T for name, rows in found.items()}
    grey, truth = columns["grey"], columns["truth"]
    for name, (psnr, error, pixels, chroma) in columns.items():
        if name == "truth":
            continue
        value, gain = (mean_with_interval(each.tolist()) for each in (psnr, psnr - grey[0]))
        cells = [f"{score['value']:.2f} [{score['low']:.2f}, {score['high']:.2f}]" for score in (value, gain)]
        rmse, rmse_of_grey = (np.sqrt(each.sum() / pixels.sum() / 2) for each in (error, grey[1]))
        share = 100 * chroma.mean() / truth[3].mean()
        print(
            f"| {name} | {' | '.join(cells)} | {rmse:.3f} | {100 * (1 - rmse / rmse_of_grey):.1f} | {share:.0f} "
            f"| {seconds.get(name, 0) / len(psnr):.2f} |"
        )


def main() -> None:
    """Score every model on every image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images to score on, which no model was trained on")
    parser.add_argument("--model", action="append", required=True, help="a bundled name, a run or a file; repeatable")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a hyper-parameter")
    parser.add_argument("--images", type=int, help="how many, evenly spread (default: all)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help=f"show {SHOWN} of them: grey, each model, truth")
    arguments = parser.parse_args()
    changes: Any = OmegaConf.to_container(OmegaConf.from_dotlist(arguments.set))
    models = {name: Colorizer.from_pretrained(name, **changes) for name in arguments.model}
    paths = find_pictures(arguments.folder)
    paths = paths[:: max(1, len(paths) // (arguments.images or len(paths)))][: arguments.images]
    found: dict[str, list[list[float]]] = {name: [] for name in ("grey", *models, "truth")}
    seconds: dict[str, float] = dict.fromkeys(models, 0.0)
    rows: list[list[Tensor]] = []
    for place, path in enumerate(track(paths, "scoring")):
        rgb = to_float(read_picture(path))[None]
        if is_grey(rgb[0]):
            continue
        lab = rgb_to_lab(rgb)
        made = {"grey": lab_to_rgb(torch.cat([lab[:, :1], torch.zeros_like(lab[:, 1:])], dim=1))}
        for name, model in models.items():
            started = time.perf_counter()
            generator = torch.Generator().manual_seed(place)
            made[name] = model.colorize(model.luminance(rgb), generator=generator)[:, 0]
            seconds[name] += time.perf_counter() - started
        made["truth"] = rgb
        for name, image in made.items():
            found[name].append(scores_of(image, rgb))
        if arguments.sheet and place % max(1, len(paths) // SHOWN) == 0 and len(rows) < SHOWN:
            rows.append([image[0] for image in made.values()])
    print(
        f"{len(found['truth'])} images of {arguments.folder}, {' '.join(arguments.set)} on {where(torch.device('cpu'))}"
    )
    print_table(found, seconds)
    if arguments.sheet:
        contact_sheet(rows, list(found)).save(arguments.sheet)


if __name__ == "__main__":
    main()
