"""`report.html`: what one run learnt, on one page that stands alone."""

import base64
import io
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from evaluation.curves import read_curves
from evaluation.measures import MEASURES
from evaluation.report.table import value_of
from evaluation.report.template import template_of


def write_report(
    directory: Path, run: dict[str, Any], scores: dict[str, Any], grey: dict[str, Any] | None, sheet: Image.Image
) -> Path:
    """Write a run's report beside its records.

    Args:
        directory: The run's; its `logs` give the curves and its `samples` folder the pictures on the way.
        run: Its `run.json`.
        scores: Its `scores.json`.
        grey: The same of no colour at all, if it is there to compare with.
        sheet: Held-out pictures: grey, samples, reconstruction, truth.

    Returns:
        The page's path.
    """
    steps = sorted((directory / "samples").glob("step_*.png"))
    shown = sorted({steps[round(i * (len(steps) - 1) / 3)] for i in range(4)}) if steps else []
    page = template_of("evaluation.report", "run.html").render(
        run=run,
        run_id=directory.name,
        scores=scores,
        metrics=[
            {
                "title": MEASURES[name].title,
                "unit": MEASURES[name].unit,
                "grey": value_of(grey, name) if grey else "",
                **score,
            }
            for name, score in scores["metrics"].items()
        ],
        curve=loss_curve(directory / "logs"),
        sheet=data_address(sheet),
        steps=[(f"step {int(path.stem.split('_')[1])}", data_address(Image.open(path))) for path in shown],
        config=yaml.safe_dump(run["config"], sort_keys=False, allow_unicode=True),
    )
    path = directory / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def data_address(picture: Image.Image) -> str:
    """A picture as a data: address."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def loss_curve(logs: Path) -> str:
    """Training and validation bits/dim, or whatever else was logged, as inline SVG; empty if nothing was."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    curves = read_curves(logs)
    if not curves:
        return ""
    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    for name, points in sorted(curves.items()):
        steps, values = zip(*sorted(points.items()), strict=True)
        if name.startswith("validation/"):
            axes.plot(steps, values, marker="o", linewidth=2, label=name)
        else:
            axes.plot(steps, values, linewidth=1, alpha=0.6, label=name)
    height = sorted(value for points in curves.values() for value in points.values())
    axes.set_ylim(0, height[int(0.98 * (len(height) - 1))] * 1.1)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    pyplot.close(figure)
    return buffer.getvalue().split("?>", 1)[1].split(">", 1)[1]
