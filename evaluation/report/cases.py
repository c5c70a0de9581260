"""Pictures beside the scores: the same few of every method, its best and worst, and how its samples differ."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from evaluation.functional.ms_ssim import ms_ssim, pairs
from evaluation.measures import MEASURES
from evaluation.report.sheet import contact_sheet, grey_of, to_image
from lightning_modules.color import to_float

if TYPE_CHECKING:
    from evaluation.scorer import Scorer
    from evaluation.summary import Summary

OF_EACH_KIND = 2
LONGEST_KEY = 200
"""Bytes of an image's name that stand in that of a file, which may have 255."""
REPRESENTATIVE = (0.80, 0.85, 0.90, 0.95, 0.99)
"""Values of MS-SSIM for which Guadarrama et al. 2017, Figure 10, show a pair of samples."""


def save_gallery(folder: Path, key: str, samples: Tensor, truth: Tensor) -> None:
    """Save a picture's truth, its grey and its samples, uint8 (S, 3, H, W), as `<key>_truth.png` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = {"truth": truth, "grey": grey_of(to_float(truth)[None])[0]}
    shown |= {str(number): sample for number, sample in enumerate(samples)}
    for name, picture in shown.items():
        to_image(picture).save(folder.parent / file_of(key, name))


def file_of(key: str, what: str) -> str:
    """The place of a gallery's file in the folder of the scores; a key that is too long for a name is cut."""
    if len(os.fsencode(key)) > LONGEST_KEY:
        key = f"{key[: LONGEST_KEY // 4]}-{hashlib.sha256(os.fsencode(key)).hexdigest()[:12]}"
    return f"gallery/{key}_{what}.png"


def save_cases(scorer: Scorer, summary: Summary, output: Path) -> None:
    """Colour a few pictures again, as they were scored, and save `cases.png` and, of several samples, `diversity.png`.

    The first ranked measure that pictures have says which are the best, the median and the worst.
    """
    measure = next((name for name in summary.scores if MEASURES[name].better), None)
    if measure is None:
        return
    values = summary.scores[measure]
    order = np.argsort(values if MEASURES[measure].better == "lower" else -values, kind="stable")
    middle = max(0, (len(order) - OF_EACH_KIND) // 2)
    places = {
        "best": order[:OF_EACH_KIND],
        "median": order[middle : middle + OF_EACH_KIND],
        "worst": order[-OF_EACH_KIND:],
    }
    wanted: dict[int, str] = {}
    for kind, found in places.items():
        for place in found:
            wanted.setdefault(int(place), kind)
    again = colour_again(scorer, summary, list(wanted))
    rows, labels = [], []
    for place, kind in wanted.items():
        samples, truth = again[place]
        rows.append([grey_of(truth[None])[0], samples[0], truth])
        labels.append(f"{kind}: {values[place]:.3f} {MEASURES[measure].unit}".strip())
    title = f"{scorer.entry.method}: {MEASURES[measure].title}"
    contact_sheet(rows, ["grey", "prediction", "truth"], cell_height=192, labels=labels, title=title).save(
        output / "cases.png"
    )
    if "ms_ssim" in summary.scores:
        save_representative_pairs(scorer, summary, output / "diversity.png")


def save_representative_pairs(scorer: Scorer, summary: Summary, path: Path) -> None:
    """For each of some values of MS-SSIM, two samples of a picture that are about so alike."""
    means = summary.scores["ms_ssim"]
    nearest = {int(np.abs(means - value).argmin()): value for value in REPRESENTATIVE}
    again = colour_again(scorer, summary, list(nearest))
    rows, labels = [], []
    for place, value in nearest.items():
        samples, truth = again[place]
        compared = {pair: float(ms_ssim(*(samples[each][None] for each in pair))) for pair in pairs(len(samples))}
        first, second = min(compared, key=lambda pair: abs(compared[pair] - value))
        rows.append([samples[first], samples[second], truth])
        labels.append(f"{value:.2f}: {compared[first, second]:.3f}")
    title = f"{scorer.entry.method}: pairs of samples by MS-SSIM"
    contact_sheet(rows, ["one sample", "another", "truth"], cell_height=192, labels=labels, title=title).save(path)


def colour_again(scorer: Scorer, summary: Summary, places: list[int]) -> dict[int, tuple[Tensor, Tensor]]:
    """Samples and truth, RGB in [0, 1] on the CPU, of coloured pictures by their place among them."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    by_key: dict[str, list[int]] = {}
    for place in places:
        by_key.setdefault(summary.keys[place], []).append(place)
    for part in sorted({summary.part_of[place] for place in places}):
        # a method draws for a whole part at once
        items: list[dict[str, Any]] = scorer.read(part, None if scorer.entry.colorizer else by_key)
        for item, samples in scorer.colourings(part, items):
            for place in by_key.get(item["key"], []):
                found[place] = to_float(samples).cpu(), to_float(item["truth"]).cpu()
    return found
