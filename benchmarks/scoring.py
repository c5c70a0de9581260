"""What it costs to score a folder of predictions, beside decoding the two folders and doing nothing with them.

python benchmarks/scoring.py imagenet/val                 a folder of pictures, repeated under new names
python benchmarks/scoring.py                              the bundled photographs

The predictions are PNGs with another picture's chroma. `evaluate.py` scores 100, 1,000 and 10,000 of them under
`lrac_ctest10k`; its cost a picture and its memory, all processes together, should not grow.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from datamodules.folders import Folder
from datamodules.photos import BUNDLED_HELD_OUT, BUNDLED_TRAINING, bundled
from datamodules.pictures import find_pictures, read_picture
from evaluation.protocols import installed
from evaluation.report.sheet import to_image
from evaluation.standing_rows import StandingRow

PROJECT = Path(__file__).resolve().parent.parent
COUNTS = (100, 1_000, 10_000)


def repeat(files: list[Path], folder: Path, count: int) -> None:
    """Fill a folder with links to the files, under new names."""
    folder.mkdir(parents=True)
    for number, file in enumerate(islice(cycle(files), count)):
        (folder / f"{number:05}{file.suffix}").symlink_to(file)


def predictions_of(truth: Path, folder: Path) -> None:
    """Give each picture the chroma of another."""
    rules = installed("lrac_ctest10k")
    assert rules is not None
    row = StandingRow(Folder(truth), rules, "permuted_chroma")
    folder.mkdir()
    for number in track(range(len(row.keys)), "making predictions"):
        item = row.at(number)
        to_image(item["samples"][0]).save(folder / f"{item['key']}.png")


def decode(paths: list[Path]) -> None:
    """Read the pictures, and do nothing with them."""
    for path in paths:
        read_picture(path)


def seconds_to_decode(folders: list[Path], count: int, workers: int) -> float:
    """Time to read both folders in as many processes as score them."""
    pieces = [find_pictures(folder)[start:count:workers] for folder in folders for start in range(workers)]
    with get_context("fork").Pool(workers) as pool:
        started = time.perf_counter()
        pool.map(decode, [pieces[start] + pieces[start + workers] for start in range(workers)], chunksize=1)
        return time.perf_counter() - started


def seconds_and_megabytes(command: list[str]) -> tuple[float, float]:
    """Wall time of a command, and the most memory that it and its children held together."""
    peak = 0.0

    def watch(process: subprocess.Popen[bytes]) -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_megabytes, family(process.pid))))
            time.sleep(2)  # looking takes time from those that are looked at

    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
    watcher = Thread(target=watch, args=[process])
    watcher.start()
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed")
    seconds = time.perf_counter() - started
    watcher.join()
    return seconds, peak


def family(process: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(each for child in children for each in family(int(child)))]


def proportional_megabytes(process: int) -> float:
    """Memory of a process, what it shares divided among those that share it."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="of pictures (default: the bundled photographs)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    parser.add_argument("--gigabytes", type=float, default=2, help="of data that a process may hold (default: 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # processes forked from one whose threads have run would wait for them
    resource.setrlimit(resource.RLIMIT_DATA, (round(arguments.gigabytes * 2**30),) * 2)
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        pictures = bundled(BUNDLED_TRAINING + BUNDLED_HELD_OUT)
        if arguments.folder is not None:
            pictures = [path.resolve() for path in find_pictures(arguments.folder)]
        repeat(pictures, base / "few", len(pictures))
        predictions_of(base / "few", base / "few_predictions")
        few = [find_pictures(base / name) for name in ("few", "few_predictions")]
        table = Table("pictures", "decoding both", "scoring", "ratio", "pictures/s", "ms a picture", "memory")
        for count in COUNTS:
            folders = [base / f"{name}_{count}" for name in ("truth", "predictions")]
            for files, folder in zip(few, folders, strict=True):
                repeat([file.resolve() for file in files], folder, count)
            decoding = seconds_to_decode(folders, count, arguments.workers)
            seconds, megabytes = seconds_and_megabytes(
                [
                    sys.executable,
                    "evaluate.py",
                    f"truth={folders[0]}",
                    f"predictions={folders[1]}",
                    "protocol=lrac_ctest10k",
                    f"output_dir={base / f'scores_{count}'}",
                    f"workers={arguments.workers}",
                ]
            )
            table.add_row(
                f"{count:,}",
                f"{decoding:.1f} s",
                f"{seconds:.1f} s",
                f"{seconds / decoding:.2f}",
                f"{count / seconds:.0f}",
                f"{1000 * seconds / count:.2f}",
                f"{megabytes:,.0f} MB",
            )
        Console().print(table)


if __name__ == "__main__":
    main()
