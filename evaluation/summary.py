"""From the parts of a set to its scores: sums, intervals, curves and the table of pictures."""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.functional.frechet import FrechetSums
from evaluation.functional.ms_ssim import SMALLEST_SIDES, WEIGHTS
from evaluation.interval import interval_around, resampled_sums, significant
from evaluation.measures import CURVES, MEASURES
from evaluation.parts import Part, Parts, Statistics, Table
from evaluation.protocols import ScoringProtocol

PARTS_AT_ONCE = 16
"""Parts whose pictures are resampled together."""
FEATURES = ("inception", "inception_of_truth")
"""Statistics of which not only sums are needed, and of which no picture has a score."""


@dataclass
class Summary:
    """A set's scores.

    Attributes:
        metrics: Value, 95% interval and number of pictures of each measure.
        curves: What plots are drawn from.
        counts: Of pictures that were read, grey, and so on.
        scores: Each coloured picture's score by each measure, (N,).
        keys: The coloured pictures' names.
        part_of: The part that each is in.
        unreadable: Why pictures could not be scored, by their names.
        mean_rgb: Of the coloured pictures' truths, in [0, 1]: tells other pictures under the same names.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    scores: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    part_of: list[int] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    mean_rgb: list[float] | None = None

    @property
    def picture_counts(self) -> dict[str, int]:
        """What `scores.json` counts."""
        return {
            "coloured": len(self.keys),
            "grey": self.counts["grey"],
            "unreadable": len(self.unreadable),
            "exact": self.counts["exact"],
            "grey_predictions": self.counts["grey_prediction"],
        }


def summarize(parts: Parts, rules: ScoringProtocol, measures: Sequence[str], path: Path) -> Summary:
    """Sum up the parts, which pass by one at a time.

    Args:
        parts: All of a set.
        rules: The protocol.
        measures: Those that could be had.
        path: Of the table of pictures, `pictures.csv`.

    Raises:
        ValueError: If no picture was scored.
    """
    summary = Summary()
    frechet = FrechetSums()
    totals: dict[str, NDArray[np.float64]] = {}
    sizes: dict[str, list[int]] = {"coloured": [], "modelled": []}
    half = path.with_name(path.name + ".part")
    with half.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "height", "width", "pixels", *(name for name in measures if name != "fid")])
        for number, part in enumerate(parts):
            summary.counts.update(part.counts)
            summary.unreadable |= part.unreadable
            summary.keys += part.coloured.keys
            summary.part_of += [number] * len(part.coloured.keys)
            summary.counts["small"] += sum(min(size) < SMALLEST_SIDES[len(WEIGHTS)] for size in part.coloured.sizes)
            for kind, table in tables_of(part):
                sizes[kind].append(len(table.keys))
                for name, values in table.statistics.items():
                    if name not in FEATURES:
                        totals[name] = totals.get(name, 0) + values.sum(axis=0, dtype=np.float64)
            if FEATURES[0] in part.coloured.statistics:
                frechet.add(*(torch.from_numpy(part.coloured.statistics[name]) for name in FEATURES))
            write_pictures(rows, part, measures, summary)
    if not any(sizes["coloured"]) and not any(sizes["modelled"]):
        raise ValueError(
            f"not one picture could be scored: {len(summary.unreadable)} unreadable, {summary.counts['grey']} without "
            "colour; check the set"
        )
    half.replace(path)
    summary.counts["exact"] = int(totals["exact"].sum()) if "exact" in totals else 0

    if "mean_rgb_of_truth" in totals:
        summary.mean_rgb = [round(float(total / totals["pictures"][0]), 6) for total in totals["mean_rgb_of_truth"]]

    sums = {name: torch.from_numpy(total) for name, total in totals.items()}
    wanted = {statistic for name in measures if MEASURES[name].has_interval for statistic in MEASURES[name].statistics}
    resampled: dict[str, Tensor] = {}
    for kind, counted in sizes.items():
        if any(counted):
            groups = [counted[start : start + PARTS_AT_ONCE] for start in range(0, len(counted), PARTS_AT_ONCE)]
            passing = together((only(getattr(part, kind).statistics, wanted) for part in parts), map(len, groups))
            draws = resampled_sums(passing, [sum(group) for group in groups], rules.seed)
            resampled |= {name: torch.from_numpy(values) for name, values in draws.items()}
    for name in measures:
        measure = MEASURES[name]
        if measure.formula is None:
            if frechet.pictures > 1:
                summary.metrics[name] = {"value": frechet.distance(), "low": None, "high": None, "n": frechet.pictures}
        elif all(statistic in sums for statistic in measure.statistics):
            pictures = sums["likelihood_pictures" if "likelihood_pictures" in measure.statistics else "pictures"]
            value, low, high = float(measure.value(sums)), None, None
            if measure.has_interval and pictures > 1:
                low, high = interval_around(
                    float(measure.signed(sums)), measure.signed(resampled).numpy(), measure.absolute
                )
            ends = {"value": value, "low": low, "high": high}
            summary.metrics[name] = {key: significant(end) if end is not None else None for key, end in ends.items()}
            summary.metrics[name]["n"] = int(pictures)
            if "ab_histogram" in measure.statistics:
                summary.metrics[name]["bin_width"] = rules.bin_width
    summary.curves = {
        name: {axis: [*map(rounded, points)] for axis, points in curve.points(sums).items()}
        for name, curve in CURVES.items()
        if all(statistic in sums for statistic in curve.statistics)
    }
    return summary


def rounded(point: float) -> float:
    """A curve's number as it is written; integers stay as they are."""
    return significant(point) if isinstance(point, float) else point


def together(parts: Iterator[Statistics], counts: Iterable[int]) -> Iterator[Statistics]:
    """The statistics of several parts at a time, one group after another."""
    for count in counts:
        group = [statistics for statistics in islice(parts, count) if statistics]
        names = group[0] if group else ()
        yield {name: np.concatenate([statistics[name] for statistics in group]) for name in names}


def tables_of(part: Part) -> Iterator[tuple[str, Table]]:
    """A part's two tables."""
    yield "coloured", part.coloured
    yield "modelled", part.modelled


def only(statistics: Statistics, wanted: set[str]) -> Statistics:
    """Those that measures are made from."""
    return {name: values for name, values in statistics.items() if name in wanted and name not in FEATURES}


def write_pictures(rows: Any, part: Part, measures: Sequence[str], summary: Summary) -> None:
    """Write a line for each of a part's pictures: each measure of the picture alone."""
    found: dict[str, dict[str, float]] = {}
    for _, table in tables_of(part):
        sums = {name: torch.from_numpy(values).double() for name, values in table.statistics.items()}
        for name in measures:
            measure = MEASURES[name]
            if measure.formula is not None and all(statistic in sums for statistic in measure.statistics):
                found[name] = dict(
                    zip(table.keys, [significant(value) for value in measure.value(sums).tolist()], strict=True)
                )
    sizes = dict(zip(part.modelled.keys + part.coloured.keys, part.modelled.sizes + part.coloured.sizes, strict=True))
    for key, (height, width) in sizes.items():
        scores = [found.get(name, {}).get(key, math.nan) for name in measures if name != "fid"]
        rows.writerow([key, height, width, height * width, *("" if score != score else score for score in scores)])
    for name, values in found.items():
        if values.keys() >= set(part.coloured.keys):
            ours = np.array([values[key] for key in part.coloured.keys])
            summary.scores[name] = np.append(summary.scores.get(name, np.empty(0)), ours)
