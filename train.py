"""Train a colourisation method, score it, and write its report.

python train.py                              a small PIC on bundled photographs, minutes on a CPU
python train.py +experiment=pic_imagenet     a published set-up
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from configs.command import as_dictionary, command, sentence_of
from sweeps.signals import held

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from datamodules.base import PictureDataModule
    from evaluation.record import RunRecord
    from sweeps.preemption import Preemption


def train(config: DictConfig) -> None:
    """Fit, score and report what the config describes, in its run's directory."""
    with held():  # what is imported from here on takes seconds
        run(config)


def run(config: DictConfig) -> None:
    """Choose the directory, keep its record, and go through with it."""
    from evaluation.record import RunRecord, run_record
    from evaluation.run_directory import (
        LAST_CHECKPOINT,
        RECORD,
        choose_run_directory,
        enter,
        job_entries,
        locked,
        rank_of_this_process,
        take_over,
        this_job,
    )
    from evaluation.tracking import tracked
    from lightning_modules.checkpoint import require_same_model
    from sweeps.preemption import Preempted, Preemption, requeue

    quieten()
    directory, rank = choose_run_directory(as_dictionary(config, resolve=False)), rank_of_this_process()
    last = directory / LAST_CHECKPOINT
    with locked(directory):
        before = enter(directory)
        if before.get("status") == "finished" and config.resume == "auto":
            if rank == 0:
                print(f"finished already: {directory}")
            return
        if last.is_file() and before.get("job") != this_job():
            require_same_model(last, as_dictionary(config.model))
        take_over(directory, before)
    new_id = f"{config.name}-{directory.name}-{token_hex(2)}"
    tracking_id = os.environ.get("WANDB_RUN_ID") or before.get("tracking_id") or new_id
    config.run = {"directory": str(directory), "tracking_id": tracking_id}
    entries = run_record(as_dictionary(config), overrides(), tracking_id) | job_entries()
    entries |= {key: before[key] for key in ("started", "wall_seconds") if before.get(key)}
    try:
        with (
            tracked(config.logger.get("wandb"), rank),
            RunRecord(directory / RECORD, entries, rank, sentence_of) as record,
            Preemption(last) as preemption,
            full_disk_named(directory),
        ):
            fit(config, directory, last, record, preemption)
    except (Preempted, KeyboardInterrupt) as end:
        if rank:  # the first answers for all; srun and Lightning take another's bad exit for a reason to end it at once
            raise SystemExit(0) from end
        requeues = isinstance(end, Preempted) and end.requeues
        how = "SLURM starts this job again, and it" if requeues else "resume=auto behind the same command"
        print(f"\nstopped; {how} goes on from {last}" if last.is_file() else "\nstopped before the first checkpoint")
        if requeues:
            requeue()
        raise end if isinstance(end, Preempted) else SystemExit(128 + signal.SIGINT) from end


def fit(config: DictConfig, directory: Path, last: Path, record: RunRecord, preemption: Preemption) -> None:
    """Train, from the last checkpoint if there is one, and then score or test."""
    import pytorch_lightning as pl
    import torch
    from hydra.utils import instantiate

    from datamodules.base import bad_pictures
    from evaluation.logged_steps import LoggedSteps
    from evaluation.run_directory import rank_of_this_process
    from lightning_modules.checkpoint import best_score
    from lightning_modules.colorizer import Colorizer
    from lightning_modules.device import compile_networks, require_synchronizable

    pl.seed_everything(config.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
    model = instantiate(config.model, _convert_="all")
    if config.initialize_from and not last.is_file():
        model.initialize_from(config.initialize_from)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if config.compile:
        compile_networks(model)
    data = instantiate(config.data, _convert_="all")
    trainer: pl.Trainer = instantiate(
        config.trainer,
        callbacks=[
            *(instantiate(callback) for callback in config.callbacks.values() if callback),
            LoggedSteps(),
            preemption,
        ],
        logger=[instantiate(logger) for logger in config.logger.values()],
    )
    if trainer.world_size == 1 and rank_of_this_process():
        raise ValueError("several processes were started for a trainer of one; give trainer=ddp or trainer=ddp_slurm")
    if config.trainer.sync_batchnorm:
        require_synchronizable(model, trainer.strategy.root_device)
    if trainer.is_global_zero:
        print(f"{'going on in' if last.is_file() else 'run directory:'} {directory}")
    try:
        trainer.fit(model, data, ckpt_path=last if last.is_file() else None, weights_only=True)
    except SystemExit as end:
        if end.code == 1:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from end
        raise
    finally:
        pictures = {**data.provenance, "unreadable": bad_pictures(directory)}
        record.entries |= {"pictures": pictures, "best": best_score(trainer)}
    record.save()
    if isinstance(model, Colorizer):
        report(directory, config, record.entries, data, trainer)
    else:
        test(directory, model, data, trainer)


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
    """Score the best checkpoint, on all ranks, beside no colour at all, and write its scores and `report.html`."""
    from hydra.utils import instantiate

    from evaluation.networks import network_statistics
    from evaluation.report.run_report import write_report
    from evaluation.report.sheet import method_sheet
    from evaluation.report.table import print_scores
    from evaluation.runner import evaluate
    from evaluation.scorer import Entry
    from evaluation.standing_rows import StandingRow
    from lightning_modules.checkpoint import find_checkpoint
    from lightning_modules.color import to_float
    from lightning_modules.colorizer import Colorizer

    checkpoint = find_checkpoint(directory)
    colorizer = Colorizer.load(checkpoint).to(trainer.strategy.root_device)
    data.trainer = None
    rules = instantiate(config.protocol, _convert_="all")
    images, limit = data.test.as_stored() if rules.resize else data.test, config.trainer.limit_test_batches
    scored = partial(
        evaluate,
        rules=rules,
        data=record["config"]["data"],
        left_out=network_statistics({}, rules.measures, colorizer.device)[1],
        limit=limit and limit * data.evaluation_batch_size,
        workers=data.workers,
    )
    scores = scored(
        Entry.of_checkpoint(checkpoint, colorizer, rules),
        images,
        output=directory,
        process=(trainer.global_rank, trainer.world_size),
    )
    if scores is None:  # only the first process reports
        return
    with TemporaryDirectory() as folder:
        grey = scored(
            Entry("grey", "baseline"), StandingRow(images, rules, "grey"), output=Path(folder), process=(0, 1)
        )
    print_scores(scores, grey)
    shown = to_float(data.test_dataloader().spread(8).to(colorizer.device))
    sheet = method_sheet(colorizer, shown, samples=3 if colorizer.stochastic else 1, seed=config.seed)
    page = write_report(directory, record, scores, grey, sheet)
    print(f"report: {page}")
    for logger in trainer.loggers:
        logger.log_metrics(
            {f"score/{name}": score["value"] for name, score in scores["metrics"].items()}, trainer.global_step
        )
        logger.save()


@contextmanager
def full_disk_named(directory: Path) -> Iterator[None]:
    """Tell which disk is full, where the system says only that one is."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(f"the disk of {directory} is full; make room, and go on with resume=auto") from error


def overrides() -> list[str]:
    """What was asked for on the command line, of a grid's member its own values."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def quieten() -> None:
    """Silence what Lightning says of every run and nobody acts on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    several = ("`isinstance\\(treespec, LeafSpec\\)`", ".*does not have many workers", ".*`tensorboardX`", "The `srun`")
    for message in (*several, ".*exists and is not empty", ".*logging interval", ".*monitored key"):
        warnings.filterwarnings("ignore", message)
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"


def main() -> None:
    """The command line."""
    command("train", train)


if __name__ == "__main__":
    main()
