"""How much the caches save: PIC's ImageNet network on a 32x32 chroma grid, naive against cached, in one run.

Naive sampling runs the whole network once for each pixel, the embedding kept. A few of those steps are timed and
extrapolated to all of them; the cached sampler runs in full.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --batch 1 8 32 --threads 4 --device cuda
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from evaluation.record import hardware
from lightning_modules.device import choose_device
from lightning_modules.layers.logistic_mixture import noise_slots
from lightning_modules.pic.chroma import ChromaGrid
from lightning_modules.pic.network import AutoregressiveNetwork
from lightning_modules.pic.sampler import CachedDecoder, NaiveDecoder, sample_canvas

SIDE, EMBEDDING_WIDTH = 32, 160
NAIVE_STEPS, REPEATS = 5, 3


def seconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median time of `work` after one call to warm up."""
    times = []
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


@torch.inference_mode()
def measure(network: AutoregressiveNetwork, batch: int, device: torch.device) -> tuple[float, float, float]:
    """Seconds of one dense forward, of the naive sampler (extrapolated) and of the cached one."""
    generator = torch.Generator(device).manual_seed(0)
    embedding = torch.randn(batch, EMBEDDING_WIDTH, SIDE, SIDE, generator=generator, device=device)
    luminance = 2 * torch.rand(batch, 1, SIDE, SIDE, generator=generator, device=device) - 1
    canvas = 2 * torch.rand(batch, 3, SIDE, SIDE, generator=generator, device=device) - 1
    slots = noise_slots(len(network.output.bias))
    noise = torch.rand(batch, 1, SIDE, SIDE, slots, generator=generator, device=device)
    colour = ChromaGrid(4).canvas_of

    forward = seconds(lambda: network(canvas, embedding), REPEATS, device)
    naive_decoder = NaiveDecoder(network)
    naive_decoder.begin(embedding, 1)
    naive_step = seconds(lambda: naive_decoder.pixel(0, 0), NAIVE_STEPS, device)
    cached = seconds(
        lambda: sample_canvas(CachedDecoder(network), embedding, luminance, noise, colour), REPEATS, device
    )
    return forward, naive_step * SIDE * SIDE, cached


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="pictures times samples (default: 1 8)")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    network = AutoregressiveNetwork(3, EMBEDDING_WIDTH).to(device).eval()

    machine = hardware()
    where = (
        machine["gpus"][0] if device.type == "cuda" else f"{machine['processor']}, {torch.get_num_threads()} threads"
    )
    table = Table(title=f"PIC, {SIDE}x{SIDE} chroma, float32, on {where}", title_justify="left")
    for heading in ("batch", "one dense forward", "naive*", "cached", "naive / cached", "cached / forward"):
        table.add_column(heading, justify="right")
    for batch in arguments.batch:
        forward, naive, cached = measure(network, batch, device)
        ratios = f"{naive / cached:.0f}", f"{cached / forward:.2f}"
        table.add_row(str(batch), f"{forward:.3f} s", f"{naive:.1f} s", f"{cached:.2f} s", *ratios)
    console = Console(width=110)
    console.print(table)
    console.print(f"* {NAIVE_STEPS} steps timed, their median times {SIDE * SIDE} steps; cached is timed in full.")


if __name__ == "__main__":
    main()
