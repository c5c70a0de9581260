"""train.py on what does not colour, which tests itself."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

import train
from datamodules.shards.sources import Bytes, Source
from datamodules.shards.writer import Encoding, write
from evaluation.report.sheet import to_image
from evaluation.run_directory import JOB_VARIABLE
from lightning_modules.color import to_float
from lightning_modules.lrac.segmentation import Segmentation
from tests.conftest import colourful_pictures

SMALL = [
    "+experiment=lrac_voc_random",
    "model.resolution=32",
    "model.network.width=2",
    "model.network.fc_width=6",
    "model.network.hidden_width=12",
    "model.locations=16",
    "data.transform.short_side=[40,48]",
    "data.batch_size=4",
    "data.workers=0",
    "trainer.accelerator=cpu",
    "model.optimization.learning_rate=0.1",
    "trainer.max_epochs=4",
    "callbacks.best={monitor:step,mode:min}",  # the first of two, so that best and last differ
    "callbacks.last.every_n_train_steps=1",
    "~callbacks.progress",
]
SIZES = ((48, 60), (50, 40), (45, 45))


def write_shards(folder: Path) -> dict[str, tuple[Any, Any]]:
    """Write `train` and `val` with masks of classes 0 to 3 and of no class; returns the pixels and mask of each."""
    drawn, splits = dict[str, tuple[Any, Any]](), dict[str, list[Source]]()
    for split, count in {"train": 10, "val": 3}.items():
        splits[split] = []
        for number in range(count):
            height, width = SIZES[number % 3]
            picture = colourful_pictures(1, 64, seed=len(drawn))[0, :, :height, :width]
            mask = np.random.default_rng(number).choice([0, 1, 2, 3, 255], (height, width)).astype(np.uint8)
            key = f"{split}{number}"
            to_image(picture).save(folder / f"{key}.png")
            Image.fromarray(mask).save(folder / f"{key}_mask.png")
            places = [Bytes(str(folder / f"{key}{suffix}.png")) for suffix in ("", "_mask")]
            splits[split].append(Source(f"{key}.png", places[0], None, places[1]))
            drawn[key] = (picture, mask)
    write(
        splits,
        folder / "set",
        command="test",
        encoding=Encoding(),
        pictures_per_shard=8,
        seed=0,
        workers=1,
    )
    return drawn


def test_what_does_not_colour_tests_its_best_checkpoint_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB_VARIABLE, "")
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: None)
    drawn = write_shards(tmp_path)
    places = {"data.root": tmp_path / "set", "data.cache": tmp_path / "cache", "runs": tmp_path / "runs"}
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("train", [*SMALL, *(f"{name}={place}" for name, place in places.items())])
    train.train(config)
    (directory,) = (tmp_path / "runs" / "lrac_voc_random").iterdir()
    assert json.loads((directory / "run.json").read_text())["status"] == "finished"
    assert not (directory / "report.html").exists()
    assert not (directory / "samples").exists()
    pictures = [to_float(picture)[None] for key, (picture, _) in drawn.items() if "val" in key]
    wanted = np.concatenate([mask.ravel() for key, (_, mask) in drawn.items() if "val" in key])
    best, last = (
        np.concatenate([task.segment(picture).flatten().numpy() for picture in pictures])[wanted != 255]
        for task in (Segmentation.load(directory / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    )
    assert not np.array_equal(best, last)
    wanted = wanted[wanted != 255]
    assert json.loads((directory / "test.json").read_text()) == {
        "checkpoint": "best.ckpt",
        "test/mean_iou": pytest.approx(jaccard_score(wanted, best, average="macro", zero_division=0)),
        "test/pixel_accuracy": pytest.approx(accuracy_score(wanted, best)),
    }
