"""What `sweeps.status` makes of runs' files, processes and SLURM jobs."""

import json
import os
import shlex
import stat
from pathlib import Path
from typing import Any

import pytest

from evaluation.record import write_json
from evaluation.run_directory import process_of
from sweeps.status import find_runs, in_words, main, read_run, slurm_says, state_of

GONE = {"host": process_of(os.getpid())["host"], "pid": 2**22 + 1, "started": 0.0}  # Linux numbers stop before
ELSEWHERE = {"host": "another.machine", "pid": 1, "started": 0.0}


def record_of(**changes: Any) -> dict[str, Any]:
    """A `run.json`."""
    return {
        "status": "running",
        "failure": None,
        "process": process_of(os.getpid()),
        "slurm_job": None,
        "command": "python train.py +experiment=pic_tiny seed=2 resume=auto",
        "overrides": ["+experiment=pic_tiny", "seed=2"],
        "hardware": {"gpus": []},
        "config": {
            "trainer": {"max_steps": -1, "max_epochs": 3, "devices": 1, "num_nodes": 1},
            "callbacks": {"best": {"monitor": "validation/bits_per_dim", "mode": "min"}},
        },
        **changes,
    }


def write_logs(directory: Path, *versions: str) -> None:
    """Write Lightning's CSV logs, a text for each version."""
    for number, text in enumerate(versions):
        folder = directory / "logs" / f"version_{number}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(text)


@pytest.fixture
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is the whole search path."""
    commands = tmp_path / "commands"
    commands.mkdir()
    monkeypatch.setenv("PATH", str(commands))
    return commands


def put(commands: Path, name: str, prints: str, fails: bool = False) -> None:
    """Make a command that prints a state and a detail, or the state alone if asked so, and notes what it was asked."""
    script = commands / name
    state, answer = (shlex.quote(words) for words in (prints.partition("|")[0], prints))
    script.write_text(
        f'#!/bin/sh\necho "$@" > {commands}/{name}.asked\n'
        f'case "$*" in *%T) echo {state};; *) echo {answer};; esac\nexit {int(fails)}\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"status": "finished"}, ("finished", "")),
        ({"status": "failed", "failure": "there is no folder nowhere"}, ("failed", "there is no folder nowhere")),
        ({"status": "stopped"}, ("stopped", "")),
        ({}, ("running", "")),
        ({"process": GONE}, ("crashed", "its process is gone")),
        ({"process": ELSEWHERE}, ("running", "")),
        ({"status": "preempted", "slurm_job": "7"}, ("preempted", "")),
    ],
)
def test_states_without_slurm(no_slurm: Path, changes: dict[str, Any], state: tuple[str, str]) -> None:
    assert state_of(record_of(**changes), no_slurm) == state


@pytest.mark.parametrize(
    ("status", "process", "squeue", "state"),
    [
        ("preempted", GONE, "PENDING|Resources", ("waiting", "SLURM job 7_1 is PENDING: Resources")),
        ("preempted", GONE, "RUNNING|None", ("waiting", "SLURM job 7_1 is RUNNING")),
        ("preempted", GONE, "CANCELLED|None", ("preempted", "SLURM job 7_1 is CANCELLED")),
        ("running", GONE, "PENDING|BeginTime", ("waiting", "SLURM job 7_1 is PENDING: BeginTime")),
        ("running", ELSEWHERE, "RUNNING|None", ("running", "")),
        ("running", GONE, "RUNNING|None", ("crashed", "its process is gone")),
        ("running", ELSEWHERE, "TIMEOUT|TimeLimit", ("crashed", "SLURM job 7_1 is TIMEOUT: TimeLimit")),
        ("running", GONE, "OUT_OF_MEMORY|OutOfMemory", ("crashed", "SLURM job 7_1 is OUT_OF_MEMORY: OutOfMemory")),
        ("finished", GONE, "RUNNING|None", ("finished", "")),
    ],
)
def test_states_with_slurm(
    no_slurm: Path, status: str, process: dict[str, Any], squeue: str, state: tuple[str, str]
) -> None:
    put(no_slurm, "squeue", squeue)
    assert state_of(record_of(status=status, process=process, slurm_job="7_1"), no_slurm) == state


def test_a_job_that_the_controller_forgot_is_looked_up_in_the_accounts(no_slurm: Path) -> None:
    put(no_slurm, "squeue", "", fails=True)
    assert slurm_says("7") == ("", "")
    put(no_slurm, "sacct", "NODE_FAIL|1:0\nsecond line")
    assert slurm_says("7") == ("NODE_FAIL", "1:0")
    assert (no_slurm / "sacct.asked").read_text().split()[-2:] == ["-j", "7"]
    assert slurm_says(None) == ("", "")


def test_steps_and_scores_are_those_of_the_last_turn(tmp_path: Path) -> None:
    heading = "epoch,step,train/bits_per_dim,validation/bits_per_dim\n"
    write_logs(tmp_path, f"{heading}0,9,5.0,\n0,11,,4.0\n0,19,4.5,\n", f"{heading}1,15,4.4,\n1,23,,4.25\n")
    write_json(tmp_path / "run.json", record_of())
    run = read_run(tmp_path)
    assert (run.step, run.planned, run.last, run.best) == (23, "3 epochs", 4.25, 4.0)
    assert run.monitor == "validation/bits_per_dim"
    assert 0 <= run.quiet < 60


def test_the_best_score_is_the_highest_where_that_is_better(tmp_path: Path) -> None:
    write_logs(tmp_path, "epoch,step,validation/iou\n0,9,0.25\n1,19,0.75\n2,29,0.5\n")
    config = {"trainer": {"max_steps": 40000}, "callbacks": {"best": {"monitor": "validation/iou", "mode": "max"}}}
    write_json(tmp_path / "run.json", record_of(config=config))
    run = read_run(tmp_path)
    assert (run.best, run.last, run.planned) == (0.75, 0.5, "40,000 steps")


def test_an_old_record_and_a_bare_one_are_read(tmp_path: Path) -> None:
    old = {"schema": 1, "status": "interrupted", "command": "train.py", "slurm_job": None, "config": {"trainer": None}}
    write_json(tmp_path / "old" / "run.json", old)
    write_json(tmp_path / "bare" / "run.json", {"status": "running", "process": GONE})
    bare, former = (read_run(directory) for directory in find_runs([tmp_path]))
    assert (former.state, former.command, former.step) == ("interrupted", "train.py", None)
    assert (bare.state, bare.planned, bare.best) == ("crashed", "", None)


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"status": ')
    run = read_run(tmp_path)
    assert run.state == "unreadable"
    assert str(tmp_path / "run.json") in run.why


@pytest.mark.parametrize(
    "damage",
    [
        {"config": {"trainer": {"max_steps": "many"}}},
        {"config": {"trainer": [3]}},
        {"config": {"callbacks": "none"}},
        {"process": "x"},
        {"overrides": 3},
        {"hardware": {}, "overrides": ["trainer=ddp_slurm"]},
    ],
)
def test_one_broken_run_does_not_hide_the_others(
    tmp_path: Path, damage: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / "broken" / "run.json", record_of(status="failed", **damage))
    write_json(tmp_path / "whole" / "run.json", record_of(status="finished"))
    main([str(tmp_path), "--json"])
    broken, whole = json.loads(capsys.readouterr().out)
    assert whole["state"] == "finished"
    assert broken["state"] in ("failed", "unreadable")
    assert broken["state"] == "failed" or str(tmp_path / "broken") in broken["why"]


def test_a_table_that_is_piped_has_each_run_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = tmp_path.joinpath(*(f"[a]{'long' * 30}" for _ in range(4)))
    write_json(long / "run.json", record_of(status="finished"))
    main([str(tmp_path)])
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{long} ")]


def test_runs_are_found_at_any_depth_but_not_in_one_another(tmp_path: Path) -> None:
    for place in ("b/c", "a", "a/samples", ".half", "b/.half"):
        write_json(tmp_path / place / "run.json", record_of())
    assert list(find_runs([tmp_path])) == [tmp_path / "a", tmp_path / "b" / "c"]
    assert list(find_runs([tmp_path / "a"])) == [tmp_path / "a"]


def test_processes_of_a_slurm_job_are_submitted_again_as_many(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "command": "python train.py trainer=ddp_slurm 'model.list=[1, 2]' resume=auto",
        "overrides": ["trainer=ddp_slurm", "model.list=[1, 2]"],
        "hardware": {"gpus": ["a", "b", "c", "d"]},
        "config": {"trainer": {"num_nodes": 2, "devices": 4}},
    }
    write_json(tmp_path / "run.json", record_of(status="failed", **changes))
    assert shlex.split(read_run(tmp_path).command) == [
        *("sbatch", "--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "sweeps/train.sbatch"),
        *("model.list=[1, 2]", "resume=auto"),
    ]


def test_below_the_table_stands_why_and_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = "python train.py seed=1 'data.root=[odd]' resume=auto"
    write_json(tmp_path / "1" / "run.json", record_of(status="failed", failure="no [folder] here", command=failed))
    write_json(tmp_path / "2" / "run.json", record_of(status="finished", command="python train.py seed=2"))
    write_json(tmp_path / "3" / "run.json", record_of(command="python train.py seed=3"))
    main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert f"{tmp_path / '1'} failed: no [folder] here" in lines
    assert f"    {failed}" in lines
    assert not [line for line in lines if "seed=2" in line or "seed=3" in line]


def test_scripts_get_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "run.json", record_of(status="failed", failure="so"))
    main([str(tmp_path), "--json"])
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["directory"], run["state"], run["why"]) == (str(tmp_path), "failed", "so")


def test_a_folder_without_runs_and_no_folder_get_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path)])
    assert capsys.readouterr().out == f"no runs in {tmp_path}\n"
    with pytest.raises(SystemExit, match="error: there is no folder nowhere"):
        main(["nowhere"])


@pytest.mark.parametrize(
    ("seconds", "words"), [(7, "7 s"), (119, "2 min"), (3 * 3600 + 60, "3 h"), (86400 * 2.2, "2 d")]
)
def test_times_are_said_in_their_largest_unit(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
