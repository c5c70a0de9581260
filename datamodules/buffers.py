"""Shared memory for batches that is used again when nobody looks at it any more.

Fresh shared memory for each batch would cost a worker a fifth of the time that decoding takes, and the trainer, who has
to be handed it and to map it, nearly as much. So a worker keeps its buffers, hands each over once, and lends it to one
batch at a time: the first byte of a buffer says whether it is lent. The trainer clears that byte when the last tensor
that sees the batch is gone.
"""

import weakref
from typing import NamedTuple

import torch
from torch import Tensor

HEADER = 64
LENT, FREE = 1, 0


class Loan(NamedTuple):
    """What a worker tells of a buffer that it lends."""

    worker: int
    number: int
    shape: tuple[int, ...]
    new: Tensor | None
    """The buffer itself, when it is lent for the first time."""


class Lender:
    """A worker's buffers.

    Args:
        worker: Its number.
    """

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.buffers: dict[int, Tensor] = {}
        self.made = 0

    def lend(self, shape: tuple[int, ...]) -> tuple[Loan, Tensor]:
        """A buffer of this shape, uint8, that nobody looks at."""
        size = HEADER + torch.Size(shape).numel()
        self.buffers = {number: buffer for number, buffer in self.buffers.items() if len(buffer) == size}
        number = next((number for number, buffer in self.buffers.items() if buffer[0] == FREE), None)
        new = None
        if number is None:
            self.made += 1
            number = self.made
            new = self.buffers[number] = torch.empty(size, dtype=torch.uint8).share_memory_()
        self.buffers[number][0] = LENT
        return Loan(self.worker, number, shape, new), self.buffers[number][HEADER:].view(shape)


class Borrower:
    """The trainer's side: the buffers of all workers."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[int, int], Tensor] = {}

    def borrow(self, loan: Loan) -> Tensor:
        """What was lent; when this tensor and all its views are gone, the buffer is free again."""
        place = (loan.worker, loan.number)
        if loan.new is not None:
            size = len(loan.new)
            # a worker gives up its buffers of other sizes when it makes a new one
            self.buffers = {
                other: buffer
                for other, buffer in self.buffers.items()
                if other[0] != loan.worker or len(buffer) == size
            }
            self.buffers[place] = loan.new
        buffer = self.buffers[place]
        array = buffer[HEADER:].view(loan.shape).numpy()
        weakref.finalize(array, buffer.__setitem__, 0, FREE).atexit = False
        return torch.from_numpy(array)
