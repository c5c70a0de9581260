"""Imports point one way, and importing what a command line needs stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

MAY_IMPORT = {
    "colorizing": {"colorizing", "datamodules", "evaluation", "lightning_modules", "imaging"},
    "configs": {"configs"},
    "imaging": {"imaging"},
    "lightning_modules": {"lightning_modules", "imaging"},
    "datamodules": {"datamodules", "lightning_modules", "imaging"},
    "evaluation": {"evaluation", "lightning_modules", "imaging"},
    "sweeps": {"sweeps", "evaluation", "configs"},
}
OWN = {*MAY_IMPORT, "train", "evaluate", "colorize", "benchmarks", "tests"}


def imported(path: Path) -> set[str]:
    """The project's own top-level names that a file imports, without what prepares the process of any command."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names if alias.name != "configs.process"}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names & OWN


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    for path in (PROJECT / package).rglob("*.py"):
        assert imported(path) <= MAY_IMPORT[package], f"{path} imports what stands above it"


def test_networks_hold_no_lightning() -> None:
    for path in (PROJECT / "lightning_modules").glob("*/network.py"):
        assert "pytorch_lightning" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("script", ["train", "evaluate", "colorize"])
def test_scripts_import_nothing_heavy_before_they_must(script: str) -> None:
    code = f"import {script}, sys; print(sorted({{'torch', 'wandb', 'matplotlib', 'kornia'}} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_scoring_predictions_imports_nothing_that_only_methods_and_networks_need() -> None:
    heavy = "{'torchvision', 'pytorch_lightning', 'lightning_fabric', 'torchmetrics', 'matplotlib', 'webdataset'}"
    code = (
        "import datamodules.folders, evaluation.networks, evaluation.report.table, evaluation.runner, sys; "
        f"print(sorted({heavy} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
