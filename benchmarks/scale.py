"""The data layer beyond one machine, by simulation: no picture is read.

python benchmarks/scale.py                     10,000 shards over 1,024 ranks with 8 workers each: minutes, 4 GB

Makes an index of so many shards, goes through one epoch as every rank would, and prints whether the
epoch is a permutation, how even the work is, and what starting costs. Then, by arithmetic, the bytes a second that
training asks of storage.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from datamodules.images import ShardedPictures
from datamodules.loader import Batches
from datamodules.order import generator_of, rank_order
from datamodules.shards.catalogue import open_folder
from datamodules.shards.index import INDEX, MANIFEST, Manifest, Shard, row_type, sha256_of

REACH = 20000
PICTURE_KILOBYTES = 37.9
"""ImageNet at a shorter side of 256, JPEG quality 90 without chroma subsampling: the mean over 800 pictures."""
GPU_FLOPS = 0.3 * 989e12
"""30 % of the dense bfloat16 peak that NVIDIA states for the H100."""


def write_index(folder: Path, shards: int, pictures: int) -> None:
    """An index and manifest of shards that are not there."""
    index = np.lib.format.open_memmap(folder / INDEX, "w+", row_type(23), (shards * pictures,))
    index["key"] = b"n" + b"0" * 22
    index["shard"] = np.repeat(np.arange(shards), pictures)
    index.flush()
    manifest = Manifest("simulation", {"train": [Shard(f"{n:06}.tar", 0, "", pictures) for n in range(shards)]})
    manifest.index_sha256 = sha256_of(folder / INDEX)
    (folder / MANIFEST).write_text(manifest.text, encoding="utf-8")


def simulate(console: Console, shards: int, pictures: int, ranks: int, workers: int, batch_size: int) -> None:
    """One epoch of all ranks."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_index(folder, shards, pictures)
        before = memory_peak(reset=True)
        started = time.perf_counter()
        catalogue = open_folder(str(folder), folder)
        opened = time.perf_counter() - started
        files = catalogue.files(folder, 0)
        rows = np.arange(shards * pictures)
        visited = ShardedPictures(
            catalogue, files, rows, lambda layers, _: layers, reach=REACH, seed=0, broken={}, skips=False
        )
        batches = Batches(visited, batch_size, shuffle=True, seed=0, rank=ranks // 2, world_size=ranks, limit=None)
        started = time.perf_counter()
        next(iter(batches))
        first_batch = time.perf_counter() - started
        memory = memory_peak() - before

        order = visited.order(generator_of(0, 0))
        seen = torch.zeros(len(rows), dtype=torch.int8)
        shares, shards_read = [], []
        for rank in track(range(ranks), "going through an epoch"):
            mine = rank_order(order, REACH, (0, 0, 0), rank, ranks)
            seen[mine] += 1
            shares.append(len(mine))
            shards_read.append(len(np.unique(catalogue.shards_of(mine.numpy()))))
        table = Table("", "", title=f"{shards:,} shards of {pictures:,} pictures, {ranks:,} ranks x {workers} workers")
        table.add_row("every picture on exactly one rank", "yes" if bool((seen == 1).all()) else "NO")
        mean = len(rows) / ranks
        table.add_row("largest rank's pictures against the mean", f"{max(shares) / mean - 1:+.4%}")
        table.add_row("batches of every rank", f"{batches.whole:,}")
        table.add_row(
            "of its busiest worker, of its idlest", f"{-(-batches.whole // workers)}, {batches.whole // workers}"
        )
        table.add_row(
            "dropped: incomplete last batches", f"{len(rows) - batches.whole * batch_size * ranks:,} pictures"
        )
        table.add_row("shards that a rank reads: mean, most", f"{np.mean(shards_read):.2f}, {max(shards_read)}")
        size = (folder / INDEX).stat().st_size
        table.add_row("index on disk, mapped and shared by all processes", f"{size / 1e6:,.0f} MB")
        table.add_row("opening it, its SHA-256 included", f"{opened:.2f} s")
        table.add_row("an epoch's order, to the first batch", f"{first_batch:.2f} s")
        table.add_row("memory that this takes in a rank's process, at most", f"{memory / 1e6:,.0f} MB")
        console.print(table)


def memory_peak(reset: bool = False) -> int:
    """The most memory that this process has held since the last reset, in bytes (on Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def multiply_adds(network: nn.Module, *shape: int) -> float:
    """Of one forward pass, nothing computed."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        network.to("meta").eval()(torch.empty(1, *shape))
    return float(counter.get_total_flops()) / 2


def backbones() -> dict[str, float]:
    """Multiply-adds of the largest part of each method on one training picture."""
    resnet = torchvision.models.resnet101(replace_stride_with_dilation=[False, False, True])
    return {
        "PIC, 128 px": pic_multiply_adds(),
        "LRAC, 352 px: VGG-16": multiply_adds(torchvision.models.vgg16().features, 3, 352, 352),
        "PixColor, 224 px: ResNet-101": multiply_adds(resnet, 3, 224, 224),
        "Exemplar, 176 px: colourisation": exemplar_multiply_adds(),
    }


def pic_multiply_adds() -> float:
    """Multiply-adds of PIC's training pass."""
    from hydra import compose, initialize_config_module
    from hydra.utils import instantiate

    with initialize_config_module("configs", version_base="1.3"):
        model = instantiate(compose("train", ["+experiment=pic_imagenet"]).model, _convert_="all").eval()
    rgb = torch.rand(1, 3, model.hparams["resolution"], model.hparams["resolution"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.bits_per_dim(rgb)
    return float(counter.get_total_flops()) / 2


def exemplar_multiply_adds() -> float:
    """Multiply-adds of Xu et al.'s colourisation sub-net, from the table of its layers."""
    # side of the picture over side of the map; channels in, channels out, taps of each convolution
    blocks = {
        1: [(4, 64, 9), (64, 64, 9), (128, 128, 4), (64, 128, 9), (128, 128, 9)],
        2: [(64, 128, 9), (128, 128, 9), (256, 128, 4), (128, 128, 9), (128, 128, 9)],
        4: [(128, 256, 9), *[(256, 256, 9)] * 2, (512, 256, 4), *[(256, 256, 9)] * 3],
        8: [(256, 512, 9), *[(512, 512, 9)] * 11],
    }
    layers = ((scale, layer) for scale, convolutions in blocks.items() for layer in convolutions)
    return sum((176 // scale) ** 2 * inputs * outputs * taps for scale, (inputs, outputs, taps) in layers)


def on_paper(console: Console) -> None:
    """What training asks of storage."""
    table = Table("largest part", "GMAC", "pictures/s", "1 GPU", "8 GPUs", "64 GPUs", "512 GPUs")
    for name, macs in backbones().items():
        rate = GPU_FLOPS / (6 * macs)  # two operations a multiply-add; the backward pass costs twice the forward one
        one = rate * PICTURE_KILOBYTES / 1e6
        needs = [f"{gpus * one:.2g} GB/s" for gpus in (1, 8, 64, 512)]
        table.add_row(name, f"{macs / 1e9:.1f}", f"{rate:,.0f}", *needs)
    console.print(table)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--pictures", type=int, default=1281, help="a shard (default: 1281)")
    parser.add_argument("--ranks", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    console = Console()
    simulate(console, arguments.shards, arguments.pictures, arguments.ranks, arguments.workers, arguments.batch_size)
    on_paper(console)


if __name__ == "__main__":
    main()
