"""Order, ranks and continuation of the loader, with a set that records what it was asked for."""

from typing import Any

import pytest
import torch

from datamodules.loader import PictureSet, ResumableLoader, Visit


class Recorder(PictureSet):
    """Pictures that are their own number, and a list of the visits."""

    def __init__(self, count: int) -> None:
        self.count, self.visits = count, list[Visit]()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        self.visits.append(visit)
        return {"rgb": torch.full((3, 1, 1), visit.picture, dtype=torch.uint8), "key": f"{visit.picture}.{visit.epoch}"}


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
    with pytest.raises(ValueError, match=r"3 training pictures .* lower data\.batch_size to 1"):
        ResumableLoader(Recorder(3), 2, shuffle=True, world_size=2)
