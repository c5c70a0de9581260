"""Folders of pictures, matched by the names of their files."""

import os
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
SHEET = "_sheet"
"""What stands behind a picture's name in that of colorize.py's sheet of samples."""


def pictures_by_stem(folder: Path) -> dict[str, Path]:
    """The pictures at any depth of a folder, but hidden ones, by their names without suffix.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If two have one name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give one that holds pictures")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        name = printable(path.stem)
        if found.setdefault(name, path) != path:
            raise ValueError(f"{found[name]} and {path} would both be called {name}; rename one of them")
    if not found:
        raise FileNotFoundError(f"{folder} holds no pictures ({' '.join(sorted(SUFFIXES))})")
    return found


def printable(name: str) -> str:
    """The name of a file as text: bytes in it that are not UTF-8 are spelled out."""
    return os.fsencode(name).decode(errors="backslashreplace")


def samples_of(
    methods: Mapping[str, Path], names: Collection[str], root: Path, several: bool = True
) -> dict[str, dict[str, Path]]:
    """Each method's samples, by `NAME#NUMBER`, of each picture: NAME.png, or NAME_0.png, NAME_1.png, ...

    Args:
        methods: Their folders, by their names.
        names: Of the pictures.
        root: Where the pictures are.
        several: Whether a method may have more than one sample; if not, NAME.png or NAME_0.png is the one.

    Raises:
        FileNotFoundError: If a folder holds no pictures.
        ValueError: If a sample is missing, or is of no picture: all of them are listed.
    """
    found: dict[str, dict[str, Path]] = {}
    faults = []
    for method, folder in methods.items():
        samples: dict[int, dict[str, Path]] = defaultdict(dict)
        strangers = []
        for stem, path in pictures_by_stem(folder).items():
            name, number = told_by_name(stem, names, several)
            if name is None:
                strangers += [] if stem.removesuffix(SHEET) in names else [path.name]
            elif name in samples[number]:
                raise ValueError(f"{samples[number][name]} and {path} are the same sample of {name}; keep one of them")
            else:
                samples[number][name] = path
        most = max(samples, default=0) + 1
        missing = [
            f"{name}_{number}" if most > 1 else name
            for number in range(most)
            for name in sorted(set(names) - samples[number].keys())
        ]
        if missing:
            faults.append(f"{folder} lacks {len(missing):,} of {most * len(names):,} pictures: {', '.join(missing)}")
        if strangers:
            faults.append(f"{folder} holds {len(strangers):,} of no picture in {root}: {', '.join(strangers)}")
        found |= {f"{method}#{number}": samples[number] for number in range(most)}
    if faults:
        raise ValueError(f"pictures are matched by their names; {'; '.join(faults)}")
    return found


def told_by_name(stem: str, names: Collection[str], several: bool) -> tuple[str | None, int]:
    """The picture that a file is of, None if of none, and the number of the sample."""
    if stem in names:
        return stem, 0
    name, _, number = stem.rpartition("_")
    known = name in names and number.isdecimal() and (several or int(number) == 0)
    return (name, int(number)) if known else (None, 0)
