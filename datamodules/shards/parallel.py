"""Many tasks at once, their results as they come."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from itertools import islice
from typing import Any, TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[tuple[Task, Result]]:
    """Each task and its result, as they come; the first failure ends all.

    Processes are spawned, since forking one that has threads can hang.
    """
    if workers <= 1:
        yield from ((task, function(task)) for task in tasks)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=begin_worker) as pool:
        yield from as_they_come(pool, function, iter(tasks), 2 * workers)


def as_they_come(
    pool: Executor, function: Callable[[Task], Result], tasks: Iterator[Task], at_once: int
) -> Iterator[tuple[Task, Result]]:
    """Results as they come, with only so many tasks handed out at once."""
    running: dict[Future[Any], Task] = {pool.submit(function, task): task for task in islice(tasks, at_once)}
    try:
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), future.result()
                running |= {pool.submit(function, task): task for task in islice(tasks, 1)}
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def begin_worker() -> None:
    """A worker computes in one thread, and leaves Ctrl-C to the process that it works for."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
