"""colorize.py by references, hints and labels, and with settings compared."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from PIL import Image
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

import colorize
import datamodules.pictures
from datamodules.photos import main as copy_bundled
from evaluation.report.sheet import to_image
from lightning_modules.color import lab_to_rgb
from lightning_modules.exemplar.module import Exemplar
from lightning_modules.guidance import Guidance
from tests.conftest import PROJECT, colourful_pictures, quiet_trainer
from tests.integration.test_conformance import SMALL


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `LRAC.ckpt` and `Exemplar.ckpt`, which take references, and `PIC.ckpt`; none was trained."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("Exemplar", "LRAC", "PIC"):
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


def test_hints_colour_their_places(checkpoints: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(
        self: Exemplar, luminance: Tensor, samples: int, guidance: Guidance, generator: torch.Generator | None
    ) -> Tensor:
        assert guidance.hints is not None
        return lab_to_rgb(torch.cat([luminance, guidance.hints[:, :2]], dim=1)).unsqueeze(1)

    monkeypatch.setattr(Exemplar, "draw", draw)
    layer = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    layer.putpixel((20, 25), (40, 40, 200, 255))
    layer.save(photos / "layer.png")
    hints = ["--hint", "4,7,#cc3333", "--hint-picture", str(photos / "layer.png")]
    assert coloured(photos, checkpoints / "Exemplar.ckpt", *hints) == 0
    made = rgb2lab(np.asarray(Image.open(photos / "out" / "photo_0.png")) / 255.0)[..., 1:]
    coloured_places = {
        (int(x), int(y)) for y, x in zip(*np.nonzero(np.hypot(*made.transpose(2, 0, 1)) > 8), strict=True)
    }
    assert coloured_places == {(4, 7), (20, 25)}
    assert made[7, 4, 0] > 8, "red"
    assert made[25, 20, 1] < -8, "blue"
    record = json.loads((photos / "out" / "colorize.json").read_text())
    assert record["hints"] == ["4,7,#cc3333", str(photos / "layer.png")]


def test_several_references_and_compared_settings_make_a_row_and_a_picture_each(
    checkpoints: Path, photos: Path
) -> None:
    several = ["--reference", str(photos / "red.png"), "--reference", str(photos / "blue.png")]
    line = [*several, "--compare", "refined=false", "--compare", "transfer.matching=wct"]
    assert coloured(photos, checkpoints / "Exemplar.ckpt", *line) == 0
    record = json.loads((photos / "out" / "colorize.json").read_text())
    names = [Path(file).name for file in record["coloured"][0]["files"]]
    settings = ["", "refined=false_", "transfer.matching=wct_"]
    assert names == [f"photo_{s}{r}_0.png" for s in settings for r in ("red", "blue")] + ["photo_sheet.png"]
    assert record["compared"] == ["refined=false", "transfer.matching=wct"]
    contents = [(photos / "out" / name).read_bytes() for name in names]
    assert len(set(contents)) == len(contents), "every setting and every reference matters"
    assert Image.open(photos / "out" / "photo_sheet.png").height > 6 * 256


def test_a_photo_in_colour_is_restyled(checkpoints: Path, photos: Path) -> None:
    line = ["--reference", str(photos / "red.png"), "--stylize"]
    assert coloured(photos, checkpoints / "Exemplar.ckpt", *line) == 0
    luminance = [
        rgb2lab(np.asarray(Image.open(path).convert("RGB")) / 255.0)[..., 0]
        for path in (photos / "photo.png", photos / "out" / "photo_0.png")
    ]
    assert np.abs(luminance[0] - luminance[1]).mean() > 2, "light and shade are the reference's too"


def test_label_maps_change_what_follows_what(checkpoints: Path, photos: Path) -> None:
    half = np.zeros((32, 32), dtype=np.uint8)
    half[:, 16:] = 1
    Image.fromarray(half).save(photos / "half.png")
    Image.fromarray(half[:24, :]).save(photos / "reference_half.png")
    line = ["--reference", str(photos / "red.png"), "--set", "refined=false"]
    labels = ["--labels", str(photos / "half.png"), "--reference-labels", str(photos / "reference_half.png")]
    written = []
    for arguments in (line, [*line, *labels]):
        assert coloured(photos, checkpoints / "Exemplar.ckpt", *arguments) == 0
        written.append((photos / "out" / "photo_0.png").read_bytes())
    assert written[0] != written[1]


@pytest.mark.parametrize(
    ("method", "arguments", "sentence"),
    [
        ("PIC", ["--stylize", "--reference", "red.png"], "PIC cannot follow a reference"),
        ("LRAC", ["--stylize", "--reference", "red.png"], "LRAC cannot restyle photos in colour"),
        ("Exemplar", ["--stylize"], "--stylize wants a photo whose colours to take"),
        ("LRAC", ["--hint", "1,1,#123456"], "LRAC cannot follow hints; leave --hint and --hint-picture out"),
        ("Exemplar", ["--compare", "refined"], "--set and --compare take NAME=VALUE"),
        ("Exemplar", ["--set", "refines=false"], "Exemplar has no refines; it has "),
    ],
)
def test_a_mistake_is_answered_before_a_photo_is_coloured(
    checkpoints: Path,
    photos: Path,
    method: str,
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(photos / each) if each.endswith(".png") else each for each in arguments]
    assert coloured(photos, checkpoints / f"{method}.ckpt", *arguments) == 1
    assert sentence in capsys.readouterr().err
    assert not (photos / "out").exists()


def test_without_a_model_a_bundled_one_is_taken_that_does_what_is_asked(
    checkpoints: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def default_for(guidance: frozenset[str], samples: int) -> str:
        asked.append((guidance, samples))
        return str(checkpoints / ("LRAC.ckpt" if guidance else "PIC.ckpt"))

    monkeypatch.setattr("lightning_modules.pretrained.default_for", default_for)
    for arguments in ([], ["--samples", "2"], ["--reference", str(photos / "red.png")]):
        with pytest.raises(SystemExit) as ended:
            colorize.main([str(photos / "photo.png"), "--out", str(photos / "out"), *arguments])
        assert ended.value.code == 0
    assert asked == [(frozenset(), 1), (frozenset(), 2), (frozenset({"reference"}), 1)]
    said = capsys.readouterr().out
    assert "LRAC.ckpt" in said
    assert str(photos / "out" / "photo_0.png") in said


def test_bundled_models_bring_photographs_closer_to_their_colours_than_grey_is(tmp_path: Path) -> None:
    copy_bundled([str(tmp_path / "photos")])
    names = ("astronaut.png", "coffee.png", "china.jpg")
    photos = [str(tmp_path / "photos" / name) for name in names]
    for samples in ("1", "2"):
        with pytest.raises(SystemExit) as ended:
            colorize.main([*photos, "--samples", samples, "--out", str(tmp_path / samples)])
        assert ended.value.code == 0
    for photo in map(Path, photos):
        truth = np.asarray(Image.open(photo).convert("RGB")) / 255
        grey = lab2rgb(rgb2lab(truth) * [1, 0, 0])
        one, *two = (
            np.asarray(Image.open(tmp_path / samples / f"{photo.stem}_{number}.png")) / 255
            for samples, number in (("1", 0), ("2", 0), ("2", 1))
        )
        assert ((one - truth) ** 2).mean() < ((grey - truth) ** 2).mean()
        assert np.abs(two[0] - two[1]).mean() > 0.01
        assert np.abs(two[0] - one).mean() > 0, "another model, of the same file"


def test_called_again_it_keeps_what_is_whole_and_of_the_same_settings(checkpoints: Path, photos: Path) -> None:
    def state(*arguments: str) -> tuple[int, int, bool]:
        assert coloured(photos, checkpoints / "PIC.ckpt", "--samples", "2", *arguments) == 0
        first, second = (photos / "out" / f"photo_{sample}.png" for sample in (0, 1))
        (entry,) = json.loads((photos / "out" / "colorize.json").read_text())["coloured"]
        return first.stat().st_ino, second.stat().st_ino, entry["kept"]

    first = state()
    assert state() == (*first[:2], True)
    (photos / "out" / "photo_1.png").write_bytes((photos / "out" / "photo_1.png").read_bytes()[:-9])
    mended = state()
    assert mended[0] == first[0], "whole, and not made again"
    assert mended[1] != first[1]
    assert not mended[2]
    assert state("--seed", "1")[0] != first[0]
    to_image(colourful_pictures(2, 32)[1]).save(photos / "photo.png")
    assert not state("--seed", "1")[2], "another photo under the same name"


def test_photos_stay_what_they_are_when_out_is_their_own_folder(checkpoints: Path, photos: Path) -> None:
    album = photos / "album"
    album.mkdir()
    for name in ("a.png", "a_0.png"):
        (album / name).write_bytes((photos / "red.png").read_bytes())
    before = {path.name: path.read_bytes() for path in album.iterdir()}
    for out in (album, photos):
        for _ in range(2):
            with pytest.raises(SystemExit) as ended:
                colorize.main([str(album), "--model", str(checkpoints / "LRAC.ckpt"), "--out", str(out)])
            assert ended.value.code == 0
            assert len(json.loads((out / "colorize.json").read_text())["coloured"]) == 2
    assert {name: (album / name).read_bytes() for name in before} == before


def test_one_bad_photo_costs_itself_alone(
    checkpoints: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    album = photos / "album"
    album.mkdir()
    images = [Image.open(photos / f"{name}.png") for name in ("red", "blue")]
    images[0].save(album / "film.gif", save_all=True, append_images=images[1:])
    (album / "[b]old[bold] cut.png").write_bytes((photos / "red.png").read_bytes()[:200])
    (album / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (album / "text.png").write_text("no image")
    (album / os.fsdecode(b"caf\xe9.png")).write_bytes((photos / "red.png").read_bytes())
    (album / "loop.png").symlink_to("loop.png")
    os.mkfifo(album / "pipe.png")
    (album / "large.png").write_bytes((photos / "red.png").read_bytes())
    read = datamodules.pictures.read_image

    def read_within_limits(path: Path) -> datamodules.pictures.ReadImage:
        if path.name == "large.png":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return read(path)

    monkeypatch.setattr(datamodules.pictures, "read_image", read_within_limits)
    with pytest.raises(SystemExit) as ended:
        colorize.main([str(album), "--model", str(checkpoints / "LRAC.ckpt"), "--out", str(photos / "out")])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    record = json.loads((photos / "out" / "colorize.json").read_text())
    assert {Path(each["photo"]).stem for each in record["coloured"]} == {"film", os.fsdecode(b"caf\xe9")}
    assert len(record["skipped"]) == 6
    for word in ("[b]old[bold] cut.png", "pillow-heif", "text.png", "loop.png", "pipe.png", "large.png is too large"):
        assert word in error
        assert any(word in sentence for sentence in record["skipped"])
    assert "film.gif holds 2 frames" in error
    assert " at 0x" not in error


def test_a_full_disk_stops_with_one_sentence_and_a_record(
    checkpoints: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("imaging.outputs.write_png", no_space)
    assert coloured(photos, checkpoints / "LRAC.ckpt") == 1
    assert "full" in capsys.readouterr().err
    assert json.loads((photos / "out" / "colorize.json").read_text())["coloured"] == []
    assert not list((photos / "out").glob("*.png"))


@pytest.mark.parametrize(("count", "kills"), [(6, 3), pytest.param(200, 10, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_goes_on(checkpoints: Path, tmp_path: Path, count: int, kills: int) -> None:
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(count):
        pixels = generator.integers(0, 256, (32, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:03}.png")
    line = ["-m", "tests.integration.colorize_killed", checkpoints / "LRAC.ckpt", tmp_path / "photos", tmp_path / "out"]
    done = subprocess.run([sys.executable, *map(str, line), str(kills)], cwd=PROJECT, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["moments"]) == kills
    assert found["files"] == found["goal"] == 2 * count
    assert found["broken"] == found["remade"] == []
    assert found["status"] == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["nowhere"], "there is no nowhere"), (["--samples", "0"], "from 1 on"), (["--seed", "-1"], "from 0 to")],
)
def test_mistakes_on_the_command_line(arguments: list[str], word: str, photos: Path, capsys: Any) -> None:
    line = ["--model", *arguments] if arguments == ["nowhere"] else arguments
    with pytest.raises(SystemExit) as ended:
        colorize.main([str(photos / "photo.png"), *line])
    assert ended.value.code != 0
    assert word in capsys.readouterr().err
