"""Train a colourisation method, score it, and write its report.

python train.py                              a small PIC on bundled photographs, minutes on a CPU
python train.py +experiment=pic_imagenet     a published set-up
"""

from __future__ import annotations

import logging
import time
import warnings
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from configs.command import command

if TYPE_CHECKING:
    import pytorch_lightning as pl


def train(config: DictConfig) -> None:
    """Fit, score and report what the config describes, in its run's directory."""
    import pytorch_lightning as pl
    import torch
    from hydra.utils import instantiate

    from evaluation.record import run_record, write_json
    from evaluation.run_directory import LAST_CHECKPOINT, open_run_directory

    quieten()
    directory = open_run_directory(as_dictionary(config, resolve=False))
    tracking_id = f"{config.name}-{directory.name}"
    config.run = {"directory": str(directory), "tracking_id": tracking_id}
    pl.seed_everything(config.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")

    model = instantiate(config.model, _convert_="all")
    if config.initialize_from:
        model.initialize_from(config.initialize_from)
    data = instantiate(config.data)
    if "wandb" in config.logger:
        import wandb

        config.logger.wandb.offline |= not wandb.login(prompt=False, verify=False)
        wandb.teardown()  # or its session would remember that nobody has logged in, and refuse to start offline
    trainer: pl.Trainer = instantiate(
        config.trainer,
        callbacks=[instantiate(callback) for callback in config.callbacks.values()],
        logger=[instantiate(logger) for logger in config.logger.values()],
    )
    record = run_record(as_dictionary(config), config.seed, tracking_id)
    last = directory / LAST_CHECKPOINT
    if last.is_file():
        record = continued(record, directory)
    if trainer.is_global_zero:
        write_json(directory / "run.json", record)
        print(f"{'going on in' if last.is_file() else 'run directory:'} {directory}")
    started = time.monotonic()
    try:
        trainer.fit(model, data, ckpt_path=last if last.is_file() else None, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        print(f"\nstopped; resume=auto behind the same command goes on from {last}" if last.is_file() else "\nstopped")
        raise
    finally:
        record["wall_seconds"] += time.monotonic() - started
        record["status"] = trainer.state.status.value
        if trainer.is_global_zero:
            write_json(directory / "run.json", record)
    if trainer.is_global_zero:
        report(directory, config, record, data, trainer)


def report(
    directory: Path, config: DictConfig, record: dict[str, Any], data: pl.LightningDataModule, trainer: pl.Trainer
) -> None:
    """Score the best checkpoint and write `scores.json` and `report.html`."""
    from hydra.utils import instantiate

    from evaluation.record import write_json
    from evaluation.report.run_report import write_report
    from evaluation.report.sheet import method_sheet
    from evaluation.report.table import print_scores
    from evaluation.runner import evaluate
    from lightning_modules.color import to_float
    from lightning_modules.colorizer import Colorizer, find_checkpoint

    checkpoint = find_checkpoint(directory)
    colorizer = Colorizer.load(checkpoint).to(trainer.strategy.root_device)
    data.trainer = None
    loader = data.test_dataloader()
    total = min(len(loader), config.trainer.limit_test_batches or len(loader))
    scores = evaluate(colorizer, islice(loader, total), instantiate(config.protocol), checkpoint, total)
    write_json(directory / "scores.json", scores)
    print_scores(scores)
    pictures = to_float(next(iter(loader))["rgb"][:8].to(colorizer.device))
    page = write_report(directory, record, scores, method_sheet(colorizer, pictures, samples=3, seed=config.seed))
    print(f"report: {page}")


def continued(record: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The record of a run that goes on: when it started, its tracking id and the time spent so far are kept."""
    from evaluation.record import read_json

    before = read_json(directory / "run.json")
    return record | {key: before[key] for key in ("started", "tracking_id", "wall_seconds")}


def as_dictionary(config: DictConfig, resolve: bool = True) -> dict[str, Any]:
    """A config as plain values."""
    plain = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def quieten() -> None:
    """Silence what Lightning says of every run and nobody acts on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in ("`isinstance\\(treespec, LeafSpec\\)`", ".*does not have many workers", ".*`tensorboardX`"):
        warnings.filterwarnings("ignore", message)


def main() -> None:
    """The command line."""
    command("train", train)


if __name__ == "__main__":
    main()
