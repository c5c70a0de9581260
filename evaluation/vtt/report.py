"""`report.html`: what a study found, on one page that stands alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from evaluation.leaderboard.gallery import Shown, to_show
from evaluation.leaderboard.page import COLOURS
from evaluation.leaderboard.plots import INK, to_svg
from evaluation.protocols import digest
from evaluation.report.template import template_of
from evaluation.vtt.ratings import Tally, method_of
from evaluation.vtt.scoring import estimates, sentences
from evaluation.vtt.study import PUBLIC, TRUTH, Study, Trial

CASES = 4
"""Pictures of each method that fool most, and that fool least."""
PREFERENCES = 30
"""Pictures of a preference study that are shown."""
THUMBNAIL = (400, 200)
"""Width and height, in pixels, that are not exceeded."""


@dataclass(frozen=True)
class Case:
    """A true picture and what was made of it, each with its score as caption."""

    title: str
    pictures: list[Shown]


def render(found: dict[str, Any], counted: Tally, study: Study, kit: Path) -> str:
    """The page.

    Args:
        found: As in `vtt.json`.
        counted: Ratings by picture.
        study: That was answered.
        kit: Its folder; pictures that are not there are not shown.
    """
    turing = study.kind == "turing"
    return template_of("evaluation.vtt", "report.html").render(
        found=found,
        study=found["study"],
        counts=found["counts"],
        turing=turing,
        title="Visual Turing Test" if turing else "Preference study",
        sentences=sentences(found),
        estimates=estimates(found),
        scores=scores_plot(found),
        clicks="" if turing else clicks_plot(found),
        galleries=galleries(counted, study, kit),
        behaviour=found["behaviour"],
        agreement=found["figures"]["agreement"],
        record=yaml.safe_dump(found["study"], sort_keys=False, allow_unicode=True),
    )


def colour_of(name: str, found: dict[str, Any]) -> str:
    """A method's colour."""
    return COLOURS[list(found["study"]["samples"]).index(name) % len(COLOURS)]


def scores_plot(found: dict[str, Any]) -> Markup:
    """Every mean with its 95% interval, beside what chance gives."""
    rows = estimates(found)
    samples = found["study"]["samples"]
    chance = 50.0 if found["study"]["kind"] == "turing" else 100 / sum(samples.values())

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for place, (method, _, score, _) in enumerate(rows):
            ends = None
            if score["low"] is not None:
                ends = [[max(score["value"] - score["low"], 0)], [max(score["high"] - score["value"], 0)]]
            axes.errorbar(score["value"], place, xerr=ends, fmt="o", color=colour_of(method, found), markersize=5)
        axes.axvline(chance, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set(yticks=range(len(rows)), yticklabels=[literal(row.name) for row in rows], ylim=(len(rows) - 0.5, -0.5))
        axes.set_xlabel("raters fooled, %" if found["study"]["kind"] == "turing" else "choices, %")

    return to_svg("Scores with their 95% intervals", draw, (6.6, 0.8 + 0.27 * len(rows)))


def clicks_plot(found: dict[str, Any]) -> Markup:
    """Choices of a picture by method: mean, quartiles and extremes, as Figure 9 of Xu et al. 2020."""
    clicks = found["figures"]["clicks"]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        boxes = [
            {
                "label": literal(label_of(name, found)),
                "mean": each["mean"],
                "med": each["median"],
                "q1": each["low_quartile"],
                "q3": each["high_quartile"],
                "whislo": each["least"],
                "whishi": each["most"],
            }
            for name, each in clicks.items()
        ]
        ink = {"color": INK, "linewidth": 1}
        mean = {"marker": "o", "markerfacecolor": INK, "markeredgecolor": INK, "markersize": 4}
        drawn = axes.bxp(
            boxes, showfliers=False, showmeans=True, patch_artist=True, widths=0.5,
            medianprops=ink, whiskerprops=ink, capprops=ink, meanprops=mean,
        )  # fmt: skip
        for box, name in zip(drawn["boxes"], clicks, strict=True):
            box.set(facecolor=colour_of(method_of(name), found), edgecolor=INK, alpha=0.75)
        axes.set_ylabel("choices of a picture")
        axes.set_ylim(bottom=0)

    return to_svg("Choices of a picture by method", draw, (6.6, 3.2))


def literal(name: str) -> str:
    """A name as matplotlib draws it as it stands, and takes no part of it for a formula."""
    return name.replace("$", r"\$")


def label_of(condition: str, found: dict[str, Any]) -> str:
    """A method's sample in words."""
    method, _, number = condition.rpartition("#")
    return method if found["study"]["samples"][method] == 1 else f"{method}, sample {number}"


def galleries(counted: Tally, study: Study, kit: Path) -> list[tuple[str, list[Case]]]:
    """Pictures with their scores, under headings; none without their files.

    Of a Visual Turing Test, those of each method that fool most and least (v1 of Guadarrama et al. 2017, Figure 10).
    """
    folder = kit / PUBLIC / "pictures"
    if not folder.is_dir():
        return []
    trials: dict[tuple[str, str], Trial] = {}
    for trial in study.trials.values():
        if trial.role == "study":
            trials |= {(trial.picture, meaning): trial for meaning in trial.meaning}
    if study.kind == "preference":
        rated = [place for place in range(len(counted.pictures)) if counted.ratings[place].any()]
        cases = [case_of(counted, trials, folder, row, range(len(counted.conditions))) for row in rated[:PREFERENCES]]
        return [("", cases)]
    found = []
    for method, places in counted.methods.items():
        shares = counted.shares(places)
        rated = [row for row in range(len(shares)) if np.isfinite(shares[row])]
        # among equals chance decides, but always alike
        rated.sort(key=lambda row: (-shares[row], digest("gallery", counted.pictures[row])))
        half = min(CASES, len(rated) // 2 or 1)
        for words, rows in ((f"{method}: most fooled", rated[:half]), (f"{method}: least fooled", rated[::-1][:half])):
            found.append((words, [case_of(counted, trials, folder, row, places) for row in rows]))
    return found


def case_of(
    counted: Tally, trials: dict[tuple[str, str], Trial], folder: Path, row: int, places: Sequence[int]
) -> Case:
    """The true picture or what is shown beside, and some samples of it."""
    picture = counted.pictures[row]
    beside = trials[picture, counted.conditions[places[0]]]
    names = dict(zip(("target", "reference"), beside.context, strict=False))
    if TRUTH in beside.meaning:
        names = {"true": beside.shown[beside.meaning.index(TRUTH)]}
    shown = list(names.items())
    for place in places:
        condition = counted.conditions[place]
        trial = trials[picture, condition]
        chosen, ratings = counted.chosen[row, place], counted.ratings[row, place]
        method, _, number = condition.rpartition("#")
        name = method if len(counted.methods[method]) == 1 else f"{method} {number}"
        shown.append((f"{name}: {chosen} of {ratings}", trial.shown[trial.meaning.index(condition)]))
    pictures = [to_show(folder, f"{name}.png", caption, THUMBNAIL) or Shown(caption) for caption, name in shown]
    return Case(picture, pictures)
