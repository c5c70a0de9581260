"""What colouring by a reference costs (Table 1 of Xu et al. 2020), stage by stage, and AdaIN beside WCT, in one run.

python benchmarks/exemplar.py
python benchmarks/exemplar.py --device cuda --bf16 --sides 256 512 1024 4096
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from rich.console import Console
from rich.progress import track
from rich.table import Table
from timing import seconds, where
from torch import Tensor

from lightning_modules.colorizer import Colorizer
from lightning_modules.device import choose_device
from lightning_modules.exemplar.matching import MATCHINGS, describe, match
from lightning_modules.exemplar.module import Exemplar
from lightning_modules.exemplar.transfer import TransferNetwork
from lightning_modules.guidance import Guidance
from lightning_modules.hints import no_hints

REPEATS = 2
MATCHING_SIDE = 512
PAPER = {256: (0.04, 0.08), 512: (0.14, 0.12), 1024: (0.59, 0.28)}
"""Seconds of the transfer sub-net and of one pass of the colourisation sub-net, on a GTX 1080 Ti (Table 1)."""
WELSH = {256: 3.51, 512: 13.52, 1024: 53.14}
"""Seconds of Welsh et al. in Matlab, on a Core i7-4720 (Table 1)."""
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory(work: Callable[[], object], device: torch.device) -> float:
    """Gigabytes that `work` takes at most: of the GPU's memory, or of the whole process's; not known outside Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) / 1e9
    if not CLEAR.exists():
        return float("nan")
    CLEAR.write_text("5")  # forgets the peak so far
    work()
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def built(name: str, *settings: str) -> Colorizer:
    """An untrained method: what it costs does not depend on its weights."""
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("train", [f"model={name}", *settings])
    method = instantiate(config.model, _convert_="all")
    assert isinstance(method, Colorizer)
    return method.eval()


def stages(method: Exemplar, side: int, generator: torch.Generator) -> dict[str, Callable[[], object]]:
    """What to time of one picture of `side` x `side` and a reference of the same size."""
    device = method.device
    rgb, reference = torch.rand(2, 1, 3, side, side, generator=generator, device=device)
    luminance = method.luminance(rgb)
    hints, guidance = no_hints(luminance), Guidance(reference=reference)
    return {
        "transfer": lambda: method.transfer(rgb, reference),
        "colorization": lambda: method.colorization(luminance, hints),
        "colorize": lambda: method.colorize(luminance, guidance=guidance, generator=generator),
    }


def maps_of(network: TransferNetwork, side: int, device: torch.device) -> list[Tensor]:
    """The features at every place where they are matched, of a picture of `side` x `side`."""
    found = []

    def note(_: str, features: Tensor) -> Tensor:
        found.append(features)
        return features

    network.decode(*network.encode(torch.rand(1, 3, side, side, device=device), note), note)
    return found


def matching_seconds(network: TransferNetwork, device: torch.device) -> dict[str, tuple[float, float]]:
    """Seconds of matching at all places alone, and of the whole transfer sub-net, of each matching."""
    maps = maps_of(network, MATCHING_SIDE, device)
    content, reference = torch.rand(2, 1, 3, MATCHING_SIDE, MATCHING_SIDE, device=device)
    found = {}
    for name, matching in MATCHINGS.items():
        network.matching = matching
        alone = seconds(
            lambda way=matching: [match(way, each, describe(way, each, None), None) for each in maps],  # type: ignore[misc]
            REPEATS,
            device,
        )
        found[name] = alone, seconds(lambda: network(content, reference), REPEATS, device)
    return found


@torch.inference_mode()
def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=list(PAPER), help="of the pictures, in pixels")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--bf16", action="store_true", help="let the networks compute in bfloat16")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    nothing = ["model.pretrained.encoder=null", "model.pretrained.colorization=null"]
    method = built("exemplar/base", "model.inference_short_side=null", *nothing).to(device)
    assert isinstance(method, Exemplar)
    welsh = built("welsh").to(device)
    generator = torch.Generator(device).manual_seed(0)
    precision = "bfloat16" if arguments.bf16 else "float32"

    title = f"Colouring one picture by a reference of its size, seconds, {precision}, on {where(device)}"
    table = Table(title=title, title_justify="left")
    for heading in (
        "side",
        "transfer",
        "colourisation, twice",
        "all",
        "memory",
        "paper, 1080 Ti",
        "Welsh",
        "paper, i7",
    ):
        table.add_column(heading, justify="right")
    with torch.autocast(device.type, torch.bfloat16, enabled=arguments.bf16):
        for side in track(arguments.sides, "sides"):
            work = stages(method, side, generator)
            memory = peak_memory(work.pop("colorize"), device)
            found = {name: seconds(each, REPEATS, device) for name, each in work.items()}
            luminance = 100 * torch.rand(1, 1, side, side, device=device)
            guidance = Guidance(reference=torch.rand(1, 3, side, side, device=device))
            classical = seconds(
                lambda grey=luminance, told=guidance: welsh.colorize(grey, guidance=told, generator=generator),  # type: ignore[misc]
                REPEATS,
                device,
            )
            transfer, colorization = PAPER.get(side, (float("nan"), float("nan")))
            table.add_row(
                f"{side}",
                f"{found['transfer']:.3f}",
                f"{2 * found['colorization']:.3f}",
                f"{found['transfer'] + 2 * found['colorization']:.3f}",
                f"{memory:.1f} GB",
                f"{transfer:.2f} + {2 * colorization:.2f}",
                f"{classical:.3f}",
                f"{WELSH.get(side, float('nan')):.2f}",
            )
        ways = matching_seconds(method.transfer, device)
    console = Console(width=130)
    console.print(table)
    title = f"Matching features with a reference's, pictures of {MATCHING_SIDE}x{MATCHING_SIDE}, in the same run"
    table = Table(title=title, title_justify="left")
    for heading in ("", "AdaIN", "WCT", "WCT / AdaIN"):
        table.add_column(heading, justify="right")
    for row, (adain, wct) in zip(("at all ten places", "whole sub-net"), zip(*ways.values(), strict=True), strict=True):
        table.add_row(row, f"{adain:.3f} s", f"{wct:.3f} s", f"{wct / adain:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
