"""Grids that `hydra/launcher=slurm` submits, a job for each member."""

import shutil

import pytest

from sweeps.status import Run
from tests.slurm.conftest import STEPS_PER_EPOCH, User, alone, assert_same_weights, slow

pytest.importorskip("submitit", reason="the launcher is tested where pip install 'chromalab[slurm]' was done")
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


def of_seeds(user: User) -> dict[int, Run]:
    """The runs of a grid over seeds."""
    return {user.record(run)["seed"]: run for run in user.status()}


def test_members_are_requeued_and_cancelled_alone_and_the_grid_again_repeats_none_that_finished(
    user: User, undisturbed: tuple[User, Run]
) -> None:
    grid = ("seed=0,1", "resume=auto", slow(1))
    launcher = user.launch(*grid, tasks=2)
    user.wait_for_step(3, runs=2)
    first, second = user.jobs()
    assert (first, second) == (f"{first.split('_')[0]}_0", f"{first.split('_')[0]}_1"), "one array of jobs"
    user.cluster.run("scancel", "--signal=USR1", first)
    user.cluster.run("scancel", second)
    user.cluster.wait(first, "PENDING")
    user.cluster.wait(second, "CANCELLED")
    assert user.cluster.wait(first, "COMPLETED", "FAILED") == "COMPLETED"
    runs = of_seeds(user)
    assert {seed: run.state for seed, run in runs.items()} == {0: "finished", 1: "stopped"}
    whose, calm = undisturbed
    assert_same_weights(user.checkpoint(runs[0]), whose.checkpoint(calm))
    assert 0 < user.checkpoint(runs[1])["global_step"] < 2 * STEPS_PER_EPOCH
    output, _ = launcher.communicate(timeout=300)
    assert launcher.returncode != 0, output

    before = user.record(runs[0])
    output, _ = user.launch(*grid, tasks=2).communicate(timeout=300)
    after = of_seeds(user)
    assert [run.state for run in after.values()] == ["finished", "finished"], output
    assert after[1].directory == runs[1].directory
    assert user.record(runs[0]) == before


def test_a_member_that_failed_is_named_and_repeated_alone(user: User) -> None:
    photos = user.folder / "photos"
    launcher = user.launch("seed=3", f"data.root=null,{photos}")
    output, _ = launcher.communicate(timeout=300)
    assert launcher.returncode != 0, output
    states = {run.state: run for run in user.status()}
    assert set(states) == {"finished", "failed"}
    assert f"there is no folder {photos}" in states["failed"].why

    photos.mkdir()
    for picture in user.folder.glob("runs/*/*/gallery/*_truth.png"):
        shutil.copy(picture, photos)
    before = user.record(states["finished"])
    again = user.submit(alone(states["failed"]))
    assert user.cluster.wait(again, "COMPLETED", "FAILED") == "COMPLETED"
    assert [run.state for run in user.status()] == ["finished", "finished"]
    assert user.record(states["finished"]) == before
