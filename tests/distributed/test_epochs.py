"""Epochs that real processes, joined by torch.distributed, share, whatever their workers and however these start."""

import json
import os
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from datamodules.shards.sources import Bytes, Source
from datamodules.shards.writer import Encoding, write
from tests.conftest import PROJECT, colourful_pictures

TRAINING, VALIDATION, SHARD = 53, 23, 7
BATCH = 4

Setup = dict[str, Any]
Batches = list[tuple[list[str], str]]
Seen = dict[str, Any]

COMMON: list[Setup] = [
    {"workers": 0},
    {"workers": 0},  # once more, to see whether it repeats itself
    *({"workers": workers, "start_method": "fork"} for workers in (0, 1, 2)),
    {"seed": 1},
    {"batch_size": 1},
    {"batch_size": 9},
    {"reach": 0},
]
# A worker that is spawned takes seconds to import, so that not every number of processes spawns.
OTHER_METHODS: list[Setup] = [
    {"workers": 0, "start_method": "spawn"},
    {"workers": 1, "start_method": "spawn"},
    {"workers": 2, "start_method": "spawn", "validates": False},
    *({"workers": workers, "start_method": "forkserver"} for workers in (0, 1, 2)),
]
SETUPS: dict[int, list[Setup]] = {1: COMMON, 2: COMMON + OTHER_METHODS, 3: COMMON}
"""By the number of processes."""


def training_keys() -> set[str]:
    """Keys of the training split."""
    return {f"t{number:02}" for number in range(TRAINING)}


def validation_keys() -> set[str]:
    """Keys of the validation split."""
    return {f"v{number:02}" for number in range(VALIDATION)}


def write_shards(folder: Path) -> None:
    """Write a set of shards of seven small pictures; the last of each split holds fewer."""
    names = sorted(training_keys() | validation_keys())
    sources: dict[str, list[Source]] = {"train": [], "val": []}
    for name, picture in zip(names, colourful_pictures(len(names), 12), strict=True):
        path = folder / f"{name}.png"
        Image.fromarray(picture[:, :10].permute(1, 2, 0).numpy()).save(path)
        sources["train" if name.startswith("t") else "val"].append(Source(path.name, Bytes(str(path))))
    write(sources, folder / "set", command="test", encoding=Encoding(), pictures_per_shard=SHARD, seed=0, workers=1)


@pytest.fixture(scope="module")
def seen_by(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[tuple[Setup, Seen]]]:
    """By the number of processes: what they were set up with, and what they saw then."""
    folder = tmp_path_factory.mktemp("processes")
    write_shards(folder)
    (folder / "setups.json").write_text(json.dumps(SETUPS))
    command = [sys.executable, str(PROJECT / "tests" / "distributed" / "collect_keys.py"), str(folder)]
    with (folder / "errors.txt").open("w") as errors:
        process = subprocess.Popen(command, cwd=folder, stderr=errors, start_new_session=True)
        try:
            status = process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert status == 0, (folder / "errors.txt").read_text()
    seen = json.loads((folder / "seen.json").read_text())
    return {number: list(zip(setups, seen[str(number)], strict=True)) for number, setups in SETUPS.items()}


@pytest.fixture(params=SETUPS)
def world_size(request: pytest.FixtureRequest) -> int:
    """How many processes share an epoch."""
    return int(request.param)


@pytest.fixture
def seen(seen_by: dict[int, list[tuple[Setup, Seen]]], world_size: int) -> list[tuple[Setup, Seen]]:
    """What so many processes saw, each time with what they were set up with."""
    return seen_by[world_size]


def keys(batches: Batches) -> list[str]:
    """The keys of some batches, in turn."""
    return [key for each, _ in batches for key in each]


def keys_of_all(ranks: list[Batches]) -> list[str]:
    """The keys of the batches of all ranks."""
    return list(chain.from_iterable(map(keys, ranks)))


def epochs_of(seen: Seen) -> list[list[Batches]]:
    """For each of two epochs the batches of each rank."""
    return [[rank[number] for rank in seen["training"]] for number in range(2)]


def test_no_picture_comes_twice_in_an_epoch(seen: list[tuple[Setup, Seen]]) -> None:
    for setup, each in seen:
        for visited in map(keys_of_all, epochs_of(each)):
            assert len(visited) == len(set(visited)), setup
            assert set(visited) <= training_keys()


def test_every_rank_has_as_many_batches_and_all_are_full(seen: list[tuple[Setup, Seen]], world_size: int) -> None:
    for setup, each in seen:
        size = setup.get("batch_size", BATCH)
        wanted = [size] * (TRAINING // world_size // size)
        assert wanted
        for ranks in epochs_of(each):
            assert [[len(batch) for batch, _ in rank] for rank in ranks] == [wanted] * world_size, setup


def test_only_incomplete_batches_are_dropped(seen: list[tuple[Setup, Seen]], world_size: int) -> None:
    for setup, each in seen:
        size = setup.get("batch_size", BATCH)
        dropped = sum((TRAINING + rank) // world_size % size for rank in range(world_size))
        if (TRAINING + world_size - 1) // world_size // size == TRAINING // world_size // size:
            for visited in map(keys_of_all, epochs_of(each)):
                assert len(training_keys() - set(visited)) == dropped, setup


def test_another_epoch_drops_other_pictures(seen: list[tuple[Setup, Seen]], world_size: int) -> None:
    for setup, each in seen:
        left = [training_keys() - set(visited) for visited in map(keys_of_all, epochs_of(each))]
        # of one picture among 53 an epoch may well drop the same as another
        if len(left[0]) > 1:
            assert left[0] != left[1], setup


def test_epochs_differ_in_order_and_in_pixels(seen: list[tuple[Setup, Seen]]) -> None:
    for setup, each in seen:
        for first, second in each["training"]:
            assert keys(first) != keys(second)
            if setup.get("batch_size", BATCH) > 1:  # single pictures may be cut in the same place twice
                assert not {pixels for _, pixels in first} & {pixels for _, pixels in second}, setup


def test_ranks_visit_other_pictures_in_another_epoch(seen: list[tuple[Setup, Seen]], world_size: int) -> None:
    for setup, each in seen if world_size > 1 else ():
        assert any(set(keys(first)) != set(keys(second)) for first, second in each["training"]), setup


def test_a_repetition_sees_the_same(seen: list[tuple[Setup, Seen]]) -> None:
    (setup, first), (again, second) = seen[:2]
    assert setup == again
    assert first == second


def test_workers_and_the_way_they_start_change_nothing(seen: list[tuple[Setup, Seen]]) -> None:
    alone = seen[0][1]
    helped = [(setup, each) for setup, each in seen if "start_method" in setup]
    assert helped
    for setup, each in helped:
        assert all(each[part] == alone[part] for part in each), setup


def test_every_way_to_start_is_tried_with_every_number_of_workers(
    seen_by: dict[int, list[tuple[Setup, Seen]]],
) -> None:
    tried = {(setup["start_method"], setup["workers"]) for setup, _ in seen_by[2] if "start_method" in setup}
    assert tried == {(method, workers) for method in ("fork", "spawn", "forkserver") for workers in (0, 1, 2)}


def test_another_seed_gives_another_order(seen: list[tuple[Setup, Seen]]) -> None:
    (other,) = (each for setup, each in seen if "seed" in setup)
    for ours, theirs in zip(seen[0][1]["training"], other["training"], strict=True):
        assert keys(ours[0]) != keys(theirs[0])
        assert keys(ours[1]) != keys(theirs[1])


def test_validation_visits_every_picture_once(seen: list[tuple[Setup, Seen]]) -> None:
    for setup, each in seen:
        if setup.get("validates", True):
            assert sorted(keys_of_all(each["validation"])) == sorted(validation_keys()), setup
