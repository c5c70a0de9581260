"""Fetching weights from a server on this machine: whole and checked, or not there and told in a sentence."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_modules.pretrained import MODELS, Model, fetching, find, place
from tests.conftest import PROJECT
from tests.unit.weights_server import CONTENT, Weights, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Weights]:
    """The server, and an empty cache."""
    monkeypatch.setenv("CHROMALAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server


def fetched(model: Model, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a model that the table has for this test."""
    monkeypatch.setitem(MODELS, model.name, model)
    return find(model.name)


def started(model: Model) -> subprocess.Popen[str]:
    """Another process that fetches the model and prints its path, after it said that it is ready."""
    code = (
        "from lightning_modules.pretrained import MODELS, Model, fetching, find\n"
        f"MODELS['served'] = {model!r}\n"
        "print('ready', flush=True)\n"
        "print(find('served'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def left(file: Path) -> list[str]:
    """The names in the cache, but for the lock."""
    return sorted(each.name for each in file.parent.iterdir() if each.suffix != ".lock")


def test_a_file_is_fetched_once(server: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        file = fetched(server.model("whole"), monkeypatch)
    assert file.read_bytes() == CONTENT
    assert left(file) == ["served.pth"]
    assert server.requests == {"whole": 1}


@pytest.mark.parametrize("bad", ["missing", "cut", "flipped", "endless"])
def test_after_a_bad_address_comes_the_next(bad: str, server: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "CHUNK", 1000)
    file = fetched(server.model(bad, "whole"), monkeypatch)
    assert file.read_bytes() == CONTENT
    assert left(file) == ["served.pth"]
    assert server.requests == {bad: 1, "whole": 1}


@pytest.mark.parametrize(
    ("bad", "why"),
    [("missing", "404"), ("cut", "cut short"), ("flipped", "its SHA-256 is"), ("endless", "more than"), ("", "failed")],
)
def test_what_cannot_be_fetched_is_told_in_a_sentence(
    bad: str, why: str, server: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = server.model(bad)
    if not bad:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            model = replace(model, addresses=(f"http://127.0.0.1:{unused.getsockname()[1]}/whole",))
    with pytest.raises(OSError, match=why) as caught:
        fetched(model, monkeypatch)
    sentence = str(caught.value)
    for word in (model.file, model.addresses[0], model.sha256, str(place("served"))):
        assert word in sentence
    assert "\n" not in sentence
    assert "0x" not in sentence
    assert left(place("served")) == []


def test_a_server_that_falls_silent_is_given_up(server: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    assert fetched(server.model("slow", "whole"), monkeypatch).read_bytes() == CONTENT


def test_a_killed_process_leaves_nothing_in_the_way(server: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    process = started(server.model("slow"))
    with process:
        assert server.half_sent.wait(60)
        process.send_signal(signal.SIGKILL)
    monkeypatch.setitem(MODELS, "served", server.model("whole"))
    assert not place("served").exists()
    assert find("served").read_bytes() == CONTENT
    assert left(place("served")) == ["served.pth"]


def test_of_two_processes_one_fetches(server: Weights) -> None:
    with started(server.model("slow")) as first:
        assert server.half_sent.wait(60)
        with started(server.model("slow")) as second:
            time.sleep(0.3)  # it comes to wait, or would ask the server, too
            server.gate.set()
            outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [Path(output.strip()).read_bytes() for output in outputs] == [CONTENT, CONTENT]
    assert server.requests == {"slow": 1}


def test_a_file_that_was_put_there_by_hand_is_checked(server: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "served", server.model("whole"))
    file = place("served")
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT[:-1] + b"W")
    with pytest.raises(OSError, match=r"served\.pth is damaged or another file: its SHA-256 is"):
        find("served")
    assert file.read_bytes() == CONTENT[:-1] + b"W"
    file.write_bytes(CONTENT)
    assert find("served") == file
    assert not server.requests


def test_the_first_digits_of_a_hash_are_enough(server: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    model = server.model("whole")
    assert fetched(replace(model, sha256=model.sha256[:8]), monkeypatch).read_bytes() == CONTENT
    with pytest.raises(OSError, match="another file: its SHA-256 is"):
        fetched(replace(model, sha256="00000000"), monkeypatch)


def test_a_cache_that_cannot_be_written_is_named(
    server: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OSError, match=r"served\.pth cannot be written: .*CHROMALAB_CACHE"):
        fetched(server.model("whole"), monkeypatch)
    assert not server.requests
