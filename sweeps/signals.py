"""The signals that end a run early."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

REQUEUE, STOP = signal.SIGUSR1, signal.SIGTERM
"""A warning that time is nearly up, as `sbatch --signal=USR1@120` sends it; and an order to end."""


@contextmanager
def held() -> Iterator[None]:
    """Let signals wait, so that none is lost while a run cannot hear it yet."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (REQUEUE, STOP))
    try:
        yield
    finally:
        let_through()


def let_through() -> None:
    """Let those that wait, and all that follow, come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (REQUEUE, STOP))
