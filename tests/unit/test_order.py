"""The order of an epoch: mixing, shares of ranks, and what stretches on other ranks have left of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.images import ShardedPictures
from datamodules.order import Stretch, generator_of, mixed, part, rank_order, remaining
from datamodules.shards.catalogue import Catalogue
from datamodules.shards.files import ShardFiles
from datamodules.shards.index import Manifest, Shard, row_type

SEEDS = (3, 1)

STRETCHES = [
    [Stretch(3, 4, 2)],
    [Stretch(3, 4, 2), Stretch(2, 5, 3)],
    [Stretch(3, 4, 2), Stretch(2, 5, 3), Stretch(5, 1, 4)],
    [Stretch(1, 7, 3), Stretch(4, 1, 1), Stretch(1, 2, 5), Stretch(3, 2, 2)],
]


def naive_part(order: list[int], rank: int, world_size: int) -> list[int]:
    """A rank's run of a list: the first ranks have one more where it does not divide."""
    least, more = divmod(len(order), world_size)
    start = rank * least + min(rank, more)
    return order[start : start + least + (rank < more)]


def sharded(shards: int, pictures_per_shard: int) -> ShardedPictures:
    """A set of shards of which only the manifest and the index are there."""
    manifest = Manifest("", {"all": [Shard(f"{number}.tar", 0, "", pictures_per_shard) for number in range(shards)]})
    index = np.zeros(shards * pictures_per_shard, row_type(1))
    index["shard"] = np.repeat(np.arange(shards), pictures_per_shard)
    catalogue = Catalogue("nowhere", manifest, Path("nowhere"), ["nowhere"] * shards, opened=index)
    files = ShardFiles(catalogue.places, [None] * shards, Path("nowhere"), 0)
    rows = np.arange(len(index))
    return ShardedPictures(
        catalogue, files, rows, lambda layers, generator: layers, reach=0, seed=0, broken={}, skips=False
    )


@pytest.mark.parametrize("reach", [2, 3, 10, 64, 1000])
@pytest.mark.parametrize("count", [0, 1, 2, 65, 300])
def test_mixing_permutes_and_moves_nothing_as_far_as_its_reach(count: int, reach: int) -> None:
    before = [7 * place + 3 for place in range(count)]
    after = mixed(torch.tensor(before), reach, generator_of(count, reach)).tolist()
    assert sorted(after) == before
    assert all(abs(after.index(value) - place) < reach for place, value in enumerate(before))


@pytest.mark.parametrize("reach", [10, 64])
def test_mixing_uses_most_of_its_reach(reach: int) -> None:
    after = mixed(torch.arange(3000), reach, generator_of(0)).tolist()
    moves = [abs(place - value) for place, value in enumerate(after)]
    assert max(moves) >= reach // 2
    # of places i + reach u, with u even in 0..1, the mean |u - v| of two is a third
    assert sum(moves) / len(moves) > reach / 6


@pytest.mark.parametrize("reach", [0, 1])
def test_without_reach_an_order_stays(reach: int) -> None:
    order = torch.randperm(50, generator=generator_of(0))
    assert mixed(order, reach, generator_of(1)).tolist() == order.tolist()


@pytest.mark.parametrize("count", [0, 1, 4, 23, 100])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 30])
def test_shares_differ_by_one_at_most_and_make_the_whole(count: int, world_size: int) -> None:
    order = torch.randperm(count, generator=generator_of(count))
    shares = [part(order, 0, rank, world_size).tolist() for rank in range(world_size)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [value for share in shares for value in share] == order.tolist()


@pytest.mark.parametrize("count", [0, 1, 4, 23, 100])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 30])
def test_where_pictures_have_no_reach_ranks_take_turns(count: int, world_size: int) -> None:
    order = torch.randperm(count, generator=generator_of(count)).tolist()
    shares = [rank_order(torch.tensor(order), None, SEEDS, rank, world_size).tolist() for rank in range(world_size)]
    assert [shares[place % world_size][place // world_size] for place in range(count)] == order


@pytest.mark.parametrize("done", STRETCHES)
def test_of_an_order_in_turns_the_rest_is_left(done: list[Stretch]) -> None:
    order = torch.randperm(101, generator=generator_of(0))
    visited = sum(ranks * size * batches for ranks, size, batches in done)
    assert remaining(order, None, SEEDS, done).tolist() == order.tolist()[visited:]


@pytest.mark.parametrize("done", STRETCHES)
def test_what_is_left_of_an_unmixed_order_is_the_tails_of_the_shares(done: list[Stretch]) -> None:
    order = torch.randperm(101, generator=generator_of(0))
    left = order.tolist()
    for world_size, batch_size, batches in done:
        shares = [naive_part(left, rank, world_size) for rank in range(world_size)]
        left = [value for share in shares for value in share[batches * batch_size :]]
    assert remaining(order, 0, SEEDS, done).tolist() == left


@pytest.mark.parametrize("reach", [None, 0, 6, 500])
@pytest.mark.parametrize("done", STRETCHES)
def test_nothing_is_lost_or_repeated_over_stretches(done: list[Stretch], reach: int | None) -> None:
    whole = torch.randperm(101, generator=generator_of(0))
    left = set(range(101))
    for number, (world_size, batch_size, batches) in enumerate(done):
        order = remaining(whole, reach, SEEDS, done[:number])
        for rank in range(world_size):
            visited = rank_order(order, reach, (*SEEDS, number), rank, world_size)[: batches * batch_size].tolist()
            assert len(visited) == batches * batch_size == len(set(visited))
            assert set(visited) <= left
            left -= set(visited)
    after = remaining(whole, reach, SEEDS, done).tolist()
    assert len(after) == len(left)
    assert set(after) == left


def test_an_epoch_without_stretches_is_whole() -> None:
    assert remaining(torch.arange(9), 4, SEEDS, []).tolist() == list(range(9))


def test_stretches_longer_than_the_epoch_leave_nothing() -> None:
    assert remaining(torch.arange(9), 4, SEEDS, [Stretch(2, 3, 2)]).tolist() == []


def test_an_order_is_fixed_by_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return rank_order(torch.arange(200), 50, (seed, epoch, 0), 1, 2).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert order(1, 0) != order(0, 1)


def test_ranks_and_stretches_mix_each_in_their_own_way() -> None:
    first, second = (mixed(torch.arange(100), 50, generator_of(0, 0, 0, rank)).tolist() for rank in range(2))
    assert first != second
    ranks = [rank_order(torch.arange(200), 50, (0, 0, 0), rank, 2).tolist() for rank in range(2)]
    assert [value + 100 for value in ranks[0]] != ranks[1]
    assert rank_order(torch.arange(200), 50, (0, 0, 1), 0, 2).tolist() != ranks[0]


def test_sixty_four_ranks_share_a_thousand_shards_and_each_reads_its_own() -> None:
    pictures, world_size, per_shard = sharded(1000, 50), 64, 50
    order = pictures.order(generator_of(0, 0))
    ranks = [rank_order(order, 2000, (0, 0, 0), rank, world_size).numpy() for rank in range(world_size)]
    assert np.array_equal(np.sort(np.concatenate(ranks)), np.arange(50_000))
    mean = 50_000 / world_size
    for share in ranks:
        assert abs(len(share) - mean) < 0.01 * mean
        assert len(np.unique(share // per_shard)) <= mean / per_shard + 2


def test_a_rank_has_only_few_shards_in_use_at_a_time() -> None:
    pictures, per_shard, reach, window = sharded(400, 25), 25, 100, 50
    share = rank_order(pictures.order(generator_of(0, 0)), reach, (0, 0, 0), 0, 2).numpy()
    assert len(np.unique(share // per_shard)) > 150
    for start in range(0, len(share) - window, window):
        in_use = np.unique(share[start : start + window] // per_shard)
        assert len(in_use) <= (window + 2 * reach) / per_shard + 2


def test_shards_come_in_another_order_each_epoch() -> None:
    pictures = sharded(20, 3)
    orders = [pictures.order(generator_of(0, epoch)).tolist() for epoch in range(2)]
    for order in orders:
        shards = [picture // 3 for picture in order]
        assert sorted(order) == list(range(60))
        assert all(len(set(shards[start : start + 3])) == 1 for start in range(0, 60, 3)), "shard after shard"
    assert orders[0] != orders[1]
