"""From raters' answers to figures with error bars: vtt.json, ratings.csv, report.html and rows for the leaderboard."""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

    from evaluation.vtt.answers import Answer
    from evaluation.vtt.ratings import Ratings, Tally
    from evaluation.vtt.study import Study

SCHEMA = 1
LEAST_CAUGHT = 0.8
"""Of five catch trials one may be answered wrongly."""


def add_commands(commands: Any) -> None:
    """Add `score` to the command line."""
    parser = commands.add_parser(
        "score",
        help="figures with error bars from raters' results",
        description="Score a study: what raters took for true, or chose, with error bars over pictures.",
        epilog="example: python -m evaluation.vtt score study --out report\n"
        "         python -m evaluation.vtt score study answers.csv sent_in/ --out report\n"
        "         python -m evaluation.leaderboard runs report --out leaderboard",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kit", type=Path, metavar="KIT", help="folder of the study, with plan.json")
    parser.add_argument(
        "results", type=Path, nargs="*", metavar="RESULTS",
        help="raters' results files (.json), the server's answers.csv or its own file (.sqlite), or folders of such "
        "(default: results.sqlite in the kit)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the figures are written")
    parser.add_argument(
        "--least-caught", type=float, default=LEAST_CAUGHT, metavar="SHARE",
        help="share of catch trials that a rater must answer rightly to count (default: %(default)s); 0 keeps all",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Score a study, and write and print what was found.

    Raises:
        ValueError: If no answer counts, or the arguments make no sense.
        OSError: If something cannot be read or written.
    """
    from rich.console import Console

    from evaluation.record import write_json
    from evaluation.vtt import report, rows
    from evaluation.vtt.answers import read_answers
    from evaluation.vtt.ratings import tally
    from evaluation.vtt.study import RESULTS, read_study

    if not 0 <= arguments.least_caught <= 1:
        raise ValueError(f"--least-caught {arguments.least_caught} should be a share from 0 to 1, such as 0.8")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise NotADirectoryError(f"--out {arguments.out} is a file; give a directory, which is made if it is not there")
    console = Console()
    with console.status("reading answers") as status:
        study = read_study(arguments.kit)
        answers = read_answers(arguments.results or [arguments.kit / RESULTS], study)
        status.update(f"resampling pictures, {len(answers):,} answers")
        ratings = sort_answers(study, answers, arguments.least_caught)
        found = judge(ratings)
        counted = tally(study, ratings.kept)
        arguments.out.mkdir(parents=True, exist_ok=True)
        status.update("writing the report")
        write_json(arguments.out / "vtt.json", found)
        write_ratings(arguments.out / "ratings.csv", counted)
        page = report.render(found, counted, study, arguments.kit)
        (arguments.out / "report.html").write_text(page, encoding="utf-8")
        written = rows.write_rows(arguments.out / "scores", found, counted, arguments.kit)
    console.print(table_of(found))
    for sentence in sentences(found):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{arguments.out / 'report.html'}" + (f", {len(written)} rows for the leaderboard" if written else ""),
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def sort_answers(study: Study, answers: Sequence[Answer], least_caught: float = LEAST_CAUGHT) -> Ratings:
    """The answers, sorted into what counts and what does not.

    Raises:
        ValueError: If nothing counts.
    """
    from evaluation.vtt.ratings import Ratings

    ratings = Ratings(study, answers, least_caught)
    if not ratings.everyone:
        raise ValueError("the results hold no answer to the study's own trials, so there is nothing to score")
    if not ratings.kept:
        raise ValueError(
            f"each of the {len(ratings.raters)} raters answered less than {least_caught:.0%} of the catch trials "
            "rightly; look at their answers, or give a smaller --least-caught"
        )
    return ratings


def judge(ratings: Ratings) -> dict[str, Any]:
    """All figures, as `vtt.json` keeps them; shares are in percent.

    `figures` are those of attentive raters, `figures_of_all` those of everyone.
    """
    from evaluation.vtt import preference, turing
    from evaluation.vtt.estimate import RESAMPLES
    from evaluation.vtt.ratings import behaviour, tally

    study = ratings.study
    figures = turing.figures if study.kind == "turing" else preference.figures
    counted = tally(study, ratings.kept)
    kept = figures(counted, study.seed)
    everyone = figures(tally(study, ratings.everyone), study.seed) if ratings.excluded else kept
    own = [answer for answer in ratings.answers if study.trials[answer.trial].role == "study"]
    planned = study.raters
    return {
        "schema": SCHEMA,
        "study": {
            name: getattr(study, name)
            for name in ("name", "kind", "seed", "question", "exposure_ms", "raters", "samples", "sources")
        },
        "resamples": RESAMPLES,
        "least_caught": ratings.least_caught,
        "counts": {
            **ratings.counts,
            "pictures": len(counted.pictures),
            "items": counted.ratings.size,
            "items_with_fewer_ratings": int(((counted.ratings > 0) & (counted.ratings < planned)).sum()),
            "items_without_rating": int((counted.ratings == 0).sum()),
        },
        "figures": kept,
        "figures_of_all": everyone,
        "behaviour": behaviour(study, ratings.kept, own),
        "raters": [{**rater.__dict__, "excluded": rater.name in ratings.excluded} for rater in ratings.raters],
        "scored": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def write_ratings(path: Path, counted: Tally) -> None:
    """Write a row an item: how often it was rated, and how often taken for the true one, or chosen."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["picture", "method", "sample", "ratings", "chosen"])
        for row, picture in enumerate(counted.pictures):
            for column, condition in enumerate(counted.conditions):
                method, _, sample = condition.rpartition("#")
                counts = counted.ratings[row, column], counted.chosen[row, column]
                lines.writerow([picture, method, sample, *map(int, counts)])


def table_of(found: dict[str, Any]) -> Table:
    """The figures, for the terminal."""
    from rich.table import Table
    from rich.text import Text

    heading = "fooled %" if found["study"]["kind"] == "turing" else "chosen %"
    title = f"{found['counts']['counted']:,} ratings of {found['counts']['pictures']:,} pictures"
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for column in (heading, "± deviation", "95% interval", "pictures", "everyone"):
        table.add_column(column, justify="right", no_wrap=True)
    for _, name, score, everyone in estimates(found):
        known = score["deviation"] is not None
        bar = (f"{score['deviation']:.2f}", f"{score['low']:.1f} to {score['high']:.1f}") if known else ("", "")
        table.add_row(Text(name), f"{score['value']:.1f}", *bar, f"{score['n']:,}", f"{everyone['value']:.1f}")
    return table


class Line(NamedTuple):
    """A method's figure: its name in words, the estimate from attentive raters, and that from everyone."""

    method: str
    name: str
    score: dict[str, Any]
    everyone: dict[str, Any]


def estimates(found: dict[str, Any]) -> list[Line]:
    """Every mean: of each sample, of a method's samples together, of its oracle."""
    kept, everyone, samples = found["figures"], found["figures_of_all"], found["study"]["samples"]
    kinds = [("samples", "{}, sample {}"), ("methods", "{}, {} samples"), ("oracle", "{}, oracle of {} samples")]
    listed = []
    for method, count in samples.items():
        for kind, words in kinds:
            names = [f"{method}#{number}" for number in range(count)] if kind == "samples" else [method]
            for number, name in enumerate(names):
                if name in kept.get(kind, {}) and (kind == "samples" or count > 1):
                    text = method if count == 1 else words.format(method, number if kind == "samples" else count)
                    listed.append(Line(method, text, kept[kind][name], everyone[kind][name]))
    return listed


def sentences(found: dict[str, Any]) -> list[str]:
    """What one should know beside the figures."""
    counts, said = found["counts"], []
    said.append(
        f"{counts['raters']:,} raters, {counts['raters_excluded']:,} of them excluded by catch trials (less than "
        f"{found['least_caught']:.0%} right); {counts['answers']:,} answers: {counts['counted']:,} counted, "
        f"{counts['excluded']:,} of excluded raters, {counts['dropped']:,} dropped, {counts['catch']:,} to catch "
        f"trials, {counts['practice']:,} for practice."
    )
    if few := counts["items_with_fewer_ratings"] + counts["items_without_rating"]:
        said.append(
            f"Incomplete: {few:,} of {counts['items']:,} items have fewer than {found['study']['raters']} ratings that "
            f"count, {counts['items_without_rating']:,} of them none."
        )
    alpha = found["figures"]["agreement"]["all"]
    said.append(f"Krippendorff's alpha {'is not defined' if alpha is None else f'{alpha:.3f}'}.")
    return said
