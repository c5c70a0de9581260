"""Weights & Biases: on their server where there is an account, and otherwise on disk, for `wandb sync` later."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import DictConfig


def is_logged_in() -> bool:
    """Whether runs can go to a server."""
    import wandb

    online = wandb.login(prompt=False, verify=False)
    wandb.teardown()  # or its session would remember that nobody has logged in, and refuse to start offline
    return bool(online)


@contextmanager
def tracked(logger: DictConfig | None, rank: int) -> Iterator[None]:
    """A run that this logger tracks, if there is one: the first rank tells it in the end how the run ended."""
    if logger is None or rank:
        yield
        return
    import wandb

    logger.offline |= not is_logged_in()
    try:
        yield
    except BaseException as error:
        if wandb.run is None and "WANDB_SWEEP_ID" in os.environ:
            wandb.init()  # it failed before its first step, and its sweep would never hear of it
        if wandb.run and getattr(error, "status", "") == "preempted":
            wandb.run.mark_preempting()
        wandb.finish(exit_code=1)
        raise
    wandb.finish()
