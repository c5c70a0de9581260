"""The published subsets of ILSVRC's validation set, against their rules spelt out here."""

import hashlib
import random
from collections.abc import Callable

import pytest

from datamodules import splits
from datamodules.splits import SHA256, keys_of, name_of

COUNTS = {"cval1k": 1_000, "ctest10k": 10_000, "pixcolor_500": 500, "val5k": 5_000, "ilsvrc2012_val": 50_000}


def test_every_subset_has_its_number_of_pictures() -> None:
    assert {split: len(set(keys_of(split))) for split in SHA256} == COUNTS


@pytest.mark.parametrize("split", COUNTS)
def test_keys_are_sorted_stems_of_the_validation_set(split: str) -> None:
    keys = keys_of(split)
    assert keys == sorted(keys)
    assert all(len(key) == len("ILSVRC2012_val_00000000") for key in keys)
    numbers = [int(key.removeprefix("ILSVRC2012_val_")) for key in keys]
    assert 1 <= min(numbers) < max(numbers) <= 50_000


@pytest.mark.parametrize("split", COUNTS)
def test_the_sum_is_of_the_stems_one_a_line(split: str) -> None:
    digest = hashlib.sha256()
    for key in keys_of(split):
        digest.update(key.encode() + b"\n")
    assert digest.hexdigest() == SHA256[split]


def test_val5k_is_the_first_five_thousand_of_all() -> None:
    everything = keys_of("ilsvrc2012_val")
    assert everything[0] == "ILSVRC2012_val_00000001"
    assert everything[-1] == "ILSVRC2012_val_00050000"
    assert keys_of("val5k") == everything[:5_000]


def test_pixcolor_500_has_the_smallest_digests_of_ctest10k() -> None:
    def digest(key: str) -> int:
        return int.from_bytes(hashlib.sha256(b"pixcolor_500 " + key.encode()).digest(), "big")

    chosen = set(keys_of("pixcolor_500"))
    everything = set(keys_of("ctest10k"))
    assert chosen < everything
    assert max(map(digest, chosen)) < min(map(digest, everything - chosen))


def test_the_two_lists_of_larsson_do_not_overlap() -> None:
    assert not set(keys_of("cval1k")) & set(keys_of("ctest10k"))


@pytest.mark.parametrize("split", COUNTS)
def test_a_name_is_granted_whatever_the_order(split: str) -> None:
    keys = keys_of(split)
    random.Random(0).shuffle(keys)
    assert name_of(keys) == split


@pytest.mark.parametrize(
    "spoil",
    [
        lambda keys: keys[:-1],
        lambda keys: [*keys, "ILSVRC2012_val_00050001"],
        lambda keys: [*keys, keys[0]],
        lambda keys: [*keys[1:], "ILSVRC2012_val_00050001"],
        lambda keys: [],
    ],
)
def test_a_name_is_granted_for_the_exact_set_only(spoil: Callable[[list[str]], list[str]]) -> None:
    assert name_of(spoil(keys_of("cval1k"))) is None


def test_a_list_that_was_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(splits.SHA256, "cval1k", "0" * 64)
    with pytest.raises(ValueError, match=r"cval1k\.txt is not the published list; install the project again"):
        keys_of("cval1k")


def test_an_unknown_subset_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="there is no published subset ctest; there are cval1k, ctest10k, pixcolor"):
        keys_of("ctest")
