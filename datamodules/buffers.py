"""Shared memory for batches that is used again when nobody looks at it any more.

Fresh shared memory for each batch would cost a worker a fifth of the time that decoding takes, and the trainer, who has
to be handed it and to map it, nearly as much. So a worker keeps its buffers, hands each over once, and lends it to one
batch at a time: a buffer's header says where it stands. When the last tensor that sees a batch is gone, the trainer
says there that the buffer is free. The memory is not pinned, so that a copy to a GPU has read it when it returns.
"""

import os
import weakref
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

HEADER = 64
STATE, KNOWN = 0, 1
"""Places in the header: of one of the states below, and of whether the trainer has the buffer."""
FREE, LENT, BORROWED = 0, 1, 2
"""Nobody looks; on its way to the trainer; the trainer looks."""


class Loan(NamedTuple):
    """What a worker tells of a buffer that it lends."""

    worker: int
    number: int
    shape: tuple[int, ...]
    new: Tensor | None
    """The buffer itself, as long as the trainer does not have it."""


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
        number = next((number for number, buffer in self.buffers.items() if buffer[STATE] == FREE), None)
        if number is None:
            self.made += 1
            number = self.made
            self.buffers[number] = torch.zeros(size, dtype=torch.uint8).share_memory_()
        buffer = self.buffers[number]
        buffer[STATE] = LENT
        return Loan(self.worker, number, shape, None if buffer[KNOWN] else buffer), buffer[HEADER:].view(shape)

    def reclaim(self) -> None:
        """Take back what never arrived: of an epoch that the trainer left early, say."""
        for buffer in self.buffers.values():
            if buffer[STATE] == LENT:
                buffer[STATE] = FREE


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
                (worker, number): buffer
                for (worker, number), buffer in self.buffers.items()
                if worker != loan.worker or len(buffer) == size
            }
            self.buffers[place] = loan.new
        buffer = self.buffers[place]
        header = buffer[:HEADER].numpy()
        header[KNOWN], header[STATE] = 1, BORROWED
        array = buffer[HEADER:].view(loan.shape).numpy()
        weakref.finalize(array, give_back, header, os.getpid()).atexit = False
        return torch.from_numpy(array)


def give_back(header: npt.NDArray[np.uint8], borrower: int) -> None:
    """Free a buffer; a process forked from the borrower has its tensors to drop too, but gives nothing back."""
    if os.getpid() == borrower:
        header[STATE] = FREE
