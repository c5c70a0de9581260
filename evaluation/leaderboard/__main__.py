"""Put scores side by side, and beside what papers print.

python -m evaluation.leaderboard runs/ --out leaderboard
python -m evaluation.leaderboard runs/ --sweep runs/sweeps/pic_learning_rate --out leaderboard    only the sweep's best
"""

import argparse
import sys
from pathlib import Path

import configs.process  # noqa: F401


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.leaderboard",
        description="Put scores side by side, and beside what papers print: leaderboard.html and leaderboard.md.",
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUNS", help="directories with scores.json at any depth, or such files"
    )
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="one sweep's runs: the best by validation stands in the tables, all are listed beneath (may be repeated)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the page is written")
    parser.add_argument("--wandb", metavar="PROJECT", help="log the tables and the page to this W&B project, too")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Write the leaderboard.

    Raises:
        NotADirectoryError: If `--out` is a file.
        ValueError: If a record is not as it should be, there is none, or two sweeps share a run.
        OSError: If something cannot be read or written.
    """
    from evaluation.leaderboard import markdown, page
    from evaluation.leaderboard.best import tables_with_sweeps
    from evaluation.leaderboard.rows import find_rows
    from evaluation.leaderboard.sweeps import read_sweep

    if arguments.out.exists() and not arguments.out.is_dir():
        raise NotADirectoryError(f"--out {arguments.out} is a file; give a directory, which is made if it is not there")
    if not arguments.runs and not arguments.sweep:
        raise ValueError("there is nothing to show; give directories that hold scores.json, or --sweep DIR")
    rows = find_rows(arguments.runs) if arguments.runs else []
    tables = tables_with_sweeps(rows, [read_sweep(directory) for directory in arguments.sweep])
    pages = {"leaderboard.md": markdown.render(tables), "leaderboard.html": page.render(tables)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (arguments.out / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    rows_shown = sum(len(table.rows) for table in tables)
    print(f"{rows_shown} rows in {len(tables)} tables: {arguments.out / 'leaderboard.html'}")
    if arguments.wandb:
        from evaluation.leaderboard.tracking import log_leaderboard

        log_leaderboard(tables, arguments.out, arguments.wandb)


def main(arguments: list[str] | None = None) -> None:
    """The command line; a mistake ends in one sentence."""
    try:
        run(parse(arguments))
    except KeyboardInterrupt:
        sys.exit("\nstopped by Ctrl-C")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
