"""Building a kit: the pictures, the page and the plan of a study, from folders of pictures that anybody made."""

import argparse
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from evaluation.vtt.assignment import REFERENCE, TARGET, opaque, parts, shuffled
from evaluation.vtt.study import CATCH, PUBLIC, TRUTH, Role, Study

if TYPE_CHECKING:
    from torch import Tensor

RESERVED = (TRUTH, CATCH, TARGET, REFERENCE)
NAME_LENGTH = 100
"""Of a method's name, in characters: it becomes part of a file's."""
PICTURES = 500
"""How many PixColor's test shows."""
TURING_QUESTION = "Which of the two pictures has its true colours?"
PREFERENCE_QUESTION = "Which picture matches the reference most closely, and has the fewest artefacts?"
KEEPING = """
plan.json tells which picture is true: it is for you alone. Raters get public/, by `serve`. Whoever holds a copy of all
of public/ could compare the pictures of several blocks: to hand copies out, give each rater one of `crowds --copies`.
The seed draws everything but the names of files: where raters may know this program, give one that they do not.

Pictures are stored uncompressed, for sizes to tell nothing: 256x341 pixels take 0.26 MB."""
TURING = """
python -m evaluation.vtt build --truth truth/ --method PixColor=pixcolor/ --method LRAC=lrac/ --out study
"""
TURING_SIZE = """ Of each pair
one is kept for all its raters: 500 pictures, 3 methods and 5 raters take 0.9 GB, of which a rater loads 30 MB a block.
"""
PREFERENCE = """
python -m evaluation.vtt preference --targets targets/ --references references/ --method Ours=ours/ \\
    --method Welsh=welsh/ --out study
"""


def add_commands(commands: Any) -> None:
    """Add `build` and `preference`."""
    command = commands.add_parser(
        "build",
        help="make the kit of a Visual Turing Test",
        description="Make the kit of a Visual Turing Test: each rater sees pairs of a true picture and its colouring,\n"
        "one after the other, and says which is true. As Guadarrama et al. 2017 (PixColor), section 4, did.",
        epilog=TURING + KEEPING + TURING_SIZE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--truth", type=Path, required=True, metavar="FOLDER", help="the true pictures")
    add_methods(command, "its pictures, named as the true ones: NAME.png, or NAME_0.png, NAME_1.png, ... if several")
    command.add_argument(
        "--spare", type=Path, metavar="FOLDER", help="more true pictures, for practice and catch trials alone"
    )
    command.add_argument(
        "--pictures", type=positive, help=f"how many, drawn at random (default: {PICTURES}, or as many as there are)"
    )
    command.add_argument("--raters", type=positive, default=5, help="of each picture of each method (default: 5)")
    command.add_argument(
        "--exposure-ms", type=positive, default=1000, help="how long a picture is shown (default: 1000)"
    )
    command.add_argument("--block", type=positive, default=50, help="pairs in a rater's sitting (default: 50)")
    command.add_argument("--catch", type=count, default=5, help="pairs more in which one is plainly wrong (default: 5)")
    command.add_argument("--practice", type=count, default=3, help="pairs before them, for practice (default: 3)")
    add_output(command, build)

    command = commands.add_parser(
        "preference",
        help="make the kit of a preference study",
        description="Make the kit of a preference study: each rater sees all methods' results of a target and a\n"
        "reference, in random order and for as long as they like, and chooses one.\n"
        "As Xu et al. 2020, section 4.3, did.",
        epilog=PREFERENCE + KEEPING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--targets", type=Path, required=True, metavar="FOLDER", help="what was coloured; it is shown in grey"
    )
    command.add_argument(
        "--references", type=Path, required=True, metavar="FOLDER", help="the references, named as their targets"
    )
    add_methods(command, "its results, named as the targets")
    command.add_argument(
        "--truth",
        type=Path,
        metavar="FOLDER",
        help="the targets in their true colours: adds a catch trial to each block, whose reference they are",
    )
    command.add_argument("--raters", type=positive, default=50, help="of each target (default: 50)")
    command.add_argument("--block", type=positive, default=15, help="targets in a rater's sitting (default: 15)")
    add_output(command, build_preference)


def add_methods(command: argparse.ArgumentParser, meaning: str) -> None:
    """Add `--method`."""
    command.add_argument(
        "--method", type=method, action="append", required=True, metavar="NAME=FOLDER", help=f"{meaning}; repeatable"
    )


def add_output(command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None]) -> None:
    """Add what both commands end with."""
    command.add_argument(
        "--short-side", type=positive, default=256, help="of all pictures, in pixels (default: 256, PixColor's)"
    )
    command.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    command.add_argument("--out", type=Path, required=True, metavar="KIT", help="a folder that is not there yet")
    command.set_defaults(run=run)


def method(text: str) -> tuple[str, Path]:
    """A method's name and folder, of NAME=FOLDER."""
    name, _, folder = text.partition("=")
    if not folder or "#" in name or name in RESERVED or not name.isprintable() or not 0 < len(name) <= NAME_LENGTH:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=FOLDER; a name has 1 to {NAME_LENGTH} characters that can be printed, no #, and is "
            f"none of {', '.join(RESERVED)}"
        )
    return name, Path(folder)


def positive(text: str) -> int:
    """A number above 0."""
    return count(text, least=1)


def count(text: str, least: int = 0) -> int:
    """A number that is not negative."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least {least}")
    return int(text)


def build(arguments: argparse.Namespace) -> None:
    """Make the kit of a Visual Turing Test.

    Raises:
        ValueError: If pictures do not match, or are too few, or cannot be read.
        OSError: If something is not there, or cannot be written.
    """
    from evaluation.vtt.assignment import deal_turing
    from evaluation.vtt.folders import pictures_by_stem, samples_of
    from evaluation.vtt.kit import check_output, write_kit
    from evaluation.vtt.pictures import read_generated, read_true, wrong_colors

    check_output(arguments.out)
    methods = methods_of(arguments)
    truth = pictures_by_stem(arguments.truth)
    samples = samples_of(methods, truth, arguments.truth)
    spare = pictures_by_stem(arguments.spare) if arguments.spare else {}
    paths, random = spare | truth, Random(arguments.seed)
    chosen, others = choose(truth, spare, arguments, random)
    groups = parts(chosen, arguments.block)
    practice = deal_out(others, arguments.practice, len(groups))
    catch = deal_out(others[len(groups) * arguments.practice :], arguments.catch, len(groups))
    pictures: dict[Role, Sequence[Sequence[str]]] = {"practice": practice, "catch": catch, "study": groups}
    deal = deal_turing(pictures, list(samples), arguments.raters, truth.__contains__, random)
    negative = {picture for number, group in enumerate(catch) for picture in group[number % 2 :: 2]}

    def read(picture: str, meanings: Collection[str]) -> dict[str, "Tensor"]:
        true = read_true(paths[picture], arguments.short_side)
        contents = {TRUTH: true} | ({CATCH: wrong_colors(true, picture in negative)} if CATCH in meanings else {})
        generated = meanings - contents.keys()
        return contents | {each: read_generated(samples[each][picture], true.shape[1:]) for each in generated}

    study = Study(
        name=opaque(),
        kind="turing",
        seed=arguments.seed,
        question=TURING_QUESTION,
        exposure_ms=arguments.exposure_ms,
        raters=arguments.raters,
        samples={name: sum(each.rpartition("#")[0] == name for each in samples) for name in methods},
        sources=sources_of(arguments, "truth", "spare", "short_side", "block", "catch", "practice")
        | {"pictures": len(chosen)},
        trials=deal.trials,
        blocks=deal.blocks,
    )
    order = shuffled(sorted({content.picture for content in deal.names}), random)
    write_kit(study, deal.names, read, order, arguments.out)
    tell(study, arguments.out)


def choose(
    truth: Collection[str], spare: Collection[str], arguments: argparse.Namespace, random: Random
) -> tuple[list[str], list[str]]:
    """The study's pictures, and the others, for practice and catch trials, those with samples first.

    Raises:
        ValueError: If there are too few.
    """
    shuffled_truth = shuffled(sorted(truth), random)
    others = shuffled(sorted(set(spare) - set(truth)), random)

    def lacking(pictures: int) -> int:
        wanted: int = -(-pictures // arguments.block) * (arguments.catch + arguments.practice)
        return max(pictures - len(truth), wanted - (len(truth) - pictures + len(others)), 0)

    most = min(PICTURES, len(truth))
    pictures = arguments.pictures or next((each for each in range(most, 0, -1) if not lacking(each)), most)
    if lacking(pictures):
        raise ValueError(
            f"{pictures:,} pictures, and others in each of {-(-pictures // arguments.block):,} groups for "
            f"{arguments.practice} practice and {arguments.catch} catch trials, are {lacking(pictures):,} more than "
            f"{arguments.truth} holds; give --spare a folder of other pictures, or fewer --pictures"
        )
    return shuffled_truth[:pictures], shuffled_truth[pictures:] + others


def deal_out(pictures: Sequence[str], each: int, groups: int) -> list[Sequence[str]]:
    """So many pictures for each group, in turn."""
    return [pictures[number : groups * each : groups] for number in range(groups)]


def build_preference(arguments: argparse.Namespace) -> None:
    """Make the kit of a preference study.

    Raises:
        ValueError: If pictures do not match, or there is one method alone, or pictures cannot be read.
        OSError: If something is not there, or cannot be written.
    """
    from evaluation.vtt.assignment import deal_preference
    from evaluation.vtt.folders import pictures_by_stem, samples_of
    from evaluation.vtt.kit import check_output, write_kit
    from evaluation.vtt.pictures import in_grey, read_generated, read_true

    check_output(arguments.out)
    methods = methods_of(arguments)
    if len(methods) < 2:
        raise ValueError("a preference needs at least two methods; give --method more than once")
    targets = pictures_by_stem(arguments.targets)
    named = {REFERENCE: arguments.references} | ({TRUTH: arguments.truth} if arguments.truth else {})
    found = samples_of(methods | named, targets, arguments.targets, several=False)
    random = Random(arguments.seed)
    groups = parts(shuffled(sorted(targets), random), arguments.block)
    conditions = [f"{name}#0" for name in methods]
    deal = deal_preference(groups, conditions, arguments.raters, bool(arguments.truth), random)

    def read(picture: str, meanings: Collection[str]) -> dict[str, "Tensor"]:
        target = read_true(targets[picture], arguments.short_side)
        contents = {
            TARGET: in_grey(target),
            REFERENCE: read_true(found[f"{REFERENCE}#0"][picture], arguments.short_side),
        }
        if TRUTH in meanings:
            contents[TRUTH] = read_generated(found[f"{TRUTH}#0"][picture], target.shape[1:])
        return contents | {each: read_generated(found[each][picture], target.shape[1:]) for each in conditions}

    study = Study(
        name=opaque(),
        kind="preference",
        seed=arguments.seed,
        question=PREFERENCE_QUESTION,
        exposure_ms=0,
        raters=arguments.raters,
        samples=dict.fromkeys(methods, 1),
        sources=sources_of(arguments, "targets", "references", "truth", "short_side", "block")
        | {"pictures": len(targets)},
        trials=deal.trials,
        blocks=deal.blocks,
    )
    write_kit(study, deal.names, read, shuffled(sorted(targets), random), arguments.out)
    tell(study, arguments.out)


def methods_of(arguments: argparse.Namespace) -> dict[str, Path]:
    """The methods' folders by their names.

    Raises:
        ValueError: If two have one name.
    """
    methods = dict(arguments.method)
    if len(methods) < len(arguments.method):
        raise ValueError(f"two methods have one name: {', '.join(name for name, _ in arguments.method)}; rename one")
    return methods


def sources_of(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Where pictures came from and what was asked for, for the record."""
    kept = {name: getattr(arguments, name) for name in names}
    from evaluation.vtt.folders import printable

    folders = {name: printable(str(folder)) for name, folder in arguments.method}
    given = {name: printable(str(each)) if isinstance(each, Path) else each for name, each in kept.items()}
    return given | {"methods": folders}


def tell(study: Study, kit: Path) -> None:
    """Say what was made, and what comes next."""
    from evaluation.vtt.kit import minutes_of, size_of

    trials = max(len(block.trials) for block in study.blocks.values())
    raters = sum(block.group == 0 for block in study.blocks.values())
    print(
        f"{kit}: {len(study.blocks):,} blocks of up to {trials} trials, about {minutes_of(study)} minutes each, "
        f"for at least {raters:,} raters; {size_of(kit / PUBLIC) / 1e6:,.0f} MB\n"
        f"next: python -m evaluation.vtt serve {kit}"
    )
