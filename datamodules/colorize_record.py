"""The record that colorize.py leaves beside the images it has made."""

import json
from collections.abc import Sequence
from pathlib import Path

from datamodules.folders import below, first_few

RECORD = "colorize.json"


def require_of_one_call(folder: Path, files: Sequence[Path]) -> None:
    """Refuse predictions that the last call of colorize.py did not make, where there is its record.

    Samples of an earlier call, which had more of them or other settings, would else be scored as this one's.

    Args:
        folder: The folder of predictions.
        files: Those in it that are to be scored.

    Raises:
        ValueError: If there are some, or the record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        listed = [Path(file).parts for each in record["coloured"] for file in each["files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged; remove it, and all files in {folder} are scored") from error
    # paths in the record are as they were given to that call, wherever it ran
    names = [file.relative_to(folder).parts for file in files]
    ends = {length: {parts[-length:] for parts in listed} for length in {len(name) for name in names}}
    strangers = [below(file, folder) for file, name in zip(files, names, strict=True) if name not in ends[len(name)]]
    if strangers:
        raise ValueError(
            f"{len(strangers):,} files in {folder} are not of the call of colorize.py whose record is there: "
            f"{first_few(strangers)}; remove them, or remove {RECORD} if all belong together"
        )
