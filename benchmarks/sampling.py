"""How much the caches save: PIC's ImageNet network on a 32x32 chroma grid and PixColor's on 28x28, naive and cached.

Naive sampling runs the whole autoregressive network once for each value it draws, the picture's embedding or condition
kept. A few of those steps are timed and extrapolated to all of them; the cached sampler runs in full.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --batch 1 8 32 --threads 4 --device cuda
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from timing import seconds, where
from torch import nn

from lightning_modules.device import choose_device
from lightning_modules.layers.logistic_mixture import noise_slots
from lightning_modules.pic import sampler as pic
from lightning_modules.pic.chroma import ChromaGrid
from lightning_modules.pic.network import AutoregressiveNetwork
from lightning_modules.pixcolor import sampler as pixcolor
from lightning_modules.pixcolor.pixelcnn import PixelCNN

PIC_SIDE, PIC_WIDTH = 32, 160
PIXCOLOR_SIDE, PIXCOLOR_WIDTH = 28, 64
NAIVE_STEPS, REPEATS = 5, 3


class Work(NamedTuple):
    """What is timed of a method."""

    forward: Callable[[], object]
    """One dense forward."""
    naive_step: Callable[[], object]
    steps: int
    """Of the naive sampler in all."""
    cached: Callable[[], object]
    """The whole cached sampler."""


def pic_work(network: nn.Module, batch: int, generator: torch.Generator) -> Work:
    """PIC's sampler on random pictures."""
    assert isinstance(network, AutoregressiveNetwork)
    device = generator.device
    embedding = torch.randn(batch, PIC_WIDTH, PIC_SIDE, PIC_SIDE, generator=generator, device=device)
    luminance = 2 * torch.rand(batch, 1, PIC_SIDE, PIC_SIDE, generator=generator, device=device) - 1
    canvas = 2 * torch.rand(batch, 3, PIC_SIDE, PIC_SIDE, generator=generator, device=device) - 1
    slots = noise_slots(len(network.output.bias))
    noise = torch.rand(batch, 1, PIC_SIDE, PIC_SIDE, slots, generator=generator, device=device)
    colour = ChromaGrid(4).canvas_of
    naive = pic.NaiveDecoder(network)
    naive.begin(embedding, 1)
    return Work(
        forward=lambda: network(canvas, embedding),
        naive_step=lambda: naive.pixel(0, 0),
        steps=PIC_SIDE**2,
        cached=lambda: pic.sample_canvas(pic.CachedDecoder(network), embedding, luminance, noise, colour),
    )


def pixcolor_work(network: nn.Module, batch: int, generator: torch.Generator) -> Work:
    """PixColor's sampler on random pictures; Cr and Cb of a pixel are two steps."""
    assert isinstance(network, PixelCNN)
    side, device = PIXCOLOR_SIDE, generator.device
    condition = torch.randn(batch, PIXCOLOR_WIDTH, side, side, generator=generator, device=device)
    canvas = 2 * torch.rand(batch, 2, side, side, generator=generator, device=device) - 1
    noise = torch.rand(batch, 1, side, side, 2, generator=generator, device=device)
    naive = pixcolor.NaiveDecoder(network)
    naive.begin(condition, 1)
    return Work(
        forward=lambda: network(canvas, condition),
        naive_step=lambda: naive.pixel(0, 0, 0),
        steps=2 * side**2,
        cached=lambda: pixcolor.sample_bins(pixcolor.CachedDecoder(network), condition, noise),
    )


METHODS = (
    (f"PIC, {PIC_SIDE}x{PIC_SIDE} chroma", lambda: AutoregressiveNetwork(3, PIC_WIDTH), pic_work),
    (f"PixColor, {PIXCOLOR_SIDE}x{PIXCOLOR_SIDE} chroma", lambda: PixelCNN(PIXCOLOR_WIDTH), pixcolor_work),
)
"""What stands over its table, its network, and its work."""


def row(work: Work, device: torch.device) -> list[str]:
    """Seconds of one dense forward, of the naive sampler (extrapolated) and of the cached one, and their ratios."""
    forward = seconds(work.forward, REPEATS, device)
    naive = seconds(work.naive_step, NAIVE_STEPS, device) * work.steps
    cached = seconds(work.cached, REPEATS, device)
    ratios = f"{naive / cached:.0f}", f"{cached / forward:.2f}"
    return [f"{forward:.3f} s", f"{naive:.1f} s", f"{cached:.2f} s", *ratios]


@torch.inference_mode()
def main() -> None:
    """Print a table for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="pictures times samples (default: 1 8)")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)

    console = Console(width=110)
    for title, make_network, make_work in METHODS:
        network = make_network().to(device).eval()
        table = Table(title=f"{title}, float32, on {where(device)}", title_justify="left")
        for heading in ("batch", "one dense forward", "naive*", "cached", "naive / cached", "cached / forward"):
            table.add_column(heading, justify="right")
        for batch in arguments.batch:
            generator = torch.Generator(device).manual_seed(0)
            table.add_row(str(batch), *row(make_work(network, batch, generator), device))
        console.print(table)
    console.print(f"* {NAIVE_STEPS} steps timed, their median times all steps; cached is timed in full.")


if __name__ == "__main__":
    main()
