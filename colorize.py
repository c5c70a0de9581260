"""Colour photographs.

python colorize.py photo.jpg
python colorize.py old_photos/ portrait.jpg --samples 4 --out colorized
"""

import errno
import sys
import time
from argparse import Namespace
from collections import Counter
from pathlib import Path

from colorizing.job import Job
from colorizing.options import parse
from configs.command import errors_as_sentences, first_line
from imaging.outputs import OutputFolder, digest, gather, place

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def colorize(options: Namespace) -> int:
    """Colour every photo, and say what was done; what cannot be coloured is named, and costs only itself.

    Returns:
        The exit status: 1 if something had to be skipped, else 0.

    Raises:
        OSError: If there are no photos, a file that is needed is missing, or the disk is full.
        ValueError: If the options do not fit together.
    """
    begun = time.monotonic()
    photos, met = gather(options.photos, options.out)
    if not photos:
        reasons = [*met.left_out, *counted(met.others)]
        raise FileNotFoundError(f"there are no photos to colour: {'; '.join(reasons)}")
    job = Job(options, len(photos))

    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
    bar = Progress(console=console, transient=True, disable=len(photos) == 1 or not console.is_terminal)
    with OutputFolder(options.out, {**job.head, "passed_over": dict(met.others)}) as folder, bar:
        skipped = folder.skipped
        skipped += met.left_out
        for sentence in skipped:
            console.print(f"skipped: {sentence}")
        files = place(photos, options.out, job.endings)
        for photo in bar.track(photos, description="colouring"):
            try:
                remark = colour(job, photo, files[photo], folder)
            except Exception as error:
                skipped.append(reason_to_skip(error, photo, options.out))
                console.print(f"skipped: {skipped[-1]}")
            else:
                if remark:
                    console.print(f"note: {remark}")
    report(job, folder, len(photos), time.monotonic() - begun)
    for sentence in counted(met.others):
        print(f"passed over: {sentence}")
    return 1 if skipped else 0


def colour(job: Job, photo: Path, files: list[Path], folder: OutputFolder) -> str:
    """Colour a photo, unless an earlier call did so with the same settings, and record it.

    Returns:
        What the user should know of it; mostly nothing.
    """
    from datamodules.pictures import require_regular
    from evaluation.record import file_sha256

    require_regular(photo)
    key = digest(job.key, file_sha256(photo))
    if all(folder.has(file, key) for file in files):
        folder.note(photo, files, kept=True)
        return ""
    frames = job.colour(photo, files, key, folder)
    remark = f"{photo} holds {frames} frames or pages; the first is coloured" if frames > 1 else ""
    folder.note(photo, files, kept=False, remark=remark)
    return remark


def reason_to_skip(error: Exception, photo: Path, out: Path) -> str:
    """Why a photo has to be skipped, in words.

    Raises:
        OSError: If it is that the disk is full, which would be so with other photos, too.
        Exception: The error, if it is no fault of the photo.
    """
    from lightning_modules.device import is_out_of_memory

    if is_out_of_memory(error):
        return f"{photo} is too large for the memory"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        raise OSError(
            f"the disk that holds {out} is full; make room and repeat the command: what is there is kept"
        ) from error
    if isinstance(error, OSError) and error.strerror:
        return f"{photo} cannot be coloured: {error.filename or out}: {error.strerror}"
    if isinstance(error, ValueError | OSError):
        text = first_line(error)
        return text if str(photo) in text else f"{photo} cannot be coloured: {text}"
    raise error


def counted(others: Counter[str]) -> list[str]:
    """Files that were passed over, in words, by their suffixes."""
    return [f"{number} {'file' if number == 1 else 'files'} {kind}" for kind, number in sorted(others.items())]


def report(job: Job, folder: OutputFolder, photos: int, seconds: float) -> None:
    """Print what was written where, and with which model."""
    made, kept = len(folder.coloured), sum(each["kept"] for each in folder.coloured)
    model = job.method if job.model == job.method else f"{job.method} ({job.model})"
    if photos == made == 1:
        print(f"{folder.coloured[0]['photo']}, coloured by {model} in {seconds:.1f} s:")
        print(" ".join(folder.coloured[0]["files"]) + (" (as an earlier call made them)" if kept else ""))
        return
    print(
        f"{made} of {photos} photos coloured by {model} in {seconds:.1f} s{f', {kept} of them earlier' if kept else ''}"
    )
    print(f"they are in {folder.path}; {folder.path / 'colorize.json'} names the files")


def main(arguments: list[str] | None = None) -> None:
    """The command line: status 1 if a photo was skipped."""
    with errors_as_sentences():
        sys.exit(colorize(parse(arguments)))


if __name__ == "__main__":
    main()
