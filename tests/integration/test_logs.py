"""What a training says and logs: true steps after it was resumed, and its progress where there is no terminal."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from evaluation.curves import read_curves
from evaluation.logged_steps import LoggedSteps
from evaluation.progress import Bar, Lines, progress
from tests.conftest import RandomPictures, quiet_trainer
from tests.distributed.train_methods import method

EPOCH = 4
"""Batches."""


def train(folder: Path, steps: int, accumulate: int = 1, *callbacks: pl.Callback) -> None:
    """Train a small PIC up to some step, from the folder's last checkpoint if there is one."""
    last = folder / "last.ckpt"
    trainer = quiet_trainer(
        max_epochs=-1,
        max_steps=steps,
        accumulate_grad_batches=accumulate,
        log_every_n_steps=1,
        enable_checkpointing=True,
        enable_progress_bar=bool(callbacks),
        logger=CSVLogger(folder, "logs"),
        callbacks=[
            ModelCheckpoint(folder, "last", every_n_train_steps=1, enable_version_counter=False),
            LoggedSteps(),
            *callbacks,
        ],
    )
    pl.seed_everything(0, verbose=False)
    pictures = RandomPictures(16, count=2 * EPOCH * accumulate, batch_size=2 * accumulate)
    trainer.fit(method("PIC"), pictures, ckpt_path=last if last.is_file() else None, weights_only=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("stops", "accumulate"), [((EPOCH,), 1), ((EPOCH - 1, EPOCH + 2), 1), ((EPOCH, 6), 2)])
def test_a_run_that_goes_on_logs_the_steps_of_one_that_was_not_stopped(
    tmp_path: Path, stops: tuple[int, ...], accumulate: int
) -> None:
    train(tmp_path / "whole", 2 * EPOCH, accumulate)
    for steps in (*stops, 2 * EPOCH):
        train(tmp_path / "parts", steps, accumulate)
    whole, parts = (read_curves(tmp_path / name / "logs") for name in ("whole", "parts"))
    for curve in ("train/bits_per_dim", "validation/bits_per_dim"):
        assert parts[curve] == pytest.approx(whole[curve]), curve
    assert list(whole["train/bits_per_dim"]) == list(range(2 * EPOCH))


@pytest.mark.filterwarnings("ignore")
def test_without_a_terminal_each_epoch_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, 2 * EPOCH, 1, Lines())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line.split(",")[:2] for line in lines] == [["epoch 1", " step 4"], ["epoch 2", " step 8"]]
    assert all("validation/bits_per_dim" in line for line in lines)


def test_a_terminal_gets_a_bar_without_the_logs_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress(1), Lines)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(progress(1), Bar)
    trainer = quiet_trainer(logger=CSVLogger(".", "logs", version=7))
    assert "v_num" not in Bar().get_metrics(trainer, pl.LightningModule())
