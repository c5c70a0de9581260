"""Scored directories as evaluate.py leaves them, small and made up."""

import csv
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evaluation.leaderboard.rows import find_rows
from evaluation.leaderboard.tables import Table, tables_of
from evaluation.protocols import definition_hash, installed

KEYS = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 61)]
TRUTH_SATURATION = 36.4
MEAN_RGB = [0.47, 0.45, 0.41]


def protocol_of(name: str) -> dict[str, Any]:
    """An installed protocol, as a record holds it."""
    rules = installed(name)
    assert rules is not None
    return json.loads(json.dumps(rules.definition))  # type: ignore[no-any-return]


def write_scored(
    folder: Path,
    method: str,
    quality: float,
    protocol: str = "lrac_cval1k",
    pictures: bool = False,
    curves: bool = True,
    **changes: Any,
) -> Path:
    """Write a scored directory.

    Args:
        folder: To make.
        method: Its name.
        quality: From 0 to 1: it sets every score.
        protocol: By which it was scored.
        pictures: Whether there are gallery pictures and sheets.
        curves: Whether there are curves.
        changes: Of entries of `scores.json`.
    """
    rules = protocol_of(protocol)
    generator = np.random.default_rng([len(method), round(1000 * quality)])
    difficulty = np.random.default_rng(0).normal(0, 1, len(KEYS))
    shapes = [(256, 341) if number % 3 else (384, 256) for number in range(len(KEYS))]
    scores = {
        "rmse_alpha_beta": 0.35 - 0.06 * quality + 0.02 * difficulty + generator.normal(0, 0.004, len(KEYS)),
        "psnr": 22.5 + 2.5 * quality - 1.5 * difficulty + generator.normal(0, 0.3, len(KEYS)),
        "saturation": 20 + 16 * quality + generator.normal(0, 4, len(KEYS)),
        "saturation_of_truth": TRUTH_SATURATION + 3 * difficulty - 3 * difficulty.mean(),
        "ms_ssim": 0.95 - 0.1 * (1 - quality) + generator.normal(0, 0.02, len(KEYS)),
    }
    scores["rmse_alpha_beta_norm"] = math.sqrt(2) * scores["rmse_alpha_beta"]
    scores = {name: scores[name] for name in rules["measures"] if name in scores}
    pixels = np.array([height * width for height, width in shapes], dtype=np.float64)
    metrics: dict[str, Any] = {}
    for name, values in scores.items():
        mean = float(np.average(values, weights=pixels if name.startswith("rmse") else None))
        half = 1.96 * float(values.std()) / math.sqrt(len(values))
        metrics[name] = {"value": mean, "low": mean - half, "high": mean + half, "n": len(values)}
    for name in ("histogram_intersection_a", "histogram_intersection_b"):
        value = 0.7 + 0.22 * quality
        metrics[name] = {"value": value, "low": value - 0.01, "high": value + 0.012, "n": len(KEYS), "bin_width": 1.0}
    left_out = {"lpips": "LPIPS (alex) needs alexnet-owt-7be5be79.pth, but no path was given"}
    record = {
        "schema": 2,
        "method": method,
        "variant": None,
        "kind": "checkpoint",
        "source": {
            "path": f"runs/{method}/best.ckpt",
            "sha256": hashlib.sha256(f"{method} {quality}".encode()).hexdigest(),
        },
        "hyper_parameters": {"width": 128},
        "protocol": rules,
        "set": {
            "label": rules["set"] or f"{len(KEYS)} pictures",
            "complete": True,
            "named": rules["keys_sha256"] is not None,
            "keys_sha256": rules["keys_sha256"] or "ab" * 32,
            "mean_rgb": MEAN_RGB,
            "pictures": len(KEYS),
            "data": {},
        },
        "pictures": {"all": 62, "coloured": 60, "grey": 2, "unreadable": 0, "exact": 0, "grey_predictions": 0},
        "metrics": {name: metrics[name] for name in rules["measures"] if name in metrics},
        "left_out": {name: reason for name, reason in left_out.items() if name in rules["measures"]},
        "curves": made_up_curves(quality, rules["samples"], scores["psnr"]) if curves else {},
        "gallery": KEYS[:5] if pictures else [],
        "notes": [],
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "packages": {"torch": "2.11.0"},
        "hardware": {"processor": "EPYC", "cores": 2, "gpus": []},
        "command": f"evaluate.py checkpoint=runs/{method} protocol={protocol}",
        "scored": "2026-11-21T15:00:00+0000",
        "wall_seconds": 12.3,
        **changes,
    }
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps(record), encoding="utf-8")
    with (folder / "pictures.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["key", "height", "width", "pixels", *scores])
        for number, (key, (height, width)) in enumerate(zip(KEYS, shapes, strict=True)):
            lines.writerow([key, height, width, height * width, *(values[number] for values in scores.values())])
    if pictures:
        write_pictures(folder, quality)
    return folder


def change_record(folder: Path, **changes: Any) -> None:
    """Change entries of a record; some of those of `set`, and of `protocol`, which then has another hash."""
    record = record_of(folder)
    protocol = record["protocol"] | changes.pop("protocol", {})
    pictures = record["set"] | changes.pop("set", {})
    record |= {"protocol": protocol | {"hash": definition_hash(protocol)}, "set": pictures, **changes}
    (folder / "scores.json").write_text(json.dumps(record), encoding="utf-8")


def only_table(folder: Path) -> Table:
    """The one table of all rows below a folder."""
    (table,) = tables_of(find_rows([folder]))
    return table


def record_of(folder: Path) -> dict[str, Any]:
    """A directory's `scores.json`."""
    record: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return record


def made_up_curves(quality: float, samples: int, psnr: Any) -> dict[str, Any]:
    """Every curve, of plausible shapes."""
    edges = np.linspace(0, 1, 101)
    centres = np.arange(-109.5, 110)

    def marginal(spread: float) -> list[float]:
        shares = np.exp(-np.abs(centres) / spread) + 1e-6
        return list(shares / shares.sum())

    curves: dict[str, Any] = {
        "cumulative_error": {"edges": list(edges), "shares": list(1 - np.exp(-edges * (2 + 4 * quality)))},
        "psnr_histogram": {"edges": list(range(61)), "pictures": np.histogram(psnr, range(61))[0].tolist()},
        "ab_histogram": {
            "edges": list(range(-110, 111)),
            "a": marginal(4 + 6 * quality),
            "b": marginal(5 + 7 * quality),
            "a_of_truth": marginal(11),
            "b_of_truth": marginal(13),
        },
        "distance_shares": {
            "distances": list(range(151)),
            "shares": [1 - math.exp(-distance / (25 - 12 * quality)) for distance in range(151)],
        },
    }
    if samples == 1:
        curves["psnr_best_of"] = {"samples": [1.0], "psnr": [23 + quality]}
    if samples > 1:
        similar = np.random.default_rng(1).beta(9 + 9 * quality, 1.5, 300)
        curves["ms_ssim_histogram"] = {
            "edges": list(edges),
            "pairs": np.histogram(similar, edges)[0].tolist(),
        }
        best = [23 + quality + math.log(1 + number) for number in range(samples)]
        curves["psnr_best_of"] = {"samples": list(range(1, samples + 1)), "psnr": best}
    return curves


def write_pictures(folder: Path, quality: float) -> None:
    """Photographs less or more coloured, by the quality, as gallery pictures, and a sheet of them."""
    from skimage import data

    (folder / "gallery").mkdir()
    photographs = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.astronaut()[:, ::-1])
    for key, photograph in zip(KEYS, photographs, strict=False):
        truth = Image.fromarray(np.ascontiguousarray(photograph))
        truth.thumbnail((341, 256))
        grey = truth.convert("L").convert("RGB")
        shown = {"truth": truth, "grey": grey, "0": Image.blend(grey, truth, 0.2 + 0.8 * quality)}
        for name, picture in shown.items():
            picture.save(folder / "gallery" / f"{key}_{name}.png")
    truth.save(folder / "cases.png")
