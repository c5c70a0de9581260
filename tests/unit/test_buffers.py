"""Shared buffers: lent to one batch at a time, and again only when nobody looks at it any more."""

import gc
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.buffers import BORROWED, FREE, STATE, Borrower, Lender

SHAPE = (2, 4, 5, 3)


def take(lender: Lender, borrower: Borrower, value: int, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, bool]:
    """A batch full of a value, as the trainer gets it, and whether its buffer is new."""
    loan, room = lender.lend(shape)
    room.fill_(value)
    return borrower.borrow(loan), loan.new is not None


def test_the_trainer_sees_what_the_worker_wrote() -> None:
    lender, borrower = Lender(0), Borrower()
    loan, room = lender.lend(SHAPE)
    wanted = torch.randint(256, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    room.copy_(wanted)
    got = borrower.borrow(loan)
    assert got.dtype == torch.uint8
    assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    "keep",
    [
        lambda batch: batch,
        lambda batch: batch[:1],
        lambda batch: batch[1, 2],
        lambda batch: batch.permute(0, 3, 1, 2),
        lambda batch: batch.permute(0, 3, 1, 2)[:1],
        lambda batch: batch.flatten(),
        lambda batch: batch.detach(),
        lambda batch: batch.numpy(),
        lambda batch: {"deep": [batch[0]]},
    ],
    ids=["tensor", "slice", "row", "permuted", "permuted slice", "flat", "detached", "array", "in a container"],
)
def test_a_buffer_is_not_lent_while_something_sees_it(keep: Callable[[Tensor], Any]) -> None:
    lender, borrower = Lender(0), Borrower()
    batch, _ = take(lender, borrower, 1)
    kept = keep(batch)
    del batch
    for value in range(2, 6):
        other, _ = take(lender, borrower, value)
        assert bool((other == value).all())
        del other
    seen = kept["deep"][0] if isinstance(kept, dict) else kept
    assert bool((seen == 1).all())
    assert lender.made == 2
    del kept, seen
    batches = [take(lender, borrower, 9) for _ in range(2)]
    assert lender.made == 2, "after that it is free"
    assert not any(new for _, new in batches)


def test_two_batches_at_once_have_two_buffers() -> None:
    lender, borrower = Lender(0), Borrower()
    batches = [take(lender, borrower, value)[0] for value in range(5)]
    assert [batch.unique().tolist() for batch in batches] == [[value] for value in range(5)]


def test_what_was_lent_and_not_yet_borrowed_is_not_lent_again() -> None:
    lender = Lender(0)
    loans = [lender.lend(SHAPE)[0] for _ in range(3)]
    assert len({loan.number for loan in loans}) == 3


def test_a_buffer_that_was_dropped_serves_again_and_again() -> None:
    lender, borrower = Lender(0), Borrower()
    news = []
    for value in range(20):
        batch, new = take(lender, borrower, value)
        assert bool((batch == value).all())
        del batch
        news.append(new)
    assert news == [True] + [False] * 19
    assert lender.made == len(lender.buffers) == len(borrower.buffers) == 1


def test_a_copy_does_not_hold_a_buffer() -> None:
    lender, borrower = Lender(0), Borrower()
    copies = []
    for value in range(3):
        batch, _ = take(lender, borrower, value)
        copies.append(batch.clone())
        del batch
    assert lender.made == 1
    assert [copy.unique().tolist() for copy in copies] == [[0], [1], [2]]


def test_batches_of_another_shape_leave_the_ones_before_alone() -> None:
    lender, borrower = Lender(0), Borrower()
    shapes = [SHAPE, (1, 4, 5, 3), SHAPE, (2, 8, 8, 3), (1, 4, 5, 3)]
    batches = [take(lender, borrower, value, shape)[0] for value, shape in enumerate(shapes)]
    assert [tuple(batch.shape) for batch in batches] == shapes
    assert [batch.unique().tolist() for batch in batches] == [[value] for value in range(5)]


def test_another_shape_of_as_many_bytes_uses_the_same_buffer() -> None:
    lender, borrower = Lender(0), Borrower()
    batch, _ = take(lender, borrower, 1, (2, 4, 5, 3))
    del batch
    batch, new = take(lender, borrower, 2, (2, 5, 4, 3))
    assert not new
    assert batch.shape == (2, 5, 4, 3)
    assert bool((batch == 2).all())


def test_buffers_of_a_size_that_is_not_used_any_more_are_given_up() -> None:
    lender, borrower = Lender(0), Borrower()
    for value in range(10):
        batch, _ = take(lender, borrower, value, (1 + value % 2, 4, 5, 3))
        del batch
    assert len(lender.buffers) == len(borrower.buffers) == 1


def test_two_workers_do_not_share_buffers() -> None:
    lenders, borrower = [Lender(0), Lender(1)], Borrower()
    batches = [take(lender, borrower, value)[0] for value, lender in enumerate(lenders * 2)]
    assert [batch.unique().tolist() for batch in batches] == [[value] for value in range(4)]
    assert len(borrower.buffers) == 4


def test_one_workers_other_shape_leaves_another_workers_buffers() -> None:
    lenders, borrower = [Lender(0), Lender(1)], Borrower()
    for lender in lenders:
        take(lender, borrower, 1)
    take(lenders[0], borrower, 2, (1, 4, 5, 3))
    batch, new = take(lenders[1], borrower, 3)
    assert not new
    assert bool((batch == 3).all())


def test_a_buffer_of_zeros_or_of_ones_is_not_taken_for_its_header() -> None:
    lender, borrower = Lender(0), Borrower()
    batches = [take(lender, borrower, value)[0] for value in (0, 255, 0, 1)]
    batches[0].fill_(77)
    assert [batch.unique().tolist() for batch in batches] == [[77], [255], [0], [1]]
    assert lender.made == 4


def test_a_forked_process_gives_nothing_back() -> None:
    lender, borrower = Lender(0), Borrower()
    batch, _ = take(lender, borrower, 1)
    child = os.fork()
    if child == 0:
        del batch
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert int(lender.buffers[1][STATE]) == BORROWED
    del batch
    assert int(lender.buffers[1][STATE]) == FREE
