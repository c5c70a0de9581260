"""Raters of stated skill: how large a study should be, and whether `score` finds what they were told."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evaluation.vtt.study import CATCH, TRUTH, Study, Trial, read_study

if TYPE_CHECKING:
    from evaluation.vtt.answers import Answer

POPULATION = 200_000
"""Pictures that are simulated to plan a study."""
WIDTH = 1.959964
"""Standard deviations from the middle of a normal distribution to the ends of its 95%."""
PICTURES, RATERS = (100, 200, 500, 1000, 2000), (1, 2, 3, 5, 10)
FRAME_MS = 1000 / 60


def add_commands(commands: Any) -> None:
    """Add `simulate` to the command line."""
    parser = commands.add_parser(
        "simulate",
        help="plan a study, or try one with simulated raters",
        description="Without --kit: the error bar to expect of a Visual Turing Test. With --kit: write results files "
        "as raters of stated skill would hand them in.",
        epilog="examples:\n"
        "  python -m evaluation.vtt simulate --pictures 500 --raters 5 --fooled 0.33 --wanted 1.0\n"
        "  python -m evaluation.vtt simulate --kit study --fooled PixColor#0=0.33 --fooled LRAC=0.31 --out results\n"
        "  python -m evaluation.vtt simulate --kit study --prefers Exemplar=3 --prefers Welsh=1 --out results",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pictures", type=int, default=500, help="of the planned study (default: %(default)s)")
    parser.add_argument("--raters", type=int, default=5, help="ratings of each picture (default: %(default)s)")
    parser.add_argument(
        "--fooled", action="append", default=[], metavar="[METHOD[#SAMPLE]=]SHARE",
        help="how often raters are fooled: 0.33; with --kit by method or sample: PixColor#0=0.33; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--prefers", action="append", default=[], metavar="METHOD=WEIGHT",
        help="with the kit of a preference study: how a method is liked, beside the others; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--spread", type=float, default=0.0, metavar="S",
        help="standard deviation of the share between pictures (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--lapses", type=float, default=0.0, metavar="SHARE",
        help="how often raters press the wrong button (default: %(default)s); 0.5 is choosing at random",
    )  # fmt: skip
    parser.add_argument(
        "--wanted", type=float, metavar="PERCENT", help="the standard deviation to reach: prints the smallest plans"
    )
    parser.add_argument("--kit", type=Path, metavar="KIT", help="folder of a study to answer")
    parser.add_argument("--out", type=Path, metavar="DIR", help="with --kit: where results files are written")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Plan a study, or answer one.

    Raises:
        ValueError: If the arguments make no sense.
        OSError: If something cannot be read or written.
    """
    if not 0 <= arguments.lapses <= 0.5:
        raise ValueError(f"--lapses {arguments.lapses} should be a share from 0 to 0.5")
    if not 0 <= arguments.spread <= 0.5:
        raise ValueError(f"--spread {arguments.spread} should be a standard deviation from 0 to 0.5")
    if arguments.kit is None:
        plan(arguments)
        return
    if arguments.out is None:
        raise ValueError("--kit wants --out DIR, where the results files are written")
    study = read_study(arguments.kit)
    given = arguments.fooled if study.kind == "turing" else arguments.prefers
    wrong, right = ("--prefers", "--fooled") if study.kind == "turing" else ("--fooled", "--prefers")
    if not given or (arguments.prefers if study.kind == "turing" else arguments.fooled):
        raise ValueError(f"{arguments.kit} is a {study.kind} study: give {right} for its methods, and no {wrong}")
    answers = simulate(study, parse(given, study, right), arguments.spread, arguments.lapses, arguments.seed)
    written = write_results(study, answers, arguments.out)
    print(f"{len(answers):,} answers in {written:,} results files: {arguments.out}")


def parse(given: Sequence[str], study: Study, option: str) -> dict[str, float]:
    """A number for each method's sample from arguments such as `PixColor=0.33` and `PixColor#1=0.35`, which wins.

    Raises:
        ValueError: If one is no number, names what the study has not, or something has none.
    """
    samples = [f"{method}#{number}" for method, count in study.samples.items() for number in range(count)]
    found: dict[str, float] = {}
    for text in sorted(given, key=lambda text: "#" in text.rpartition("=")[0]):
        name, _, number = text.rpartition("=")
        meant = [sample for sample in samples if name in (sample, sample.rpartition("#")[0])]
        if not meant:
            raise ValueError(f"{option} {text} names nothing in the study, which has {', '.join(samples)}")
        found |= dict.fromkeys(meant, number_of(number, f"{option} {text}", None if option == "--prefers" else 1))
    if missing := [sample for sample in samples if sample not in found]:
        raise ValueError(f"{option} is missing for {', '.join(missing)}")
    return found


def number_of(text: str, given: str, largest: float | None = 1) -> float:
    """A number from 0 on.

    Raises:
        ValueError: If it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= (largest or 1e9):
        raise ValueError(f"{given} should end in a number from 0" + (f" to {largest}" if largest else " on"))
    return number


# ---- planning


def plan(arguments: argparse.Namespace) -> None:
    """Print the error bar to expect, a table over sizes, and the smallest plans that reach what is wanted."""
    from rich.console import Console
    from rich.table import Table

    if len(arguments.fooled) != 1:
        raise ValueError("give one --fooled SHARE to plan a study, such as --fooled 0.33, or --kit to answer one")
    if arguments.pictures < 1 or arguments.raters < 1:
        raise ValueError("--pictures and --raters should be 1 or more")
    if arguments.wanted is not None and not arguments.wanted > 0:
        raise ValueError(f"--wanted {arguments.wanted} should be a percentage above 0, such as 1.0")
    fooled = number_of(arguments.fooled[0], f"--fooled {arguments.fooled[0]}")

    raters = sorted({*RATERS, arguments.raters})
    errors = {
        count: error_of_picture(count, fooled, arguments.spread, arguments.lapses, arguments.seed) for count in raters
    }
    score = 100 * with_lapses(fooled, arguments.lapses)
    error = errors[arguments.raters] / arguments.pictures**0.5
    print(
        f"{arguments.pictures:,} pictures, {arguments.raters} raters each: {score:.1f} ± {error:.2f} % (standard "
        f"deviation), 95% interval ± {WIDTH * error:.2f} %"
    )
    console = Console()
    table = Table(title="standard deviation, % (95% half-width)", title_justify="left")
    table.add_column("pictures", justify="right")
    for count in raters:
        table.add_column(f"{count} rater{'s' if count > 1 else ''}", justify="right", no_wrap=True)
    for pictures in sorted({*PICTURES, arguments.pictures}):
        bars = [errors[count] / pictures**0.5 for count in raters]
        table.add_row(f"{pictures:,}", *(f"{bar:.2f} ({WIDTH * bar:.2f})" for bar in bars))
    console.print(table)
    if arguments.wanted is not None:
        plans = {count: int(np.ceil((errors[count] / arguments.wanted) ** 2)) for count in raters}
        smallest = Table(title=f"smallest plans that reach ± {arguments.wanted:g} %", title_justify="left")
        for heading in ("raters", "pictures", "ratings"):
            smallest.add_column(heading, justify="right")
        for count, pictures in plans.items():
            smallest.add_row(f"{count}", f"{pictures:,}", f"{count * pictures:,}")
        console.print(smallest)


def error_of_picture(raters: int, fooled: float, spread: float, lapses: float, seed: int) -> float:
    """The standard deviation of one picture's score in percent, by simulation; that of a mean is √pictures smaller.

    Args:
        raters: Ratings of the picture.
        fooled: Mean share of ratings that are fooled.
        spread: Its standard deviation between pictures.
        lapses: How often raters press the wrong button.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    rates = with_lapses(rates_of(np.array([fooled, 1 - fooled]), spread, POPULATION, generator)[:, 0], lapses)
    return float(100 * (generator.binomial(raters, rates) / raters).std())


def with_lapses(rates: Any, lapses: float) -> Any:
    """How often a choice is made by raters who press the other of two buttons now and then."""
    return rates + lapses * (1 - 2 * rates)


def rates_of(
    means: NDArray[np.float64], spread: float, pictures: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Shares of choices that differ between pictures: draws of a Dirichlet distribution, of two a beta distribution.

    Args:
        means: Of the shares, (options,), which add up to 1.
        spread: Standard deviation between pictures of the largest share.
        pictures: How many.
        generator: Of the draws.

    Returns:
        (pictures, options).

    Raises:
        ValueError: If shares of this mean cannot differ so much.
    """
    largest = float(means.max())
    if not spread:
        return np.broadcast_to(means, (pictures, len(means)))
    if spread**2 >= largest * (1 - largest):
        most = (largest * (1 - largest)) ** 0.5
        raise ValueError(f"--spread {spread} is too large: shares of mean {largest:.3g} spread by less than {most:.3g}")
    concentration = largest * (1 - largest) / spread**2 - 1
    draws = generator.standard_gamma(np.broadcast_to(concentration * means, (pictures, len(means))))
    # where all of a very wide distribution's draws vanish, one option has it all
    empty = draws.sum(axis=1) == 0
    draws[empty] = generator.multinomial(1, means, size=int(empty.sum()))
    draws /= draws.sum(axis=1, keepdims=True)
    return draws


# ---- answering


def simulate(study: Study, skill: Mapping[str, float], spread: float, lapses: float, seed: int) -> list[Answer]:
    """Answers to all of a study, each block by a rater of its own.

    Args:
        study: To answer.
        skill: By method's sample: of a Visual Turing Test how often it is taken for the true picture, of a preference
            study how it is liked beside the others.
        spread: Standard deviation of these shares between pictures.
        lapses: How often raters press a wrong button: at catch trials, too.
        seed: Of the draws.

    Raises:
        ValueError: If the shares cannot spread so far, or nothing is liked.
    """
    from evaluation.vtt.answers import Answer

    generator = np.random.default_rng(seed)
    shares = shares_of(study, skill, spread, generator)
    answers = []
    for block_name, block in study.blocks.items():
        rater = generator.bytes(8).hex()
        for number, name in enumerate(block.trials):
            trial = study.trials[name]
            shown = study.exposure_ms + FRAME_MS * generator.uniform(
                -0.5, 0.5, len(trial.shown) * (study.exposure_ms > 0)
            )
            answers.append(
                Answer(
                    study=study.name,
                    rater=rater,
                    block=block_name,
                    trial=name,
                    choice=choice(trial, shares, lapses, generator),
                    response_ms=round(float(generator.lognormal(np.log(900), 0.5)), 1),
                    shown_ms=tuple(np.round(shown, 1).tolist()),
                    at=f"2000-01-01T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
                )
            )
    return answers


def shares_of(
    study: Study, skill: Mapping[str, float], spread: float, generator: np.random.Generator
) -> dict[str, dict[str, float]]:
    """How often each thing is chosen where it is shown, by true picture."""
    pictures = sorted({trial.picture for trial in study.trials.values()})
    shares: dict[str, dict[str, float]] = {picture: {} for picture in pictures}
    if study.kind == "turing":
        for condition, mean in skill.items():
            rates = rates_of(np.array([mean, 1 - mean]), spread if 0 < mean < 1 else 0.0, len(pictures), generator)
            for picture, rate in zip(pictures, rates[:, 0].tolist(), strict=True):
                shares[picture][condition] = rate
        return shares
    total = sum(skill.values())
    if not total:
        raise ValueError("--prefers gives every method a weight of 0; give one of them more")
    means = np.array(list(skill.values())) / total
    for picture, rates in zip(pictures, rates_of(means, spread, len(pictures), generator).tolist(), strict=True):
        shares[picture] = dict(zip(skill, rates, strict=True))
    return shares


def choice(
    trial: Trial, shares: Mapping[str, Mapping[str, float]], lapses: float, generator: np.random.Generator
) -> int:
    """Which of the shown pictures is chosen."""
    if trial.role != "study" and TRUTH in trial.meaning:
        wanted = trial.meaning.index(TRUTH)
    elif TRUTH in trial.meaning:
        (rival,) = (place for place, meaning in enumerate(trial.meaning) if meaning not in (TRUTH, CATCH))
        fooled = generator.random() < shares[trial.picture][trial.meaning[rival]]
        wanted = rival if fooled else trial.meaning.index(TRUTH)
    else:
        weights = np.array([shares[trial.picture][meaning] for meaning in trial.meaning])
        wanted = int(generator.choice(len(weights), p=weights / weights.sum()))
    if generator.random() < lapses:
        wanted = int(generator.choice([place for place in range(len(trial.shown)) if place != wanted]))
    return wanted


def write_results(study: Study, answers: Sequence[Answer], folder: Path) -> int:
    """Write a results file for each block, as the page hands it to its rater.

    Returns:
        How many.

    Raises:
        OSError: If the folder cannot be written.
    """
    by_block: dict[str, list[Answer]] = {}
    for answer in answers:
        by_block.setdefault(answer.block, []).append(answer)
    folder.mkdir(parents=True, exist_ok=True)
    for block, given in by_block.items():
        results = {
            "study": study.name,
            "block": block,
            "rater": given[0].rater,
            "agent": "evaluation.vtt simulate",
            "screen": {"width": 1920, "height": 1080, "ratio": 1},
            "refresh_hz": 60,
            "answers": [
                {
                    "trial": answer.trial,
                    "choice": answer.choice,
                    "response_ms": answer.response_ms,
                    "shown_ms": list(answer.shown_ms),
                    "dropped": answer.dropped,
                    "at": answer.at,
                }
                for answer in given
            ],
        }
        (folder / f"{block}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return len(by_block)
