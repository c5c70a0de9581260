"""How the benchmarks time, and what they say of the machine."""

import statistics
import time
from collections.abc import Callable

import torch

from evaluation.record import hardware


def seconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median time of `work` after one call to warm up."""
    times = []
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def where(device: torch.device) -> str:
    """The processor and its threads, or the GPU."""
    machine = hardware()
    if device.type == "cuda":
        return str(machine["gpus"][0])
    return f"{machine['processor']}, {torch.get_num_threads()} threads"
