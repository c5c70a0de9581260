"""What bfloat16 and compilation save of each method's published training, and what they do to its loss.

python benchmarks/precision.py --device cuda
python benchmarks/precision.py --experiment pic_tiny --batch 4 --steps 5

A few batches of the bundled photographs are repeated in a bare loop.
"""

import argparse
import math
from itertools import cycle
from typing import NamedTuple

import torch
from bare_loop import PUBLISHED, WARM_UP, Bare, composed
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from timing import seconds, where
from torch import Tensor

from datamodules.photos import Photos
from lightning_modules.device import choose_device

DISTINCT = 8
"""Batches that are repeated."""
PEAK_FLOPS = {"A100": 312e12, "H100": 989e12, "H200": 989e12}
"""Dense bfloat16, as NVIDIA states them."""


class Trial(NamedTuple):
    """What a training came to."""

    seconds: float
    """Of a step."""
    flops: float
    """Of a picture, forward and backward."""
    gigabytes: float
    """The most that a GPU held."""
    loss: float
    """The mean over the last steps."""


def try_out(config: DictConfig, device: torch.device, batch: int, steps: int) -> Trial:
    """Train on a few batches of the bundled photographs, over and over, after some steps to warm up."""
    torch._dynamo.reset()  # or what others compiled would count against this one's limit
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    loop = Bare(config, device)
    photos = Photos(
        root=None,
        resolution=config.model.resolution,
        crops_per_epoch=DISTINCT * batch,
        validation_fraction=0.1,
        batch_size=batch,
        evaluation_batch_size=1,
        workers=0,
        seed=0,
    )
    photos.setup("fit")
    batches = [{"rgb": each["rgb"].to(device)} for each in photos.train_dataloader()]
    flops = loop.flops({"rgb": batches[0]["rgb"][:1]})
    turns, losses = cycle(batches), list[Tensor]()

    def step() -> None:
        losses.append(loop.step(next(turns)))

    for _ in range(WARM_UP):
        step()
    took = seconds(step, steps, device)
    gigabytes = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else math.nan
    return Trial(took, flops, gigabytes, torch.stack(losses[-DISTINCT:]).mean().item())


def precision(arguments: argparse.Namespace) -> None:
    """Train each experiment in float32 and bfloat16, compiled and not."""
    torch.set_float32_matmul_precision("high")  # as train.py has it
    device = choose_device(arguments.device)
    peak = peak_flops(device, arguments.peak_teraflops)
    table = Table(title=f"{arguments.steps} steps each, on {where(device)}", title_justify="left")
    for heading in ("experiment", "batch", "precision", "pictures/s", "of float32", "GB", "of the peak", "loss"):
        table.add_column(heading, justify="left" if heading in ("experiment", "precision") else "right")
    for experiment in arguments.experiment or PUBLISHED:
        plain = None
        for kind, compiled in (("32-true", False), ("bf16-mixed", False), ("bf16-mixed", True)):
            config = composed(experiment, f"trainer.precision={kind}", f"compile={compiled}")
            batch = arguments.batch or config.data.batch_size
            row = [experiment, str(batch), f"{kind}, compiled" if compiled else kind]
            torch.manual_seed(0)
            try:
                trial = try_out(config, device, batch, arguments.steps)
            except torch.OutOfMemoryError:
                table.add_row(*row, "out of memory")
                continue
            plain = trial.seconds if kind == "32-true" else plain
            rate = batch / trial.seconds
            share = f"{rate * trial.flops / peak:.0%}" if peak else "-"
            table.add_row(
                *row,
                f"{rate:.3g}",
                f"{plain / trial.seconds:.2f}" if plain else "-",
                f"{trial.gigabytes:.1f}",
                share,
                f"{trial.loss:.3f}",
            )
    console = Console(width=120)
    console.print(table)
    console.print(
        f"A bare loop over {DISTINCT} batches of the bundled photographs, from random weights; loss: the mean over the "
        f"last {DISTINCT} steps.\nThe peak is that of dense bfloat16 for both precisions: "
        f"{f'{peak / 1e12:,.0f} TFLOPS' if peak else 'give --peak-teraflops'}. float32 may use TF32."
    )


def peak_flops(device: torch.device, given: float | None) -> float | None:
    """Operations a second that the GPU's maker states; None if that is not known."""
    if given:
        return given * 1e12
    name = where(device) if device.type == "cuda" else ""
    return next((peak for known, peak in PEAK_FLOPS.items() if known in name), None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", action="append", help="default: the papers' own")
    parser.add_argument("--batch", type=int, help="pictures in a step (default: the experiment's)")
    parser.add_argument("--steps", type=int, default=100, help="to be timed (default: 100)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--peak-teraflops", type=float, help="of the GPU in dense bfloat16 (default: by its name)")
    precision(parser.parse_args())


if __name__ == "__main__":
    main()
