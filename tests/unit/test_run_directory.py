"""A run's directory: the same for the same command, new for a new run, found again by ranks and requeued jobs."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest

from evaluation.heartbeat import HEARTBEAT, Heartbeat
from evaluation.record import write_json
from evaluation.run_directory import (
    JOB_VARIABLE,
    LAST_CHECKPOINT,
    RECORD,
    choose_run_directory,
    enter,
    is_alive,
    job_entries,
    locked,
    rank_of_this_process,
    slurm_job,
    take_over,
    this_job,
)

OF_A_LAUNCHER = (
    *("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"),
    *("SLURM_PROCID", "SLURM_JOB_NAME", "TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", JOB_VARIABLE),
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that nothing started but a shell."""
    for name in OF_A_LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(JOB_VARIABLE, "")
    monkeypatch.chdir(tmp_path)


def config_of(**changes: Any) -> dict[str, Any]:
    """A composed config."""
    return {"runs": "runs", "name": "pic", "resume": "never", "model": {"width": 8}, **changes}


def chosen(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """What a fresh job of this config chooses."""
    monkeypatch.setenv(JOB_VARIABLE, "")
    return choose_run_directory(config_of(**changes))


def in_slurm(monkeypatch: pytest.MonkeyPatch, job: str, step: str | None = "0", restarts: int = 0) -> None:
    """Be a process of a SLURM job."""
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    if step is not None:
        monkeypatch.setenv("SLURM_STEP_ID", step)


def test_further_runs_of_a_config_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (chosen(monkeypatch) for _ in range(3))
    assert first.parent == Path("runs/pic")
    assert second.name == f"{first.name}-2"
    assert third.name == f"{first.name}-3"
    assert sorted(path.name for path in first.parent.iterdir()) == sorted([first.name, second.name, third.name])


def test_auto_goes_on_in_the_latest_run_of_the_same_config(monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(monkeypatch, resume="auto")
    assert chosen(monkeypatch, resume="auto") == first
    second = chosen(monkeypatch)
    assert chosen(monkeypatch, resume="auto") == second
    assert chosen(monkeypatch, resume="auto", model={"width": 9}) not in (first, second)


def test_launched_ranks_inherit_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(monkeypatch)
    assert choose_run_directory(config_of()) == first


def test_other_runs_of_one_process_choose_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(monkeypatch)
    assert choose_run_directory(config_of(seed=1)) != first


def choose_as(job: str) -> str:
    """What a process of a SLURM job chooses, started anew."""
    os.environ |= {"SLURM_JOB_ID": job, "SLURM_STEP_ID": "0"}
    return str(choose_run_directory(config_of()))


def test_ranks_that_race_choose_alike_and_jobs_apart() -> None:
    jobs = [str(number % 3) for number in range(48)]
    with ProcessPoolExecutor(8, mp_context=get_context("fork")) as processes:
        directories = list(processes.map(choose_as, jobs))
    of_job = {job: {place for mine, place in zip(jobs, directories, strict=True) if mine == job} for job in jobs}
    assert all(len(places) == 1 for places in of_job.values()), "ranks of one job are in one directory"
    assert len(set.union(*of_job.values())) == 3, "each job has its own"


@pytest.mark.parametrize("step", ["0", None])
def test_a_requeued_job_finds_its_directory(monkeypatch: pytest.MonkeyPatch, step: str | None) -> None:
    in_slurm(monkeypatch, "12", step)
    first = chosen(monkeypatch)
    other = config_of(seed=1)
    in_slurm(monkeypatch, "12", step, restarts=1)
    assert chosen(monkeypatch) == first
    assert choose_run_directory(other) != first
    in_slurm(monkeypatch, "13", step)
    assert chosen(monkeypatch).name == f"{first.name}-2"


def test_a_shell_inside_slurm_makes_a_run_of_each_command(monkeypatch: pytest.MonkeyPatch) -> None:
    in_slurm(monkeypatch, "12")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert chosen(monkeypatch) != chosen(monkeypatch)


def test_a_job_that_runs_a_command_twice_makes_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    in_slurm(monkeypatch, "12", step="0")
    first = chosen(monkeypatch)
    in_slurm(monkeypatch, "12", step="1")
    assert chosen(monkeypatch) != first


def test_members_of_an_array_are_jobs_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    in_slurm(monkeypatch, "21")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "20")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert slurm_job() == "20_1"
    first = chosen(monkeypatch)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert chosen(monkeypatch) != first


def test_torchrun_names_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert this_job() == this_job(), "all have the same parent"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="--rdzv-id=NAME"):
        this_job()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "tuesday")
    assert this_job() == "torchrun tuesday"


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),
        ({"LOCAL_RANK": "1"}, 1),
        ({"RANK": "5", "LOCAL_RANK": "1"}, 5),
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "3"}, 3),
        ({"SLURM_PROCID": "3", "LOCAL_RANK": "1"}, 1),
        ({"SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0", "LOCAL_RANK": "1"}, 1),
    ],
)
def test_a_process_knows_its_rank(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], rank: int) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert rank_of_this_process() == rank


def test_a_named_run_must_hold_a_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="resume takes never, auto or a run's directory"):
        chosen(monkeypatch, resume="runs/nowhere")
    checkpoint = tmp_path / "old" / LAST_CHECKPOINT
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert chosen(monkeypatch, resume=str(tmp_path / "old")) == tmp_path / "old"


def test_nobody_enters_where_another_job_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = chosen(monkeypatch)
    assert enter(directory)["job"] == this_job()
    monkeypatch.setenv(JOB_VARIABLE, "")
    with pytest.raises(ValueError, match=f"process {os.getpid()} on .* is at work in runs/pic/"):
        enter(directory)
    record = json.loads((directory / RECORD).read_text())
    write_json(directory / RECORD, record | {"status": "stopped"})
    assert enter(directory)["status"] == "stopped"


def test_a_process_that_is_gone_is_not_alive() -> None:
    ours, nowhere = job_entries(), Path("nowhere")
    assert is_alive(ours, nowhere)
    former = {"process": ours["process"] | {"started": ours["process"]["started"] - 600}}
    assert not is_alive(former, nowhere), "another's number"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = psutil.Process(child.pid).create_time()
        theirs = {"process": {"host": socket.gethostname(), "pid": child.pid, "started": started}}
        assert is_alive(theirs, nowhere)
        child.kill()
    assert is_alive(theirs, nowhere) is False


ELSEWHERE = {"host": "elsewhere", "pid": 1, "started": 0.0}


def test_of_another_machine_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    assert is_alive({"process": ELSEWHERE, "slurm_job": "3"}, tmp_path) is None
    assert is_alive({}, tmp_path) is None


@pytest.mark.parametrize(("silent", "alive"), [(0, True), (60, True), (600, False)])
def test_of_another_machine_the_heartbeat_tells(tmp_path: Path, silent: float, alive: bool) -> None:
    (tmp_path / HEARTBEAT).touch()
    os.utime(tmp_path / HEARTBEAT, (time.time() - silent,) * 2)
    assert is_alive({"process": ELSEWHERE}, tmp_path) is alive


def test_the_heart_beats_until_the_context_ends(tmp_path: Path) -> None:
    with Heartbeat(tmp_path, interval=0.01):
        for _ in range(2):
            (tmp_path / HEARTBEAT).unlink(missing_ok=True)
            while not (tmp_path / HEARTBEAT).exists():
                time.sleep(0.01)
    (tmp_path / HEARTBEAT).unlink()
    time.sleep(0.05)
    assert not (tmp_path / HEARTBEAT).exists()


def stop(directory: Path, **changes: Any) -> None:
    """Let a run be one that was stopped, or something else."""
    record = json.loads((directory / RECORD).read_text())
    write_json(directory / RECORD, {**record, "status": "stopped", **changes})


def test_nobody_enters_where_another_machine_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = chosen(monkeypatch)
    stop(directory, status="running", process=ELSEWHERE, job="theirs")
    with pytest.raises(ValueError, match=r"process 1 on elsewhere is at work .* try again 90 s after that"):
        enter(directory)
    os.utime(directory / HEARTBEAT, (0, 0))
    assert enter(directory)["job"] == "theirs"


def go_on_as(arguments: tuple[str, str]) -> bool:
    """Whether a job gets a directory, and leaves it as its own."""
    directory, job = arguments
    os.environ[JOB_VARIABLE] = job
    with locked(Path(directory)):
        try:
            take_over(Path(directory), enter(Path(directory)))
        except ValueError:
            return False
    time.sleep(0.2)  # at work, while others come
    return True


def test_of_commands_that_race_for_a_stopped_run_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = chosen(monkeypatch)
    stop(directory, seed=7)
    with ProcessPoolExecutor(8, mp_context=get_context("fork")) as processes:
        went_on = list(processes.map(go_on_as, [(str(directory), f"job {number}") for number in range(8)]))
    assert sum(went_on) == 1
    record = json.loads((directory / RECORD).read_text())
    assert (record["job"], record["status"], record["seed"]) == (f"job {went_on.index(True)}", "running", 7)


@pytest.mark.parametrize(
    "damage",
    [{"process": "x"}, {"process": {**ELSEWHERE, "pid": "a"}}, {"wall_seconds": "abc"}, {"overrides": [1]}, {"job": 3}],
)
def test_a_damaged_record_is_named_with_its_entry(monkeypatch: pytest.MonkeyPatch, damage: dict[str, Any]) -> None:
    directory = chosen(monkeypatch)
    stop(directory, **damage)
    with pytest.raises(ValueError, match=rf"{directory}/run\.json is damaged: {next(iter(damage))}.* delete the file"):
        enter(directory)
