"""Where a run keeps what it makes: `runs/<name>/<run id>`, found again by its ranks, its command, its requeued job."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from filelock import FileLock

from evaluation.heartbeat import HEARTBEAT, seconds_since_heartbeat
from evaluation.record import read_run_record, write_json

JOB_VARIABLE = "CHROMALAB_JOB"
RECORD = "run.json"
LOCK = ".lock"
LOCKED_FOR = 300.0
"""Seconds to wait for whoever is about to go on in the same directory: it reads the last checkpoint meanwhile."""
LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"
CHOICES_OF_PLACE = ("resume", "runs", "run", "name")
ALIVE_WITHIN = 90.0
"""Seconds without a heartbeat after which a run on another machine is taken for dead."""
STARTED_WITHIN = 60.0
"""Seconds by which a process's start, as it was noted, may differ from what the system says: clocks are set."""


def choose_run_directory(config: dict[str, Any]) -> Path:
    """The directory for a run of this config, with a `run.json` that names the job.

    The id is the config's own hash, and `-2`, `-3`, ... behind it for further runs of the same config. All processes
    of a job choose alike, whoever comes first, and so they do when the job was requeued.

    Args:
        config: As composed; of it `name`, `runs` and `resume` say where to look: `never` starts anew, `auto` goes on
            in the latest directory of this config, anything else is the directory to go on in.

    Raises:
        FileNotFoundError: If `resume` names a directory without `checkpoints/last.ckpt`.
        ValueError: If processes on several nodes have nothing that tells their job from others.
    """
    if config["resume"] not in ("never", "auto"):
        directory = Path(config["resume"])
        if not (directory / LAST_CHECKPOINT).is_file():
            raise FileNotFoundError(
                f"there is no {LAST_CHECKPOINT} in {directory}; resume takes never, auto or a run's directory"
            )
        return directory
    parent, identity, job = Path(config["runs"]) / str(config["name"]), config_hash(config), this_job()
    latest, directory, number = None, parent / identity, 1
    while not latest_is_ours(latest, job):
        if directory.is_dir():
            latest, number = directory, number + 1
            directory = parent / f"{identity}-{number}"
        elif latest and config["resume"] == "auto":
            return latest
        elif claim(directory):
            return directory
    assert latest is not None
    return latest


def latest_is_ours(directory: Path | None, job: str) -> bool:
    """Whether another rank of this job made a directory, or the job itself before it was requeued."""
    if directory is None or not (directory / RECORD).is_file():
        return False
    record, requeued = read_run_record(directory / RECORD), int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0
    return record.get("job") == job or (requeued and record.get("slurm_job") == slurm_job())


def locked(directory: Path) -> FileLock:
    """A lock, as a context, under which a directory is entered and claimed: of two that come at once, one waits."""
    return FileLock(directory / LOCK, timeout=LOCKED_FOR)


def enter(directory: Path) -> dict[str, Any]:
    """The record of the run that goes on in a directory; hardly any of a new one.

    Raises:
        ValueError: If another job is at work there, or the record is damaged.
    """
    record = read_run_record(directory / RECORD) if (directory / RECORD).is_file() else {}
    if record.get("job") != this_job() and record.get("status") == "running" and is_alive(record, directory):
        process, silent, since = record["process"], seconds_since_heartbeat(directory), ""
        if process["host"] != socket.gethostname() and silent is not None:
            since = f"; if it died, {silent:.0f} s ago, try again {ALIVE_WITHIN:.0f} s after that"
        raise ValueError(
            f"process {process['pid']} on {process['host']} is at work in {directory}; "
            f"wait for it, or give resume=never{since}"
        )
    return record


def take_over(directory: Path, record: dict[str, Any]) -> None:
    """Say in the record of a directory that was entered that this job is at work there."""
    if record.get("job") != this_job():
        (directory / HEARTBEAT).touch()
        write_json(directory / RECORD, {**record, "status": "running", **job_entries()})


def claim(directory: Path) -> bool:
    """Make a directory that says whose it is, in one step; False if somebody else was faster."""
    half = directory.with_name(f".{directory.name}-{uuid4().hex}")
    write_json(half / RECORD, {"status": "running", **job_entries()})
    (half / HEARTBEAT).touch()
    try:
        half.rename(directory)
    except OSError:
        shutil.rmtree(half)
        return False
    return True


def job_entries() -> dict[str, Any]:
    """What `run.json` says of this process and the job that it belongs to."""
    return {"process": process_of(os.getpid()), "job": this_job(), "slurm_job": slurm_job()}


def config_hash(config: dict[str, Any]) -> str:
    """Eight hexadecimal digits that change with anything in the config but where and whether to go on."""
    what = {key: value for key, value in config.items() if key not in CHOICES_OF_PLACE}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]


def this_job() -> str:
    """What all processes of this job have in common, and no other job has.

    Raises:
        ValueError: If torchrun started processes on several nodes without a name for them.
    """
    environment = os.environ
    if is_srun():
        return f"slurm {slurm_job()}.{environment['SLURM_STEP_ID']}"
    if name := environment.get("TORCHELASTIC_RUN_ID"):
        if environment["LOCAL_WORLD_SIZE"] == environment["WORLD_SIZE"]:
            return f"torchrun {socket.gethostname()} {process_of(os.getppid())}"
        if name == "none":
            raise ValueError("processes on several nodes want a name for their job; give torchrun --rdzv-id=NAME")
        return f"torchrun {name}"
    # what Lightning starts inherits the environment
    job = environment[JOB_VARIABLE] = environment.get(JOB_VARIABLE) or uuid4().hex
    return job


def rank_of_this_process() -> int:
    """Its number among those of its job, as torchrun, srun or Lightning tell it."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID" if is_srun() else "")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


def is_srun() -> bool:
    """Whether srun started this process for a training, and not for a shell to work in."""
    return "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def slurm_job() -> str | None:
    """The SLURM job that this process belongs to, as `scontrol` takes it: `12`, or `12_3` of an array."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")


def process_of(number: int) -> dict[str, Any]:
    """What tells a process from all others: its host, its number and when it started, in seconds since 1970."""
    return {"host": socket.gethostname(), "pid": number, "started": psutil.Process(number).create_time()}


def is_alive(record: dict[str, Any], directory: Path) -> bool | None:
    """Whether the process that wrote the `run.json` of a directory is at work; None where that cannot be told.

    On this machine the system tells, of a SLURM job the queue, and otherwise the run's heartbeat.
    """
    process, job = record.get("process") or {}, record.get("slurm_job")
    if process.get("host") == socket.gethostname():
        try:
            return bool(abs(psutil.Process(process["pid"]).create_time() - process["started"]) < STARTED_WITHIN)
        except psutil.NoSuchProcess:
            return False
    if job and shutil.which("squeue"):
        queue = ["squeue", "--noheader", "--jobs", job, "--format", "%T"]
        answer = subprocess.run(queue, capture_output=True, text=True, check=False)
        # a job that ended long ago is unknown; without an answer, nothing is known
        if answer.returncode == 0 or "Invalid job id" in answer.stderr:
            return answer.stdout.strip() in ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED")
    silent = seconds_since_heartbeat(directory)
    return None if silent is None else silent < ALIVE_WITHIN
