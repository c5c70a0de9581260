"""What colouring one picture with PixColor costs, and where the time goes: conditioning, sampling, refinement.

python benchmarks/pixcolor.py
python benchmarks/pixcolor.py --side 512 --samples 1 --device cuda
"""

import argparse

import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table
from timing import seconds, where

from lightning_modules.device import choose_device
from lightning_modules.pixcolor.chroma import join
from lightning_modules.pixcolor.module import PixColor
from lightning_modules.resize import resized_luminance

REPEATS = 3


@torch.inference_mode()
def measure(method: PixColor, side: int, samples: int) -> dict[str, float]:
    """Seconds of each stage of colouring a picture of `side` x `side`, and of all of it."""
    generator = torch.Generator(method.device).manual_seed(0)
    luminance = torch.rand(1, 1, side, side, generator=generator, device=method.device)
    rows, columns = method.grid(luminance)
    seen = resized_luminance(luminance, (rows * method.stride, columns * method.stride))
    chroma = torch.full((1, 2, rows, columns), 128.0, device=method.device)
    stages = {
        "conditioning": lambda: method.conditioning(seen),
        "conditioning and sampling": lambda: method.sample(luminance, samples, generator),
        "refinement": lambda: [join(luminance, method.refine(luminance, chroma)) for _ in range(samples)],
        "colorize": lambda: method.colorize(luminance, samples=samples, generator=generator),
    }
    found = {name: seconds(work, REPEATS, method.device) for name, work in stages.items()}
    return {
        "conditioning": found["conditioning"],
        "sampling": found["conditioning and sampling"] - found["conditioning"],
        "refinement": found["refinement"],
        "all of colorize": found["colorize"],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256, help="of the picture (default: 256)")
    parser.add_argument("--samples", type=int, default=3, help="colourings of it (default: 3)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("train", ["model=pixcolor/base"])
    method = instantiate(config.model, _convert_="all").to(device).eval()
    stages = measure(method, arguments.side, arguments.samples)
    what = f"one picture of {arguments.side}x{arguments.side}, {arguments.samples} samples"
    title = f"PixColor, {what}, float32, on {where(device)}"
    table = Table(title=title, title_justify="left", min_width=len(title))
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    for name, duration in stages.items():
        table.add_row(name, f"{duration:.2f}", f"{100 * duration / stages['all of colorize']:.0f}%")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
