"""Training with DDP in two real processes on the CPU."""

import json
from pathlib import Path

import pytest

from evaluation.curves import read_curves
from tests.integration.test_command_line import run
from tests.integration.test_runs import SMALL, only_run


def test_two_processes_train_one_model_and_validate_every_picture_once(tmp_path: Path) -> None:
    changes = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1"]
    result = run("train.py", *SMALL, *changes, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    directory = only_run(tmp_path)
    validation = read_curves(directory / "logs")["validation/bits_per_dim"]
    scored = json.loads((directory / "scores.json").read_text())["metrics"]["bits_per_dim"]
    assert list(validation) == [11], "96 crops are 12 steps of 8, 4 on each of two ranks"
    assert scored["n"] == 3
    assert validation[5] == pytest.approx(scored["value"], rel=1e-5), "one process scores as two validate"
