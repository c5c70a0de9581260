"""List, fetch and bundle weights.

python -m lightning_modules.pretrained
python -m lightning_modules.pretrained fetch siggraph17
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import configs.process  # noqa: F401
from lightning_modules.pretrained import MODELS, find, place

EXAMPLES = """\
examples:
  python -m lightning_modules.pretrained
  python -m lightning_modules.pretrained fetch siggraph17 vgg16
  python -m lightning_modules.pretrained bundle runs/cic_compact/RUN small.safetensors --set temperature=0.8
"""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_modules.pretrained",
        description="List the weights that can be loaded by name, fetch them, or bundle those of a run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="show all weights and which are here (default)")
    fetch = commands.add_parser("fetch", help="fetch weights into the cache, and check those that are there")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="as the list shows it")
    bundle = commands.add_parser("bundle", help="write a run's method and averaged weights, in float16, without more")
    bundle.add_argument("run", type=Path, metavar="RUN", help="a run's directory, or a checkpoint")
    bundle.add_argument("out", type=Path, metavar="OUT", help="the file to write, ending in .safetensors")
    bundle.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="change hyper-parameters, such as temperature=0.8"
    )
    return parser.parse_args(arguments)


def show() -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("used for")
    for heading in ("MB", "here", "licence"):
        table.add_column(heading, justify="right" if heading == "MB" else "left", no_wrap=True)
    for model in MODELS.values():
        here = "bundled" if model.kind == "bundled" else "yes" if place(model.name).is_file() else "no"
        table.add_row(model.name, model.used_for, f"{model.size / 1e6:.1f}", here, model.licence)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"\nfetched weights are kept in {place('cic').parent} (CHROMALAB_CACHE: another folder)", markup=False
    )


def bundle(run: Path, out: Path, settings: list[str]) -> None:
    """Write a bundle, and print what its row in the table needs."""
    from omegaconf import OmegaConf

    from lightning_modules.checkpoint import find_checkpoint, read_checkpoint
    from lightning_modules.pretrained.files import write_bundle
    from lightning_modules.pretrained.hashes import sha256_of
    from lightning_modules.task import Task

    checkpoint = find_checkpoint(run)
    changes: Any = OmegaConf.to_container(OmegaConf.from_dotlist(settings))
    held = read_checkpoint(checkpoint)
    held["hyper_parameters"] = dict(Task.load(checkpoint, **changes).hparams)
    write_bundle(held, out, provenance(checkpoint))
    print(f"{out}: size {out.stat().st_size}, sha256 {sha256_of(out)}")


def provenance(checkpoint: Path) -> dict[str, str]:
    """The commit, experiment and date of the run that a checkpoint is of, as its `run.json` says; empty without it."""
    record = checkpoint.parent.parent / "run.json"
    if not record.is_file():
        return {}
    try:
        entries = json.loads(record.read_text(encoding="utf-8"))
        experiments = [each.partition("=")[2] for each in entries["overrides"] if each.startswith("+experiment=")]
        return {"commit": str(entries["commit"]), "experiment": ", ".join(experiments), "date": entries["started"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{record} is no record of a run; bundle the checkpoint from a folder of its own") from error


def main(arguments: list[str] | None = None) -> None:
    """The command line: status 1 after a mistake, which is told in one sentence."""
    parsed = parse(arguments)
    try:
        if parsed.command == "fetch":
            for name in parsed.names:
                print(find(name))
        elif parsed.command == "bundle":
            bundle(parsed.run, parsed.out, parsed.set)
        else:
            show()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C; what was fetched whole is kept", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
