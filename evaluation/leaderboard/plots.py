"""The curves of a table's rows, as inline SVG that follows the page's colours."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from evaluation.leaderboard.lines import Column

INK = "#010203"
"""Stands for the page's own ink until the SVG is written."""
STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "lines.linewidth": 1.5,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Curves:
    """A row's curves, with the name, the colour and the dashes (as in SVG's stroke-dasharray) that it has everywhere.

    Attributes:
        name: Of the row.
        colour: Hexadecimal.
        dashes: Lengths of line and gap in turn; empty for an unbroken line.
        curves: As in `scores.json`.
        metrics: As in `scores.json`.
    """

    name: str
    colour: str
    dashes: Sequence[float]
    curves: dict[str, Any]
    metrics: dict[str, dict[str, Any]]

    @property
    def style(self) -> dict[str, Any]:
        """Colour and dashes, for matplotlib."""
        return {"color": self.colour, "linestyle": (0, tuple(self.dashes)) if self.dashes else "solid"}


@dataclass(frozen=True)
class Plot:
    """A figure: its title, a sentence on what it shows, and the SVG."""

    title: str
    caption: str
    svg: Markup


def plots(rows: Sequence[Curves], quality: Column | None) -> list[Plot]:
    """Every plot for which some row has the curve.

    Args:
        rows: In the order in which they are drawn.
        quality: The measure that ranks the table, to set against diversity.
    """
    drawn = [
        Plot(title, caption, to_svg(title, partial(draw, rows=having)))
        for curve, title, caption, draw in CURVES
        if (having := [row for row in rows if curve in row.curves and row.curves[curve].get("samples") != [1]])
    ]
    if quality and (both := [row for row in rows if {"ms_ssim", quality.measure} <= row.metrics.keys()]):
        title = f"{quality.title} against diversity"
        caption = "MS-SSIM is 1 where all samples of a picture are alike: diverse methods stand on the left."
        draw_both = partial(_quality_against_diversity, rows=both, quality=quality)
        drawn.append(Plot(title, caption, to_svg(title, draw_both)))
    return drawn


def to_svg(title: str, draw: Callable[[Any], None], size: tuple[float, float] = (4.6, 2.9)) -> Markup:
    """What is drawn on a figure, as SVG for a page.

    Args:
        title: For those who cannot see it.
        draw: On matplotlib's figure, in `INK` and other colours.
        size: Of the figure in inches; the page may show it larger.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        for axes in figure.axes:
            axes.grid(alpha=0.15, color=INK, linewidth=0.6)
            axes.set_axisbelow(True)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = "<svg" + buffer.getvalue().split("<svg", 1)[1].replace(INK, "currentColor")
    # groups have the same ids in every plot; sizes are the page's business
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    viewed = rf'<svg \1 role="img" aria-label="{escape(title)}">'
    svg = re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', viewed, svg, count=1)
    return Markup(svg)


def _labelled(figure: Any, across: str, up: str) -> Any:
    axes = figure.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return axes


def _cumulative_error(figure: Any, rows: Sequence[Curves]) -> None:
    axes = _labelled(figure, "error of a pixel", "share of pixels")
    for row in rows:
        curve = row.curves["cumulative_error"]
        axes.plot(curve["edges"], curve["shares"], **row.style)
    axes.set(xlim=(0, 1), ylim=(0, 1))


def _psnr_histogram(figure: Any, rows: Sequence[Curves]) -> None:
    axes = _labelled(figure, "PSNR of a picture, dB", "share of pictures")
    _histograms(axes, rows, "psnr_histogram", "pictures")


def _ms_ssim_histogram(figure: Any, rows: Sequence[Curves]) -> None:
    axes = _labelled(figure, "MS-SSIM of two samples", "share of pairs")
    _histograms(axes, rows, "ms_ssim_histogram", "pairs")


def _histograms(axes: Any, rows: Sequence[Curves], curve: str, counted: str) -> None:
    filled = []
    for row in rows:
        edges, counts = (np.array(row.curves[curve][name], dtype=np.float64) for name in ("edges", counted))
        axes.stairs(counts / max(counts.sum(), 1), edges, linewidth=1.2, **row.style)
        filled += [edges[:-1][counts > 0], edges[1:][counts > 0]]
    ends = np.concatenate(filled)
    if len(ends):
        axes.set_xlim(ends.min(), ends.max())


def _alpha_beta_histogram(figure: Any, rows: Sequence[Curves]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, channel in ((left, "a"), (right, "b")):
        for row in [*rows, None]:
            curve = (row or rows[0]).curves["ab_histogram"]
            shares = np.array(curve[channel if row else f"{channel}_of_truth"], dtype=np.float64)
            edges = np.array(curve["edges"])
            style = row.style if row else {"color": INK, "linewidth": 1.1}
            axes.plot((edges[1:] + edges[:-1]) / 2, np.where(shares > 0, shares, np.nan), **style)
        axes.set(xlabel=channel, yscale="log", xlim=(-110, 110), xticks=(-75, 0, 75))
    left.set_ylabel("share of pixels")


def _distance_shares(figure: Any, rows: Sequence[Curves]) -> None:
    axes = _labelled(figure, "distance of a and b to the truth", "share of pixels")
    for row in rows:
        curve = row.curves["distance_shares"]
        axes.plot(curve["distances"], curve["shares"], **row.style)
    axes.set(xlim=(0, 150), ylim=(0, 1))


def _best_of(figure: Any, rows: Sequence[Curves]) -> None:
    axes = _labelled(figure, "samples", "PSNR of the best, dB")
    for row in rows:
        curve = row.curves["psnr_best_of"]
        axes.plot(curve["samples"], curve["psnr"], marker="o", markersize=3.5, **row.style)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _quality_against_diversity(figure: Any, rows: Sequence[Curves], quality: Column) -> None:
    axes = _labelled(figure, "MS-SSIM between samples", f"{quality.title} {quality.unit}".strip())
    for row in rows:
        across, up = row.metrics["ms_ssim"], row.metrics[quality.measure]
        bars = [_error_bar(score) for score in (across, up)]
        axes.errorbar(
            across["value"],
            up["value"],
            xerr=bars[0],
            yerr=bars[1],
            fmt="o",
            color=row.colour,
            markersize=6,
            elinewidth=1,
        )
    axes.margins(0.15)


def _error_bar(score: dict[str, Any]) -> list[list[float]] | None:
    value, low, high = (score.get(name) for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return None
    # where all pictures score the same, rounding may leave the value outside
    return [[max(value - low, 0)], [max(high - value, 0)]]


CURVES: tuple[tuple[str, str, str, Callable[..., None]], ...] = (
    (
        "cumulative_error",
        "Cumulative error",
        "Pixels whose error in alpha and beta is below a bound (Larsson et al. 2016, Fig. 6).",
        _cumulative_error,
    ),
    ("psnr_histogram", "PSNR", "Over the pictures of the set (Larsson et al. 2016, Fig. 7).", _psnr_histogram),
    (
        "ab_histogram",
        "Marginals of a and b",
        "On a log scale, beside the truth in ink (Guadarrama et al. 2017, Fig. 8).",
        _alpha_beta_histogram,
    ),
    (
        "distance_shares",
        "Accuracy within a distance",
        "The curve whose area is AuC (Zhang et al. 2016, section 3.1).",
        _distance_shares,
    ),
    (
        "ms_ssim_histogram",
        "Diversity",
        "Similarity of two samples of one picture (Guadarrama et al. 2017, Fig. 10).",
        _ms_ssim_histogram,
    ),
    ("psnr_best_of", "Best of k", "What the best of several samples of a picture reaches, on average.", _best_of),
)
"""Curve in `scores.json`, title, caption, and how it is drawn."""
