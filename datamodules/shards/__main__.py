"""Write, index, check and describe shards.

python -m datamodules.shards write ILSVRC2012_img_train.tar data/imagenet-train
"""

from __future__ import annotations

import argparse
import errno
import math
import os
import shlex
import sys
import time
from io import TextIOWrapper
from pathlib import Path

import configs.process  # noqa: F401
from datamodules.shards.sources import LAYOUTS

EXAMPLES = """\
examples:
  python -m datamodules.shards write path/to/ILSVRC2012 data/imagenet --short-side 256 --quality 95
  python -m datamodules.shards write tiny-imagenet-200.zip data/tiny-imagenet
  python -m datamodules.shards index 'https://server/shards/{000..146}.tar' --out data/theirs
  python -m datamodules.shards check data/imagenet
  python -m datamodules.shards describe data/imagenet --sheet imagenet.png
"""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WHOLE = argparse.RawDescriptionHelpFormatter


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m datamodules.shards",
        description="Write, index, check and describe tar shards.",
        epilog=EXAMPLES,
        formatter_class=WHOLE,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    write = commands.add_parser("write", help="turn a data set into shards", epilog=LAYOUTS, formatter_class=WHOLE)
    write.add_argument("source", type=Path, metavar="SOURCE", help="folder, ILSVRC2012 tar or archive of pictures")
    write.add_argument("out", type=Path, metavar="OUT", help="folder of the shards")
    write.add_argument("--short-side", type=positive, help="shrink larger pictures to this shorter side")
    write.add_argument("--quality", type=quality, help="store all as JPEG of this quality, chroma not subsampled")
    write.add_argument("--pictures-per-shard", type=positive, default=1000, help="default: 1000")
    write.add_argument("--labels", type=Path, metavar="TABLE", help="lines `file name, class`, for a validation tar")
    write.add_argument("--test-list", type=Path, metavar="LIST", help="names of the pictures of a test split")
    write.add_argument("--seed", type=int, default=0, help="of the order of pictures (default: 0)")
    index = commands.add_parser("index", help="index shards that somebody else wrote")
    index.add_argument("shards", metavar="SHARDS", help="path, * or {000..146} pattern, URL or pipe: command")
    index.add_argument("--out", type=Path, required=True, help="folder for the manifest and the index")
    check = commands.add_parser("check", help="compare shards with their manifest")
    describe = commands.add_parser("describe", help="show counts and a contact sheet")
    for command in (check, describe):
        command.add_argument("shards", metavar="DIR", help="folder or URL of a set of shards")
    describe.add_argument("--sheet", type=Path, default=Path("contact_sheet.png"), help="default: contact_sheet.png")
    cache = Path("~/.cache/chromalab/shards")
    for command in (index, check, describe):
        command.add_argument("--cache", type=Path, default=cache, help=f"for what is fetched (default: {cache})")
        command.add_argument("--cache-gigabytes", type=gigabytes, default=200, help="default: 200")
    for command in (write, index, check):
        command.add_argument("--workers", type=positive, default=os.cpu_count() or 1, help="default: one a core")
    return parser.parse_args(arguments)


def quality(text: str) -> int:
    """A whole number from 1 to 100."""
    if (number := positive(text)) > 100:
        raise argparse.ArgumentTypeError(f"{text} is more than 100")
    return number


def gigabytes(text: str) -> float:
    """A finite number above 0."""
    if not 0 < (number := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return number


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    from rich.console import Console

    from datamodules.shards.catalogue import expand, index_shards, name_of, open_folder, refuse_foreign
    from datamodules.shards.index import MANIFEST, printable, refuse_finished
    from datamodules.shards.inspect import check, contact_sheet, describe, listed
    from datamodules.shards.sources import find_sources
    from datamodules.shards.writer import Encoding, write

    console = Console(markup=False, emoji=False, highlight=False)
    started = time.monotonic()
    command = printable(shlex.join(["python", "-m", "datamodules.shards", *sys.argv[1:]]))
    if arguments.command in ("write", "index"):
        refuse_finished(arguments.out)
    if arguments.command == "write":
        unpacked = arguments.out / "unpacked"
        splits = find_sources(arguments.source, unpacked, arguments.labels, arguments.test_list)
        encoding = Encoding(arguments.short_side, arguments.quality)
        manifest = write(
            splits,
            arguments.out,
            command=command,
            encoding=encoding,
            pictures_per_shard=arguments.pictures_per_shard,
            seed=arguments.seed,
            workers=arguments.workers,
        )
        remove(unpacked)
    if arguments.command == "index":
        places = expand(arguments.shards)
        names = [name_of(place, arguments.out) for place in places]
        refuse_foreign(names, str(arguments.out / MANIFEST), web=True)
        cache = arguments.cache.expanduser()
        manifest = index_shards(places, arguments.out, command, cache, arguments.cache_gigabytes, arguments.workers)
    if arguments.command in ("write", "index"):
        pictures = sum(map(manifest.pictures, manifest.splits))
        seconds = time.monotonic() - started
        console.print(f"{pictures:,} pictures in {len(manifest.shards):,} shards in {arguments.out}: {seconds:.1f} s")
        listed(console, "grey-encoded", manifest.grey)
        listed(console, "duplicates", [" = ".join(keys) for keys in manifest.duplicates])
        listed(console, "left out as unreadable", manifest.unreadable)
        return 0
    cache = arguments.cache.expanduser()
    catalogue = open_folder(arguments.shards, cache)
    files = catalogue.files(cache, arguments.cache_gigabytes)
    if arguments.command == "describe":
        describe(catalogue, console)
        contact_sheet(catalogue, files).save(arguments.sheet)
        console.print(f"contact sheet: {arguments.sheet}")
        return 0
    wrong = check(catalogue, files, arguments.workers)
    for message in wrong:
        print(message, file=sys.stderr)
    console.print(f"{len(catalogue.places):,} shards checked, {len(wrong)} faults")
    return 1 if wrong else 0


def remove(folder: Path) -> None:
    """Delete a folder, if it is there."""
    import shutil

    if folder.is_dir():
        shutil.rmtree(folder)


def main(arguments: list[str] | None = None) -> None:
    """The command line; a mistake, a full disk or Ctrl-C ends in one sentence."""
    if isinstance(sys.stdout, TextIOWrapper):  # what a terminal cannot show must not end a command
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(run(parse(arguments)))
    except KeyboardInterrupt:
        sys.exit("\nstopped by Ctrl-C; the same command goes on from here")
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        full = "; finished shards are kept: make room, and the same command goes on" if error.errno in FULL else ""
        sys.exit(f"error: {error.strerror or error}{place}{full}")
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
