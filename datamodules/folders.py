"""Folders of pictures that anybody made: the truth, and predictions of it, matched by the names of their files."""

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import torch
from rich.progress import track
from torch import Tensor

from datamodules.picture_set import BadPictureError, PictureSet, Visit
from datamodules.pictures import find_pictures, format_named, read_picture_and_format
from lightning_modules.color import is_grey

HASHED_AT_ONCE = 64
"""Files that a thread takes at a time."""
LISTED = 5
"""Names that an error gives."""
IMAGENET_CLASSES = 1_000
WORDNET_ID = re.compile(r"n\d{8}")
SHEET = "sheet"
"""What stands behind a picture's name in that of colorize.py's sheet of samples."""


class Folder(PictureSet):
    """The pictures below a folder, each named by its file's stem; where stems repeat, by its path with `_` for `/`.

    They are sorted by name, so that folders of classes change nothing. If they lie in several folders, their `labels`
    are the places of their folders among the sorted ones. A picture shows its own as `label` only if the folders are
    those of ImageNet's 1,000 classes, whose numbers others know.

    Args:
        root: The folder.
        keys: Take only these pictures; None takes all.

    Raises:
        FileNotFoundError: If there are no pictures.
        ValueError: If two pictures would have one name, or one of `keys` is not there.
    """

    def __init__(self, root: Path, keys: Collection[str] | None = None) -> None:
        found = find_pictures(root)
        paths = by_name(found, root)
        if keys is not None:
            if missing := sorted(set(keys) - paths.keys()):
                raise ValueError(
                    f"{len(keys):,} pictures are wanted; {root} holds {len(keys) - len(missing):,} of them: missing "
                    f"{first_few(missing)}"
                )
            paths = {key: paths[key] for key in keys}
        self.keys = sorted(paths)
        self.paths = [paths[key] for key in self.keys]
        classes = {folder: label for label, folder in enumerate(sorted({path.parent for path in found}))}
        self.labels = [classes[path.parent] for path in self.paths] if len(classes) > 1 else None
        self.of_imagenet = are_imagenets_classes(classes, root)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        sample = {"rgb": shown(self.paths[visit.picture])[0], "key": self.keys[visit.picture]}
        return sample | ({"label": self.labels[visit.picture]} if self.labels and self.of_imagenet else {})

    def digest(self, number: int) -> bytes:
        """Of the file."""
        return file_digest(self.paths[number])


class UnmatchedError(ValueError):
    """Pictures without a prediction, or predictions of no picture.

    Args:
        text: How many, and the first of them.
        missing: Names of all pictures without a prediction.
        strangers: All files, below the folder of predictions, that are of no picture.
    """

    def __init__(self, text: str, missing: Sequence[str], strangers: Sequence[str]) -> None:
        super().__init__(text)
        self.missing, self.strangers = missing, strangers


class Predicted(PictureSet):
    """Pictures with the predictions that a folder holds of them.

    A prediction has the stem of its picture, or the stem, `_` and the number of the sample; in a folder of a class the
    class and `_` may stand before it, as in the names of `Folder`. A name that fits a picture as it stands is not taken
    apart. The sheets of several samples that colorize.py writes are passed over.

    A picture is what `truth` shows and: `samples`, uint8 `(S, 3, h, w)`, of whatever size they have; `mislabelled`,
    whether a file holds another format than its suffix says; `grey_prediction`, whether no sample has any colour;
    `lossy`, whether a file is a JPEG.

    Attributes:
        missing: Names of the pictures without a prediction.
        strangers: Files, below the folder, that are of no picture.

    Args:
        truth: The pictures.
        predictions: The folder.
        unmatched: Whether to `stop` at pictures without a prediction and at predictions without a picture, or to
            `leave_out` both.
        restrict_to: Only these pictures want predictions, and predictions of others do no harm; None means all.

    Raises:
        FileNotFoundError: If the folder holds no pictures.
        UnmatchedError: If what must match does not, or nothing does.
        ValueError: If two pictures, or two predictions, have one name; or if pictures differ in the number of samples.
    """

    def __init__(
        self,
        truth: PictureSet,
        predictions: Path,
        unmatched: Literal["stop", "leave_out"],
        restrict_to: Collection[str] | None = None,
    ) -> None:
        if unmatched not in ("stop", "leave_out"):
            raise ValueError(f"unmatched is stop or leave_out, not {unmatched}")
        self.truth, self.predictions = truth, predictions
        names = {composed(key): place for place, key in enumerate(truth.keys)}
        if len(names) < len(truth.keys):
            twice = Counter(map(composed, truth.keys)).most_common(1)[0][0]
            raise ValueError(f"several pictures are called {twice}: their predictions cannot be told apart")
        found, self.strangers = samples_of(predictions, names)
        if restrict_to is not None:
            wanted = {composed(key) for key in restrict_to}
            names = {name: place for name, place in names.items() if name in wanted}
        self.missing = [truth.keys[place] for name, place in names.items() if name not in found]
        places = [place for name, place in names.items() if name in found]
        if not places or (unmatched == "stop" and (self.missing or self.strangers)):
            raise UnmatchedError(self.complaint(len(names), bool(places)), self.missing, self.strangers)
        self.places, self.keys = places, [truth.keys[place] for place in places]
        self.labels = None if truth.labels is None else [truth.labels[place] for place in places]
        self.files = in_order([(key, found[composed(key)]) for key in self.keys])

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        files = self.files[visit.picture]
        sample = self.truth[Visit(self.places[visit.picture], visit.epoch)]
        pictures, formats = zip(*map(shown, files), strict=True)
        for picture, file in zip(pictures, files, strict=True):
            if picture.shape != pictures[0].shape:
                raise ValueError(f"{file} is {size_of(picture)}, but {files[0].name} is {size_of(pictures[0])}")
        return sample | {
            "samples": torch.stack(pictures),
            "mislabelled": list(formats) != [format_named(file) for file in files],
            "grey_prediction": all(is_grey(picture) for picture in pictures),
            "lossy": "JPEG" in formats,
        }

    def digest(self, number: int) -> bytes:
        """Of the picture and of its predictions."""
        digests = (self.digests[file] for file in self.files[number])
        return hashlib.sha256(self.truth.digest(self.places[number]) + b"".join(digests)).digest()

    @cached_property
    def digests(self) -> dict[Path, bytes]:
        """SHA-256 of each file of predictions."""
        files = [file for files in self.files for file in files]
        pieces = [files[start : start + HASHED_AT_ONCE] for start in range(0, len(files), HASHED_AT_ONCE)]
        with ThreadPoolExecutor() as pool:
            found = pool.map(lambda piece: list(map(file_digest, piece)), pieces)
            shown = track(found, "hashing predictions", len(pieces), disable=len(files) < 500)
            return dict(zip(files, chain.from_iterable(shown), strict=True))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of what `sha256sum` prints of the predictions, sorted by their paths below the folder."""
        lines = sorted((below(file, self.predictions), digest.hex()) for file, digest in self.digests.items())
        return hashlib.sha256(os.fsencode("".join(f"{digest}  {name}\n" for name, digest in lines))).hexdigest()

    def complaint(self, wanted: int, some_match: bool) -> str:
        """What does not match, and the mend."""
        faults = []
        if self.missing:
            faults.append(f"lacks {len(self.missing):,} of {wanted:,} predictions ({first_few(self.missing)})")
        if self.strangers:
            faults.append(f"has {len(self.strangers):,} that are of no picture ({first_few(self.strangers)})")
        mend = "rename them, or give unmatched=leave_out" if some_match else "name predictions as their pictures"
        return f"{self.predictions} {' and '.join(faults)}; {mend}"


def samples_of(folder: Path, names: Collection[str]) -> tuple[dict[str, dict[int, Path]], list[str]]:
    """The samples of each picture by their numbers, and the files, below the folder, that are of none.

    Raises:
        FileNotFoundError: If the folder holds no pictures.
        ValueError: If two files are the same sample.
    """
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    strangers = []
    for file in find_pictures(folder):
        name, sample = told_by_name(file.relative_to(folder), names)
        if name not in names:
            strangers.append(below(file, folder))
        elif sample != SHEET and found[name].setdefault(int(sample), file) != file:
            raise ValueError(f"{found[name][int(sample)]} and {file} are the same sample of {name}; keep one of them")
    return found, strangers


def told_by_name(path: Path, names: Collection[str]) -> tuple[str, str]:
    """The picture that a file is of and the number of the sample; the picture is none of `names` if none fits."""
    spellings = (joined(path), joined(Path(path.name)))
    for name in spellings:
        if name in names:
            return name, "0"
    for spelling in spellings:
        name, _, sample = spelling.rpartition("_")
        if name in names and (sample.isdecimal() or sample == SHEET):
            return name, sample
    return "", ""


def in_order(samples: Sequence[tuple[str, dict[int, Path]]]) -> list[list[Path]]:
    """The samples of each picture by number.

    Raises:
        ValueError: If a number is left out, or pictures differ in how many they have.
    """
    first, files = samples[0]
    for key, numbered in samples:
        if sorted(numbered) != list(range(len(numbered))):
            numbers = ", ".join(str(number) for number in sorted(numbered))
            raise ValueError(f"{key} has predictions of the numbers {numbers}; number them from 0 without a gap")
        if len(numbered) != len(files):
            raise ValueError(
                f"pictures differ in how many predictions they have: {first} {len(files):,}, {key} {len(numbered):,}"
            )
    return [[numbered[number] for number in range(len(files))] for _, numbered in samples]


def by_name(paths: Sequence[Path], root: Path) -> dict[str, Path]:
    """Pictures by stem, or by path where stems repeat.

    Raises:
        ValueError: If two would still have one name.
    """
    names = [joined(Path(path.name)) for path in paths]
    if len(set(names)) < len(names):
        names = [joined(path.relative_to(root)) for path in paths]
    named: dict[str, Path] = {}
    for name, path in zip(names, paths, strict=True):
        if named.setdefault(name, path) != path:
            raise ValueError(f"{named[name]} and {path} would both be called {name}; rename one of them")
    return named


def are_imagenets_classes(folders: Collection[Path], root: Path) -> bool:
    """Whether these are the folders of ImageNet's 1,000 classes."""
    return len(folders) == IMAGENET_CLASSES and all(
        folder.parent == root and WORDNET_ID.fullmatch(folder.name) for folder in folders
    )


def shown(path: Path) -> tuple[Tensor, str]:
    """A picture, uint8 `(3, H, W)`, and its file's format.

    Raises:
        BadPictureError: If it cannot be read.
        FileNotFoundError: If it is gone.
    """
    try:
        return read_picture_and_format(path)
    except ValueError as error:
        raise BadPictureError(str(error), str(path)) from error


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file, or of the reason why it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        return hashlib.sha256(str(error.errno).encode()).digest()


def joined(path: Path) -> str:
    """A relative path as one name: without suffix, and with `_` for `/`."""
    return composed("_".join(path.with_suffix("").parts))


def composed(name: str) -> str:
    """A name with each accent in one character with its letter: some systems store them apart."""
    return normalize("NFC", name)


def below(path: Path, folder: Path) -> str:
    """A path as seen from a folder."""
    return path.relative_to(folder).as_posix()


def size_of(picture: Tensor) -> str:
    """Width and height for people."""
    return f"{picture.shape[2]}x{picture.shape[1]}"


def first_few(names: Sequence[str]) -> str:
    """The first names of many."""
    return f"{', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}"
