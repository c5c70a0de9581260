"""A run's directory: the same for the same command, new for a new run, found again by resume."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.run_directory import LAST_CHECKPOINT, RANK_VARIABLE, choose_run_directory


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No rank has chosen a directory yet."""
    monkeypatch.setenv(RANK_VARIABLE, "")
    monkeypatch.chdir(tmp_path)


def config_of(**changes: Any) -> dict[str, Any]:
    """A composed config."""
    return {"runs": "runs", "name": "pic", "resume": "never", "model": {"width": 8}, **changes}


def chosen(monkeypatch: pytest.MonkeyPatch, checkpoint: bool = True, **changes: Any) -> Path:
    """What a fresh process of this config chooses and makes."""
    monkeypatch.setenv(RANK_VARIABLE, "")
    directory = choose_run_directory(config_of(**changes))
    directory.mkdir(parents=True, exist_ok=True)
    if checkpoint:
        (directory / LAST_CHECKPOINT).parent.mkdir(exist_ok=True)
        (directory / LAST_CHECKPOINT).touch()
    return directory


def test_further_runs_of_a_config_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (chosen(monkeypatch) for _ in range(3))
    assert first.parent == Path("runs/pic")
    assert second.name == f"{first.name}-2"
    assert third.name == f"{first.name}-3"


def test_auto_goes_on_in_the_latest_run_of_the_same_config(monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(monkeypatch, resume="auto")
    assert chosen(monkeypatch, resume="auto") == first
    second = chosen(monkeypatch)
    assert chosen(monkeypatch, resume="auto") == second
    assert chosen(monkeypatch, resume="auto", model={"width": 9}) not in (first, second)


def test_auto_passes_over_runs_that_never_got_to_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(monkeypatch)
    chosen(monkeypatch, checkpoint=False)
    assert chosen(monkeypatch, resume="auto") == first


def test_launched_ranks_inherit_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(monkeypatch)
    assert choose_run_directory(config_of()) == first


def test_other_jobs_of_one_process_choose_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(monkeypatch)
    assert choose_run_directory(config_of(seed=1)) != first


def test_a_named_run_must_hold_a_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="resume takes never, auto or a run's directory"):
        chosen(monkeypatch, resume="runs/nowhere")
    checkpoint = tmp_path / "old" / LAST_CHECKPOINT
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert chosen(monkeypatch, resume=str(tmp_path / "old")) == tmp_path / "old"
