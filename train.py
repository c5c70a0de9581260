"""Train a colourisation method, score it, and write its report.

python train.py                              a small PIC on bundled photographs, minutes on a CPU
python train.py +experiment=pic_imagenet     a published set-up
"""

from __future__ import annotations

import logging
import time
import warnings
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from configs.command import as_dictionary, command

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from datamodules.base import PictureDataModule


def train(config: DictConfig) -> None:
    """Fit, score and report what the config describes, in its run's directory."""
    import pytorch_lightning as pl
    import torch
    from hydra.utils import instantiate

    from datamodules.base import bad_pictures
    from evaluation.record import run_record, write_json
    from evaluation.run_directory import LAST_CHECKPOINT, choose_run_directory
    from lightning_modules.colorizer import Colorizer

    quieten()
    directory = choose_run_directory(as_dictionary(config, resolve=False))
    last = directory / LAST_CHECKPOINT
    before = record_so_far(directory)
    tracking_id = before.get("tracking_id", f"{config.name}-{directory.name}-{token_hex(2)}")
    config.run = {"directory": str(directory), "tracking_id": tracking_id}
    pl.seed_everything(config.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")

    model = instantiate(config.model, _convert_="all")
    if last.is_file():
        require_same_model(last, dict(model.hparams))
    elif config.initialize_from:
        model.initialize_from(config.initialize_from)
    data = instantiate(config.data, _convert_="all")
    if "wandb" in config.logger:
        import wandb

        config.logger.wandb.offline |= not wandb.login(prompt=False, verify=False)
        wandb.teardown()  # or its session would remember that nobody has logged in, and refuse to start offline
    trainer: pl.Trainer = instantiate(
        config.trainer,
        callbacks=[instantiate(callback) for callback in config.callbacks.values() if callback],
        logger=[instantiate(logger) for logger in config.logger.values()],
    )
    record = run_record(as_dictionary(config), config.seed, tracking_id)
    record |= {key: before[key] for key in ("started", "wall_seconds") if key in before}
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
        record["pictures"] = {**data.provenance, "unreadable": bad_pictures(directory)}
        if trainer.is_global_zero:
            write_json(directory / "run.json", record)
    if not isinstance(model, Colorizer):
        test(directory, model, data, trainer)
    elif trainer.is_global_zero:
        report(directory, config, record, data, trainer)


def test(directory: Path, model: pl.LightningModule, data: PictureDataModule, trainer: pl.Trainer) -> None:
    """Let what does not colour test its best checkpoint itself, on all ranks, and write `test.json`."""
    from evaluation.record import write_json
    from lightning_modules.checkpoint import find_checkpoint, read_checkpoint

    checkpoint = find_checkpoint(directory)
    model.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    trainer.test(model, data)
    if trainer.is_global_zero:
        scores = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
        write_json(directory / "test.json", {"checkpoint": checkpoint.name, **scores})
        print(f"scores: {directory / 'test.json'}")


def report(
    directory: Path, config: DictConfig, record: dict[str, Any], data: PictureDataModule, trainer: pl.Trainer
) -> None:
    """Score the best checkpoint and write its scores and `report.html`."""
    from hydra.utils import instantiate

    from evaluation.networks import network_statistics
    from evaluation.report.run_report import write_report
    from evaluation.report.sheet import method_sheet
    from evaluation.report.table import print_scores
    from evaluation.runner import evaluate
    from evaluation.scorer import Entry
    from lightning_modules.checkpoint import find_checkpoint
    from lightning_modules.color import to_float
    from lightning_modules.colorizer import Colorizer

    checkpoint = find_checkpoint(directory)
    colorizer = Colorizer.load(checkpoint).to(trainer.strategy.root_device)
    data.trainer = None
    rules = instantiate(config.protocol, _convert_="all")
    limit = config.trainer.limit_test_batches
    scores = evaluate(
        Entry.of_checkpoint(checkpoint, colorizer, rules),
        data.test.as_stored() if rules.resize else data.test,
        rules,
        directory,
        data=record["config"]["data"],
        left_out=network_statistics({}, rules.measures, colorizer.device)[1],
        limit=limit and limit * data.evaluation_batch_size,
        workers=data.workers,
    )
    assert scores is not None  # only the first process reports
    print_scores(scores)
    pictures = to_float(data.test_dataloader().spread(8).to(colorizer.device))
    page = write_report(directory, record, scores, method_sheet(colorizer, pictures, samples=3, seed=config.seed))
    print(f"report: {page}")


def record_so_far(directory: Path) -> dict[str, Any]:
    """The record of the run that goes on in this directory; empty for a new one."""
    from evaluation.record import read_json

    return read_json(directory / "run.json") if (directory / "run.json").is_file() else {}


def require_same_model(checkpoint: Path, hyper_parameters: dict[str, Any]) -> None:
    """Refuse to go on with another model than the checkpoint's, before anything of its run is overwritten.

    Raises:
        ValueError: If a hyper-parameter differs, or the checkpoint is damaged.
    """
    from lightning_modules.checkpoint import read_checkpoint

    saved = read_checkpoint(checkpoint)["hyper_parameters"]
    for name in saved.keys() | hyper_parameters.keys():
        if saved.get(name) != hyper_parameters.get(name):
            raise ValueError(
                f"{checkpoint} was trained with model.{name}={saved.get(name)}, not {hyper_parameters.get(name)}; "
                "repeat the run's own experiment and model to go on with it"
            )


def quieten() -> None:
    """Silence what Lightning says of every run and nobody acts on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in ("`isinstance\\(treespec, LeafSpec\\)`", ".*does not have many workers", ".*`tensorboardX`"):
        warnings.filterwarnings("ignore", message)
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"


def main() -> None:
    """The command line."""
    command("train", train)


if __name__ == "__main__":
    main()
