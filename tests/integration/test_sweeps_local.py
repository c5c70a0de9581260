"""`python -m sweeps.local` as a user runs it: killed, stopped, with trials that fail; and with real training."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.report.sheet import to_image
from tests.conftest import PROJECT, colourful_pictures

pytest.importorskip("optuna", reason="sweeps without an account want Optuna")

TRAINING = '''
"""Leaves what train.py leaves. From its third value on it waits for a file called `gate`."""
import json, signal, sys, time
from pathlib import Path

asked = dict(argument.split("=", 1) for argument in sys.argv[1:])
loss, kind = float(asked["loss"]), asked.get("kind", "sound")
run = Path(asked["runs"]) / "quick" / f"{kind}{loss}"
log = run / "logs" / "version_0" / "metrics.csv"
log.parent.mkdir(parents=True, exist_ok=True)


def record(status, **more):
    half = run / "half"
    half.write_text(json.dumps({"status": status, "overrides": sys.argv[1:], "wall_seconds": 60.0, **more}))
    half.replace(run / "run.json")


def stop(*_):
    record("stopped")
    sys.exit(143)


signal.signal(signal.SIGTERM, stop)
record("running")
with (run / "starts").open("a") as starts:
    starts.write("x")
if kind == "refused" and not Path("mended").exists():
    record("failed", failure="the memory is full")
    sys.exit(1)
if kind == "broken" and not Path("mended").exists():
    sys.exit("error: there is no such thing")
rows = log.read_text().splitlines() if log.exists() else ["step,validation/loss"]
while len(rows) <= 6:
    while len(rows) > 3 and not Path("gate").exists():
        time.sleep(0.02)
    if kind != "silent":
        rows.append(f"{10 * len(rows)},{loss + 1 / len(rows)}")
        log.write_text(chr(10).join(rows) + chr(10))
    else:
        rows.append("")
record("finished")
(run / "scores.json").write_text(json.dumps({"metrics": {"psnr": {"value": 20 - loss}}}))
(run / "report.html").write_text("a report")
'''
COMMAND = ["${env}", "${interpreter}", "${program}", "logger=wandb", "resume=auto", "runs=out", "${args_no_hyphens}"]
COMPARED = {"type": "hyperband", "min_iter": 1, "eta": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a training that takes a moment."""
    (tmp_path / "train.py").write_text(TRAINING)
    return tmp_path


def write_sweep(folder: Path, parameters: dict[str, Any], **more: Any) -> None:
    """Write a sweep file."""
    metric = {"name": "validation/loss", "goal": "minimize"}
    content = {"program": "train.py", "method": "grid", "metric": metric, "command": COMMAND}
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**content, "parameters": parameters, **more}))


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the driver."""
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps.local", "sweep.yaml", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the driver to its end: its status, and what it printed."""
    process = start(folder, *arguments)
    printed, _ = process.communicate()
    return process.returncode, printed


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; what never is ends with the test's own time."""
    while not condition():
        time.sleep(0.05)


def records(folder: Path) -> list[dict[str, Any]]:
    """What the runs have written of themselves."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("out/*/[!.]*/run.json"))]


def statuses(folder: Path) -> list[str]:
    """How the runs are."""
    return [record["status"] for record in records(folder)]


def values(folder: Path) -> int:
    """How many values of the metric have been logged, by all runs."""
    return sum(len(path.read_text().splitlines()) - 1 for path in folder.glob("out/quick/*/logs/version_0/metrics.csv"))


def starts(folder: Path) -> dict[str, int]:
    """How often each run was started."""
    return {path.parent.name: len(path.read_text()) for path in sorted(folder.glob("out/quick/*/starts"))}


def test_killed_outright_its_trials_end_too_and_the_same_command_goes_on(folder: Path) -> None:
    write_sweep(folder, {"loss": {"values": [0.4, 0.3, 0.2, 0.1]}})
    driver = start(folder, "--workers", "2")
    wait_for(lambda: values(folder) == 6)
    time.sleep(1.5)  # for the driver to look
    driver.kill()
    driver.communicate()
    wait_for(lambda: statuses(folder) == ["stopped", "stopped"])
    (folder / "gate").touch()
    status, printed = run(folder, "--workers", "2")
    assert status == 0, printed
    assert "trial 0 goes on: loss 0.4" in printed
    assert "trial 1 goes on: loss 0.3" in printed
    assert "trial 2 starts: loss 0.2" in printed
    assert "4 finished, of 4" in printed
    assert re.search(r"3 │ +0\.1 │ +0\.2667 │ finished", printed), "the best, first in the table"
    assert statuses(folder) == ["finished"] * 4
    assert starts(folder) == {"sound0.1": 1, "sound0.2": 1, "sound0.3": 2, "sound0.4": 2}
    assert values(folder) == 4 * 6, "what was logged before the kill was not logged again"

    status, printed = run(folder, "--workers", "2")
    assert status == 0
    assert "starts" not in printed
    assert "4 finished, of 4" in printed
    assert starts(folder) == {"sound0.1": 1, "sound0.2": 1, "sound0.3": 2, "sound0.4": 2}


def test_ctrl_c_stops_the_trials_and_says_how_to_go_on(folder: Path) -> None:
    write_sweep(folder, {"loss": {"values": [0.1, 0.2]}})
    driver = start(folder)
    wait_for(lambda: values(folder) == 3)
    status, printed = run(folder)
    assert status == 1
    assert printed == "error: another python -m sweeps.local, or what it has started, is at work in out\n"
    driver.send_signal(signal.SIGINT)
    printed, _ = driver.communicate()
    assert driver.returncode == 130
    assert "1 unfinished, of 2" in printed
    assert printed.endswith("stopped; the same command goes on\n")
    assert statuses(folder) == ["stopped"]


def test_a_trial_that_fails_is_told_and_the_others_go_on(folder: Path) -> None:
    (folder / "gate").touch()
    write_sweep(folder, {"kind": {"values": ["refused", "broken", "silent", "sound"]}, "loss": {"value": 0.5}})
    status, printed = run(folder)
    assert status == 1
    assert "trial 0 failed: the memory is full" in printed
    assert "trial 1 failed: there is no such thing" in printed
    assert "trial 2 failed: it has no finite validation/loss; it logged nothing" in printed
    assert "1 finished, 3 failed, of 4" in printed
    page = (folder / "out" / "sweep.html").read_text()
    assert "failed: the memory is full" in page

    (folder / "mended").touch()
    (folder / "train.py").write_text(TRAINING.replace('!= "silent"', '!= ""'))
    status, printed = run(folder, "--retry-failed")
    assert status == 0, printed
    assert "4 finished, of 4" in printed


def test_a_trial_that_is_behind_is_stopped(folder: Path) -> None:
    write_sweep(folder, {"loss": {"values": [0.1, 5.0]}}, early_terminate=COMPARED)
    driver = start(folder, "--workers", "2")
    wait_for(lambda: statuses(folder) == ["running", "stopped"])
    (folder / "gate").touch()
    printed, _ = driver.communicate()
    assert driver.returncode == 0
    assert "trial 1 is stopped early: validation/loss 5.333" in printed
    assert "1 finished, 1 stopped early, of 2" in printed


def test_a_final_score_ranks_trials(folder: Path) -> None:
    (folder / "gate").touch()
    metric = {"name": "score/psnr", "goal": "maximize"}
    write_sweep(folder, {"loss": {"values": [2.0, 1.0]}}, metric=metric)
    status, printed = run(folder, "--workers", "2")
    assert status == 0, printed
    assert re.findall(r"│ +(\d) │ .* finished", printed) == ["1", "0"], "the best first"
    assert "trial 1 finished: score/psnr 19" in printed
    assert "On the way" not in (folder / "out" / "sweep.html").read_text()


def test_trials_of_the_same_values_share_a_run(folder: Path) -> None:
    (folder / "gate").touch()
    write_sweep(folder, {"loss": {"values": [0.5]}}, method="random")
    status, printed = run(folder, "--workers", "2", "--count", "2")
    assert status == 0, printed
    assert "2 finished, of 2" in printed
    assert starts(folder) == {"sound0.5": 2}, "one after the other"


@pytest.mark.parametrize(
    ("arguments", "changes", "sentence"),
    [
        (["--count", "0"], {}, "--count and --workers are at least 1"),
        (["colour"], {}, "colour is no override"),
        ([], {"method": "random"}, "sweep.yaml has no run_cap; say how many trials there are to be with --count"),
        ([], {"program": "trian.py"}, "there is no trian.py here; start sweeps from the project's folder"),
        ([], {"method": "annealing"}, "sweep.yaml: method is one of grid, random, bayes, not annealing"),
    ],
)
def test_mistakes_get_one_sentence(folder: Path, arguments: list[str], changes: dict[str, str], sentence: str) -> None:
    write_sweep(folder, {"loss": {"values": [0.5]}}, **changes)
    status, printed = run(folder, *arguments)
    assert status == 1
    assert printed.startswith("error: ")
    assert sentence in printed
    assert len(printed.splitlines()) == 1
    assert not (folder / "out").exists()


def test_the_page_fits_a_phone(folder: Path, browser: Any) -> None:
    (folder / "gate").touch()
    write_sweep(folder, {"loss": {"values": [0.1, 0.2, 0.3]}, "kind": {"values": ["sound", "broken"]}})
    run(folder, "--workers", "2")
    faults: list[str] = []
    for width in (390, 1100):
        tab = browser.new_page(viewport={"width": width, "height": 800})
        tab.on("console", lambda said: faults.append(said.text))
        tab.goto((folder / "out" / "sweep.html").as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.locator("tbody tr").count() == 6
        assert tab.locator("svg").count() == 4
        tab.get_by_role("link", name="its report").click()
        assert tab.content().count("a report") == 1
    assert not faults


SMALL = [
    "data.validation_pictures=4",
    "data.batch_size=4",
    "data.evaluation_batch_size=4",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=-1",
    "trainer.max_steps=12",
    "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=2",
    "trainer.limit_test_batches=1",
    "protocol.sampled_pictures=1",
    "model.embedding=[{width:8,stride:4,blocks:1},{width:8}]",
    "model.mixtures=1",
    "model.width=4",
    "model.blocks=1",
    "model.initialization_pictures=4",
    "callbacks.samples=null",
    "callbacks.progress=null",
    "callbacks.last.every_n_train_steps=2",
]


def write_pictures(folder: Path) -> None:
    """Write a CIFAR-10 of 24 pictures."""
    for number, picture in enumerate(colourful_pictures(24, 32)):
        place = folder / ("test" if number < 8 else "train") / "dog"
        place.mkdir(parents=True, exist_ok=True)
        to_image(picture).save(place / f"{number}.png")


def train_killed(folder: Path, count: int, kill_after: int) -> str:
    """Run a sweep of PIC with real training, killed when so many runs have finished; what the second driver printed."""
    write_pictures(folder / "pictures")
    for name in ("train.py", "sweeps/pic_learning_rate.yaml"):
        (folder / Path(name).name).symlink_to(PROJECT / name)
    (folder / "pic_learning_rate.yaml").rename(folder / "sweep.yaml")
    arguments = ["--count", str(count), "--workers", "2", *SMALL, f"data.root={folder / 'pictures'}", "runs=out"]
    driver = start(folder, *arguments)
    wait_for(
        lambda: (
            statuses(folder).count("finished") >= kill_after
            and "running" in statuses(folder)
            and any(folder.glob("out/pic_tiny/*/checkpoints/last.ckpt"))
        )
    )
    driver.kill()
    driver.communicate()
    return run(folder, *arguments)[1]


def check_sweep(folder: Path, printed: str, count: int) -> None:
    """All trials are accounted for, none twice, and the best is the best."""
    ended = {what: int(number) for number, what in re.findall(r"(\d+) (finished|stopped early|failed)[,:]", printed)}
    assert sum(ended.values()) == count, printed
    assert "failed" not in ended, printed
    best = {record["best"]["value"] for record in records(folder) if record["status"] == "finished"}
    assert len(records(folder)) == count
    assert len(best) == ended["finished"]
    rows = [[cell.strip() for cell in line.split("│")] for line in printed.splitlines()]
    table = [float(row[4]) for row in rows if row[-2:-1] == ["finished"]]
    assert table[0] == pytest.approx(min(best), rel=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_training_is_swept_and_survives_a_kill(tmp_path: Path) -> None:
    check_sweep(tmp_path, train_killed(tmp_path, count=2, kill_after=0), count=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twelve_trials_of_real_training_survive_a_kill(tmp_path: Path) -> None:
    check_sweep(tmp_path, train_killed(tmp_path, count=12, kill_after=5), count=12)
