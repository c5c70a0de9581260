"""Training with DDP in two real processes on the CPU, whoever started them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from evaluation.curves import read_curves
from tests.conftest import PROJECT
from tests.integration.test_command_line import run
from tests.integration.test_runs import SMALL, only_run

TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


def test_two_processes_train_one_model_and_validate_every_picture_once(tmp_path: Path) -> None:
    result = run("train.py", *SMALL, *TWO, "trainer.max_epochs=1", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    directory = only_run(tmp_path)
    validation = read_curves(directory / "logs")["validation/bits_per_dim"]
    scored = json.loads((directory / "scores.json").read_text())["metrics"]["bits_per_dim"]
    assert list(validation) == [11], "96 crops are 12 steps of 8, 4 on each of two ranks"
    assert scored["n"] == 3
    assert validation[11] == pytest.approx(scored["value"], rel=1e-5), "one process scores as two validate"


def test_processes_that_torchrun_started_are_one_run(tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launcher, str(PROJECT / "train.py"), *SMALL, *TWO, "trainer.max_epochs=1"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    record = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["job"].startswith("torchrun ")
    assert (only_run(tmp_path) / "scores.json").is_file()


def test_a_signal_that_one_process_hears_ends_both(tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "train.py"), *SMALL, *TWO, "trainer.max_epochs=1000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None and not list(tmp_path.glob("runs/*/*/logs/version_0/metrics.csv")):
        time.sleep(0.1)
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, printed
    _, left = psutil.wait_procs([psutil.Process(pid) for pid in family if psutil.pid_exists(pid)], timeout=100)
    assert not left
    assert "Traceback" not in printed
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "stopped"
    assert (only_run(tmp_path) / "checkpoints" / "last.ckpt").is_file()
