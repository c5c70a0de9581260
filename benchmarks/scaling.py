"""How each method's published training would scale over GPUs: when another node stops paying.

python benchmarks/scaling.py                                      from operations counted and a GPU assumed: a minute
python benchmarks/scaling.py --device cuda                        from steps measured on the GPU at hand
python benchmarks/scaling.py --step-seconds pic_imagenet=0.35     from a step that was measured on one GPU elsewhere
python benchmarks/scaling.py --network-gigabits 3200              eight network cards a node instead of one

Parameters and operations are counted on the real networks. A step on n GPUs is then

    max(compute / n, launches) + update + exposed,   exposed = max(last bucket, all-reduce - overlap * backward)

The paper's batch is that of a whole step, whatever the number of GPUs (strong scaling); the second table is for those
who give every GPU the paper's batch (weak scaling), which is another training.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2
from typing import Any, NamedTuple

import torch
from bare_loop import PUBLISHED, Bare, composed
from precision import try_out
from rich.console import Console
from rich.table import Table
from timing import where
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_modules.device import choose_device

GRADIENT_BYTES = 4
"""Of a parameter: float32, also under bf16-mixed."""
BACKWARD = 2 / 3
"""Of the compute of a step."""
GAIN = 1.5
"""What a doubling of the GPUs has to gain to pay."""
MOST = 512


@dataclass(frozen=True)
class Cluster:
    """What is assumed of the machines.

    Attributes:
        peak: Operations a second of a GPU.
        utilization: Share of it that training reaches.
        launch: Seconds that the host takes to start an operation, under which no step of however few pictures gets.
        update_bandwidth: Bytes a second of a GPU's memory.
        update_bytes: Read and written of each parameter by the optimiser and the averaging.
        gpus: In a node.
        nvlink: Bytes a second that an all-reduce reaches among the GPUs of a node.
        network: Bytes a second that it reaches between nodes.
        latency: Seconds of a hop; an all-reduce takes 2 log2(n) of them.
        bucket: Bytes that are reduced at a time.
        overlap: Share of the backward pass behind which the all-reduce hides.
    """

    peak: float
    utilization: float
    launch: float
    update_bandwidth: float
    update_bytes: float
    gpus: int
    nvlink: float
    network: float
    latency: float
    bucket: float
    overlap: float

    def update(self, parameters: float) -> float:
        """Seconds of the optimiser and the averaging."""
        return parameters * self.update_bytes / self.update_bandwidth

    def all_reduce(self, size: float, gpus: int) -> float:
        """Seconds in which so many bytes are summed over GPUs, in rings, bucket after bucket."""
        if gpus == 1:
            return 0.0
        bandwidth = self.nvlink if gpus <= self.gpus else min(self.nvlink, self.network)
        return 2 * (gpus - 1) / gpus * size / bandwidth + ceil(size / self.bucket) * 2 * log2(gpus) * self.latency


class Work(NamedTuple):
    """What an experiment asks of a cluster."""

    batch: int
    """Pictures in a step of the paper's."""
    parameters: int
    """Those that are trained."""
    flops: float
    """Of a picture, forward and backward."""
    operations: int
    """Of a forward and backward pass."""
    measured: float | None = None
    """Seconds of the paper's step on one GPU."""

    @property
    def gradients(self) -> int:
        """Bytes of them."""
        return GRADIENT_BYTES * self.parameters

    def compute(self, cluster: Cluster) -> float:
        """Seconds of the forward and backward pass of the paper's batch on one GPU."""
        if self.measured is not None:
            return max(0.0, self.measured - cluster.update(self.parameters))
        return self.batch * self.flops / (cluster.utilization * cluster.peak)

    def seconds(self, cluster: Cluster, gpus: int, share: float) -> float:
        """Seconds of a step on so many GPUs, each of which has this share of the paper's batch."""
        compute = max(share * self.compute(cluster), self.operations * cluster.launch)
        hidden = cluster.overlap * BACKWARD * compute
        last_bucket = cluster.all_reduce(min(self.gradients, cluster.bucket), gpus)
        exposed = max(last_bucket, cluster.all_reduce(self.gradients, gpus) - hidden)
        return compute + cluster.update(self.parameters) + exposed

    def speedup(self, cluster: Cluster, gpus: int) -> float:
        """Of the paper's step."""
        return self.seconds(cluster, 1, 1) / self.seconds(cluster, gpus, 1 / gpus)

    def efficiency(self, cluster: Cluster, gpus: int) -> float:
        """Pictures a second and GPU, of those on one GPU, where each has the paper's batch."""
        return self.seconds(cluster, 1, 1) / self.seconds(cluster, gpus, 1)

    def pays_up_to(self, cluster: Cluster) -> int:
        """The GPUs up to which every doubling has gained enough."""
        gpus = 1
        while self.batch % (2 * gpus) == 0 and 2 * gpus <= MOST:
            if self.speedup(cluster, 2 * gpus) < GAIN * self.speedup(cluster, gpus):
                break
            gpus *= 2
        return gpus


class Operations(TorchDispatchMode):
    """Counts what is computed."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count and compute."""
        self.count += 1
        return function(*args, **(kwargs or {}))


def counted(experiment: str) -> Work:
    """Count an experiment's parameters and operations, on one random picture and the CPU."""
    config = composed(experiment, "trainer.precision=bf16-mixed")
    loop = Bare(config, torch.device("cpu"))
    side = config.model.resolution
    with Operations() as operations:  # type: ignore[no-untyped-call]
        flops = loop.flops({"rgb": torch.randint(256, (1, 3, side, side)).byte()})
    parameters = sum(each.numel() for each in loop.model.parameters() if each.requires_grad)
    return Work(config.data.batch_size, parameters, flops, operations.count)


def measured(experiment: str, work: Work, device: torch.device, batch: int | None, steps: int) -> float:
    """Seconds of the paper's step on this device, from steps of a batch that may be smaller."""
    config = composed(experiment, "trainer.precision=bf16-mixed")
    batch = batch or work.batch
    return try_out(config, device, batch, steps).seconds * work.batch / batch


def strong(works: dict[str, Work], cluster: Cluster, gpus: list[int]) -> Table:
    """The paper's batch over more and more GPUs."""
    title = "The paper's batch, shared by all GPUs: how many times as fast as one, and what of each is used"
    facts = ("gradients", "GFLOP", "1 GPU")
    table = table_of(title, *facts, *(f"{count} GPUs" for count in gpus), "pays up to")
    for name, work in works.items():
        step = work.seconds(cluster, 1, 1)
        cells = [f"{work.gradients / 1e6:.0f} MB", f"{work.flops / 1e9:.0f}", f"{1000 * step:,.1f} ms"]
        for count in gpus:
            if count > work.batch:
                cells.append(f"{work.batch} at most*")
            elif work.batch % count:
                cells.append("does not divide")
            else:
                speedup = work.speedup(cluster, count)
                cells.append(f"{speedup:.1f}  {speedup / count:4.0%}")
        table.add_row(name, str(work.batch), *cells, str(work.pays_up_to(cluster)))
    return table


def weak(works: dict[str, Work], cluster: Cluster, gpus: list[int]) -> Table:
    """The paper's batch on each GPU."""
    title = "The paper's batch on every GPU: what of each is used"
    table = table_of(title, *(f"{count} GPUs" for count in gpus))
    for name, work in works.items():
        table.add_row(name, str(work.batch), *(f"{work.efficiency(cluster, count):.0%}" for count in gpus))
    return table


def table_of(title: str, *columns: str) -> Table:
    """A table whose rows are experiments and their batches."""
    table = Table(title=title, title_justify="left")
    table.add_column("experiment", no_wrap=True)
    for heading in ("batch", *columns):
        table.add_column(heading, justify="right")
    return table


def assumptions(cluster: Cluster, source: str) -> str:
    """What the tables rest on, in words."""
    ring, hop = f"{cluster.nvlink / 1e9:.0f} GB/s", f"{1e6 * cluster.latency:.3g} us"
    return "\n".join(
        [
            "* One picture each. `data.batch_size` is the paper's whole step, and raising it is another training.",
            f"GFLOP: of a picture, forward and backward. A step on one GPU: {source}.",
            f"No pass takes less than {1e6 * cluster.launch:.3g} us for each of its operations, which the host starts.",
            f"The update (optimiser, averaging) moves {cluster.update_bytes:.0f} bytes a parameter at "
            f"{cluster.update_bandwidth / 1e12:.3g} TB/s.",
            f"All-reduce: 2 (n - 1) / n times the gradients, in float32, at {ring} among the {cluster.gpus} GPUs of a "
            f"node and {cluster.network / 1e9:.3g} GB/s between",
            f"  nodes, and 2 log2(n) hops of {hop} for each bucket of {cluster.bucket / 1e6:.0f} MB. It hides behind "
            f"{cluster.overlap:.0%} of the backward pass, which",
            "  is two thirds of the compute, but for its last bucket.",
            f"Pays up to: the GPUs up to which every doubling makes a step at least {GAIN} times as fast.",
            "Left out: reading pictures, validation, what batch normalisation synchronises, and stragglers.",
        ]
    )


def main() -> None:
    """Count, predict and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64, 512], help="default: 8 64 512")
    parser.add_argument("--experiment", action="append", help="default: the papers' own")
    given = parser.add_argument_group("the step on one GPU")
    given.add_argument("--device", default="none", help="measure on cpu, cuda or auto (default: none, from operations)")
    given.add_argument("--batch", type=int, help="pictures in a measured step (default: the paper's)")
    given.add_argument("--steps", type=int, default=20, help="to be measured (default: 20)")
    given.add_argument(
        "--step-seconds", action="append", default=[], metavar="EXPERIMENT=SECONDS", help="of the paper's batch"
    )
    assumed = parser.add_argument_group("assumptions")
    number: Callable[[str, float, str], Any] = lambda name, default, text: assumed.add_argument(  # noqa: E731
        name, type=float, default=default, help=f"{text} (default: {default:g})"
    )
    number("--peak-teraflops", 989, "of a GPU: the H100's in dense bfloat16")
    number("--utilization", 0.3, "share of it that is reached")
    number("--launch-microseconds", 5, "to start an operation")
    number("--memory-terabytes", 3.35, "a second in a GPU's memory: the H100's")
    number("--update-bytes", 40, "moved of a parameter: Adam's 28 and the averaging's 12")
    number("--node", 8, "GPUs in a node")
    number("--nvlink-gigabytes", 360, "a second, reached in a node: 80 % of the H100's 450")
    number("--network-gigabits", 200, "a second, of a node's network: one card of HDR InfiniBand")
    number("--network-share", 0.8, "of that is reached")
    number("--latency-microseconds", 10, "of a hop")
    number("--bucket-megabytes", 26.2, "reduced at a time: DDP's 25 MiB")
    number("--overlap", 0.7, "share of the backward pass behind which an all-reduce hides")
    arguments = parser.parse_args()
    cluster = Cluster(
        peak=arguments.peak_teraflops * 1e12,
        utilization=arguments.utilization,
        launch=arguments.launch_microseconds / 1e6,
        update_bandwidth=arguments.memory_terabytes * 1e12,
        update_bytes=arguments.update_bytes,
        gpus=int(arguments.node),
        nvlink=arguments.nvlink_gigabytes * 1e9,
        network=arguments.network_gigabits * 1e9 / 8 * arguments.network_share,
        latency=arguments.latency_microseconds / 1e6,
        bucket=arguments.bucket_megabytes * 1e6,
        overlap=arguments.overlap,
    )
    works = {name: counted(name) for name in arguments.experiment or PUBLISHED}
    source = f"its operations at {cluster.utilization:.0%} of {cluster.peak / 1e12:,.0f} TFLOPS (bfloat16)"
    if arguments.device != "none":
        device = choose_device(arguments.device)
        batches = f"a batch of {arguments.batch}" if arguments.batch else "each paper's batch"
        source = f"measured on {where(device)}, bf16-mixed, at {batches}"
        for name, work in works.items():
            seconds = measured(name, work, device, arguments.batch, arguments.steps)
            works[name] = work._replace(measured=seconds)
    for text in arguments.step_seconds:
        name, _, seconds = text.partition("=")
        if name not in works or not seconds.replace(".", "", 1).isdigit():
            parser.error(f"--step-seconds {text} is no EXPERIMENT=SECONDS; the experiments are {', '.join(works)}")
        works[name] = works[name]._replace(measured=float(seconds))
        source += f"; {name}: {seconds} s, as given"
    console = Console(width=125)
    console.print(strong(works, cluster, arguments.gpus))
    console.print(weak(works, cluster, arguments.gpus))
    console.print(assumptions(cluster, source), highlight=False)


if __name__ == "__main__":
    main()
