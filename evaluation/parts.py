"""A few pictures of a set, scored and kept in a file: the unit in which scoring is shared out, killed and gone on with.

Which pictures a part holds follows from the set and the protocol alone, so that any number of processes, in any number
of attempts, ends with the same files and the same scores.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

PART = 32
"""Pictures in a part, but perhaps in the last."""

Statistics = dict[str, NDArray[np.float32]]
"""A row a picture, (N, K), by name."""


@dataclass
class Table:
    """Some pictures' statistics.

    Attributes:
        keys: The pictures' names.
        sizes: Their height and width when they were compared.
        statistics: By name, (N, K) each.
    """

    keys: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    statistics: Statistics = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[tuple[str, tuple[int, int], Mapping[str, NDArray[np.float64]]]]) -> "Table":
        """The table of pictures' names, sizes and statistics, (K,) each."""
        if not rows:
            return cls()
        statistics = {name: np.stack([row[2][name] for row in rows]).astype(np.float32) for name in rows[0][2]}
        return cls([row[0] for row in rows], [row[1] for row in rows], statistics)


@dataclass
class Part:
    """What is known of a part's pictures.

    Attributes:
        coloured: Those that have colour and were coloured.
        modelled: Those whose likelihood was computed.
        unreadable: Why those that could not be scored could not be read, or coloured, by name.
        counts: Of pictures that were read, grey, and so on.
    """

    coloured: Table
    modelled: Table
    unreadable: dict[str, str]
    counts: dict[str, int]


@dataclass(frozen=True)
class Parts:
    """The files of one scoring.

    Attributes:
        folder: Where they are.
        count: How many there will be.
    """

    folder: Path
    count: int

    def path(self, number: int) -> Path:
        """A part's file."""
        return self.folder / f"part_{number:06}.npz"

    def done(self, number: int) -> bool:
        """Whether a part is there, or was: whoever has all of them clears them away."""
        return self.path(number).is_file() or not self.folder.is_dir()

    def save(self, number: int, part: Part) -> None:
        """Write a part, whole or not at all."""
        told = {"counts": part.counts, "unreadable": part.unreadable}
        arrays: dict[str, Any] = {name: np.array(json.dumps(values)) for name, values in told.items()}
        for name in ("coloured", "modelled"):
            table: Table = getattr(part, name)
            arrays[f"{name}/keys"] = np.array(table.keys, dtype=np.str_)
            arrays[f"{name}/sizes"] = np.array(table.sizes, dtype=np.int64).reshape(-1, 2)
            # Side by side, as each array takes its time to be read
            values = list(table.statistics.values()) or [np.empty((0, 0), dtype=np.float32)]
            arrays[f"{name}/statistics"] = np.concatenate(values, axis=1)
            arrays[f"{name}/names"] = np.array(list(table.statistics), dtype=np.str_)
            arrays[f"{name}/ends"] = np.cumsum([each.shape[1] for each in values])
        half = self.folder / f"{uuid4().hex}.half"
        try:
            with half.open("wb") as file:
                np.savez(file, **arrays)
            half.replace(self.path(number))
        except FileNotFoundError:
            if self.folder.is_dir():
                raise
        finally:
            half.unlink(missing_ok=True)

    def load(self, number: int) -> Part:
        """Read a part.

        Raises:
            ValueError: If it is damaged.
        """
        path = self.path(number)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is damaged; delete it, and the same command scores its pictures again") from error
        tables = {}
        for name in ("coloured", "modelled"):
            values = np.split(arrays[f"{name}/statistics"], arrays[f"{name}/ends"][:-1], axis=1)
            statistics = dict(zip(arrays[f"{name}/names"].tolist(), values, strict=False))
            sizes = [(int(height), int(width)) for height, width in arrays[f"{name}/sizes"]]
            tables[name] = Table(arrays[f"{name}/keys"].tolist(), sizes, statistics)
        unreadable, counts = (json.loads(str(arrays[name])) for name in ("unreadable", "counts"))
        return Part(tables["coloured"], tables["modelled"], unreadable, counts)

    def __iter__(self) -> Iterator[Part]:
        """All parts, one at a time."""
        return map(self.load, range(self.count))
