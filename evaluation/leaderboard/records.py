"""The records that a leaderboard reads: types and ranges of their entries, and what is said where one differs."""

import json
import re
import reprlib
import sys
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from evaluation.measures import MEASURES

Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = str | int | float
"""A name that somebody typed, which YAML may have taken for a number."""


def known_measure(name: str) -> str:
    """The name of a measure.

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in MEASURES:
        raise ValueError("is no measure here; was it scored by a newer version?")
    return name


def plain_file_name(name: str) -> str:
    """A name that begins those of files in one folder.

    Raises:
        ValueError: If it leads elsewhere.
    """
    if name != PurePosixPath(name).name or {"\0", "\\"} & set(name):
        raise ValueError("should be the name of a file, without folders")
    return name


NOT_KEYS = ("str", "int", "float", "[key]")
"""What pydantic adds to the place of an entry: the type that it tried, or that a key is meant."""
Measure = Annotated[str, AfterValidator(known_measure)]


class Strict(BaseModel):
    """Entries of exactly these types; a record may have others, which are not read."""

    model_config = ConfigDict(strict=True)


class Score(Strict):
    """A set's score by a measure, with its 95% interval over `n` images."""

    value: Finite
    low: Finite | None = None
    high: Finite | None = None
    n: Count
    space: str | None = None


class Source(Strict):
    """Where colours came from."""

    sha256: str | None = None


class Protocol(Strict):
    """How images were scored."""

    name: str
    description: str
    measures: list[Measure]
    keys_sha256: str | None = None
    published: str | None = None
    seed: Count
    hash: str


class ImageSet(Strict):
    """Which images were scored."""

    label: str
    complete: bool
    named: bool
    keys_sha256: str
    mean_rgb: Annotated[list[Share], Field(min_length=3, max_length=3)] | None = None


class Curve(Strict):
    """Lists of numbers of one length, but for the edges of bins, which are one more."""

    @model_validator(mode="after")
    def fit_each_other(self) -> "Curve":
        """Check the lengths.

        Raises:
            ValueError: If the lists do not belong together.
        """
        lengths = {len(values) - (name == "edges" and not isinstance(self, CumulativeError)) for name, values in self}
        if len(lengths) > 1 or min(lengths) < 1:
            raise ValueError(f"should have lists of one length, edges one more: {', '.join(type(self).model_fields)}")
        return self


class CumulativeError(Curve):
    """Larsson et al. 2016, Figure 6; its shares are at the edges."""

    edges: list[Finite]
    shares: list[Finite]


class PsnrHistogram(Curve):
    """Larsson et al. 2016, Figure 7."""

    edges: list[Finite]
    pictures: list[Finite]


class AbHistogram(Curve):
    """Guadarrama et al. 2017, Figures 7 and 8."""

    edges: list[Finite]
    a: list[Finite]
    b: list[Finite]
    a_of_truth: list[Finite]
    b_of_truth: list[Finite]


class DistanceShares(Curve):
    """Zhang et al. 2016, section 3.1."""

    distances: list[Finite]
    shares: list[Finite]


class SimilarityHistogram(Curve):
    """Guadarrama et al. 2017, Figure 10."""

    edges: list[Finite]
    pairs: list[Finite]


class BestOf(Curve):
    """The PSNR of the best of so many samples."""

    samples: list[Finite]
    psnr: list[Finite]


class Curves(Strict):
    """What plots are drawn from, by the names in `evaluation.measures.CURVES`."""

    cumulative_error: CumulativeError | None = None
    psnr_histogram: PsnrHistogram | None = None
    ab_histogram: AbHistogram | None = None
    distance_shares: DistanceShares | None = None
    ms_ssim_histogram: SimilarityHistogram | None = None
    psnr_best_of: BestOf | None = None


class Scores(Strict):
    """What is read of a `scores.json`."""

    method: Name
    variant: Name | None = None
    kind: Literal["checkpoint", "predictions", "baseline"]
    source: Source
    hyper_parameters: dict[str, Any] | None = None
    protocol: Protocol
    set: ImageSet
    pictures: dict[str, Count]
    metrics: dict[Measure, Score]
    left_out: dict[str, str]
    curves: Curves | None = None
    gallery: list[Annotated[str, AfterValidator(plain_file_name)]] | None = None
    notes: list[str] | None = None
    packages: dict[str, Any] | None = None
    hardware: dict[str, Any] | None = None
    wall_seconds: Finite | None = None


class Best(Strict):
    """By what a run chose its checkpoint; of one that diverged the value is NaN, infinite or null."""

    monitor: str
    mode: Literal["min", "max"]
    value: float | None


class RunEntries(Strict):
    """What is read of a `run.json`."""

    status: str | None = None
    failure: str | None = None
    overrides: list[str] | None = None
    best: Best | None = None


Record = TypeVar("Record", bound=BaseModel)


def read_record(path: Path, mend: str, **wanted: Any) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: Its file.
        mend: What to do if it cannot be read.
        wanted: Entries that it must have.

    Raises:
        ValueError: If it is not there, no file, not whole, or has other entries.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no regular file; {mend}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply; {mend}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no whole JSON file: {error}; {mend}") from error
    for key, value in wanted.items():
        if (found := record.get(key) if isinstance(record, dict) else None) != value:
            raise ValueError(f"{path} is of {key} {reprlib.repr(found)}, and the leaderboard reads {value}; {mend}")
    if not isinstance(record, dict):
        raise ValueError(f"{path} holds no record; {mend}")
    return record


def check(path: Path, record: dict[str, Any], model: type[Record], mend: str) -> Record:
    """The entries of a record that a model names.

    Raises:
        ValueError: If one is missing, or of another type or range: the first, with the file's name and the entry's.
    """
    try:
        return model.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
    entry = ".".join(str(key) for key in first["loc"] if key not in NOT_KEYS)
    if first["type"] == "missing":
        raise ValueError(f"{path} has no {entry}; {mend}")
    wanted = re.sub("^(Value error, |Input |List )", "", first["msg"])
    raise ValueError(f"{path} holds {reprlib.repr(first['input'])} as {entry}, which {wanted}; {mend}")


def complain(sentence: str) -> None:
    """Say what is not shown, and why, while the rest is."""
    print(f"left out: {sentence}", file=sys.stderr)
