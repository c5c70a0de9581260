"""What hypercolumns cost LRAC's VGG-16: memory and time of training at few pixels, time of a whole picture, in one run.

python benchmarks/hypercolumns.py
python benchmarks/hypercolumns.py --batch 4 --threads 4 --device cuda
"""

import argparse
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from timing import seconds, where
from torch import Tensor

from lightning_modules.device import choose_device
from lightning_modules.lrac.hypercolumn import STRIDES, sparse_hypercolumns
from lightning_modules.lrac.network import LRACNetwork

TRAINING_SIDE, PICTURE_SIDE, LOCATIONS = 256, 512, 128
HEADS = 64
REPEATS = 3


def bytes_kept(work: Callable[[], object], known: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass of `work`, without those of `known` tensors."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = work()  # held until all is counted, so that no storage is counted as another
    for tensor in known:
        kept.pop(tensor.untyped_storage()._cdata, None)
    del result
    return sum(kept.values())


def naive_hypercolumns(maps: dict[str, Tensor], stride: int) -> Tensor:
    """All layers' maps brought to one stride and concatenated, `(B, H / stride * W / stride, 12417)`."""
    columns = [
        F.avg_pool2d(features, stride // STRIDES[name])
        if STRIDES[name] <= stride
        else F.interpolate(features, scale_factor=STRIDES[name] / stride, mode="bilinear")
        for name, features in maps.items()
    ]
    return torch.cat(columns, dim=1).flatten(2).transpose(1, 2)


def training_memory() -> list[int]:
    """Bytes that hypercolumns add to training on one picture: sparse, dense at stride 2 and dense at every pixel.

    They are what autograd keeps between the trunk's maps and h_fc1's output, counted on tensors without storage.
    """
    with torch.device("meta"):
        network = LRACNetwork(HEADS)
        maps = network.trunk(torch.empty(1, 1, TRAINING_SIDE, TRAINING_SIDE))
        locations = torch.empty(1, LOCATIONS, 2, dtype=torch.int64)
        columns: list[Callable[[], Tensor]] = [
            lambda: sparse_hypercolumns(maps, locations),
            lambda: naive_hypercolumns(maps, 2),
            lambda: naive_hypercolumns(maps, 1),
        ]
        known = [*maps.values(), *network.parameters()]
        return [bytes_kept(lambda make=make: network.h_fc1(make()), known) for make in columns]  # type: ignore[misc]


def training_seconds(network: LRACNetwork, batch: int, device: torch.device) -> tuple[float, float]:
    """Seconds of forward and backward: of the trunk alone, its gradient coming from fc7, and with hypercolumns."""
    lightness = torch.rand(batch, 1, TRAINING_SIDE, TRAINING_SIDE, device=device)
    locations = torch.randint(TRAINING_SIDE, (batch, LOCATIONS, 2), device=device)
    network.train()

    def step(predict: Callable[[], Tensor]) -> None:
        network.zero_grad()
        predict().square().mean().backward()

    trunk = seconds(lambda: step(lambda: network.trunk(lightness)["fc7"]), REPEATS, device)
    return trunk, seconds(lambda: step(lambda: network.sparse(lightness, locations)), REPEATS, device)


@torch.inference_mode()
def picture_seconds(network: LRACNetwork, device: torch.device) -> tuple[float, float]:
    """Seconds of a whole picture's forward: of the trunk alone, and with h_fc1 and the heads at stride 4."""
    lightness = torch.rand(1, 1, PICTURE_SIDE, PICTURE_SIDE, device=device)
    network.eval()
    return seconds(lambda: network.trunk(lightness), REPEATS, device), seconds(
        lambda: network.dense(lightness), REPEATS, device
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2, help="pictures in a training step (default: 2)")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    network = LRACNetwork(HEADS).to(device)

    table = Table(title=f"LRAC, 12,417 channels, float32, on {where(device)}", title_justify="left")
    table.add_column("what")
    for heading in ("the other way", "ours", "ratio", "wanted"):
        table.add_column(heading, justify="right")
    sparse, *dense = training_memory()
    for name, kept in zip(("stride 2", "every pixel"), dense, strict=True):
        table.add_row(
            f"memory* of a {TRAINING_SIDE}x{TRAINING_SIDE} picture: dense at {name}, sparse",
            f"{kept / 1e6:,.0f} MB",
            f"{sparse / 1e6:.1f} MB",
            f"1 / {kept / sparse:.0f}",
            "1 / 100",
        )
    size = f"{TRAINING_SIDE}x{TRAINING_SIDE}"
    trunk, whole = training_seconds(network, arguments.batch, device)
    row = f"training step, {arguments.batch} of {size}: VGG-16 alone, sparse"
    table.add_row(row, f"{trunk:.2f} s", f"{whole:.2f} s", f"{whole / trunk:.2f}", "1.20")
    trunk, whole = picture_seconds(network, device)
    row = f"one picture of {PICTURE_SIDE}x{PICTURE_SIDE}: VGG-16 alone, dense"
    table.add_row(row, f"{trunk:.2f} s", f"{whole:.2f} s", f"{whole / trunk:.2f}", "1.50")
    console = Console(width=130)
    console.print(table)
    console.print(
        "* What autograd keeps between VGG-16's maps and the output of h_fc1, besides the maps; counted, not timed.\n"
        "VGG-16 alone is the trunk of the same run, fully convolutional up to fc7, without h_fc1."
    )


if __name__ == "__main__":
    main()
