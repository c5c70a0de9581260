"""The scripts as a user runs them, mistakes included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT


def run(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder of its own."""
    command = [sys.executable, str(PROJECT / script), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment["NETRC"] = str(folder / "no_netrc")  # whoever runs the tests may be logged in to Weights & Biases
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("script", "arguments", "sentence"),
    [
        ("train.py", ["model.widht=3"], "the config has no model.widht; did you mean model.width?"),
        ("train.py", ["+experiment=pic_imagnet"], "no experiment called pic_imagnet; did you mean pic_imagenet?"),
        ("train.py", ["+experiment=pic_imagenet", "trainer.max_epocs=3"], "did you mean trainer.max_epochs?"),
        ("train.py", ["+model.widht=3"], "lightning_modules.pic.module.PIC takes no widht"),
        ("train.py", ["data=foto"], "did you mean photos?"),
        ("train.py", ["model.chroma_filter=strid"], "chroma_filter is one of stride, area, not strid"),
        ("train.py", ["model.embedding=[{width:80,strid:4}]"], "a stage has no strid"),
        ("train.py", ["model.resolution=30"], "resolution 30 is no multiple of the chroma subsampling, 4"),
        ("train.py", ["resume=runs/nothing"], "resume takes never, auto or a run's directory"),
        ("train.py", ["data.root=nowhere"], "there is no folder nowhere"),
        ("train.py", ["+experiment=pic_cifar10", "data.download=false"], "CIFAR-10 is not at data/cifar10"),
        ("train.py", ["initialize_from=nowhere"], "there is no checkpoint at nowhere"),
        ("evaluate.py", [], "name who is scored: checkpoint="),
        ("evaluate.py", ["checkpoint=nowhere"], "there is no checkpoint at nowhere"),
        ("colorize.py", ["photo.png", "--checkpoint", "nowhere"], "there is no nowhere"),
    ],
)
def test_mistakes_get_one_sentence(tmp_path: Path, script: str, arguments: list[str], sentence: str) -> None:
    result = run(script, *arguments, folder=tmp_path)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-2].startswith("error: ")


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "colorize.py"])
def test_help_shows_an_example(tmp_path: Path, script: str) -> None:
    result = run(script, "--help", folder=tmp_path)
    assert result.returncode == 0
    assert f"python {script} " in result.stdout
    assert not list(tmp_path.iterdir()), "help leaves nothing behind"
