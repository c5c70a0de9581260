"""Scores are the same whatever processor computes them, and on however many threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evaluation.report.sheet import to_image
from tests.conftest import PROJECT, colourful_pictures

COUNT = 12
SIDE = 192
"""Enough pixels that torch shares a picture out among threads, and for all scales of MS-SSIM."""
AVX2 = {"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
AVX512 = {"OPENBLAS_CORETYPE": "SkylakeX", "ATEN_CPU_CAPABILITY": "avx512"}
OF_THIS_RUN = ("command", "commit", "hardware", "scored", "wall_seconds")


def score(folder: Path, output: Path, environment: dict[str, str]) -> tuple[str, bytes]:
    """Score the folder's predictions in a process of its own: `scores.json` but for its run, and `pictures.csv`."""
    folders = [f"{name}={folder / name}" for name in ("truth", "predictions")]
    command = [sys.executable, "evaluate.py", "protocol=folder", "workers=0", f"output_dir={output}", *folders]
    result = subprocess.run(
        command, cwd=PROJECT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    scores = json.loads((output / "scores.json").read_text())
    kept = {name: value for name, value in scores.items() if name not in OF_THIS_RUN}
    return json.dumps(kept, indent=1), (output / "pictures.csv").read_bytes()


def test_scores_are_the_same_on_every_processor_and_number_of_threads(tmp_path: Path) -> None:
    capability = torch.backends.cpu.get_cpu_capability()
    if capability not in ("AVX2", "AVX512"):
        pytest.skip("this processor has one way to add up")
    for name in ("truth", "predictions"):
        (tmp_path / name).mkdir()
    for number, picture in enumerate(colourful_pictures(3 * COUNT, SIDE)):
        key, sample = divmod(number, 3)
        name = f"predictions/{key}_{sample}.png" if sample < 2 else f"truth/{key}.png"
        to_image(picture).save(tmp_path / name)
    other = AVX512 if capability == "AVX512" else AVX2
    first, threads, kernel = (
        score(tmp_path, tmp_path / f"out_{number}", environment | {"OMP_NUM_THREADS": count})
        for number, (environment, count) in enumerate([(AVX2, "1"), (AVX2, "2"), (other, "1")])
    )
    assert json.loads(first[0])["metrics"]["ms_ssim"]["n"] == COUNT
    assert threads == first
    assert kernel == first
