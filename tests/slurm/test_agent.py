"""Runs that agents of Weights & Biases start under SLURM."""

from dataclasses import replace

import pytest

from tests.integration.wandb_server import environment, serving
from tests.slurm.conftest import SMALL, STEPS_PER_EPOCH, User, slow

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


def test_an_agents_run_is_requeued_and_given_to_its_next_turn(user: User) -> None:
    command = ["${env}", "${interpreter}", "${program}", *SMALL, slow(1), "logger=wandb", "resume=auto"]
    with serving() as server:
        server.sweeps["sweep0"] = {"program": "train.py", "method": "grid", "command": [*command, "${args_no_hyphens}"]}
        server.drawn["sweep0"] = 2 * [("drawn", {"seed": 1})]  # what was preempted, the server gives again
        client = {name: value for name, value in environment(server, user.folder).items() if name.startswith("WANDB_")}
        user = replace(user, cluster=replace(user.cluster, environment=user.cluster.environment | client))
        job = user.submit(["sbatch", "sweeps/agent.sbatch", "sweep0"])
        user.wait_for_step(3)
        user.cluster.run("scancel", "--batch", "--signal=USR1", job)
        user.cluster.wait(job, "PENDING")
        waiting = user.only_run()
        assert waiting.state == "waiting"
        assert 0 < user.checkpoint(waiting)["global_step"] < STEPS_PER_EPOCH
        assert user.cluster.wait(job, "COMPLETED", "FAILED") == "COMPLETED"
        assert user.cluster.field(job, "Restarts") == "1"
        finished = user.only_run()
        assert (finished.state, finished.directory) == ("finished", waiting.directory)
        assert user.checkpoint(finished)["global_step"] == 2 * STEPS_PER_EPOCH
        assert user.record(finished)["tracking_id"] == "drawn"
        assert not server.drawn["sweep0"]
