"""Measures how often each of CIC's 313 colours occurs in a set of images (Zhang et al. 2016, section 2.2).

python -m datamodules.color_prior data/photographs --split train --out prior.json
python train.py +experiment=cic_imagenet model.prior=prior.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.picture_set import PictureSet

STRIDE = 4
"""Every fourth pixel is counted in each direction, as many as a training target has."""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m datamodules.color_prior",
        description="Measure how often each of CIC's 313 colours occurs.",
        epilog="example: python -m datamodules.color_prior data/photographs --split train --out prior.json",
    )
    parser.add_argument("images", type=Path, metavar="FOLDER", help="a folder of images, or a set of shards")
    parser.add_argument("--split", default="train", help="of a set of shards (default: train)")
    parser.add_argument("--limit", type=int, metavar="N", help="take only N images, spread over the whole set")
    parser.add_argument("--out", type=Path, default=Path("prior.json"), help="file to write (default: prior.json)")
    return parser.parse_args(arguments)


def images_in(root: Path, split: str) -> PictureSet:
    """The images of a folder, or of a split of a set of shards, at their own size."""
    from datamodules.folders import Folder
    from datamodules.images import Images
    from datamodules.shards.index import MANIFEST
    from datamodules.transforms import as_stored

    if not (root / MANIFEST).is_file():
        return Folder(root)
    data = Images(
        root=str(root),
        training=split,
        validation=split,
        test=split,
        transform=as_stored,
        minimum_colourness=0.0,
        minimum_chroma_range=0.0,
        reach=1,
        on_error="skip",
        cache="~/.cache/chromalab/shards",
        cache_gigabytes=0.0,
        batch_size=1,
        evaluation_batch_size=1,
        workers=0,
        seed=0,
    )
    return data.pictures("test")


def measure(root: Path, split: str, limit: int | None) -> dict[str, Any]:
    """The prior of a set, with how many images and pixels it rests on.

    Raises:
        ValueError: If no image can be read.
    """
    import torch
    from rich.progress import track

    from datamodules.picture_set import BadPictureError, Visit
    from lightning_modules.cic.bins import bin_centres, prior_of
    from lightning_modules.color import rgb_to_lab, to_float

    images, centres = images_in(root, split), bin_centres()
    step = max(1, len(images) // (limit or len(images)))
    counts, pixels, read = torch.zeros(len(centres), dtype=torch.float64), 0, 0
    for number in track(range(0, len(images), step)[:limit], "counting colours"):
        try:
            rgb = images[Visit(number, 0)]["rgb"]
        except BadPictureError as error:
            print(f"left out: {error}")
            continue
        chroma = rgb_to_lab(to_float(rgb[None, :, ::STRIDE, ::STRIDE]))[:, 1:]
        counts += prior_of(chroma, centres) * chroma[0, 0].numel()
        pixels, read = pixels + chroma[0, 0].numel(), read + 1
    if not read:
        raise ValueError(f"{root} holds no image that can be read")
    return {"source": str(root), "split": split, "images": read, "pixels": pixels, "prior": (counts / pixels).tolist()}


def run(options: argparse.Namespace) -> None:
    """Measure the prior and write it."""
    found = measure(options.images, options.split, options.limit)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found), encoding="utf-8")
    largest = max(found["prior"])
    print(f"prior of {found['images']:,} images, the most frequent bin {largest:.3f} of all: {options.out}")


def main(arguments: list[str] | None = None) -> None:
    """The command line; a mistake ends in one sentence."""
    try:
        run(parse(arguments))
    except KeyboardInterrupt:
        sys.exit("\nstopped by Ctrl-C")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
