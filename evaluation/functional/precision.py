"""Arithmetic that a measure needs exact."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.backends import cudnn


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Convolve in float32 on every device.

    By default cuDNN may round float32 to the 10 bits of TF32, and a variance, the small difference of two large
    averages, does not survive that.
    """
    with cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    ):
        yield
