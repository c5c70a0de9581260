"""A run's directory: the same for the same command, new for a new run, found again by resume."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.run_directory import LAST_CHECKPOINT, RANK_VARIABLE, open_run_directory


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No rank has chosen a directory yet."""
    monkeypatch.setenv(RANK_VARIABLE, "")
    monkeypatch.delenv(RANK_VARIABLE)
    monkeypatch.chdir(tmp_path)


def opened(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """What a fresh process of this config opens."""
    monkeypatch.delenv(RANK_VARIABLE, raising=False)
    config = {"runs": "runs", "name": "pic", "resume": "never", "model": {"width": 8}, **changes}
    return open_run_directory(config)


def test_further_runs_of_a_config_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (opened(monkeypatch) for _ in range(3))
    assert first.parent == Path("runs/pic")
    assert second.name == f"{first.name}-2"
    assert third.name == f"{first.name}-3"
    assert third.is_dir()


def test_auto_goes_on_in_the_latest_run_of_the_same_config(monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(monkeypatch, resume="auto")
    assert opened(monkeypatch, resume="auto") == first
    second = opened(monkeypatch)
    assert opened(monkeypatch, resume="auto") == second
    assert opened(monkeypatch, resume="auto", model={"width": 9}) not in (first, second)


def test_launched_ranks_inherit_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(monkeypatch)
    config = {"runs": "runs", "name": "pic", "resume": "never", "model": {}}
    assert open_run_directory(config) == first


def test_a_named_run_must_hold_a_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="resume takes never, auto or a run's directory"):
        opened(monkeypatch, resume="runs/nowhere")
    checkpoint = tmp_path / "old" / LAST_CHECKPOINT
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert opened(monkeypatch, resume=str(tmp_path / "old")) == tmp_path / "old"
