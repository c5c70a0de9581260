"""Order, ranks, continuation, faults and workers of the loader, with sets that say what they were asked for."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.loader import ResumableLoader
from datamodules.order import generator_of
from datamodules.picture_set import BadPictureError, PictureSet, Visit


class Recorder(PictureSet):
    """Pictures that are their own number, and a list of the visits."""

    def __init__(self, count: int) -> None:
        self.count, self.visits = count, list[Visit]()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        self.visits.append(visit)
        return {"rgb": torch.full((3, 1, 1), visit.picture, dtype=torch.uint8), "key": f"{visit.picture}.{visit.epoch}"}


class Noise(PictureSet):
    """Noise that depends on the visit, some of it unreadable; at module level, so that workers can be spawned."""

    reach = 5

    def __init__(self, count: int, bad: tuple[int, ...] = (), gone: tuple[int, ...] = (), size: int = 5) -> None:
        self.count, self.bad, self.gone, self.size = count, bad, gone, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        if visit.picture in self.bad:
            raise BadPictureError(f"picture {visit.picture} is bad")
        if visit.picture in self.gone:
            raise OSError(f"shard of {visit.picture} is gone; put it back")
        generator = generator_of(visit.picture, visit.epoch)
        return {
            "rgb": torch.randint(256, (3, self.size, 4), dtype=torch.uint8, generator=generator),
            "key": str(visit.picture),
            "label": visit.picture % 3,
            "mask": torch.full((self.size, 4), visit.picture),
        }


def keys_of(loader: ResumableLoader) -> list[list[str]]:
    """The keys of one epoch's batches."""
    return [batch["key"] for batch in loader]


def test_an_epoch_is_a_permutation_without_the_incomplete_batch() -> None:
    loader = ResumableLoader(Recorder(10), 3, shuffle=True, seed=1)
    first, second = keys_of(loader), keys_of(loader)
    assert [len(batch) for batch in first] == [3, 3, 3]
    assert len({key.split(".")[0] for batch in first for key in batch}) == 9
    assert {key.split(".")[1] for batch in second for key in batch} == {"1"}
    assert [[key.split(".")[0] for key in batch] for batch in first] != [
        [key.split(".")[0] for key in batch] for batch in second
    ]


def test_evaluation_visits_every_picture_once_in_order() -> None:
    batches = keys_of(ResumableLoader(Recorder(5), 2))
    assert batches == [["0.0", "1.0"], ["2.0", "3.0"], ["4.0"]]


@pytest.mark.parametrize(("shuffle", "wanted"), [(True, 9), (False, 11)])
def test_ranks_share_an_epoch(shuffle: bool, wanted: int) -> None:
    ranks = [ResumableLoader(Recorder(11), 1, shuffle=shuffle, rank=rank, world_size=3) for rank in range(3)]
    keys = [keys_of(loader) for loader in ranks]
    if shuffle:
        assert len({len(each) for each in keys}) == 1, "every rank has as many batches"
    seen = [batch[0] for each in keys for batch in each]
    assert len(seen) == len(set(seen)) == wanted


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_goes_on_exactly_where_it_stopped(stop: int, workers: int) -> None:
    def loader() -> ResumableLoader:
        return ResumableLoader(Recorder(12), 3, shuffle=True, seed=5, workers=workers)

    uninterrupted = loader()
    wanted = [*keys_of(uninterrupted), *keys_of(uninterrupted), *keys_of(uninterrupted)]

    stopped, seen = loader(), list[list[str]]()
    while len(seen) < stop:
        for batch in stopped:
            seen.append(batch["key"])
            if len(seen) == stop:
                break
    resumed = loader()
    resumed.load_state_dict(stopped.state_dict())
    while len(seen) < len(wanted):
        seen += keys_of(resumed)
    assert seen == wanted


def test_what_went_before_is_not_decoded() -> None:
    pictures = Recorder(100)
    loader = ResumableLoader(pictures, 10, shuffle=True)
    loader.load_state_dict({"epoch": 2, "stretches": [[1, 10, 8]]})
    keys_of(loader)
    assert len(pictures.visits) == 20
    assert {visit.epoch for visit in pictures.visits} == {2}


def test_an_epoch_cut_short_is_followed_by_the_next() -> None:
    loader = ResumableLoader(Recorder(12), 3, shuffle=True, limit=2)
    first, second = keys_of(loader), keys_of(loader)
    assert len(loader) == len(first) == len(second) == 2
    assert {key.split(".")[1] for batch in second for key in batch} == {"1"}


def test_spread_looks_at_the_whole_set() -> None:
    assert ResumableLoader(Recorder(101), 3).spread(5)[:, 0, 0, 0].tolist() == [0, 25, 50, 75, 100]
    assert ResumableLoader(Recorder(2), 3).spread(5)[:, 0, 0, 0].tolist() == [0, 1]


def test_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    keys_of(ResumableLoader(Recorder(4), 2, shuffle=True))
    assert torch.equal(before, torch.random.get_rng_state())


def test_too_few_pictures_for_a_batch_is_an_error_with_the_mend() -> None:
    with pytest.raises(ValueError, match=r"3 training pictures .* lower data\.batch_size"):
        ResumableLoader(Recorder(3), 2, shuffle=True, world_size=2)


def pictures_of(loader: ResumableLoader) -> list[list[int]]:
    """The numbers of the pictures of one epoch's batches."""
    return [[int(key) for key in batch["key"]] for batch in loader]


def take(loader: ResumableLoader, batches: int) -> list[int]:
    """The numbers of the pictures of an epoch's first batches, after which it is left."""
    iterator = iter(loader)
    return [int(key) for _ in range(batches) for key in next(iterator)["key"]]


def all_ranks(
    world_size: int, batch_size: int, count: int, state: dict[str, Any] | None = None
) -> list[ResumableLoader]:
    """The training loaders of all ranks, which go on from a state."""
    pictures = Noise(count)
    loaders = [
        ResumableLoader(pictures, batch_size, shuffle=True, seed=1, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for loader in loaders if state else ():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert state
            loader.load_state_dict(state)
    return loaders


def flat(batches: list[list[int]]) -> list[int]:
    """All numbers of some batches."""
    return [number for batch in batches for number in batch]


def assert_same_batches(got: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Batches are the same, pixel by pixel."""
    assert [batch["key"] for batch in got] == [batch["key"] for batch in wanted]
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ("rgb", "label", "mask"))


def test_labels_and_masks_are_collated() -> None:
    batch = next(iter(ResumableLoader(Noise(4), 3)))
    assert batch["rgb"].shape == (3, 3, 5, 4)
    assert batch["rgb"].dtype == torch.uint8
    assert batch["label"].tolist() == [0, 1, 2]
    assert batch["mask"].shape == (3, 5, 4)
    assert batch["mask"][:, 0, 0].tolist() == [0, 1, 2]
    assert set(batch) == {"rgb", "key", "label", "mask"}


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_makes_its_batch_smaller(workers: int) -> None:
    loader = ResumableLoader(Noise(6, bad=(0, 4)), 3, workers=workers, maximum_bad_share=1)
    batches = list(loader)
    assert [batch["key"] for batch in batches] == [["1", "2"], ["3", "5"]]
    assert [batch["rgb"].shape for batch in batches] == [(2, 3, 5, 4)] * 2
    for batch in batches:
        for key, rgb, label in zip(batch["key"], batch["rgb"], batch["label"].tolist(), strict=True):
            assert torch.equal(rgb, Noise(6)[Visit(int(key), 0)]["rgb"])
            assert label == int(key) % 3
    assert loader.bad_pictures == {"picture 0 is bad", "picture 4 is bad"}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_is_told_once_over_two_epochs(workers: int, tmp_path: Path) -> None:
    log = tmp_path / "new" / "rank_0.txt"
    loader = ResumableLoader(Noise(6, bad=(2,)), 3, shuffle=True, workers=workers, maximum_bad_share=1, log=log)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        epochs = [flat(pictures_of(loader)) for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 3, 4, 5]] * 2
    assert [str(each.message) for each in told if "left out" in str(each.message)] == ["left out: picture 2 is bad"]
    assert log.read_text().splitlines() == ["picture 2 is bad"]
    assert len(loader.bad_pictures) == 1


def test_the_log_keeps_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    log = tmp_path / "rank_0.txt"
    log.write_text("picture 9 is bad\n")
    with pytest.warns(UserWarning, match="left out: picture 0 is bad"):
        list(ResumableLoader(Noise(4, bad=(0,)), 2, maximum_bad_share=1, log=log))
    assert log.read_text().splitlines() == ["picture 9 is bad", "picture 0 is bad"]


def test_without_bad_pictures_there_is_no_log(tmp_path: Path) -> None:
    loader = ResumableLoader(Noise(4), 2, log=tmp_path / "rank_0.txt")
    list(loader)
    assert not loader.bad_pictures
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:left out")
def test_evaluation_leaves_out_a_batch_of_nothing() -> None:
    loader = ResumableLoader(Noise(6, bad=(2, 3)), 2, maximum_bad_share=1)
    assert pictures_of(loader) == [[0, 1], [4, 5]]
    assert len(loader.bad_pictures) == 2


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("workers", [0, 1])
def test_training_stops_when_nothing_can_be_read(workers: int) -> None:
    loader = ResumableLoader(Noise(4, bad=(0, 1, 2, 3)), 2, shuffle=True, maximum_bad_share=1, workers=workers)
    with pytest.raises(OSError, match=r"^none of 4 pictures can be read$"):
        list(loader)


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("shuffle", [True, False])
def test_too_many_bad_pictures_stop_a_run(shuffle: bool) -> None:
    assert len(list(ResumableLoader(Noise(100, bad=(7,)), 10, shuffle=shuffle))) == 10, "one in a hundred is allowed"
    sentence = (
        r"2 of the 100 pictures of an epoch cannot be read, more than data\.maximum_bad_share=0\.01 allows; "
        r"the last: picture (7|55) is bad"
    )
    with pytest.raises(ValueError, match=sentence):
        list(ResumableLoader(Noise(100, bad=(7, 55)), 10, shuffle=shuffle))


@pytest.mark.filterwarnings("ignore:left out")
def test_bad_pictures_are_counted_anew_each_epoch() -> None:
    loader = ResumableLoader(Noise(100, bad=(7,)), 10, shuffle=True)
    assert [len(flat(pictures_of(loader))) for _ in range(3)] == [99] * 3


@pytest.mark.filterwarnings("ignore:left out")
def test_the_share_of_bad_pictures_is_of_the_whole_epoch() -> None:
    loader = ResumableLoader(Noise(100, bad=(0, 1)), 10, rank=0, world_size=2, maximum_bad_share=0.02)
    assert sum(len(batch["key"]) for batch in loader) == 48
    with pytest.raises(ValueError, match="2 of the 100 pictures"):
        list(ResumableLoader(Noise(100, bad=(0, 1)), 10, rank=0, world_size=2, maximum_bad_share=0.019))


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_batch_of_nothing_shows_the_next_picture_instead(workers: int) -> None:
    loader = ResumableLoader(Noise(6, bad=(0, 1, 2)), 1, shuffle=True, maximum_bad_share=1, workers=workers)
    assert [len(batch["key"]) for batch in loader] == [1] * 6
    assert len(loader.bad_pictures) == 3


def test_going_on_in_the_middle_of_an_epoch_of_another_set_is_refused() -> None:
    began = ResumableLoader(Noise(20), 2, shuffle=True)
    next(iter(began))
    with pytest.raises(ValueError, match="an epoch of 20 pictures, and this set has 18; go on with the same data"):
        ResumableLoader(Noise(18), 2, shuffle=True).load_state_dict(began.state_dict())


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_set_that_cannot_be_read_any_more_stops_with_its_own_sentence(workers: int, shuffle: bool) -> None:
    loader = ResumableLoader(Noise(8, gone=(5,)), 2, shuffle=shuffle, workers=workers)
    with pytest.raises(OSError, match="gone") as caught:
        list(loader)
    assert str(caught.value) == "shard of 5 is gone; put it back"
    assert "Traceback" not in str(caught.value)


def test_a_run_that_stopped_at_a_lost_shard_goes_on_with_the_batch_that_failed() -> None:
    whole = flat(pictures_of(ResumableLoader(Noise(12), 3, shuffle=True, seed=2)))
    stopped = ResumableLoader(Noise(12, gone=(whole[4],)), 3, shuffle=True, seed=2)
    seen = list[int]()
    with pytest.raises(OSError, match="gone"):
        seen.extend(int(key) for batch in stopped for key in batch["key"])
    resumed = ResumableLoader(Noise(12), 3, shuffle=True, seed=2)
    resumed.load_state_dict(stopped.state_dict())
    assert seen + flat(pictures_of(resumed)) == whole


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    ("workers", "start_method"), [(1, None), (2, None), (2, "fork"), (1, "spawn"), (1, "forkserver")]
)
def test_workers_make_the_same_batches_however_they_start(
    workers: int, start_method: str | None, shuffle: bool
) -> None:
    alone = ResumableLoader(Noise(11), 3, shuffle=shuffle)
    helped = ResumableLoader(Noise(11), 3, shuffle=shuffle, workers=workers, start_method=start_method)
    for _ in range(2):
        assert_same_batches(list(helped), list(alone))


def test_workers_see_the_epoch() -> None:
    loader = ResumableLoader(Noise(4), 4, workers=1)
    first, second = list(loader), list(loader)
    assert first[0]["key"] == second[0]["key"]
    assert not torch.equal(first[0]["rgb"], second[0]["rgb"])


def test_batches_that_are_kept_are_not_overwritten() -> None:
    helped = ResumableLoader(Noise(60, size=16), 3, workers=2)
    kept = list(helped) + list(helped)
    alone = ResumableLoader(Noise(60, size=16), 3)
    assert len(kept) == 40
    assert_same_batches(kept, list(alone) + list(alone))


def test_slices_of_batches_that_are_kept_are_not_overwritten() -> None:
    helped = ResumableLoader(Noise(60, size=16), 3, workers=2)
    kept = [batch["rgb"][1:2] for _ in range(2) for batch in helped]
    alone = ResumableLoader(Noise(60, size=16), 3)
    wanted = [batch["rgb"][1:2].clone() for _ in range(2) for batch in alone]
    assert len(kept) == 40
    assert all(map(torch.equal, kept, wanted))


@pytest.mark.filterwarnings("ignore:left out")
def test_smaller_batches_that_are_kept_are_not_overwritten() -> None:
    bad = (0, 7, 8, 20, 33, 34)
    helped = ResumableLoader(Noise(60, bad=bad), 3, workers=2, maximum_bad_share=1)
    alone = ResumableLoader(Noise(60, bad=bad), 3, maximum_bad_share=1)
    assert_same_batches(list(helped), list(alone))


def test_batches_that_are_dropped_use_the_same_memory_again() -> None:
    loader = ResumableLoader(Noise(90), 3, shuffle=True, workers=2)
    for _ in range(3):
        for batch in loader:
            del batch
    # a worker is two batches ahead, and the trainer holds one
    assert max(number for _, number in loader.borrower.buffers) <= 4


def test_epochs_that_are_left_early_use_the_same_memory_again() -> None:
    loader = ResumableLoader(Noise(90), 3, workers=2)
    for _ in range(12):
        for batch in loader:
            del batch
            break
    for batch in loader:
        del batch
    # what workers had made ahead of a consumer who left, as Lightning's limit_val_batches does, must be free again
    assert max(number for _, number in loader.borrower.buffers) <= 8


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("count", [13, 4])
def test_evaluation_visits_every_picture_once_on_any_number_of_ranks(world_size: int, count: int) -> None:
    loaders = [ResumableLoader(Noise(count), 3, rank=rank, world_size=world_size) for rank in range(world_size)]
    for _ in range(2):
        batches = [pictures_of(loader) for loader in loaders]
        assert [len(each) for each in batches] == [len(loader) for loader in loaders]
        assert sorted(flat([flat(each) for each in batches])) == list(range(count))


@pytest.mark.parametrize("batches", [0, 1, 3, 7])
@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 3), (1, 2), (5, 1), (4, 2)])
def test_other_ranks_go_on_with_what_is_left(batches: int, world_size: int, batch_size: int) -> None:
    began = all_ranks(3, 2, 53)
    seen = flat([take(loader, batches) for loader in began])
    states = [loader.state_dict() for loader in began]
    assert all(state == states[0] for state in states)
    ranks = all_ranks(world_size, batch_size, 53, states[0])
    left = (53 - 6 * batches) // (world_size * batch_size)
    assert [len(loader) for loader in ranks] == [batches + left] * world_size
    rest = [pictures_of(loader) for loader in ranks]
    assert [len(each) for each in rest] == [left] * world_size
    both = seen + flat([flat(each) for each in rest])
    assert len(both) == len(set(both)) == 6 * batches + left * world_size * batch_size
    assert set(both) <= set(range(53))
    plain = [pictures_of(loader) for loader in after_one_epoch(world_size, batch_size, 53)]
    assert [pictures_of(loader) for loader in ranks] == plain
    assert [len(loader) for loader in ranks] == [53 // (world_size * batch_size)] * world_size


def after_one_epoch(world_size: int, batch_size: int, count: int) -> Iterator[ResumableLoader]:
    """Loaders that never stopped and have one epoch behind them."""
    for loader in all_ranks(world_size, batch_size, count):
        list(loader)
        yield loader


def test_every_picture_comes_where_the_batches_of_all_stretches_are_full() -> None:
    began = all_ranks(3, 2, 48)
    seen = flat([take(loader, 3) for loader in began])
    ranks = all_ranks(2, 3, 48, began[0].state_dict())
    seen += flat([flat(pictures_of(loader)) for loader in ranks])
    assert sorted(seen) == list(range(48))


def test_three_numbers_of_ranks_share_an_epoch() -> None:
    first = all_ranks(3, 2, 60)
    seen = flat([take(loader, 3) for loader in first])
    second = all_ranks(2, 3, 60, first[0].state_dict())
    seen += flat([take(loader, 2) for loader in second])
    state = second[1].state_dict()
    third = all_ranks(5, 2, 60, state)
    assert len(third[0]) == 3 + 2 + 3
    seen += flat([flat(pictures_of(loader)) for loader in third])
    assert sorted(seen) == list(range(60))
    # and whoever goes on as the second began goes on exactly
    again = all_ranks(2, 3, 60, state)
    assert [pictures_of(loader) for loader in again] == [
        pictures_of(loader)[2:] for loader in all_ranks(2, 3, 60, first[0].state_dict())
    ]


def test_a_change_of_ranks_is_told_once() -> None:
    state = {"epoch": 4, "stretches": [[3, 2, 5]]}
    first, second = (ResumableLoader(Noise(53), 3, shuffle=True, rank=rank, world_size=2) for rank in range(2))
    with pytest.warns(
        UserWarning, match="epoch 4 began on 3 ranks with batches of 2 and goes on on 2 with batches of 3"
    ):
        first.load_state_dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second.load_state_dict(state)
        ResumableLoader(Noise(53), 2, shuffle=True, world_size=3).load_state_dict(state)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(("world_size", "batch_size"), [(3, 2), (2, 2), (1, 5)])
def test_after_the_last_batch_of_an_epoch_any_ranks_begin_the_next(
    world_size: int, batch_size: int, inside: bool
) -> None:
    ended = all_ranks(3, 2, 53)[0]
    for _ in ended:
        state = ended.state_dict()
    if not inside:
        state = ended.state_dict()
    loaders = [
        ResumableLoader(Noise(53), batch_size, shuffle=True, seed=1, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loader in loaders:
            loader.load_state_dict(state)
    plain = [pictures_of(loader) for loader in after_one_epoch(world_size, batch_size, 53)]
    assert [pictures_of(loader) for loader in loaders] == plain


def test_a_set_of_other_ranks_ends_like_any_other_epoch() -> None:
    began = all_ranks(3, 2, 53)
    take(began[0], 2)
    resumed = all_ranks(2, 3, 53, began[0].state_dict())[0]
    list(resumed)
    plain = next(after_one_epoch(2, 3, 53))
    assert resumed.state_dict() == plain.state_dict()
    assert not resumed.changed_ranks


@pytest.mark.parametrize(("ranks", "accumulated"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_a_step_sees_the_same_pictures_on_any_number_of_ranks(ranks: int, accumulated: int) -> None:
    def steps(ranks: int, accumulated: int) -> list[list[str]]:
        size = 8 // ranks // accumulated
        loaders = [
            ResumableLoader(Recorder(45), size, shuffle=True, rank=rank, world_size=ranks, accumulated=accumulated)
            for rank in range(ranks)
        ]
        batches = [keys_of(loader) for loader in loaders]
        assert {len(each) for each in batches} == {5 * accumulated}, "only whole steps"
        of_steps = [range(step * accumulated, (step + 1) * accumulated) for step in range(5)]
        return [sorted(key for turn in turns for each in batches for key in each[turn]) for turns in of_steps]

    assert steps(ranks, accumulated) == steps(1, 1)


def test_other_ranks_go_on_with_the_pictures_that_come_next() -> None:
    whole = keys_of(ResumableLoader(Recorder(45), 8, shuffle=True))
    first, second = (ResumableLoader(Recorder(45), 4, shuffle=True, rank=rank, world_size=2) for rank in range(2))
    for iterator in (iter(first), iter(second)):
        for _ in range(2):
            next(iterator)
    alone = ResumableLoader(Recorder(45), 8, shuffle=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # they are the very pictures, so there is nothing to tell
        alone.load_state_dict(first.state_dict())
    assert keys_of(alone) == whole[2:]
