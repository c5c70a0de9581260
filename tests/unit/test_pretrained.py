"""Weights by name: the table, the choice of a default, and colourisers of published files and bundles."""

import hashlib
import subprocess
import sys
import tomllib
from dataclasses import replace
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from evaluation import networks
from evaluation.statistics import Statistic
from lightning_modules import METHODS
from lightning_modules.checkpoint import read_checkpoint, read_weights
from lightning_modules.colorizer import Colorizer
from lightning_modules.pretrained import MODELS, Model, default_for, find, local_file, place
from lightning_modules.pretrained.__main__ import main
from lightning_modules.pretrained.files import compact, read_bundle, write_bundle
from lightning_modules.task import Task
from lightning_modules.welsh.module import Welsh
from tests.conftest import PROJECT
from tests.unit.test_task import classification, save

WELSH = {"resolution": 16, "samples": 200, "neighbourhood": 5}


def row(name: str, file: Path, **changes: object) -> Model:
    """A row of the table for a file that lies somewhere."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "0" * 64
    model = Model(name, "bundled", str(file), (), digest, 1, "MIT", "tests", method="Welsh")
    return replace(model, **changes)  # type: ignore[arg-type]


# The table


def test_the_table_is_whole() -> None:
    for name, model in MODELS.items():
        assert name == model.name
        assert Path(name).suffix == ""
        assert len(model.sha256) in (8, 64)
        assert set(model.sha256) <= set("0123456789abcdef")
        assert (model.kind == "network") == (model.method is None)
        assert (model.kind == "published") == (model.loader is not None)
        assert model.method in {None, *METHODS, "CIC", "SIGGRAPH17"}
        assert all(address.startswith("https://") for address in model.addresses)
        assert bool(model.addresses) != (model.kind == "bundled")


def test_bundled_files_are_those_of_the_table_and_small() -> None:
    bundled = [model for model in MODELS.values() if model.kind == "bundled"]
    assert sum(file.stat().st_size for file in {find(model.name) for model in bundled}) <= 12_000_000
    for model in bundled:
        assert len(model.sha256) == 64
        colorizer = Colorizer.from_pretrained(model.name)
        assert (type(colorizer).__name__, colorizer.accepts) == (model.method, model.accepts)
        assert colorizer.stochastic == model.samples


def test_a_wheel_holds_what_the_package_holds() -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folder = "lightning_modules/pretrained"
    assert folder.replace("/", ".") in settings["packages"]
    patterns = ["*.py", *settings["package-data"][folder.replace("/", ".")]]
    for file in (PROJECT / folder).iterdir():
        assert file.name == "__pycache__" or any(fnmatch(file.name, pattern) for pattern in patterns), file
    assert any(fnmatch("chroma.safetensors", pattern) for pattern in patterns)


def test_the_heads_of_lpips_that_torchmetrics_brings_are_the_published_ones() -> None:
    package = find_spec("torchmetrics")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "functional" / "image" / "lpips_models"
    digests = {name: hashlib.sha256((folder / f"{name}.pth").read_bytes()).hexdigest() for name in ("alex", "vgg")}
    assert digests == {  # of weights/v0.1 in richzhang/PerceptualSimilarity at commit 082bb24f
        "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    }


def test_the_list_is_quick_and_whole() -> None:
    code = (
        "import sys; from lightning_modules.pretrained.__main__ import main; main([]); "
        "print(sorted({'torch', 'requests', 'pooch', 'safetensors'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    *lines, heavy = result.stdout.splitlines()
    assert heavy == "[]"
    assert [line.split()[0] for line in lines[1 : 1 + len(MODELS)]] == list(MODELS)


@pytest.mark.parametrize("name", ["sigraph17", "SIGGRAPH17", "nothing"])
def test_an_unknown_name_is_answered_with_the_names(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="siggraph17"):
        main(["fetch", name])
    with pytest.raises(FileNotFoundError, match="siggraph17"):
        Colorizer.from_pretrained(name)


# The default


def test_the_default_takes_what_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, model in list(MODELS.items()):
        if model.kind == "bundled":
            monkeypatch.delitem(MODELS, name)
    with pytest.raises(ValueError, match="choose by name: cic, siggraph17"):
        default_for(frozenset(), 1)
    hints, reference = frozenset({"hints"}), frozenset({"reference"})
    monkeypatch.setitem(MODELS, "plain", row("plain", tmp_path))
    with pytest.raises(ValueError, match=r"takes hints; .*siggraph17$"):
        default_for(hints, 1)
    monkeypatch.setitem(MODELS, "many", row("many", tmp_path, samples=True))
    monkeypatch.setitem(MODELS, "hinted", row("hinted", tmp_path, accepts=hints))
    assert default_for(frozenset(), 1) == "plain"
    assert default_for(frozenset(), 4) == "many"
    assert default_for(hints, 1) == "hinted"
    with pytest.raises(ValueError, match=r"takes hints and draws several .*many \(.*hinted \("):
        default_for(hints, 4)
    with pytest.raises(ValueError, match=r"takes reference; give a run"):
        default_for(reference, 1)


# Bundles


def test_a_bundle_is_its_checkpoint_in_half_the_space(tmp_path: Path) -> None:
    task = classification(width=8)
    checkpoint = save(task, tmp_path / "run" / "checkpoints" / "last.ckpt")
    (tmp_path / "run" / "run.json").write_text('{"commit": "c0ffee", "overrides": ["+experiment=x"], "started": "now"}')
    main(["bundle", str(tmp_path / "run"), str(tmp_path / "small.safetensors")])
    found, wanted = read_checkpoint(tmp_path / "small.safetensors"), read_checkpoint(checkpoint)
    assert {name: found[name] for name in ("method", "hyper_parameters")} == {
        name: wanted[name] for name in ("method", "hyper_parameters")
    }
    assert found["state_dict"].keys() == wanted["state_dict"].keys()
    for name, value in wanted["state_dict"].items():
        assert found["state_dict"][name].dtype == value.dtype
        torch.testing.assert_close(found["state_dict"][name], value, rtol=2**-11, atol=2**-24)
    size = sum(value.numel() for value in wanted["state_dict"].values())
    assert (tmp_path / "small.safetensors").stat().st_size < 2 * size + 20_000
    for load in (Task.load, Task.from_pretrained):
        rebuilt = load(tmp_path / "small.safetensors")
        assert rebuilt.hparams == task.hparams
        assert not rebuilt.training


def test_a_bundle_may_have_other_settings_than_its_run(tmp_path: Path) -> None:
    checkpoint = save(classification(width=8), tmp_path / "run" / "checkpoints" / "last.ckpt")
    file = tmp_path / "small.safetensors"
    main(["bundle", str(checkpoint), str(file), "--set", "optimization.decay=0.25"])
    found, wanted = read_checkpoint(file)["hyper_parameters"], read_checkpoint(checkpoint)["hyper_parameters"]
    assert found == {**wanted, "optimization": {**wanted["optimization"], "decay": 0.25}}
    with pytest.raises(SystemExit, match="has no warmth"):
        main(["bundle", str(checkpoint), str(file), "--set", "warmth=1"])


def test_what_float16_cannot_hold_stays_float32() -> None:
    for values in ([1e6, 1.0], [3e-9, 1e-9], [float("nan")], [float("inf")]):
        value = torch.tensor(values)
        assert torch.equal(compact(value).nan_to_num(7), value.nan_to_num(7))
    assert compact(torch.tensor([1.0, 1e-9])).dtype == torch.float16
    for whole in (torch.tensor(2**40), torch.tensor([True, False])):
        assert torch.equal(compact(whole), whole)
        assert compact(whole).dtype == whole.dtype
    assert compact(torch.zeros(0)).shape == (0,)


def test_a_flipped_bit_anywhere_in_a_bundle_is_found(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    state: dict[str, Tensor] = {"weight": torch.arange(12.0).view(3, 4).T, "mask": torch.ones(3, dtype=torch.bool)}
    write_bundle({"method": "Welsh", "hyper_parameters": {"a": 0.5}, "state_dict": state}, path, {"commit": "c0ffee"})
    whole = path.read_bytes()
    assert torch.equal(read_bundle(path)["state_dict"]["weight"], state["weight"])
    for place_of_bit in range(0, 8 * len(whole), 13):
        damaged = bytearray(whole)
        damaged[place_of_bit // 8] ^= 1 << place_of_bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"small\.safetensors is (damaged|not a whole bundle)"):
            read_bundle(path)


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    checkpoint = {"method": "Welsh", "hyper_parameters": {"rates": {1: 0.1}}, "state_dict": {}}
    with pytest.raises(ValueError, match="do not survive JSON"):
        write_bundle(checkpoint, tmp_path / "small.safetensors", {})
    with pytest.raises(ValueError, match=r"small\.ckpt is no name for a bundle"):
        write_bundle(checkpoint, tmp_path / "small.ckpt", {})
    assert not list(tmp_path.iterdir())


def test_flipped_bits_in_a_checkpoint_are_found(tmp_path: Path) -> None:
    path = save(classification(), tmp_path / "last.ckpt")
    whole = path.read_bytes()
    weight = read_checkpoint(path)["state_dict"]["network.trunk.layers.conv1_2.convolution.weight"]
    at = whole.index(bytes(weight.untyped_storage()))
    damaged = bytearray(whole)
    damaged[at + 5] ^= 0x40
    path.write_bytes(damaged)
    assert torch.load(path, weights_only=True)["method"] == "GreyClassification"  # torch does not look
    for read in (Task.load, Task.from_pretrained, lambda path: read_weights(str(path), "vgg16")):
        with pytest.raises(ValueError, match=r"last\.ckpt is damaged: the checksum"):
            read(path)


# Colourisers by name


def test_a_bundled_model_is_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "follower.safetensors"
    checkpoint = save(Welsh(**WELSH), tmp_path / "last.ckpt")
    main(["bundle", str(checkpoint), str(file)])
    monkeypatch.setitem(MODELS, "follower", row("follower", file))
    colorizer = Colorizer.from_pretrained("follower", samples=50)
    assert isinstance(colorizer, Welsh)
    assert colorizer.hparams == {**WELSH, "samples": 50}
    file.write_bytes(file.read_bytes() + b"0")
    with pytest.raises(OSError, match="is damaged or another file"):
        Colorizer.from_pretrained("follower")
    file.unlink()
    with pytest.raises(FileNotFoundError, match="is missing; install"):
        Colorizer.from_pretrained("follower")


def test_models_that_share_a_file_may_differ_in_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "shared.safetensors"
    write_bundle({"method": "Welsh", "hyper_parameters": WELSH, "state_dict": {}}, file, {})
    for name, settings in (("plain", {}), ("fine", {"samples": 1000})):
        monkeypatch.setitem(MODELS, name, row(name, file, settings=settings))
        assert Colorizer.from_pretrained(name).hparams == {**WELSH, **settings}
        assert Colorizer.from_pretrained(name, samples=7).hparams["samples"] == 7


def test_a_published_model_is_made_by_its_methods_own_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMALAB_CACHE", str(tmp_path))
    seen: list[dict[str, Tensor]] = []

    def from_published(state_dict: dict[str, Tensor]) -> Colorizer:
        seen.append(state_dict)
        return Welsh(**WELSH)

    module = ModuleType("published_stand_in")
    module.from_published = from_published  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "published_stand_in", module)
    file = tmp_path / "weights" / "elsewhere.pth"
    file.parent.mkdir()
    torch.save({"weight": torch.arange(3)}, file)
    model = replace(row("known", file), kind="published", file=file.name, loader="published_stand_in:from_published")
    monkeypatch.setitem(MODELS, "known", model)
    for what in ("known", file):
        colorizer = Colorizer.from_pretrained(what, samples=50)
        assert isinstance(colorizer, Welsh)
        assert colorizer.hparams == {**WELSH, "samples": 50}
        assert not colorizer.training
    assert [state["weight"].tolist() for state in seen] == [[0, 1, 2]] * 2
    other = tmp_path / "elsewhere.pth"
    torch.save({"weight": torch.arange(4)}, other)
    with pytest.raises(OSError, match=r"elsewhere\.pth is damaged or another file"):
        Colorizer.from_pretrained(other)


def test_what_colours_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="vgg16 colours nothing"):
        Colorizer.from_pretrained("vgg16")


# Settings that take a name, `download` or a path


def test_a_setting_takes_download_a_name_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMALAB_CACHE", str(tmp_path))
    (tmp_path / "weights").mkdir()
    for name in ("usual", "other"):
        file = tmp_path / "weights" / f"{name}.pth"
        torch.save({name: torch.ones(1)}, file)
        monkeypatch.setitem(MODELS, name, replace(row(name, file), kind="network", file=file.name, method=None))
    for setting, wanted in (("download", "usual"), ("other", "other"), (str(place("other")), "other")):
        assert local_file(setting, "usual") == place(wanted)
        assert list(read_weights(setting, "usual")) == [wanted]
    given: list[Path | None] = []

    def statistics(path: Path | None, device: torch.device) -> dict[str, Statistic]:
        given.append(path)
        return {}

    monkeypatch.setattr(networks, "NETWORKS", {"lpips": ("usual", ("lpips",), statistics)})
    for weights in ("download", str(tmp_path / "own.pth"), None):
        networks.network_statistics({"lpips": weights}, ["lpips"], torch.device("cpu"))
    assert given == [place("usual"), tmp_path / "own.pth", None]
