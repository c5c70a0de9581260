"""Pictures a second, from 256-pixel JPEGs to (64, 3, 224, 224) uint8 batches with random crop and mirror.

python benchmarks/loading.py                    pictures cut from the bundled photographs
python benchmarks/loading.py imagenet/train     a folder of JPEGs

In one run: this project's loader on shards, torchvision's ImageFolder with Pillow, and the bare decoder in a loop in as
many processes, with no pipeline at all: the limit. All are
measured in turn, several times: the table has the best rates, and medians of the ratios within a round.
"""

import argparse
import io
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from operator import truediv
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, RandomSampler
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import Compose, PILToTensor, RandomCrop, RandomHorizontalFlip

from datamodules.images import ShardedPictures
from datamodules.loader import ResumableLoader
from datamodules.photos import BUNDLED_TRAINING, bundled
from datamodules.pictures import find_pictures, read_picture
from datamodules.shards.catalogue import open_folder
from datamodules.shards.sources import find_sources
from datamodules.shards.writer import Encoding, write
from datamodules.transforms import scale_and_crop

RESOLUTION, SHORT_SIDE, BATCH = 224, 256, 64


def bundled_jpegs(folder: Path, count: int) -> None:
    """Cut pictures of 256 x 341 from the bundled photographs."""
    generator = np.random.default_rng(0)
    photos = [read_picture(path) for path in bundled(BUNDLED_TRAINING)]
    photos = [photo for photo in photos if photo.shape[1] >= SHORT_SIDE and photo.shape[2] >= 341]
    (folder / "all").mkdir(parents=True)
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (generator.integers(photo.shape[i] - side + 1) for i, side in ((1, SHORT_SIDE), (2, 341)))
        crop = photo[:, top : top + SHORT_SIDE, left : left + 341].permute(1, 2, 0).numpy()
        Image.fromarray(crop).save(folder / "all" / f"{number:05}.jpg", quality=90, subsampling="4:4:4")


def usable_jpegs(folder: Path) -> list[bytes]:
    """The JPEGs of a folder that all decoders read and the crop fits in."""
    found = (path.read_bytes() for path in find_pictures(folder))
    headers = ((data, simplejpeg.decode_jpeg_header(data)) for data in found if data[:2] == b"\xff\xd8")
    return [data for data, (*size, space, _) in headers if space == "YCbCr" and min(size) >= RESOLUTION]


def seconds_each(decode: Callable[[bytes], Any], jpegs: list[bytes]) -> float:
    """Best time of a picture over three passes."""

    def one_pass() -> float:
        started = time.perf_counter()
        for data in jpegs:
            decode(data)
        return (time.perf_counter() - started) / len(jpegs)

    return min(one_pass() for _ in range(3))


def with_pillow(data: bytes, draft: int | None = None) -> Any:
    """Decode with Pillow, in draft mode to no less than `draft` pixels a side."""
    picture = Image.open(io.BytesIO(data))
    if draft:
        picture.draft("RGB", (draft, draft))
    return np.asarray(picture.convert("RGB"))


def with_torchvision(data: bytes) -> Any:
    """Decode with torchvision."""
    return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "Pillow": with_pillow,
    "Pillow, draft mode to 128": partial(with_pillow, draft=128),
    "torchvision": with_torchvision,
    "simplejpeg": simplejpeg.decode_jpeg,
}


def bare_loop(jpegs: list[bytes], pictures: int, crops: bool) -> float:
    """Pictures a second of the bare decoder in one process, with or without crop and mirror into one batch."""
    scratch = np.empty(max(np.prod(simplejpeg.decode_jpeg_header(data)[:2]) for data in jpegs) * 3, np.uint8)
    batch = torch.empty(BATCH, RESOLUTION, RESOLUTION, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    generator = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    for number in range(pictures):
        picture = simplejpeg.decode_jpeg(jpegs[number % len(jpegs)], buffer=scratch)
        if crops:
            layers = [torch.from_numpy(picture).permute(2, 0, 1)]
            (batch[number % BATCH],) = scale_and_crop(layers, generator, short_side=SHORT_SIDE, resolution=RESOLUTION)
    return pictures / (time.perf_counter() - started)


def rate_of(batches: Iterable[Any], warm_up: int) -> float:
    """Pictures a second after some batches of warming up."""
    pictures, started = 0, 0.0
    for number, batch in enumerate(batches):
        rgb = batch["rgb"] if isinstance(batch, dict) else batch[0]
        assert rgb.shape[1:] == (3, RESOLUTION, RESOLUTION)
        assert rgb.dtype == torch.uint8
        if number == warm_up:
            started = time.perf_counter()
        elif number > warm_up:
            pictures += len(rgb)
    return pictures / (time.perf_counter() - started)


def image_folder(folder: Path, workers: int, pictures: int) -> DataLoader[Any]:
    """torchvision's ImageFolder with Pillow."""
    transform = Compose([RandomCrop(RESOLUTION, pad_if_needed=True), RandomHorizontalFlip(), PILToTensor()])
    files = ImageFolder(str(folder), transform)
    sampler = RandomSampler(files, num_samples=pictures, replacement=True)
    return DataLoader(files, BATCH, sampler=sampler, num_workers=workers, drop_last=True, persistent_workers=True)


def sharded(shards: Path, workers: int, pictures: int) -> ResumableLoader:
    """This project's loader, visiting the shards' pictures as often as it takes."""
    catalogue = open_folder(str(shards), shards)
    files = catalogue.files(shards, 0)
    rows = np.resize(np.arange(len(catalogue.index)), pictures)
    transform = partial(scale_and_crop, short_side=SHORT_SIDE, resolution=RESOLUTION)
    training = ShardedPictures(catalogue, files, np.sort(rows), transform, reach=20000, seed=0, broken={}, skips=False)
    return ResumableLoader(training, BATCH, shuffle=True, workers=workers)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="JPEGs of 256 pixels along the shorter side")
    parser.add_argument("--pictures", type=int, default=8000, help="in each measurement (default: 8000)")
    parser.add_argument("--rounds", type=int, default=5, help="of all measurements (default: 5)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="default: all cores")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    pictures, workers = arguments.pictures, arguments.workers
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "jpegs"
        if arguments.folder is None:
            bundled_jpegs(folder, 1000)
        else:
            (folder / "all").mkdir(parents=True)
            for number, data in enumerate(usable_jpegs(arguments.folder)):
                (folder / "all" / f"{number:05}.jpg").write_bytes(data)
        jpegs = usable_jpegs(folder)
        size = statistics.mean(map(len, jpegs))
        console.print(f"{len(jpegs):,} JPEGs of {size / 1000:.1f} kB; {workers} workers; {os.cpu_count()} cores")

        decoders = Table("decoder, one thread", "ms a picture", "of Pillow's time")
        times = {name: seconds_each(decode, jpegs) for name, decode in DECODERS.items()}
        for name, seconds in times.items():
            decoders.add_row(name, f"{1000 * seconds:.3f}", f"{seconds / times['Pillow']:.2f}")
        console.print(decoders)

        for count in (1, 10, 100):
            write(
                find_sources(folder / "all", folder),
                Path(temporary) / f"shards-{count}",
                command="benchmark",
                encoding=Encoding(),
                pictures_per_shard=-(-len(jpegs) // count),
                seed=0,
                workers=1,
            )
        loaders: dict[str, Iterable[Any]] = {"ImageFolder with Pillow": image_folder(folder, workers, pictures)}
        for count in (1, 10, 100):
            shards = Path(temporary) / f"shards-{count}"
            loaders[f"this loader, {count} shards"] = sharded(shards, workers, pictures)
        rates: dict[str, list[float]] = defaultdict(list)
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            for _ in range(arguments.rounds):
                for crops, name in ((False, "bare decoder in a loop"), (True, "the same, with crop and mirror")):
                    loop = partial(bare_loop, jpegs, pictures // workers)
                    rates[name].append(sum(pool.map(loop, [crops] * workers, chunksize=1)))
                for name, loader in loaders.items():
                    rates[name].append(rate_of(loader, 2 * workers))
        limit, peer = rates["bare decoder in a loop"], rates["ImageFolder with Pillow"]
        table = Table("", "pictures a second", "of the bare decoder", "of ImageFolder")
        for name, rounds in rates.items():
            ratios = (statistics.median(map(truediv, rounds, other)) for other in (limit, peer))
            table.add_row(name, f"{max(rounds):,.0f}", *(f"{ratio:.2f}" for ratio in ratios))
        console.print(table)


if __name__ == "__main__":
    main()
