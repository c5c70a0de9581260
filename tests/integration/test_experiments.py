"""A dry run of every experiment, as a user types it: two steps, a validation, and its scores."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from PIL import Image

import train
from configs.command import config_names
from datamodules.shards.sources import Bytes, Source
from datamodules.shards.writer import Encoding, write
from datamodules.splits import keys_of
from evaluation.report.sheet import to_image
from evaluation.run_directory import JOB_VARIABLE
from lightning_modules import METHODS, TASKS
from tests.conftest import PROJECT, colourful_pictures

STEPS = 2
SIDE = 48
VGG16 = ["model.network.width=2", "model.network.fc_width=8"]
RESNET = ["model.conditioning.block=basic", "model.conditioning.blocks=[1,1,1]"]
PIC = ["model.mixtures=2", "model.embedding=[{width:8,blocks:1},{width:16,stride:2,blocks:1}]"]
SMALL: dict[str, list[str]] = {
    "CIC": ["model.network.width=4", "model.network.widths=[8,8,8,8]", "model.prior_images=8"],
    "Exemplar": ["model.colorization.width=4", "model.transfer.width=4"],
    "GreyClassification": VGG16,
    "GreySegmentation": RESNET,
    "LRAC": [*VGG16, "model.network.hidden_width=12"],
    "PIC": [*PIC, "model.width=8", "model.blocks=1"],
    "PICEmbedding": PIC,
    "PixColor": [
        *RESNET,
        "model.conditioning.width=8",
        "model.pixelcnn={width:8,blocks:1,hidden_width:16}",
        "model.refinement.width=4",
    ],
    "SIGGRAPH17": ["model.network.width=4"],
    "Segmentation": [*VGG16, "model.network.hidden_width=12"],
    "VGG19Classification": ["model.width=4"],
    "Welsh": [],
}
"""What makes each kind of model small."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`set`: shards with labels, masks and the published validation pictures' names; `folder`; `cifar10`."""
    place = tmp_path_factory.mktemp("pictures")
    for split in ("train", "test"):
        (place / "cifar10" / split / "cat").mkdir(parents=True)
        for number, picture in enumerate(colourful_pictures(8, 32)):
            to_image(picture).save(place / "cifar10" / split / "cat" / f"{number}.png")
    (place / "folder").mkdir()
    for number, picture in enumerate(colourful_pictures(4, SIDE)):
        to_image(picture).save(place / "folder" / f"{number}.png")
        mask = np.random.default_rng(number).choice([0, 1, 2, 255], (SIDE, SIDE)).astype(np.uint8)
        Image.fromarray(mask).save(place / f"mask_{number}.png")

    def source(key: str, number: int) -> Source:
        picture, mask = (Bytes(str(place / f"{name}{number % 4}.png")) for name in ("folder/", "mask_"))
        return Source(f"{key}.png", picture, f"class {number % 3}", mask)

    names = {
        "train": [f"picture_{number}" for number in range(20)],
        "val": [*keys_of("cval1k"), *keys_of("pixcolor_500")],
    }
    splits = {split: [source(key, number) for number, key in enumerate(keys)] for split, keys in names.items()}
    write(splits, place / "set", command="test", encoding=Encoding(), pictures_per_shard=2000, seed=0, workers=1)
    return place


def composed(experiment: str) -> DictConfig:
    """What an experiment's config holds."""
    with initialize_config_module("configs", version_base="1.3"):
        return compose("train", [f"+experiment={experiment}"])


def arguments(experiment: str, config: DictConfig, pictures: Path, runs: Path) -> list[str]:
    """A dry run of an experiment on pictures that are there, from no weights, as a user types it."""
    places = {
        "Images": [f"data.root={pictures / 'set'}", f"data.cache={runs / 'cache'}"],
        "CIFAR10": [f"data.root={pictures / 'cifar10'}", "data.validation_pictures=2"],
        "Photos": [f"data.root={pictures / 'folder'}"],
    }
    typed = [f"+experiment={experiment}", "+debug=fast", "trainer.accelerator=cpu"]
    typed += [f"runs={runs}", "initialize_from=null", *places[name_of(config.data)]]
    if "pretrained" in config.model.keys():  # noqa: SIM118 -- a mandatory value that is missing is not `in` it
        parts = [f".{part}" for part in config.model.pretrained] if name_of(config.model) == "Exemplar" else [""]
        typed += [f"model.pretrained{part}=null" for part in parts]
    return typed


def name_of(config: DictConfig) -> str:
    """The class that a config describes."""
    return str(config._target_).rpartition(".")[2]


def has(config: DictConfig, setting: str) -> bool:
    """Whether a config has a setting: small networks in the place of published ones have others."""
    parent, _, name = setting.rpartition(".")
    return name in OmegaConf.select(config, parent)


def require_whole_run(runs: Path, model: str) -> None:
    """A finished run of so many steps, whose losses and weights are finite, and its scores."""
    (record,) = runs.glob("*/*/run.json")
    directory = record.parent
    assert json.loads(record.read_text())["status"] == "finished"
    if model in METHODS:
        scores = json.loads((directory / "scores.json").read_text())
        assert scores["method"] == model
        assert scores["pictures"]["all"] == 1
        assert (directory / "report.html").stat().st_size > 0
    else:
        scores = json.loads((directory / "test.json").read_text())
        assert any(name.startswith("test/") for name in scores)
    checkpoint = torch.load(directory / "checkpoints" / "last.ckpt", mmap=True, weights_only=True)
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    if model == "Welsh":  # learns nothing
        return
    assert checkpoint["global_step"] == STEPS
    logged = list(logged_values(directory / "logs" / "version_0" / "metrics.csv"))
    assert {step for name, step, _ in logged if name.startswith("train/")} == set(range(STEPS))
    assert any(name.startswith("validation/") for name, _, _ in logged)
    assert all(math.isfinite(value) for _, _, value in logged)


def logged_values(path: Path) -> Iterator[tuple[str, int, float]]:
    """Name, step and value of everything in a log."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and name not in ("step", "epoch"):
                    yield name, int(row["step"]), float(value)


def test_every_model_can_be_made_small() -> None:
    assert SMALL.keys() == (METHODS | TASKS).keys()


@pytest.mark.parametrize("experiment", config_names("experiment"))
def test_dry_run_of_a_small_network(
    experiment: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed(experiment)
    smaller = [each for each in SMALL[name_of(config.model)] if has(config, each.partition("=")[0])]
    typed = [*arguments(experiment, config, pictures, tmp_path), "model.resolution=32", *smaller]
    if "transform" in config.data:
        typed.append("data.transform.resolution=${model.resolution}")
    if config.protocol.resize:
        typed.append(f"protocol.resize.{next(iter(config.protocol.resize))}=${{model.resolution}}")
    monkeypatch.setattr(sys, "argv", ["train.py", *typed])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv(JOB_VARIABLE, "")
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: None)
    train.main()
    require_whole_run(tmp_path, name_of(config.model))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("experiment", config_names("experiment"))
def test_dry_run_at_full_size(experiment: str, pictures: Path, tmp_path: Path) -> None:
    config = composed(experiment)
    command = [sys.executable, "train.py", *arguments(experiment, config, pictures, tmp_path)]
    result = subprocess.run(command, cwd=PROJECT, env=os.environ | {JOB_VARIABLE: ""}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    require_whole_run(tmp_path, name_of(config.model))
    shutil.rmtree(tmp_path)  # checkpoints of up to 2 GB
