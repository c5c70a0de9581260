"""The command line of colorize.py."""

import argparse
from pathlib import Path

EXAMPLES = """\
examples:
  python colorize.py photo.jpg
  python colorize.py old_photos/ portrait.jpg --samples 4 --out colorized
  python colorize.py photo.jpg --hint 120,80,#8a5a3c --hint 200,310,#1f3a6e
  python colorize.py harbour.jpg --model runs/lrac_imagenet/RUN --reference sunset.jpg --reference noon.jpg

Any format, size and aspect. Images keep their own luminance and are turned upright; transparent ones are laid on white.
The same command, called again, keeps the files that are whole and makes the rest.
"""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="colorize.py",
        description="Colour photographs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER", help="images, or folders of them")
    parser.add_argument(
        "--model",
        "--checkpoint",
        metavar="MODEL",
        help="a name that python -m lightning_modules.pretrained lists, a run's directory, or a checkpoint (default: "
        "the first bundled model that does what is asked for)",
    )
    parser.add_argument("--samples", type=positive, default=1, help="colourings of each photo (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("colorized"), help="folder to write to (default: colorized)")
    parser.add_argument("--seed", type=seed, default=0, help="the same seed gives the same colours (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    for name, text in (
        ("--set", "change a hyper-parameter of the model: temperature=0.8"),
        ("--compare", "colour once more, with this changed too, and show both: transfer.matching=wct"),
    ):
        parser.add_argument(name, action="append", default=[], metavar="NAME=VALUE", help=text)
    add_guidance(parser.add_argument_group("guidance, for models that take it"))
    return parser.parse_args(arguments)


def add_guidance(group: argparse._ArgumentGroup) -> None:
    """Add the options that tell a model which colours are wanted."""
    group.add_argument(
        "--reference",
        action="append",
        default=[],
        type=Path,
        metavar="PHOTO",
        help="a photo whose colours to follow, of any size; of several, each in turn (Exemplar, LRAC, Welsh)",
    )
    group.add_argument(
        "--hint",
        action="append",
        default=[],
        metavar="X,Y,#RRGGBB",
        help="a colour at a place, in pixels from the top left; any number of them (SIGGRAPH17, Exemplar)",
    )
    group.add_argument(
        "--hint-picture",
        type=Path,
        metavar="PNG",
        help="colours drawn on a transparent layer of the photo's size (SIGGRAPH17, Exemplar)",
    )
    for name, whose in (("--labels", "the photo"), ("--reference-labels", "the reference")):
        group.add_argument(
            name,
            type=Path,
            metavar="PNG",
            help=f"a segmentation of {whose}: what has one colour in both follows itself (Exemplar)",
        )
    group.add_argument(
        "--stylize",
        action="store_true",
        help="keep the photo's own colours as a start, and take the reference's light and shade too (Exemplar)",
    )


def positive(text: str) -> int:
    """Read a whole number from 1 on.

    Raises:
        argparse.ArgumentTypeError: If the text is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def seed(text: str) -> int:
    """Read a whole number that seeds a generator.

    Raises:
        argparse.ArgumentTypeError: If the text is none.
    """
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 0 to 2^63 - 1")
    return int(text)
