"""Runs that `sbatch sweeps/train.sbatch` starts, and what a cluster does to them."""

import os
import signal

import psutil
import pytest

from sweeps.status import Run
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.conftest import STEPS_PER_EPOCH, User, alone, assert_same_weights, slow, user_in

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def limited(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[User, str]:
    """A run that takes longer than its job may, and that job: submitted first, so that other tests pass the time."""
    user = user_in(tmp_path_factory.mktemp("limited"), slurm)
    # SLURM looks twice a minute, so the signal comes after 45 to 75 seconds
    return user, user.sbatch(slow(3.5), options=("--time=2", "--signal=USR1@45"))


def test_two_tasks_are_one_run(undisturbed: tuple[User, Run]) -> None:
    user, run = undisturbed
    record = user.record(run)
    assert (run.state, run.why, run.monitor) == ("finished", "", "validation/bits_per_dim")
    assert record["config"]["trainer"]["devices"] == 2
    assert user.checkpoint(run)["global_step"] == 2 * STEPS_PER_EPOCH
    assert "MEMBER: 2/2" in (user.folder / f"slurm-{record['slurm_job']}.out").read_text()


def test_a_warned_run_is_requeued_and_goes_on_exactly_when_its_drained_node_is_back(
    user: User, undisturbed: tuple[User, Run]
) -> None:
    job = user.sbatch("logger=wandb", slow(1))
    user.wait_for_step(3)
    with user.cluster.drained():
        other = user.submit(["sbatch", "--wrap=true"])
        assert user.cluster.state(job) == "RUNNING", "draining lets it be"
        user.cluster.run("scancel", "--signal=USR1", job)
        user.cluster.wait(job, "PENDING")
        waiting = user.only_run()
        assert waiting.state == "waiting"
        assert waiting.why.startswith(f"SLURM job {job} is PENDING")
        assert 0 < user.checkpoint(waiting)["global_step"] < STEPS_PER_EPOCH, "in the middle of an epoch"
        assert user.cluster.state(other) == "PENDING"
    assert user.cluster.wait(job, "COMPLETED", "FAILED") == "COMPLETED"
    assert user.cluster.wait(other, "COMPLETED", "FAILED") == "COMPLETED"
    finished, (whose, calm) = user.only_run(), undisturbed
    assert (finished.state, finished.directory) == ("finished", waiting.directory)
    assert_same_weights(user.checkpoint(finished), whose.checkpoint(calm))
    tracked = sorted((user.folder / finished.directory / "wandb").glob("offline-run-*"))
    assert len(tracked) == 2
    assert all(path.name.endswith(user.record(finished)["tracking_id"]) for path in tracked)


def test_a_cancelled_run_is_stopped_and_goes_on_by_its_own_command(user: User, undisturbed: tuple[User, Run]) -> None:
    job = user.sbatch(slow(1))
    user.wait_for_step(3)
    user.cluster.run("scancel", job)
    user.cluster.wait(job, "CANCELLED")
    wait_until(lambda: job not in user.jobs(), "the job did not end", 60)
    stopped = user.only_run()
    assert stopped.state == "stopped"
    assert 0 < user.checkpoint(stopped)["global_step"] < STEPS_PER_EPOCH

    again = user.submit(alone(stopped))
    assert user.cluster.wait(again, "COMPLETED", "FAILED") == "COMPLETED"
    finished, (whose, calm) = user.only_run(), undisturbed
    assert (finished.state, finished.directory) == ("finished", stopped.directory)
    assert_same_weights(user.checkpoint(finished), whose.checkpoint(calm))


def test_a_killed_process_does_not_leave_the_others_waiting(user: User) -> None:
    job = user.sbatch(slow(1))
    user.wait_for_step(3)
    assert user.only_run().state == "running"
    os.kill(process_of(job, rank="1"), signal.SIGKILL)
    assert user.cluster.wait(job, "COMPLETED", "FAILED", seconds=30) == "FAILED"
    run = user.only_run()
    assert run.state in ("failed", "crashed")
    assert run.why


def test_a_killed_run_is_named_with_what_slurm_says(user: User) -> None:
    job = user.sbatch(slow(1), options=())
    user.wait_for_step(1)
    os.kill(process_of(job, rank="0"), signal.SIGKILL)
    user.cluster.wait(job, "FAILED", seconds=30)
    run = user.only_run()
    assert (run.state, run.why) == ("crashed", f"SLURM job {job} is FAILED: NonZeroExitCode")


def test_a_run_longer_than_its_job_is_finished_in_several_turns(limited: tuple[User, str]) -> None:
    user, job = limited
    assert user.cluster.wait(job, "COMPLETED", "FAILED", "TIMEOUT", seconds=280) == "COMPLETED"
    assert user.only_run().state == "finished"
    assert int(user.cluster.field(job, "Restarts")) > 0
    assert len(list((user.folder / user.only_run().directory / "logs").iterdir())) > 1


def process_of(job: str, rank: str) -> int:
    """The number of the process that is a rank of a job."""
    return next(
        process.pid
        for process in psutil.process_iter()
        if process.cmdline()[1:2] == ["train.py"]
        and (process.environ().get("SLURM_JOB_ID"), process.environ().get("SLURM_PROCID")) == (job, rank)
    )
