"""What a sweep's page draws, as inline SVG that follows the page's colours."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.ticker import MaxNLocator

from evaluation.leaderboard.plots import INK, to_svg
from sweeps.local.words import rounded
from sweeps.sweep_file import Choices, Goal, Parameter

GOOD, MIDDLE, POOR = "#3b7dd8", "#8b8f96", "#dd7a33"
"""Each stands out from white and from black."""
WIDE = (9.2, 3.4)
FAR = 4.0
"""A value is off the plot if it is so many times as far from the best as the median is."""


@dataclass(frozen=True)
class Point:
    """A trial that reached something.

    Attributes:
        number: Of the trial.
        values: Of its parameters.
        reached: Of the metric.
        finished: Whether it was not stopped early.
        curve: The metric by training step.
    """

    number: int
    values: Mapping[str, Any]
    reached: float
    finished: bool
    curve: Mapping[int, float] = field(default_factory=dict)


class Plots:
    """The plots of a sweep.

    Args:
        points: The best first.
        parameters: Of the sweep.
        names: The short name of each parameter.
        metric: Its name.
        goal: `minimize` or `maximize`.
    """

    def __init__(
        self,
        points: Sequence[Point],
        parameters: Mapping[str, Parameter],
        names: Mapping[str, str],
        metric: str,
        goal: Goal,
    ) -> None:
        self.points, self.names, self.metric, self.goal = points, names, metric, goal
        self.parameters = {
            name: each for name, each in parameters.items() if each != Choices((points[0].values[name],))
        }
        self.limits = limits([point.reached for point in points], goal)
        scale = LinearSegmentedColormap.from_list("trials", [GOOD, MIDDLE, POOR])
        steps = max(len(points) - 1, 1)
        self.colours = {point.number: to_hex(scale(place / steps)) for place, point in enumerate(points)}

    def slices(self) -> list[Markup]:
        """What was reached against each parameter."""
        return [
            to_svg(f"{self.metric} by {self.names[name]}", partial(self._slice, name=name)) for name in self.parameters
        ]

    def parallel_coordinates(self) -> Markup:
        """Each trial as a line through its values, to what it reached."""
        return to_svg("Parallel coordinates of all trials", self._parallel_coordinates, WIDE)

    def curves(self) -> Markup | None:
        """The metric by training step; None if it is known only at the end."""
        if not any(point.curve for point in self.points):
            return None
        return to_svg(f"{self.metric} of all trials by training step", self._curves, WIDE)

    def _slice(self, figure: Any, name: str) -> None:
        axes = figure.subplots()
        axis = Axis(self.parameters[name])
        axes.set(xlabel=self.names[name], ylabel=self.metric, xlim=(-0.06, 1.06), ylim=self.limits)
        axes.set_xticks([place for place, _ in axis.ticks()], [text for _, text in axis.ticks()])
        for point in reversed(self.points):
            shown = float(np.clip(point.reached, *self.limits))
            inside = shown == point.reached
            colour = self.colours[point.number]
            axes.plot(
                axis.place(point.values[name]),
                shown,
                marker="o" if inside else "^" if point.reached > shown else "v",
                markersize=5.5,
                markeredgecolor=colour,
                markerfacecolor=colour if point.finished else "none",
                clip_on=False,
                zorder=3,
            )

    def _parallel_coordinates(self, figure: Any) -> None:
        axes = figure.subplots()
        scales: list[tuple[str, Axis]] = [(self.names[name], Axis(each)) for name, each in self.parameters.items()]
        low, high = self.limits
        across = range(len(scales) + 1)
        for point in reversed(self.points):
            drawn = [Axis(each).place(point.values[name]) for name, each in self.parameters.items()]
            drawn.append((float(np.clip(point.reached, low, high)) - low) / (high - low))
            best = point is self.points[0]
            axes.plot(
                across,
                drawn,
                color=self.colours[point.number],
                linewidth=2.6 if best else 1.2,
                linestyle="solid" if point.finished else (0, (3, 2)),
                alpha=1 if best else 0.75,
                solid_capstyle="round",
            )
        marks = [axis.ticks() for _, axis in scales]
        reached = [float(value) for value in MaxNLocator(4).tick_values(low, high) if low <= value <= high]
        marks.append([((value - low) / (high - low), rounded(value)) for value in reached])
        for place, ticks in enumerate(marks):
            axes.axvline(place, color=INK, linewidth=0.8)
            for height, text in ticks:
                axes.annotate(text, (place, height), (5, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_xticks([*across], [*(name for name, _ in scales), self.metric])
        axes.set(yticks=[], ylim=(-0.05, 1.05), xlim=(-0.05, len(scales) + 0.3))
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(bottom=False)

    def _curves(self, figure: Any) -> None:
        axes = figure.subplots()
        for point in reversed(self.points):
            if not point.curve:
                continue
            steps, values = zip(*sorted(point.curve.items()), strict=True)
            best = point is self.points[0]
            axes.plot(
                steps,
                values,
                color=self.colours[point.number],
                linewidth=2.6 if best else 1.2,
                marker="o",
                markersize=2.5,
                markevery=[-1],
            )
        every = [value for point in self.points for value in point.curve.values()]
        axes.set(xlabel="training step", ylabel=self.metric, ylim=limits(every, self.goal))


class Axis:
    """Where a parameter's values stand between 0 and 1."""

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter

    def place(self, value: Any) -> float:
        """Of a value."""
        if isinstance(self.parameter, Choices):
            values = self.parameter.values
            return values.index(value) / (len(values) - 1) if len(values) > 1 else 0.5
        scale: Callable[[float], float] = np.log if self.parameter.logarithmic else float
        low, high = scale(self.parameter.low), scale(self.parameter.high)
        return float((scale(value) - low) / (high - low))

    def ticks(self) -> list[tuple[float, str]]:
        """Places that are labelled, and how."""
        if isinstance(self.parameter, Choices):
            return [(self.place(value), str(value)) for value in self.parameter.values]
        low, high = self.parameter.low, self.parameter.high
        if self.parameter.logarithmic:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            values = [power for power in (10.0**each for each in powers) if low <= power <= high]
            values = values if len(values) > 1 else [low, high]
        else:
            whole = self.parameter.whole
            values = [float(value) for value in MaxNLocator(4, integer=whole).tick_values(low, high)]
            values = [value for value in values if low <= value <= high]
        return [(self.place(value), f"{value:g}") for value in values]


def limits(values: Sequence[float], goal: Goal) -> tuple[float, float]:
    """The ends of an axis that holds the best of some values and most others, however far away the worst is."""
    sign = 1 if goal == "minimize" else -1
    better = sorted(sign * value for value in values)
    best, median, worst = better[0], better[len(better) // 2], better[-1]
    if worst - best > FAR * (median - best) > 0:
        worst = best + FAR * (median - best)
    margin = 0.06 * (worst - best) or 0.01 * abs(best) or 1.0
    low, high = sorted((sign * (best - margin), sign * (worst + margin)))
    return low, high
