"""The two records of a run, `run.json` and `scores.json`: all that a leaderboard reads."""

import hashlib
import json
import os
import platform
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from evaluation.heartbeat import Heartbeat

SCHEMA = 2
"""Of run.json."""
SCORES_SCHEMA = 2
PACKAGES = ("chromalab", "torch", "torchvision", "pytorch-lightning", "kornia", "webdataset", "hydra-core", "wandb")
RESERVE, RESERVED_BYTES = ".reserve", 1 << 16
"""A file beside a run's record, and its size: room for the last record where the disk is full."""
PROJECT = Path(__file__).resolve().parent.parent


class Process(BaseModel):
    """What tells a process from all others."""

    host: str
    pid: int
    started: float


class RunFields(BaseModel):
    """The types of what readers of a `run.json` rely on; there may be more, and older records have less."""

    status: str = "running"
    failure: str | None = None
    started: str | None = None
    wall_seconds: float = 0
    command: str = ""
    overrides: list[str] = []
    config: dict[str, Any] | None = None
    hardware: dict[str, Any] | None = None
    tracking_id: str | None = None
    process: Process | None = None
    job: str | None = None
    slurm_job: str | None = None


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record so that a reader finds the old one or the new one, never half of one.

    File names that are no UTF-8 are kept as JSON's escapes.

    Raises:
        OSError: If it cannot be written, with the record's name; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    half = path.with_name(f".{path.name}-{uuid4().hex}")
    try:
        half.write_bytes(text.encode("utf-8", "backslashreplace"))
        half.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        half.unlink(missing_ok=True)


def read_run_record(path: Path) -> dict[str, Any]:
    """Read a `run.json` whose entries have the types that they should have.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is damaged.
    """
    record = read_json(path)
    try:
        RunFields.model_validate(record, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        entry, wanted = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Input ")
        raise ValueError(
            f"{path} is damaged: {entry} is {first['input']!r} and {wanted}; mend it, or delete the file: "
            "the run can still go on from its checkpoints"
        ) from error
    return record


def read_json(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is no JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path.name} in {path.parent}; is that a run's directory?")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no whole JSON file: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} holds no record")
    return record


def run_record(config: dict[str, Any], overrides: Sequence[str], tracking_id: str) -> dict[str, Any]:
    """What a run starts from, as `run.json` keeps it.

    Args:
        config: As composed, resolved.
        overrides: What was asked for on the command line; of a grid's member, its own values.
        tracking_id: The run's id in Weights & Biases.
    """
    asked = [override for override in overrides if override not in ("resume=never", "resume=auto")]
    resume = [] if any(override.startswith("resume=") for override in asked) else ["resume=auto"]
    return {
        "schema": SCHEMA,
        "status": "running",
        "failure": None,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(["python", "train.py", *asked, *resume]),
        "overrides": list(overrides),
        "config": config,
        "seed": config["seed"],
        "tracking_id": tracking_id,
        "commit": git_commit(),
        "packages": package_versions(),
        "hardware": hardware(),
        "best": None,
        "wall_seconds": 0.0,
    }


class RunRecord:
    """`run.json` of a run, kept true while it goes on and when it ends, however that is.

    Used as a context. What ends it by an exception with a `status` has that; else an `Exception` is a failure, and
    anything else a stop.

    Args:
        path: Of the file.
        entries: What it holds.
        rank: Of this process: the first writes, others only that and why they failed.
        sentence_of: What to say of a failure.
    """

    def __init__(
        self, path: Path, entries: dict[str, Any], rank: int, sentence_of: Callable[[BaseException], str]
    ) -> None:
        self.path, self.entries, self.rank, self.sentence_of = path, entries, rank, sentence_of
        self.begun, self.before = time.monotonic(), entries["wall_seconds"]
        self.heartbeat = Heartbeat(path.parent)

    def save(self, **changes: Any) -> None:
        """Write it, with changes."""
        self.entries |= {**changes, "wall_seconds": self.before + time.monotonic() - self.begun}
        if self.rank == 0:
            write_json(self.path, self.entries)

    def __enter__(self) -> Self:
        if self.rank == 0:
            for half in self.path.parent.glob(f".{self.path.name}-*"):  # of a process that was killed
                half.unlink(missing_ok=True)
            self.heartbeat.__enter__()
            (self.path.parent / RESERVE).write_bytes(bytes(RESERVED_BYTES))
        self.save()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self.rank == 0:
            (self.path.parent / RESERVE).unlink(missing_ok=True)
            self.heartbeat.__exit__()
        self.tell(error)

    def tell(self, error: BaseException | None) -> None:
        """Write how it has ended."""
        if error is None:
            self.save(status="finished")
        elif not isinstance(error, Exception):
            self.save(status=getattr(error, "status", "stopped"))
        elif first := read_json(self.path).get("failure"):  # it made this rank fail, too
            self.save(status="failed", failure=first)
        else:
            failure = self.sentence_of(error)
            self.save(status="failed", failure=failure)
            if self.rank:
                blamed = {"status": "failed", "failure": f"rank {self.rank}: {failure}"}
                write_json(self.path, read_json(self.path) | blamed)


def git_commit() -> str | None:
    """The commit of this source tree, `+changes` behind it where files differ; None outside a git checkout."""
    try:
        commit, changes = (
            subprocess.run(["git", *command], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changes else commit


def package_versions() -> dict[str, str]:
    """Python's version and those of the packages that a result depends on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def hardware() -> dict[str, Any]:
    """Processor, cores and GPUs."""
    import torch

    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def processor_name() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
