"""The order in which an epoch visits its pictures: a pure function, so that every process can name every batch."""

from typing import NamedTuple

import torch
from torch import Tensor


class Stretch(NamedTuple):
    """A part of an epoch that ran with one number of ranks and one batch size."""

    world_size: int
    batch_size: int
    batches: int


def generator_of(*numbers: int) -> torch.Generator:
    """A generator whose stream is fixed by these numbers."""
    return torch.Generator().manual_seed(hash(numbers) % 2**63)


def part(order: Tensor, reach: int | None, rank: int, world_size: int) -> Tensor:
    """A rank's share of an order; shares differ by one at most.

    Where pictures have a reach it is a run of the order, so that a rank reads few shards. Where they have none, it is
    every `world_size`-th, so that at every step the ranks together see what one rank would see.
    """
    return order[rank::world_size] if reach is None else order.tensor_split(world_size)[rank]


def mixed(order: Tensor, reach: int | None, generator: torch.Generator) -> Tensor:
    """An order in which everything has moved, at random, by fewer than `reach` places.

    Reading in it touches only as many shards at a time as hold `reach` pictures.
    """
    if reach is None or reach <= 1:
        return order
    places = torch.arange(len(order)) + reach * torch.rand(len(order), generator=generator, dtype=torch.float64)
    return order[places.argsort(stable=True)]


def remaining(order: Tensor, reach: int | None, seeds: tuple[int, ...], done: list[Stretch]) -> Tensor:
    """What earlier stretches have left of an epoch's order.

    Args:
        order: Of the whole epoch, before it was mixed.
        reach: How far pictures were mixed; None for those of which ranks take turns.
        seeds: Of the mixing.
        done: The stretches, in the order in which they ran.
    """
    for number, (world_size, batch_size, batches) in enumerate(done):
        if reach is None:
            order = order[world_size * batch_size * batches :]
            continue
        parts = (rank_order(order, reach, (*seeds, number), rank, world_size) for rank in range(world_size))
        order = torch.cat([each[batches * batch_size :] for each in parts])
    return order


def rank_order(order: Tensor, reach: int | None, seeds: tuple[int, ...], rank: int, world_size: int) -> Tensor:
    """What one rank visits of an order, in turn."""
    return mixed(part(order, reach, rank, world_size), reach, generator_of(*seeds, rank))
