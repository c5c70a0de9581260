"""Who is given which block, what is kept of the answers, and what of an abandoned block."""

import random
import sqlite3
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.vtt.answers import Answer
from evaluation.vtt.store import ConflictError, NotOpenError, Store
from evaluation.vtt.study import Study
from tests.unit.vtt_kits import small_study

IDLE = 600.0


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = hurried(Store(tmp_path / "results.sqlite", small_study(), IDLE, clock))
    yield opened
    opened.close()


def hurried(store: Store) -> Store:
    """A store that does not wait for the disk, which no test here cuts off."""
    store.database.execute("PRAGMA synchronous = OFF")
    return store


def rater(store: Store, participant: str = "") -> str:
    name = store.rater_of(store.new_rater(participant))
    assert name
    return name


def given(store: Store, who: str) -> str:
    found = store.block_of(who)
    assert found
    return found[0]


def answer(who: str, block: str, trial: str, choice: int | None = 1) -> Answer:
    dropped = "timing" if choice is None else None
    return Answer("a-study", who, block, trial, choice, 431.7, (1000.4, 999.9), dropped, "2026-01-01T00:00:00.123Z")


def answer_all(store: Store, who: str, block: str) -> list[Answer]:
    answers = [answer(who, block, trial) for trial in store.study.blocks[block].trials]
    for each in answers:
        store.keep(each)
    return answers


def test_blocks_go_first_to_the_group_that_is_under_way_least_and_each_to_one_rater(store: Store) -> None:
    blocks = [given(store, rater(store)) for _ in range(4)]
    assert blocks == ["block0-0", "block1-0", "block0-1", "block1-1"]
    assert store.block_of(rater(store)) is None


def test_a_rater_who_asks_again_has_the_same_block_and_what_is_answered_in_its_order(store: Store) -> None:
    who = rater(store)
    block = given(store, who)
    trials = store.study.blocks[block].trials
    for trial in (trials[2], trials[0]):
        store.keep(answer(who, block, trial))
    assert store.block_of(who) == (block, [trials[0], trials[2]])
    again = Store(store.path, store.study, IDLE, store.clock)
    assert again.block_of(who) == (block, [trials[0], trials[2]])
    again.close()


def test_a_rater_has_each_group_once_and_is_told_how_many_are_left(store: Store) -> None:
    who = rater(store)
    first = given(store, who)
    answer_all(store, who, first)
    assert store.end(who, first) == 1
    second = given(store, who)
    assert store.study.blocks[first].group != store.study.blocks[second].group
    answer_all(store, who, second)
    assert store.end(who, second) == 0
    assert store.end(who, second) == 0
    assert store.block_of(who) is None


def test_one_participant_under_two_tokens_sees_no_picture_twice(store: Store) -> None:
    one, two, three = (rater(store, "worker 7") for _ in range(3))
    groups = [store.study.blocks[given(store, each)].group for each in (one, two)]
    assert sorted(groups) == [0, 1]
    assert store.block_of(three) is None
    assert store.block_of(rater(store, "worker 8")) is not None


def test_an_idle_block_goes_to_somebody_else_and_its_answers_stay_apart(store: Store, clock: Clock) -> None:
    first = rater(store)
    block = given(store, first)
    trials = store.study.blocks[block].trials
    kept = answer(first, block, trials[0])
    store.keep(kept)
    for _ in range(3):
        given(store, rater(store))
    clock.now += IDLE - 1
    assert store.block_of(rater(store)) is None
    store.keep(answer(first, block, trials[1]))
    clock.now += IDLE - 1
    second = rater(store)
    assert given(store, second) != block  # of the three without an answer
    clock.now += 2
    owners = {given(store, rater(store)) for _ in range(3)}
    assert block in owners
    assert store.answers() == []
    assert len(store.answers(with_abandoned=True)) == 2
    store.keep(kept)
    with pytest.raises(NotOpenError):
        store.keep(answer(first, block, trials[2]))
    with pytest.raises(NotOpenError):
        store.end(first, block)
    assert len(store.answers(with_abandoned=True)) == 2


def test_who_comes_back_to_a_block_that_nobody_took_goes_on_with_it(store: Store, clock: Clock) -> None:
    asking, answering = rater(store), rater(store)
    blocks = [given(store, asking), given(store, answering)]
    for who, block in zip((asking, answering), blocks, strict=True):
        store.keep(answer(who, block, store.study.blocks[block].trials[0]))
    clock.now += 2 * IDLE
    assert store.progress().abandoned == 2
    assert store.answers() == []
    assert store.block_of(asking) == (blocks[0], [store.study.blocks[blocks[0]].trials[0]])
    store.keep(answer(answering, blocks[1], store.study.blocks[blocks[1]].trials[1]))
    assert store.progress().open == 2
    assert len(store.answers()) == 3


def test_a_block_whose_end_was_not_heard_of_is_done_if_it_was_answered_whole(store: Store, clock: Clock) -> None:
    who = rater(store)
    block = given(store, who)
    answers = answer_all(store, who, block)
    clock.now += 2 * IDLE
    assert store.progress().done == 1
    assert store.end(who, block) == 1
    assert sorted(store.answers(), key=lambda each: each.trial) == answers


def test_a_block_that_was_abandoned_is_given_last(store: Store, clock: Clock) -> None:
    assert given(store, rater(store)) == "block0-0"
    clock.now += 2 * IDLE
    assert [given(store, rater(store)) for _ in range(4)] == ["block0-1", "block1-0", "block1-1", "block0-0"]


def test_the_same_answer_again_changes_nothing_and_another_is_refused(store: Store) -> None:
    who = rater(store)
    block = given(store, who)
    first = answer(who, block, store.study.blocks[block].trials[0])
    store.keep(first)
    store.keep(first)
    for change in ({"choice": 0}, {"response_ms": 1.0}, {"shown_ms": ()}, {"choice": None, "dropped": "timing"}):
        with pytest.raises(ConflictError):
            store.keep(replace(first, **change))
    assert store.answers() == [first]


def test_answers_to_what_is_not_open_are_refused(store: Store) -> None:
    who, other = rater(store), rater(store)
    block, others = given(store, who), given(store, other)
    trial = store.study.blocks[others].trials[0]
    for wrong in (answer(who, others, trial), answer(who, block, trial), answer(who, "no block", trial)):
        with pytest.raises(NotOpenError):
            store.keep(wrong)
    with pytest.raises(NotOpenError):
        store.keep(answer(rater(store), block, store.study.blocks[block].trials[0]))
    with pytest.raises(NotOpenError):
        store.end(who, others)
    assert store.answers(with_abandoned=True) == []


def test_a_block_ends_only_when_all_of_it_is_answered(store: Store) -> None:
    who = rater(store)
    block = given(store, who)
    store.keep(answer(who, block, store.study.blocks[block].trials[0]))
    with pytest.raises(ConflictError, match=r"^4 trials"):
        store.end(who, block)
    assert given(store, who) == block


@pytest.mark.parametrize("stores", [1, 2])
def test_who_asks_at_once_gets_one_block_each(tmp_path: Path, stores: int) -> None:
    study = small_study(groups=4, layers=5)
    opened = [hurried(Store(tmp_path / "results.sqlite", study, IDLE)) for _ in range(stores)]
    raters = [rater(opened[0]) for _ in range(20)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda i: given(opened[i % stores], raters[i // 3]), range(60)))
    assert all(found[3 * i : 3 * i + 3] == [found[3 * i]] * 3 for i in range(20))
    assert set(found) == set(study.blocks)
    for each in opened:
        each.close()


def test_of_those_who_write_at_once_each_is_told_its_own_outcome(tmp_path: Path) -> None:
    study = small_study(groups=1, layers=1, trials=30)
    store = hurried(Store(tmp_path / "results.sqlite", study, IDLE))
    who, stranger = rater(store), rater(store)
    block = given(store, who)
    trials = study.blocks[block].trials
    asked = [(trial, name, choice) for trial in trials for name in (who, stranger) for choice in (0, 1)]

    def outcome(trial: str, name: str, choice: int) -> str:
        try:
            store.keep(answer(name, block, trial, choice))
        except (ConflictError, NotOpenError) as error:
            return type(error).__name__
        return f"stored {choice}"

    with ThreadPoolExecutor(len(asked)) as threads:
        found = list(threads.map(lambda each: outcome(*each), asked))
    kept = {each.trial: f"stored {each.choice}" for each in store.answers()}
    assert set(kept) == set(trials)
    for (trial, name, choice), told in zip(asked, found, strict=True):
        mine = f"stored {choice}" if kept[trial] == f"stored {choice}" else "ConflictError"
        assert told == (mine if name == who else "NotOpenError")
    store.close()


def test_whatever_raters_do_no_block_is_held_twice_and_no_picture_is_seen_twice(tmp_path: Path, clock: Clock) -> None:
    study = small_study(groups=3, layers=3, trials=1)
    store, draw = hurried(Store(tmp_path / "results.sqlite", study, IDLE, clock)), random.Random(0)
    raters = [rater(store, f"participant {i // 2}") for i in range(16)]
    acknowledged: dict[tuple[str, str], Answer] = {}
    for _ in range(600):
        clock.now += draw.choice((1, 1, 1, IDLE / 2, 2 * IDLE if draw.random() < 0.1 else 1))
        who = draw.choice(raters)
        if found := store.block_of(who):
            block, answered = found
            trial = draw.choice(study.blocks[block].trials)
            try:
                new = answer(who, block, trial, draw.choice((0, 1, None)))
                store.keep(new)
                acknowledged.setdefault((who, trial), new)
            except ConflictError:
                assert trial in answered
            if len(answered) == len(study.blocks[block].trials):
                store.end(who, block)
    rows = store.database.execute(
        "SELECT participant, rater, block, state FROM sittings JOIN raters USING (rater)"
    ).fetchall()
    held = [block for _, _, block, state in rows if state != "abandoned"]
    assert len(held) == len(set(held)) >= 5
    assert any(state == "abandoned" for *_, state in rows)
    groups = [(participant, study.blocks[block].group) for participant, _, block, _ in rows]
    assert len(groups) == len(set(groups))
    stored = store.answers(with_abandoned=True)
    assert {(each.rater, each.trial): each for each in stored} == acknowledged
    assert len(stored) == len(acknowledged)
    store.close()


def test_tokens_are_not_in_the_file_and_the_file_is_private(store: Store) -> None:
    tokens = [store.new_rater("") for _ in range(3)]
    assert len({*tokens, store.owner}) == 4
    assert {store.rater_of(token) for token in tokens} != {None}
    assert store.rater_of(tokens[0][:-1]) is None
    files = [path for path in store.path.parent.iterdir() if path.name.startswith("results")]
    content = b"".join(path.read_bytes() for path in files)
    assert store.owner.encode() in content
    assert not any(token.encode() in content for token in tokens)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_file_is_gone_on_with_under_the_same_owner(store: Store) -> None:
    again = Store(store.path, store.study, IDLE)
    assert again.owner == store.owner
    assert again.database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert again.database.execute("PRAGMA synchronous").fetchone() == (2,)
    again.close()


@pytest.mark.parametrize("other", [replace(small_study(), name="other"), small_study(trials=4), small_study(layers=3)])
def test_a_file_of_another_study_is_refused(store: Store, other: Study) -> None:
    with pytest.raises(ValueError, match="results of another study"):
        Store(store.path, other, IDLE)


def test_a_file_that_holds_no_results_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes\n" * 100)
    with pytest.raises(ValueError, match="holds no results"):
        Store(path, small_study(), IDLE)
    assert path.read_text() == "these are my notes\n" * 100
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE mine (x)")
    with pytest.raises(ValueError, match="another version"):
        Store(foreign, small_study(), IDLE)
    with pytest.raises(OSError, match="missing"):
        Store(tmp_path / "missing" / "results.sqlite", small_study(), IDLE)


def test_progress_counts_by_hand(store: Store, clock: Clock) -> None:
    lost, one, two = rater(store, "lost"), rater(store, "one"), rater(store)
    block = given(store, lost)
    store.keep(answer(lost, block, store.study.blocks[block].trials[1]))
    clock.now += 2 * IDLE
    for who, choices in ((one, (1, 0, None, 1, 1)), (two, (0, 1, 1, 1, 0))):
        block = given(store, who)
        for trial, choice in zip(store.study.blocks[block].trials, choices, strict=True):
            store.keep(answer(who, block, trial, choice))
    store.end(one, given(store, one))
    found = store.progress()
    assert (found.blocks, found.done, found.open, found.abandoned) == (4, 1, 1, 1)
    assert [each.participant for each in found.raters] == ["lost", "one", ""]
    assert [
        (each.done, each.abandoned, each.answers, each.dropped, each.caught, each.catches) for each in found.raters
    ] == [
        (0, 1, 0, 0, 0, 0),
        (1, 0, 3, 1, 1, 1),
        (0, 0, 3, 0, 0, 1),
    ]
    assert (found.total("answers"), found.total("caught"), found.total("catches")) == (6, 1, 2)
