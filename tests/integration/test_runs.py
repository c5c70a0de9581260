"""Whole runs in processes of their own: train, be killed, go on, evaluate, colour photographs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from evaluation.record import file_sha256
from evaluation.report.sheet import to_image
from lightning_modules.color import rgb_to_lab_luminance, to_float
from lightning_modules.colorizer import Colorizer
from tests.conftest import PROJECT, colourful_pictures
from tests.integration.test_command_line import run

SMALL = [
    "model.embedding=[{width:8,stride:2,blocks:1},{width:16,stride:2}]",
    "model.mixtures=2",
    "model.width=8",
    "model.blocks=1",
    "model.dropout=0.5",
    "model.resolution=16",
    "data.crops_per_epoch=96",
    "data.batch_size=8",
    "trainer.max_epochs=3",
    "callbacks.last.every_n_train_steps=4",
    "protocol.samples=2",
]


def only_run(folder: Path) -> Path:
    """The directory of the one run below a folder."""
    (directory,) = (folder / "runs" / "pic_photos").iterdir()
    return directory


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that nothing disturbed, logged to Weights & Biases offline."""
    folder = tmp_path_factory.mktemp("trained")
    result = run("train.py", *SMALL, "logger=wandb", folder=folder)
    assert result.returncode == 0, result.stderr
    return only_run(folder)


def test_a_run_leaves_its_records_and_report(trained: Path) -> None:
    record, scores = (json.loads((trained / name).read_text()) for name in ("run.json", "scores.json"))
    assert record["status"] == "finished"
    assert record["config"]["model"]["resolution"] == 16
    assert record["tracking_id"].startswith(f"pic_photos-{trained.name}-")
    assert record["wall_seconds"] > 0
    assert scores["source"]["sha256"] == file_sha256(trained / "checkpoints" / "best.ckpt")
    counts = {"all": 3, "coloured": 3, "grey": 0, "unreadable": 0, "exact": 0, "grey_predictions": 0}
    assert scores["pictures"] == counts
    assert list(scores["metrics"]) == scores["protocol"]["measures"]
    assert "CIELab a and b at 4x4" in scores["metrics"]["bits_per_dim"]["space"]
    for score in scores["metrics"].values():
        assert score["low"] <= score["value"] <= score["high"]
    assert "data:image/png" in (trained / "report.html").read_text()
    assert len(list((trained / "samples").glob("step_*.png"))) == 3


def test_sample_pictures_reach_the_offline_tracker(trained: Path) -> None:
    (offline,) = (trained / "wandb").glob("offline-run-*")
    assert offline.name.endswith(json.loads((trained / "run.json").read_text())["tracking_id"])
    assert len(list((offline / "files" / "media" / "images").glob("samples*.png"))) == 3


def test_killed_run_goes_on_to_the_weights_of_an_undisturbed_one(trained: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "train.py"), *SMALL, "resume=auto"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = Path("checkpoints", "last.ckpt")
    while process.poll() is None and not list((tmp_path / "runs").glob(f"pic_photos/*/{checkpoint}")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    directory = only_run(tmp_path)
    stopped = torch.load(directory / checkpoint, weights_only=True)["global_step"]
    assert 0 < stopped < 36
    assert not (directory / "report.html").exists()

    result = run("train.py", *SMALL, "resume=auto", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert only_run(tmp_path) == directory
    ours, theirs = (torch.load(path / checkpoint, weights_only=True) for path in (directory, trained))
    assert ours["global_step"] == theirs["global_step"] == 36
    for weights in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, theirs[weights][name]) for name, value in ours[weights].items())
    assert (directory / "report.html").exists()


def test_a_checkpoint_is_scored(trained: Path, tmp_path: Path) -> None:
    arguments = [f"checkpoint={trained}", f"output_dir={tmp_path / 'out'}", "protocol.samples=2"]
    result = run("evaluate.py", *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    ours, theirs = (json.loads(path.read_text()) for path in (tmp_path / "out/scores.json", trained / "scores.json"))
    assert ours["metrics"]["bits_per_dim"] == theirs["metrics"]["bits_per_dim"]
    assert ours["protocol"]["hash"] == theirs["protocol"]["hash"]
    assert ours["set"]["keys_sha256"] == theirs["set"]["keys_sha256"]
    assert ours["set"]["complete"]
    assert Image.open(tmp_path / "out" / "cases.png").width > 300
    assert Image.open(tmp_path / "out" / "diversity.png").width > 300
    assert len(list((tmp_path / "out" / "gallery").glob("*_truth.png"))) == 3


def test_photos_of_every_kind_are_coloured(trained: Path, photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [str(photo_folder), "--checkpoint", str(trained), "--samples", "2", "--out", str(out), "--seed", "5"]
    result = run("colorize.py", *arguments, "--set", "temperature=0.5", folder=tmp_path)
    assert result.returncode == 1, "two files are broken"
    assert "cut_short.jpg" in result.stderr
    assert "no_picture.png" in result.stderr
    assert "Traceback" not in result.stderr
    record = json.loads((out / "colorize.json").read_text())
    assert len(record["coloured"]) == 9
    assert len(record["skipped"]) == 2
    assert record["overrides"] == {"temperature": 0.5}
    for each in record["coloured"]:
        assert each["seed"] == 5
        assert all(Path(file).is_file() for file in each["files"])
        assert [Path(file).stem.rsplit("_", 1)[1] for file in each["files"]] == ["0", "1", "sheet"]
    assert Image.open(out / "album" / "colour_0.png").size == (30, 40)
    assert Image.open(out / "sideways_0.png").size == (40, 30), "turned upright"
    assert "seed 5" in Image.open(out / "grey_0.png").text["Software"]  # type: ignore[attr-defined]


def test_a_coloured_photo_keeps_its_luminance(trained: Path, photo_folder: Path, tmp_path: Path) -> None:
    arguments = [str(photo_folder / "grey.png"), "--checkpoint", str(trained), "--out", str(tmp_path)]
    assert run("colorize.py", *arguments, "--set", "temperature=0", folder=tmp_path).returncode == 0

    def luminance(path: Path) -> torch.Tensor:
        pixels = torch.frombuffer(bytearray(Image.open(path).convert("RGB").tobytes()), dtype=torch.uint8)
        return rgb_to_lab_luminance(to_float(pixels.view(40, 30, 3).permute(2, 0, 1)))

    coloured = torch.frombuffer(bytearray(Image.open(tmp_path / "grey_0.png").tobytes()), dtype=torch.uint8)
    inside = ((coloured > 1) & (coloured < 254)).view(40, 30, 3).all(dim=2)
    assert inside.any()
    difference = (luminance(tmp_path / "grey_0.png") - luminance(photo_folder / "grey.png"))[0].abs()
    assert difference[inside].max() < 0.6, "eight bits allow half a level of each channel"


def test_a_run_does_not_go_on_with_another_model(trained: Path, tmp_path: Path) -> None:
    before = (trained / "run.json").read_text()
    result = run("train.py", f"resume={trained}", *SMALL, "model.width=9", folder=tmp_path)
    assert result.returncode == 1
    assert "was trained with model.width=8, not 9" in result.stderr
    assert "Traceback" not in result.stderr
    assert (trained / "run.json").read_text() == before


def test_jobs_of_a_multirun_keep_apart(tmp_path: Path) -> None:
    result = run("train.py", "-m", "seed=1,2", *SMALL, "trainer.max_epochs=1", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    records = [json.loads(path.read_text()) for path in (tmp_path / "runs" / "pic_photos").glob("*/run.json")]
    assert sorted(record["seed"] for record in records) == [1, 2]


def test_a_member_that_fails_does_not_end_its_grid_and_the_grid_again_repeats_none_that_finished(
    tmp_path: Path,
) -> None:
    grid = ["-m", "data.root=nowhere,null", "resume=auto", *SMALL, "trainer.max_epochs=1"]
    first, second = (run("train.py", *grid, folder=tmp_path) for _ in range(2))
    for result in (first, second):
        assert result.returncode == 1
        assert "there is no folder nowhere" in result.stderr
        assert "error: a run of this grid failed; python -m sweeps.status tells which, and why" in result.stderr
        assert "Traceback" not in result.stderr
    assert "finished already: " in second.stdout
    records = [json.loads(path.read_text()) for path in (tmp_path / "runs" / "pic_photos").glob("*/run.json")]
    assert {record["status"] for record in records} == {"finished", "failed"}
    assert all("-m" not in record["command"].split() for record in records), "a command for each alone"


def test_ctrl_c_ends_a_grid_with_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    grid = ["-m", "seed=1,2", *SMALL, "trainer.max_epochs=1000"]
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "train.py"), *grid], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    while process.poll() is None and not list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt")):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate()
    assert process.returncode == 130
    assert "stopped; resume=auto behind the same command goes on from" in printed
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "stopped"


def test_a_published_experiment_runs_a_few_steps(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
        for number, picture in enumerate(colourful_pictures(12, 32)):
            to_image(picture).save(tmp_path / split / "cat" / f"{number}.png")
    changes = ["+debug=fast", f"data.root={tmp_path}", "data.validation_pictures=2"]
    result = run("train.py", "+experiment=pic_tiny", *changes, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    (directory,) = (tmp_path / "runs" / "debug").iterdir()
    scores = json.loads((directory / "scores.json").read_text())
    assert scores["pictures"] | {"all": 1, "coloured": 1, "grey": 0, "unreadable": 0} == scores["pictures"]
    assert not scores["set"]["complete"]


def test_the_embedding_starts_from_the_whole_method(trained: Path, tmp_path: Path) -> None:
    changes = [change for change in SMALL if change.split("=")[0] not in ("model.width", "model.blocks")]
    arguments = ["model=pic_embedding_imagenet", *changes, "trainer.max_epochs=1", f"initialize_from={trained}"]
    result = run("train.py", *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert Colorizer.load(only_run(tmp_path)).stochastic is False
