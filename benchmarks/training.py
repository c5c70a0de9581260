"""What Lightning costs: one training in a bare loop and through train.py, in turn.

python benchmarks/training.py
python benchmarks/training.py --parts      also without the progress bar, the checkpoints, ...

PIC is trained on random 32x32 pictures: with the network of `pic_tiny`, and with one so small that a step is little
more than overhead. Both ways take the same batches from the same loader, make the same steps and end with the same
loss, which is asserted.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import truediv
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from bare_loop import WARM_UP, Bare, composed
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from timing import where
from torch import Tensor

import train
from datamodules.base import PictureDataModule
from datamodules.cifar10 import SIDE, SmallPictures
from lightning_modules.color import to_float

SMALL = ["model.embedding=[{width:16,blocks:1},{width:32,stride:2,blocks:1}]", "model.width=16", "model.blocks=1"]
NETWORKS = {"a small one": [*SMALL, "model.mixtures=4", "data.batch_size=4"], "pic_tiny": []}
"""What is trained, as changes to the experiment `pic_tiny`."""
WITHOUT = {
    "averaging": ["callbacks.averaging=null"],
    "progress bar": ["callbacks.progress=null", "+trainer.enable_progress_bar=false"],
    "checkpoints": ["callbacks.best=null", "callbacks.last=null"],
    "logged curves": ["trainer.log_every_n_steps=1000000"],
}
"""What train.py does beside training, and what leaves it out."""
LIKE = "bare loop with averaging"
"""What does the same work as train.py."""


class RandomPictures(PictureDataModule):
    """Random pixels in the place of CIFAR-10."""

    def __init__(self, pictures: int, **arguments: Any) -> None:
        super().__init__(evaluation_batch_size=1, workers=0, seed=0, **arguments)
        rgb = torch.randint(256, (pictures, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
        keys = [str(number) for number in range(pictures)]
        self.training = SmallPictures(rgb.byte(), keys, torch.zeros(pictures).long(), 0)
        self.validation = self.test = self.training.part(0, 1)


class Span(NamedTuple):
    """What some steps took, and the loss of the last."""

    wall: float
    processor: float
    loss: float


class Stopwatch:
    """Takes the time between two steps."""

    def __init__(self, steps: int) -> None:
        self.wanted, self.times = (WARM_UP, WARM_UP + steps), list[tuple[float, float]]()

    def __call__(self, step: int) -> bool:
        """Look at the time behind a step; whether it was the last."""
        if step in self.wanted:
            self.times.append((time.perf_counter(), time.process_time()))
        return step == self.wanted[-1]

    def read(self, loss: Tensor) -> Span:
        """The seconds of a step."""
        steps = self.wanted[1] - self.wanted[0]
        wall, processor = ((last - first) / steps for first, last in zip(*self.times, strict=True))
        return Span(wall, processor, loss.item())


class Timed(SystemExit):
    """All steps have been timed."""


class Clock(pl.Callback):
    """Times a training and ends it."""

    span: Span

    def __init__(self, steps: int) -> None:
        self.watch = Stopwatch(steps)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        """Look at the time; after the last step, leave."""
        if self.watch(trainer.global_step):
            Clock.span = self.watch.read(outputs["loss"])
            raise Timed


def bare_loop(config: DictConfig, averages: bool, steps: int) -> Span:
    """Train on the CPU in plain PyTorch."""
    pl.seed_everything(config.seed, verbose=False)
    data = instantiate(config.data)
    loop = Bare(config, torch.device("cpu"), config.callbacks.averaging.decay if averages else None)
    loop.model.initialize(to_float(data.first_pictures(loop.model.initialization_pictures)))  # type: ignore[operator]
    watch = Stopwatch(steps)
    loss = torch.zeros(())
    for step, batch in enumerate(data.train_dataloader(), 1):
        loss = loop.step(batch)
        if watch(step):
            break
    return watch.read(loss)


def through_train(config: DictConfig) -> Span:
    """Train by train.py's own `train`, up to the last step that is timed."""
    with tempfile.TemporaryDirectory() as runs, suppress(Timed):
        config.runs = runs
        train.train(config)
    return Clock.span


def ways_of(network: str, steps: int, parts: bool) -> dict[str, Callable[[], Span]]:
    """The ways of training a network that are compared."""

    def config(*changes: str) -> DictConfig:
        fixed = ["trainer.accelerator=cpu", "trainer.limit_val_batches=0"]
        fixed += [f"callbacks.last.every_n_train_steps={steps}"]
        found = composed("pic_tiny", *NETWORKS[network], *fixed, *changes)
        batch = found.data.batch_size
        pictures = (WARM_UP + steps) * batch
        found.data = {"_target_": f"{__name__}.RandomPictures", "pictures": pictures, "batch_size": batch}
        clock = {"_target_": f"{__name__}.Clock", "steps": steps}
        OmegaConf.update(found, "callbacks.clock", clock, force_add=True)
        return found

    ways: dict[str, Callable[[], Span]] = {
        "bare loop": lambda: bare_loop(config(), False, steps),
        LIKE: lambda: bare_loop(config(), True, steps),
        "train.py": lambda: through_train(config()),
    }
    if parts:
        for part, changes in WITHOUT.items():
            ways[f"train.py without {part}"] = partial(lambda changes: through_train(config(*changes)), changes)
    return ways


def overhead(arguments: argparse.Namespace) -> None:
    """Train each network in all ways, in turn."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")  # as train.py has it
    console = Console(width=120)
    for network in arguments.network or NETWORKS:
        found: dict[str, list[Span]] = defaultdict(list)
        for _ in range(arguments.rounds):
            for way, work in ways_of(network, arguments.steps, arguments.parts).items():
                found[way].append(work())
            losses = {round(spans[-1].loss, 4) for spans in found.values()}
            assert len(losses) == 1, f"they trained differently: {losses}"
        console.print(overhead_table(f"PIC, {network}, on {where(torch.device('cpu'))}", found))
    drawn = "" if console.is_terminal else ", not drawn here: this is no terminal"
    console.print(
        f"* of the {LIKE}: median and quarters of the ratios within each of {arguments.rounds} rounds of "
        f"{arguments.steps} steps.\n"
        f"train.py has all of callbacks=default (averaging, best, last, samples, progress bar{drawn}):\n"
        "one checkpoint falls into a round, curves are logged every 10 steps, validation is left out.",
        highlight=False,
    )


def overhead_table(title: str, found: dict[str, list[Span]]) -> Table:
    """Milliseconds of a step, and their ratios to those of the bare loop that averages weights as well."""
    table = Table("", title=title, title_justify="left")
    for heading in ("ms a step", "processor ms", "wall time*", "processor time*"):
        table.add_column(heading, justify="right")
    for way, spans in found.items():
        times: list[str] = []
        ratios: list[str] = []
        for of in (lambda span: span.wall, lambda span: span.processor):
            mine, others = (list(map(of, each)) for each in (spans, found[LIKE]))
            times.append(f"{1000 * statistics.median(mine):.2f}")
            ratios.append(spread(list(map(truediv, mine, others))))
        table.add_row(way, *times, *ratios)
    return table


def spread(ratios: list[float]) -> str:
    """The median and the quartiles."""
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else 3 * ratios
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="default: all")
    parser.add_argument("--rounds", type=int, default=9, help="default: 9")
    parser.add_argument("--steps", type=int, default=100, help="in a round (default: 100)")
    parser.add_argument("--parts", action="store_true", help="also through train.py without each of its callbacks")
    overhead(parser.parse_args())


if __name__ == "__main__":
    main()
