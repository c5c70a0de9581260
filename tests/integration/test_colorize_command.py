"""colorize.py behind a photo whose colours to follow."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from PIL import Image

import colorize
from evaluation.report.sheet import to_image
from tests.conftest import colourful_pictures, quiet_trainer
from tests.integration.test_conformance import SMALL


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `LRAC.ckpt`, which takes references, and `PIC.ckpt`, which does not; neither was trained."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("LRAC", "PIC"):
        with initialize_config_module("configs", version_base="1.3"):
            config = compose("train", SMALL[name])
        trainer = quiet_trainer()
        trainer.strategy.connect(instantiate(config.model, _convert_="all"))
        trainer.save_checkpoint(folder / f"{name}.ckpt")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with `photo.png`, and, to follow, `red.png`, `blue.png` and `grey.png`."""
    to_image(colourful_pictures(1, 32)[0]).save(tmp_path / "photo.png")
    noise = np.random.default_rng(0).integers(0, 60, (24, 40, 3))
    for name, colour in {"red": (180, 60, 60), "blue": (60, 60, 180), "grey": (90, 90, 90)}.items():
        pixels = np.asarray(colour) + (noise[..., :1] if name == "grey" else noise)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def coloured(photos: Path, checkpoint: Path, *arguments: str) -> int:
    """The exit status of colouring `photo.png` into `out`."""
    line = [str(photos / "photo.png"), "--checkpoint", str(checkpoint), "--out", str(photos / "out"), *arguments]
    with pytest.raises(SystemExit) as ended:
        colorize.main(line)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_photo_takes_the_colours_of_its_reference(checkpoints: Path, photos: Path) -> None:
    excess, files = {}, {}
    for name in ("red", "blue"):
        reference = str(photos / f"{name}.png")
        settings = ["--reference", reference, "--set", "transfer_weight=50"]
        assert coloured(photos, checkpoints / "LRAC.ckpt", *settings) == 0
        pixels = np.asarray(Image.open(photos / "out" / "photo_0.png")).astype(float)
        assert pixels.shape == (32, 32, 3)
        excess[name] = (pixels[..., 0] - pixels[..., 2]).mean()
        files[name] = (photos / "out" / "photo_sheet.png").read_bytes()
        record = json.loads((photos / "out" / "colorize.json").read_text())
        assert record["references"] == [reference]
        assert len(record["coloured"]) == 1
    assert excess["red"] > 10
    assert excess["blue"] < -10
    assert files["red"] != files["blue"]


def test_without_a_reference_none_is_named_or_shown(checkpoints: Path, photos: Path) -> None:
    widths = []
    for arguments in ([], ["--reference", str(photos / "red.png")]):
        assert coloured(photos, checkpoints / "LRAC.ckpt", *arguments) == 0
        record = json.loads((photos / "out" / "colorize.json").read_text())
        assert record["references"] == arguments[1:]
        widths.append(Image.open(photos / "out" / "photo_sheet.png").width)
    assert widths[1] - widths[0] >= 256 * 40 / 24, "a cell of 256 rows, as wide as the reference's aspect asks for"


@pytest.mark.parametrize(
    ("method", "reference", "sentence"),
    [
        ("PIC", "red.png", "PIC cannot follow a reference; leave --reference out"),
        ("LRAC", "grey.png", "grey.png is grey, so that there are no colours to follow; give a photo in colour"),
        ("LRAC", "missing.png", "there is no picture "),
        ("LRAC", "text.png", "text.png cannot be read as a picture"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_a_photo_is_coloured(
    checkpoints: Path,
    photos: Path,
    method: str,
    reference: str,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (photos / "text.png").write_text("no picture")
    assert coloured(photos, checkpoints / f"{method}.ckpt", "--reference", str(photos / reference)) == 1
    error, hint = capsys.readouterr().err.strip().splitlines()[-2:]
    assert error.startswith("error: ")
    assert sentence in error
    assert hint.startswith("(set ")
    assert not (photos / "out").exists()


def test_pictures_are_coloured_alike_however_the_global_generator_stands(checkpoints: Path, photos: Path) -> None:
    written = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        assert coloured(photos, checkpoints / "LRAC.ckpt", "--reference", str(photos / "red.png")) == 0
        written.append((photos / "out" / "photo_0.png").read_bytes())
    assert written[0] == written[1]
