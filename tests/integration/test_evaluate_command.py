"""evaluate.py on folders that people hand over."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from PIL import Image

import evaluate
from evaluation.functional.psnr import psnr
from evaluation.report.sheet import to_image
from lightning_modules.color import to_float
from tests.conftest import PROJECT, colourful_pictures

COUNT = 400


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`truth` and, somewhat off, `predictions`."""
    folder = tmp_path_factory.mktemp("folders")
    for name, seed in (("truth", 0), ("predictions", 1)):
        (folder / name).mkdir()
        for number, picture in enumerate(colourful_pictures(COUNT, 48, seed)):
            to_image(picture).save(folder / name / f"{number:03}.png")
    return folder


def scored(**changes: Any) -> dict[str, Any]:
    """What evaluate.py writes, run in this process."""
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("evaluate", [f"{name}={value}" for name, value in {"workers": 0, **changes}.items()])
    evaluate.score(config)
    scores: dict[str, Any] = json.loads((Path(changes["output_dir"]) / "scores.json").read_text())
    return scores


def arguments(folders: Path, output: Path) -> list[str]:
    """A command line that scores the folders."""
    pairs = {"truth": folders / "truth", "predictions": folders / "predictions", "output_dir": output}
    return ["evaluate.py", "protocol=folder", "workers=1", *(f"{name}={value}" for name, value in pairs.items())]


def test_two_processes_that_are_killed_end_with_the_scores_of_one(folders: Path, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launcher, *arguments(folders, output)],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and len(list(output.glob("parts/*/part_*.npz"))) < 3:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path.name: path.stat().st_mtime_ns for path in output.glob("parts/*/part_*.npz")}
    assert 3 <= len(done) < COUNT / 32, "it was killed on the way"
    assert not (output / "scores.json").exists()
    again = subprocess.run(
        [sys.executable, *arguments(folders, output)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    whole = scored(
        truth=folders / "truth",
        predictions=folders / "predictions",
        protocol="folder",
        output_dir=tmp_path / "whole",
    )
    killed = json.loads((output / "scores.json").read_text())
    assert killed["metrics"] == whole["metrics"]
    assert (output / "pictures.csv").read_bytes() == (tmp_path / "whole" / "pictures.csv").read_bytes()
    truths, predictions = (to_float(colourful_pictures(COUNT, 48, seed)) for seed in (0, 1))
    wanted = psnr(predictions, truths).mean()
    assert whole["metrics"]["psnr"]["value"] == pytest.approx(float(wanted), abs=1e-3)


def test_what_does_not_match_is_listed_in_a_file(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    for name in ("000.png", "001.png"):
        (tmp_path / "few" / name).symlink_to(folders / "predictions" / name)
    (tmp_path / "few" / "stranger.png").symlink_to(folders / "predictions" / "002.png")
    some = {"truth": folders / "truth", "predictions": tmp_path / "few", "protocol": "folder"}
    with pytest.raises(ValueError, match=r"lacks 398 of 400 .*stranger.png.*unmatched=leave_out.*unmatched.txt"):
        scored(**some, output_dir=tmp_path / "out")
    listed = (tmp_path / "out" / "unmatched.txt").read_text().split()
    assert listed == [*(f"{number:03}" for number in range(2, COUNT)), "stranger.png"]
    scores = scored(**some, output_dir=tmp_path / "out", unmatched="leave_out")
    assert scores["set"]["label"] == "subset of 2 pictures"
    assert scores["pictures"]["coloured"] == 2


def test_a_method_cannot_drop_a_picture_by_a_broken_prediction(folders: Path, tmp_path: Path) -> None:
    for name in ("truth", "predictions"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.png").write_bytes((folders / name / f"{number:03}.png").read_bytes())
    broken = tmp_path / "predictions" / "1.png"
    broken.write_bytes(broken.read_bytes()[:300])
    some = {"truth": tmp_path / "truth", "predictions": broken.parent, "protocol": "folder"}
    with pytest.raises(ValueError, match=r"predictions/1\.png"):
        scored(**some, output_dir=tmp_path / "out")
    scores = scored(**some, output_dir=tmp_path / "out", unmatched="leave_out")
    assert (scores["pictures"]["unreadable"], scores["set"]["label"]) == (1, "subset of 2 pictures")


def test_predictions_that_are_not_what_they_seem_are_noted(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    for number in range(COUNT):
        (tmp_path / "odd" / f"{number:03}.png").symlink_to(folders / "predictions" / f"{number:03}.png")
    for name in ("000.png", "001.png"):
        (tmp_path / "odd" / name).unlink()
    with Image.open(folders / "predictions" / "000.png") as picture:
        picture.convert("L").save(tmp_path / "odd" / "000.png")
        picture.save(tmp_path / "odd" / "001.png", "JPEG")
    scores = scored(
        truth=folders / "truth", predictions=tmp_path / "odd", protocol="lrac_cval1k", output_dir=tmp_path / "out"
    )
    assert scores["pictures"]["grey_predictions"] == 1
    told = " ".join(scores["notes"])
    assert "1 of 400 predictions have no colour at all" in told
    assert "1 of 400 predictions hold another format than their suffix says" in told
    assert scores["set"]["label"] == "400 pictures", "not cval1k"


def test_mistakes_on_the_command_line_are_named(folders: Path, tmp_path: Path) -> None:
    truth, out = folders / "truth", tmp_path / "out"
    (tmp_path / "empty").mkdir()
    for words, changes in (
        ("checkpoint=RUN, predictions=FOLDER or baseline=grey, by one of them", {}),
        ("not by predictions and baseline at once", {"predictions": truth, "baseline": "grey"}),
        ("sepia is none of truth, grey", {"baseline": "sepia"}),
        ("holds no pictures", {"predictions": tmp_path / "empty"}),
        ("there is no folder", {"predictions": tmp_path / "nowhere"}),
        ("name the true pictures: truth=FOLDER", {"predictions": truth, "truth": "null"}),
        ("pictures=abc should be a whole number", {"baseline": "grey", "pictures": "abc"}),
        ("lies in the folder of true pictures", {"baseline": "grey", "output_dir": truth / "scores"}),
        ("no checkpoint at", {"checkpoint": tmp_path / "nothing.ckpt"}),
        ("weights.pth is not a whole checkpoint", {"baseline": "grey", "weights.lpips": tmp_path / "weights.pth"}),
    ):
        (tmp_path / "weights.pth").write_text("no weights")
        with pytest.raises((ValueError, OSError), match=words):
            scored(**{"truth": truth, "protocol": "folder", "output_dir": out, **changes})
    assert not list(out.glob("*.json"))


def test_scores_go_apart_unless_told_otherwise(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for changes in ({}, {"pictures": 3}, {"variant": 0.8}):
        with initialize_config_module("configs", version_base="1.3"):
            asked = {"truth": folders / "truth", "baseline": "grey", "protocol": "sun6", "workers": 0, **changes}
            evaluate.score(compose("evaluate", [f"{name}={value}" for name, value in asked.items()]))
    found = [json.loads(path.read_text()) for path in sorted(Path("scores").glob("grey/*/scores.json"))]
    assert len(found) == 3
    assert sorted(str(scores["variant"]) for scores in found) == ["0.8", "None", "None"]


def test_a_baseline_is_scored_on_a_set_of_a_data_module(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
        for number, picture in enumerate(colourful_pictures(5, 32)):
            to_image(picture).save(tmp_path / split / "cat" / f"{number}.png")
    scores = scored(
        baseline="truth",
        data="cifar10",
        protocol="pic_cifar10",
        output_dir=tmp_path / "out",
        **{"data.root": tmp_path},
    )
    assert scores["metrics"]["psnr"]["value"] == 100
    assert scores["pictures"]["exact"] == 5
    assert scores["left_out"]["bits_per_dim"] == "truth has no exact likelihood"
    assert torch.tensor(scores["curves"]["ab_histogram"]["a"]).sum() == pytest.approx(1)


def test_nobodys_scores_are_overwritten_by_anothers(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "truth").mkdir()
    for number in range(3):
        name = f"{number:03}.png"
        (tmp_path / "truth" / name).symlink_to(folders / "truth" / name)
        for team, other in (("a/out", number), ("b/out", number + 5), ("c/grey", number)):
            (tmp_path / team).mkdir(parents=True, exist_ok=True)
            (tmp_path / team / name).symlink_to(folders / "predictions" / f"{other:03}.png")
    asked: dict[str, Any] = {"truth": "truth", "protocol": "folder", "workers": 0}
    teams = [{"predictions": team} for team in ("a/out", "b/out", "c/grey")]
    for changes in (*teams, {"baseline": "grey"}):
        for _ in range(2):
            with initialize_config_module("configs", version_base="1.3"):
                config = compose("evaluate", [f"{name}={value}" for name, value in {**asked, **changes}.items()])
            evaluate.score(config)
    found = [json.loads(path.read_text()) for path in Path("scores").rglob("scores.json")]
    rows = {(scores["method"], scores["source"].get("path")) for scores in found}
    assert rows == {("grey", None), ("grey", "c/grey"), ("out", "a/out"), ("out", "b/out")}
    assert len(found) == 4
    scored(**asked, baseline="grey", output_dir="named")
    scored(**asked, baseline="grey", output_dir="named")
    with pytest.raises(ValueError, match="named holds the scores of grey by folder; name another output_dir for out"):
        scored(**asked, predictions="a/out", output_dir="named")
    Path("file").touch()
    with pytest.raises(ValueError, match="output_dir=file is a file"):
        scored(**asked, predictions="a/out", output_dir="file")
    with pytest.raises(ValueError, match="lies in the folder of predictions"):
        scored(**asked, predictions="a/out", output_dir="a/out/scores")


def test_samples_that_another_call_of_colorize_left_are_not_scored(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.png").symlink_to(folders / "truth" / "000.png")
    for sample in range(3):
        (tmp_path / "out" / f"a_{sample}.png").symlink_to(folders / "predictions" / f"{sample:03}.png")
    record = {"coloured": [{"photo": "a.png", "files": ["elsewhere/out/a_0.png", "elsewhere/out/a_sheet.png"]}]}
    (tmp_path / "out" / "colorize.json").write_text(json.dumps(record))
    asked: dict[str, Any] = {"truth": tmp_path / "truth", "predictions": tmp_path / "out", "protocol": "folder"}
    with pytest.raises(ValueError, match=r"2 files .* a_1\.png, a_2\.png"):
        scored(**asked, output_dir=tmp_path / "scores")
    for sample in (1, 2):
        (tmp_path / "out" / f"a_{sample}.png").unlink()
    assert scored(**asked, output_dir=tmp_path / "scores")["pictures"]["coloured"] == 1
    (tmp_path / "out" / "colorize.json").write_text('{"coloured": 3}')
    with pytest.raises(ValueError, match=r"colorize\.json is damaged"):
        scored(**asked, output_dir=tmp_path / "scores")
