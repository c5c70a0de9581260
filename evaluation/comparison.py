"""Whether one method scores better than another on the same pictures, or only by chance.

python -m evaluation.comparison DIRECTORY DIRECTORY
"""

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from evaluation.interval import exactly_summable, mean_with_interval
from evaluation.leaderboard.rows import Row, read_row
from evaluation.measures import MEASURES

FLIPS = 10_000
CHUNK = 2**20
"""Signs that are drawn at once."""


class Comparison(TypedDict):
    """The mean of the first's scores minus that of the second's over `n` pictures, its 95% interval and p-value."""

    difference: float
    low: float
    high: float
    p_value: float
    n: int


def paired_comparison(first: Mapping[str, float], second: Mapping[str, float], seed: int) -> Comparison:
    """Compare two methods on the pictures that both scored, each picture with itself.

    Args:
        first: One method's score of each picture, by the picture's key.
        second: The other's.
        seed: Of the resampling and of the signs.

    Raises:
        ValueError: As `paired_differences`.
    """
    differences = paired_differences(first, second)
    score = mean_with_interval(differences.tolist(), seed=seed)
    return Comparison(
        difference=score["value"],
        low=score["low"],
        high=score["high"],
        p_value=sign_flip_p_value(differences, seed),
        n=len(differences),
    )


def paired_differences(first: Mapping[str, float], second: Mapping[str, float]) -> NDArray[np.float64]:
    """The first's score minus the second's of each picture that both scored, (N,), in the order of the keys.

    Raises:
        ValueError: If no key is in both, or a score is not a finite number.
    """
    keys = sorted(first.keys() & second.keys())
    if not keys:
        raise ValueError("the two have no picture in common, so there is nothing to compare; were the sets the same?")
    for key in keys:
        if not (math.isfinite(first[key]) and math.isfinite(second[key])):
            raise ValueError(f"picture {key} scored {first[key]} and {second[key]}, which cannot be compared")
    return np.array([first[key] - second[key] for key in keys], dtype=np.float64)


def sign_flip_p_value(differences: NDArray[np.float64], seed: int) -> float:
    """The two-sided p-value of a mean under random signs: had the methods changed places in any picture.

    Args:
        differences: One a picture, (N,).
        seed: Of the 10,000 draws of N signs.

    Returns:
        The share of draws whose mean is as far from 0, the observed one among them, which keeps it above 0 (Phipson and
        Smyth 2010).
    """
    differences = exactly_summable(differences, 2 * len(differences))
    observed = abs(differences.sum())
    reached = observed - 1e-9 * np.abs(differences).sum()  # or rounding would hide a draw that equals the observed one
    generator = np.random.default_rng(seed)
    pictures = len(differences)
    rows = max(1, CHUNK // pictures)
    extreme = 0
    for start in range(0, FLIPS, rows):
        words = generator.integers(2**64, size=(min(rows, FLIPS - start), -(-pictures // 64)), dtype=np.uint64)
        flipped = np.unpackbits(words.view(np.uint8), axis=1, count=pictures)  # a bit a sign: five times as fast
        sums = differences.sum() - 2 * (flipped.astype(np.float64) @ differences)
        extreme += int((np.abs(sums) >= reached).sum())
    return (extreme + 1) / (FLIPS + 1)


def compare(first: Row, second: Row) -> dict[str, Comparison]:
    """Every measure that both rows have of each picture, and of which the set's score is the pictures' mean.

    Likelihoods in different spaces are left out: they are not one quantity.

    Raises:
        ValueError: If the two were not scored in one way on one set, or share no measure.
    """
    both = f"{first.folder} and {second.folder}"
    for what, one, other in zip(
        ("protocol", "set of pictures", "completeness (of the set)"), first.scored_on, second.scored_on, strict=True
    ):
        if one != other:
            raise ValueError(f"{both} differ in their {what}: {str(one)[:12]}, {str(other)[:12]}")
    if not first.has_pictures_of(second):
        raise ValueError(
            f"{both} have other pictures under the same names, whose mean colours are {first.mean_rgb} and "
            f"{second.mean_rgb}: they do not compare"
        )
    shared = [name for name in MEASURES if name in first.pictures and name in second.pictures]
    if not shared:
        raise ValueError(f"{both} share no measure in their pictures.csv; score them again")
    seed = first.protocol["seed"]
    return {
        name: paired_comparison(first.pictures[name], second.pictures[name], seed)
        for name in shared
        if space_of(first, name) == space_of(second, name)
    }


def space_of(row: Row, measure: str) -> str | None:
    """In which a row's likelihood is measured; None of other measures."""
    space: str | None = row.metrics.get(measure, {}).get("space")
    return space


def print_comparison(first: Row, second: Row) -> None:
    """Print every shared measure: the two means, their difference, its interval, p-value and number of pictures."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{first.name} minus {second.name} by {first.protocol['name']}", title_justify="left")
    for heading in ("measure", first.name, second.name, "difference", "95% interval", "p", "n"):
        table.add_column(
            heading, justify="left" if heading == "measure" else "right", no_wrap=heading == "95% interval"
        )
    for name, found in compare(first, second).items():
        means = (f"{row.metrics[name]['value']:.3f}" if name in row.metrics else "" for row in (first, second))
        interval = f"{found['low']:+.4f} to {found['high']:+.4f}"
        numbers = (f"{found['difference']:+.4f}", interval, f"{found['p_value']:.4f}", f"{found['n']:,}")
        table.add_row(" ".join((MEASURES[name].title, MEASURES[name].unit)).strip(), *means, *numbers)
    Console(markup=False).print(table)
    spaces = space_of(first, "bits_per_dim"), space_of(second, "bits_per_dim")
    if spaces[0] != spaces[1] and "bits_per_dim" in first.pictures and "bits_per_dim" in second.pictures:
        print(f"Bits/dim is left out: that of {first.name} is of {spaces[0]}, that of {second.name} of {spaces[1]}.")


def main(arguments: list[str] | None = None) -> None:
    """The command line; a mistake ends in one sentence."""
    import configs.process  # noqa: F401

    parser = argparse.ArgumentParser(
        prog="python -m evaluation.comparison", description="Compare two methods picture by picture."
    )
    for name in ("first", "second"):
        parser.add_argument(name, type=Path, metavar="DIRECTORY", help="a directory with scores.json and pictures.csv")
    given = parser.parse_args(arguments)
    try:
        print_comparison(*(read_row(directory / "scores.json") for directory in (given.first, given.second)))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
