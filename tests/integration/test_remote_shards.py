"""Shards on a server and behind commands, in good order and in every bad one."""

import multiprocessing
import shutil
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from datamodules.images import Images, ShardedPictures
from datamodules.loader import ResumableLoader
from datamodules.shards import files as files_module
from datamodules.shards.files import ShardFiles
from datamodules.shards.sources import Bytes, Source
from datamodules.shards.writer import Encoding, write
from datamodules.transforms import scale_and_crop
from tests.conftest import colourful_pictures

TRAINING, VALIDATION, SHARD = 33, 5, 7
SHARDS = 5
ATTEMPTS = 3
ALWAYS = 1_000_000
NAMES = [f"train-{number:06}.tar" for number in range(SHARDS)]
LOST = NAMES[2]
FAULTS = ["500", "cut", "stall"]
KEPT = (".tar", ".lock", ".json", ".npy", ".lost")


class Server(ThreadingHTTPServer):
    """Serves a folder, badly if asked to.

    Attributes:
        faults: By file name, what goes wrong and for how many requests.
        requests: How often each file was asked for.
        gate: By file name, what is waited for before it is answered.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.faults: dict[str, tuple[str, int]] = {}
        self.requests = Counter[str]()
        self.gate: dict[str, Callable[[], object]] = {}
        self.lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Of the folder."""
        return f"http://127.0.0.1:{self.server_address[1]}/set"

    def handle_error(self, *arguments: Any) -> None:
        """Say nothing of clients that did not wait."""

    def fault(self, name: str) -> str:
        """Count a request; tells what shall go wrong with it."""
        with self.lock:
            self.requests[name] += 1
            kind, times = self.faults.get(name, ("", 0))
            return kind if self.requests[name] <= times else ""


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        name = self.path.rpartition("/")[2]
        fault = self.server.fault(name)
        self.server.gate.get(name, lambda: None)()
        path = self.server.folder / name
        if fault == "500" or not path.is_file():
            self.send_error(500 if fault else 404)
            return
        data = path.read_bytes()
        if fault == "short":
            data = data[: len(data) // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        half = len(data) // 2 if fault in ("cut", "stall") else len(data)
        self.wfile.write(data[:half])
        if fault == "stall":
            self.wfile.flush()
            self.server.closing.wait(2)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of shards: `train` in 7, 7, 7, 7 and 5 pictures, `val` in 5."""
    return write_set(tmp_path_factory.mktemp("pictures"))


def write_set(folder: Path, seed: int = 0, side: int = 24) -> Path:
    """Write a set of shards."""
    sources: dict[str, list[Source]] = {"train": [], "val": []}
    for number, picture in enumerate(colourful_pictures(TRAINING + VALIDATION, side, seed)):
        path = folder / f"{number:02}.png"
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)
        sources["train" if number < TRAINING else "val"].append(Source(path.name, Bytes(str(path))))
    out = folder / "set"
    write(sources, out, command="test", encoding=Encoding(), pictures_per_shard=SHARD, seed=0, workers=1)
    return out


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before another attempt."""
    monkeypatch.setattr(files_module, "STALLED_SECONDS", 20)
    monkeypatch.setattr(files_module, "ATTEMPTS", ATTEMPTS)
    monkeypatch.setattr(files_module, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server(pristine: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of a copy of the set."""
    with Server(Path(shutil.copytree(pristine, tmp_path / "served"))) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """Where fetched shards lie; however a test ended, nothing half-fetched is among them."""
    folder = tmp_path / "cache"
    yield folder
    while any(path.suffix not in KEPT and path.is_file() for path in folder.rglob("*")):
        time.sleep(0.05)  # a thread that fetches ahead may still be at it


@pytest.fixture
def images(cache: Path) -> Callable[..., Images]:
    """Makes a data module, set up for training, with small numbers for all that is not given."""

    def make(root: Path | str = "nowhere", **settings: Any) -> Images:
        defaults: dict[str, Any] = {
            "training": "train",
            "validation": "val",
            "test": "val",
            "transform": partial(scale_and_crop, short_side=[16, 20], resolution=12),
            "minimum_colourness": 0,
            "minimum_chroma_range": 0,
            "reach": 14,
            "on_error": "stop",
            "maximum_bad_share": 1.0,
            "cache": str(cache),
            "cache_gigabytes": 1,
            "batch_size": 3,
            "evaluation_batch_size": 4,
            "workers": 0,
            "seed": 0,
        }
        module = Images(root=str(root), **(defaults | settings))
        module.setup("fit")
        return module

    return make


Make = Callable[..., Images]


def sharded(module: Images) -> ShardedPictures:
    """The training pictures."""
    assert isinstance(module.training, ShardedPictures)
    return module.training


def seen(loader: ResumableLoader) -> dict[str, torch.Tensor]:
    """The pictures of one epoch by their keys, each of which comes once."""
    pairs = [(key, rgb.clone()) for batch in loader for key, rgb in zip(batch["key"], batch["rgb"], strict=True)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    """Two epochs showed the same, in the same order."""
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def training_keys() -> list[str]:
    """Keys of the training split."""
    return [f"{number:02}" for number in range(TRAINING)]


def shard_files(server: Server, cache: Path, gigabytes: float = 1) -> tuple[ShardFiles, list[bytes]]:
    """The training shards on the server, and what they hold."""
    held = [(server.folder / name).read_bytes() for name in NAMES]
    places = [f"{server.url}/{name}" for name in NAMES]
    return ShardFiles(places, [len(each) for each in held], cache, gigabytes), held


def copies(cache: Path) -> list[bytes]:
    """What the copies in the cache hold."""
    return [path.read_bytes() for path in cache.glob("*.tar")]


def until(happened: Callable[[], bool]) -> bool:
    """Wait until something has happened; what never does ends with the test's own time."""
    while not happened():
        time.sleep(0.005)
    return True


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_set_on_a_server_shows_the_same_as_on_disk(
    pristine: Path, server: Server, images: Make, workers: int, slash: str
) -> None:
    far, near = images(server.url + slash, workers=workers), images(pristine)
    for ours, theirs in (
        (far.train_dataloader(), near.train_dataloader()),
        (far.val_dataloader(), near.val_dataloader()),
    ):
        for _ in range(2):
            assert_same(seen(ours), seen(theirs))
    shards = {name: times for name, times in server.requests.items() if name != "manifest.json"}
    assert shards == dict.fromkeys(["index.npy", *NAMES, "val-000000.tar"], 1), "each is fetched once"


def test_what_is_in_the_cache_is_not_fetched_again(server: Server, images: Make) -> None:
    seen(images(server.url).train_dataloader())
    before = Counter(server.requests)
    seen(images(server.url).train_dataloader())
    assert set(server.requests - before) == {"manifest.json"}, "which may have changed"


@pytest.mark.parametrize(
    ("name", "fault"),
    [(LOST, "short"), *((name, fault) for name in (LOST, "manifest.json", "index.npy") for fault in FAULTS)],
)
def test_a_fault_that_goes_away_is_survived(
    pristine: Path, server: Server, images: Make, name: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "stall":
        monkeypatch.setattr(files_module, "STALLED_SECONDS", 0.5)
    server.faults[name] = (fault, ATTEMPTS - 1)
    module = images(server.url)
    assert_same(seen(module.train_dataloader()), seen(images(pristine).train_dataloader()))
    assert server.requests[name] == ATTEMPTS


@pytest.mark.parametrize(("fault", "workers"), [*((fault, 0) for fault in [*FAULTS, "short"]), ("500", 1)])
def test_a_fault_that_stays_stops_a_run_with_the_url(
    server: Server, images: Make, fault: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "stall":
        monkeypatch.setattr(files_module, "STALLED_SECONDS", 0.5)
    server.faults[LOST] = (fault, ALWAYS)
    module = images(server.url, workers=workers)
    with pytest.raises(OSError, match=rf"{server.url}/{LOST} cannot be fetched, after {ATTEMPTS} attempts: ") as caught:
        seen(module.train_dataloader())
    reasons = {"500": "500", "cut": "broke", "stall": "timed out", "short": "bytes where the manifest says"}
    assert reasons[fault] in str(caught.value)
    traceback.clear_frames(caught.tb)  # or workers would live until the garbage is collected


@pytest.mark.parametrize("name", ["manifest.json", "index.npy"])
def test_a_set_without_a_manifest_or_an_index_is_named(server: Server, images: Make, name: str) -> None:
    server.faults[name] = ("500", ALWAYS)
    with pytest.raises(OSError, match=rf"{server.url}/{name} cannot be fetched, after {ATTEMPTS} attempts"):
        images(server.url)
    assert server.requests[name] == ATTEMPTS


def test_an_index_that_is_cut_short_on_the_server_is_named(server: Server, images: Make) -> None:
    server.faults["index.npy"] = ("short", ALWAYS)
    with pytest.raises(ValueError, match=rf"{server.url}/index\.npy is missing or not the one"):
        images(server.url)
    server.faults.clear()
    assert sorted(seen(images(server.url).train_dataloader())) == training_keys()


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("workers", [0, 2])
def test_the_pictures_of_a_lost_shard_may_be_counted_instead(
    pristine: Path, server: Server, images: Make, workers: int
) -> None:
    index = sharded(images(pristine)).catalogue.index
    lost = {row["key"].decode() for row in index if row["shard"] == 2}
    assert len(lost) == SHARD
    server.faults[LOST] = ("500", ALWAYS)
    loader = images(server.url, on_error="skip", workers=workers, batch_size=11).train_dataloader()
    assert sorted(seen(loader)) == sorted(set(training_keys()) - lost)
    assert len(loader.bad_pictures) == SHARD
    for key in lost:
        assert f"{server.url}/{LOST}: {key}" in loader.bad_pictures


@pytest.mark.filterwarnings("ignore:left out")
def test_a_lost_shard_is_given_up_once_not_once_a_picture(server: Server, images: Make) -> None:
    server.faults[LOST] = ("500", ALWAYS)
    module = images(server.url, on_error="skip", batch_size=11)
    seen(module.train_dataloader())
    assert until(lambda: not sharded(module).files.expected)
    assert server.requests[LOST] <= 2 * ATTEMPTS, "once ahead, once when it is needed: each time takes minutes"


def test_a_shard_of_another_size_is_fetched_again(server: Server, cache: Path) -> None:
    files, held = shard_files(server, cache)
    server.faults[LOST] = ("short", 1)
    assert files.read(2, 0, len(held[2])) == held[2]
    assert server.requests[LOST] == 2


@pytest.mark.filterwarnings("ignore:left out")
def test_a_set_that_was_written_anew_is_fetched_anew(server: Server, images: Make, tmp_path: Path) -> None:
    first = seen(images(server.url).val_dataloader())
    (tmp_path / "new").mkdir()
    shutil.rmtree(server.folder)
    shutil.copytree(write_set(tmp_path / "new", seed=1, side=40), server.folder)
    second = seen(images(server.url).val_dataloader())
    assert_same(second, seen(images(server.folder).val_dataloader()))
    assert not torch.equal(next(iter(first.values())), next(iter(second.values())))


def test_patterns_on_a_server_are_indexed_when_they_are_met(pristine: Path, server: Server, images: Make) -> None:
    pattern = f"{server.url}/train-{{000000..000002}}.tar"
    near = images(training=f"{pristine}/train-{{000000..000002}}.tar", **both(f"{pristine}/val-*.tar"))
    module = images(training=pattern, **both(f"{server.url}/val-000000.tar"), batch_size=1)
    assert len(seen(module.train_dataloader())) == 3 * SHARD
    assert_same(seen(module.val_dataloader()), seen(near.val_dataloader()))
    assert server.requests == Counter([*NAMES[:3], "val-000000.tar"])
    again = images(training=pattern, **both(f"{server.url}/val-000000.tar"), batch_size=1)
    assert len(seen(again.train_dataloader())) == 3 * SHARD
    assert sum(server.requests.values()) == 4, "neither fetched nor indexed again"


def both(name: str) -> dict[str, str]:
    """Validation and test on the same shards."""
    return {"validation": name, "test": name}


def test_a_pattern_with_a_lost_shard_is_an_error_with_its_url(server: Server, images: Make) -> None:
    server.faults[LOST] = ("cut", ALWAYS)
    pattern = f"{server.url}/train-{{000000..000004}}.tar"
    with pytest.raises(OSError, match=rf"{server.url}/{LOST} cannot be fetched, after {ATTEMPTS} attempts"):
        images(training=pattern, **both(pattern))


def test_a_shard_that_came_broken_while_it_was_indexed_may_come_whole_the_next_time(
    server: Server, images: Make
) -> None:
    server.faults[LOST] = ("short", 1)
    place = f"{server.url}/{LOST}"
    with pytest.raises(ValueError, match=rf"{place} is no whole tar file"):
        images(training=place, **both(place))
    assert len(seen(images(training=place, **both(place)).val_dataloader())) == SHARD


@pytest.mark.parametrize(
    "command",
    [
        "cat {root}/train-000003.tar",
        "head -c 1000 {root}/train-000003.tar; tail -c +1001 {root}/train-000003.tar",
        "{python} -c 'import sys; sys.stdout.buffer.write(open(sys.argv[1], \"rb\").read())' {root}/train-000003.tar",
        "test -e {flag} && cat {root}/train-000003.tar || (touch {flag} && false)",
        "test -e {flag} && cat {root}/train-000003.tar || (touch {flag} && head -c 5000 {root}/val-000000.tar; exit 3)",
    ],
    ids=["cat", "two commands", "python", "fails once", "fails once in the middle"],
)
def test_commands_give_shards(pristine: Path, images: Make, tmp_path: Path, command: str) -> None:
    place = "pipe:" + command.format(root=pristine, python=sys.executable, flag=tmp_path / "flag")
    near = f"{pristine}/train-000003.tar"
    ours, theirs = (images(training=each, **both(each), batch_size=2) for each in (place, near))
    assert_same(seen(ours.train_dataloader()), seen(theirs.train_dataloader()))
    assert_same(seen(ours.val_dataloader()), seen(theirs.val_dataloader()))


def test_commands_take_braces(pristine: Path, images: Make) -> None:
    place = f"pipe:cat {pristine}/train-{{000001..000003}}.tar"
    assert len(seen(images(training=place, **both(place)).val_dataloader())) == 3 * SHARD


@pytest.mark.parametrize("command", ["false", "no_such_command_at_all", "cat /dev/null; exit 7"])
def test_a_command_that_fails_is_named(images: Make, command: str, capfd: pytest.CaptureFixture[str]) -> None:
    place = f"pipe:{command}"
    with pytest.raises(OSError, match=rf"{place} cannot be fetched, after {ATTEMPTS} attempts"):
        images(training=place, **both(place))


def test_the_cache_makes_room_by_what_was_used_longest_ago(server: Server, cache: Path) -> None:
    _, held = shard_files(server, cache)
    limit = sum(sorted(map(len, held))[-2:]) / 1e9
    for number in (0, 1, 0, 2):
        files, _ = shard_files(server, cache, limit)  # with nothing open, as in another process
        assert files.read(number, 0, len(held[number])) == held[number]
        assert sum(map(len, copies(cache))) <= limit * 1e9
        time.sleep(0.02)  # file systems tell times by the tick
    assert sorted(copies(cache)) == sorted([held[0], held[2]])


def test_a_small_cache_serves_every_picture(pristine: Path, server: Server, images: Make, cache: Path) -> None:
    _, held = shard_files(server, cache)
    module = images(server.url, cache_gigabytes=1.5 * max(map(len, held)) / 1e9)
    loader, near = module.train_dataloader(), images(pristine).train_dataloader()
    for _ in range(2):
        assert_same(seen(loader), seen(near))


def test_shards_that_are_fetched_at_once_share_the_room(server: Server, cache: Path) -> None:
    _, held = shard_files(server, cache)
    files, _ = shard_files(server, cache, 1.5 * max(map(len, held)) / 1e9)
    together = threading.Barrier(2)

    def meet() -> None:
        try:
            together.wait(0.25)
        except threading.BrokenBarrierError:
            return  # they come one after the other, which is as well

    server.gate = dict.fromkeys(NAMES[:2], meet)
    files.expect([0, 1])
    assert until(lambda: not files.expected)
    assert len(copies(cache)) == 1, "both do not fit"


def read_shard(files: ShardFiles, shard: int, length: int, barrier: Any, results: Any) -> None:
    """Read a shard in a process of its own."""
    barrier.wait()
    results.put(files.read(shard, 0, length))


def test_processes_that_need_the_same_shard_fetch_it_once(server: Server, cache: Path) -> None:
    server.gate[LOST] = lambda: time.sleep(0.1)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()
    files, held = shard_files(server, cache)
    arguments = (files, 2, len(held[2]), barrier, results)
    processes = [context.Process(target=read_shard, args=arguments, daemon=True) for _ in range(3)]
    for process in processes:
        process.start()
    assert [results.get() for _ in processes] == [held[2]] * 3
    for process in processes:
        process.join()
    assert server.requests[LOST] == 1


def test_a_process_that_was_forked_while_a_shard_came_does_not_hold_its_lock(server: Server, cache: Path) -> None:
    answered, finished = threading.Event(), multiprocessing.get_context("fork").Event()
    server.gate[LOST] = lambda: answered.wait()
    files, held = shard_files(server, cache)
    files.expect([2])
    assert until(lambda: server.requests[LOST] == 1)
    child = multiprocessing.get_context("fork").Process(target=finished.wait, args=(60,), daemon=True)
    child.start()  # as the workers of validation are, in the middle of a training epoch
    try:
        answered.set()
        assert until(lambda: not files.expected)
        read = list[bytes]()
        reader = threading.Thread(target=lambda: read.append(files.read(2, 0, len(held[2]))), daemon=True)
        reader.start()
        reader.join(5)
        assert read == [held[2]]
    finally:
        child.kill()
        child.join()


def test_shards_are_fetched_ahead(server: Server, cache: Path) -> None:
    files, held = shard_files(server, cache)
    files.expect([0, 1, 3])
    assert until(lambda: not files.expected)
    assert sorted(copies(cache)) == sorted([held[0], held[1], held[3]])
    before = Counter(server.requests)
    files.expect([0, 1, 3])
    for number in (0, 1, 3):
        assert files.read(number, 0, len(held[number])) == held[number]
    assert server.requests == before == Counter([NAMES[0], NAMES[1], NAMES[3]])


@pytest.mark.parametrize("split", ["training", "validation"])
def test_the_first_batch_has_later_shards_fetched(server: Server, images: Make, cache: Path, split: str) -> None:
    module = images(server.url, validation="train", reach=0)
    loader = module.train_dataloader() if split == "training" else module.val_dataloader()
    assert len(next(iter(loader))["key"]) < SHARD
    assert until(lambda: len(copies(cache)) == SHARDS)
    assert {server.requests[name] for name in NAMES} == {1}


def test_fetching_ahead_keeps_its_failures_to_itself(server: Server, cache: Path) -> None:
    files, held = shard_files(server, cache)
    server.faults[LOST] = ("500", ATTEMPTS)
    files.expect([2, 0])
    assert until(lambda: not files.expected)
    assert copies(cache) == [held[0]]
    assert files.read(2, 0, 100) == held[2][:100], "and it is tried again when it is needed"
