"""The server of studies as a real process: raters by HTTP, SIGKILL, forged requests, a full disk, a proxy's prefix."""

import json
import re
import resource
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the server is tested where uvicorn is installed")
from evaluation.vtt.__main__ import main
from evaluation.vtt.answers import COLUMNS, Answer, stored_answers
from tests.integration.vtt_served import Rater, Server, ask
from tests.unit.vtt_kits import small_study, write_kit

STUDY = small_study(groups=8, layers=8)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests that leave it as it is."""
    kit = write_kit(tmp_path_factory.mktemp("study") / "kit", STUDY)
    with Server(kit, "--raters-per-address", "1000") as started:
        yield started
        assert started.kill() == "", "the server has complained"


def stored(server: Server) -> dict[tuple[str, str], Answer]:
    """The owner's table by rater and trial, in which nothing stands twice."""
    answers = server.answers("?abandoned=1")
    found = {(each.rater, each.trial): each for each in answers}
    assert len(found) == len(answers)
    return found


def assert_all_stored(server: Server, raters: list[Rater]) -> None:
    """What the raters were told is stored is what is stored, and no more."""
    acknowledged = sorted(json.dumps(body, sort_keys=True) for rater in raters for body in rater.acknowledged.values())
    names = ("block", "trial", "choice", "response_ms", "shown_ms", "dropped", "at")
    found = stored(server).values()
    assert (
        sorted(json.dumps({name: getattr(each, name) for name in names}, sort_keys=True) for each in found)
        == acknowledged
    )


def test_fifty_raters_at_once(tmp_path: Path) -> None:
    study = small_study(groups=5, layers=10)
    with Server(write_kit(tmp_path / "kit", study), "--behind-proxy") as server:
        with ThreadPoolExecutor(50) as threads:
            raters = list(threads.map(lambda i: Rater(server, f"10.0.0.{i}"), range(50)))
            left = list(threads.map(Rater.sit, raters))
        assert max(left) <= 4
        assert_all_stored(server, raters)
        assert {(each.block, each.trial) for each in server.answers()} == {
            (name, trial) for name, block in study.blocks.items() for trial in block.trials
        }
        assert raters[0].block() is None
        assert server.kill() == ""


def test_sigkill_loses_nothing_that_was_acknowledged_and_counts_nothing_twice(tmp_path: Path) -> None:
    study = small_study(groups=2, layers=5, trials=22)
    with Server(write_kit(tmp_path / "kit", study)) as server:
        raters = [Rater(server) for _ in range(10)]
        with ThreadPoolExecutor(10) as threads:
            working = [threads.submit(rater.sit) for rater in raters]
            for _ in range(3):
                before = sum(len(rater.acknowledged) for rater in raters)
                while sum(len(rater.acknowledged) for rater in raters) < before + 30:
                    time.sleep(0.005)
                server.kill()
                server.start()
            assert not all(each.done() for each in working), "the server was killed too late"
            for each in working:
                each.result()
        assert sum(len(rater.acknowledged) for rater in raters) == 10 * 24
        assert_all_stored(server, raters)


def test_an_answer_that_the_disk_has_no_room_for_is_not_acknowledged(tmp_path: Path) -> None:
    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, resource.RLIM_INFINITY))

    study = small_study(groups=1, layers=1, trials=30)
    with Server(write_kit(tmp_path / "kit", study), at_start=small_disk) as server:
        rater = Rater(server)
        trials = study.blocks["block0-0"].trials
        assert rater.block()
        statuses = [rater.answer("block0-0", trial) for trial in trials]
        assert {*statuses} == {200, 503}
        assert "answers cannot be stored" in server.kill()
        server.start()
        assert_all_stored(server, [rater])
        assert rater.block()["answered"] == [trial for trial in trials if trial in rater.acknowledged]
        assert rater.sit() == 0
        assert_all_stored(server, [rater])


def test_two_tabs_have_one_block_and_the_first_answer_stays(server: Server) -> None:
    rater = Rater(server)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: rater.block()["block"]["block"], range(6)))
    assert len({*found}) == 1
    trials = STUDY.blocks[found[0]].trials
    with ThreadPoolExecutor(6) as threads:
        answers = [partial(rater.answer, found[0], trials[0], choice, response_ms=400.5) for choice in (0, 1) * 3]
        statuses = list(threads.map(lambda answer: answer(), answers))
    assert sorted(statuses) == [200, 200, 200, 409, 409, 409]
    assert rater.answer(found[0], trials[1], choice=None) == 200
    assert rater.block()["answered"] == list(trials[:2])


def test_a_block_says_no_more_than_its_raters_may_know(server: Server) -> None:
    status, headers, text = ask(server.port, "GET", "/api/block", headers=Rater(server).headers)
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    found = json.loads(text)
    assert found == {"block": STUDY.public_block(found["block"]["block"]), "answered": []}
    assert b"truth" not in text
    assert b"Method" not in text


def test_a_block_without_answers_goes_to_somebody_else(tmp_path: Path) -> None:
    kit = write_kit(tmp_path / "kit", small_study(groups=1, layers=1))
    with Server(kit, "--idle-minutes", "0.05") as server:
        first, second = Rater(server), Rater(server)
        block = first.block()["block"]
        assert first.answer(block["block"], block["trials"][0]["trial"]) == 200
        assert second.block() is None
        while not (found := second.block()):
            time.sleep(0.05)
        assert found["block"] == block
        assert first.answer(block["block"], block["trials"][1]["trial"]) == 404
        assert first.block() is None
        assert server.answers() == []
        assert_all_stored(server, [first])
        assert second.sit() == 0
        assert {each.trial for each in server.answers()} == {each["trial"] for each in block["trials"]}
        assert len(server.answers("?abandoned=1")) == 6


def test_what_raters_may_not_have_is_refused(server: Server) -> None:
    one, two = Rater(server), Rater(server)
    mine, others = (each.block()["block"] for each in (one, two))
    trial, other = mine["trials"][0]["trial"], others["trials"][0]["trial"]
    before = stored(server)
    assert one.answer(others["block"], other) == 404
    assert one.answer(mine["block"], other) == 404
    assert one.answer("no block", trial) == 404
    assert one.answer(mine["block"], "no trial") == 404
    assert one.answer(mine["block"], "' OR 1=1 --") == 404
    assert one.ask("POST", "api/block/end", {"block": others["block"]})[0] == 404
    assert one.ask("POST", "api/block/end", {"block": mine["block"]}) == (
        409,
        {"error": "5 trials of this block have no answer yet"},
    )
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": one.headers["Authorization"][7:]}):
        for method, path in (("GET", "/api/block"), ("POST", "/api/answers"), ("POST", "/api/block/end")):
            status, replied, text = ask(server.port, method, path, {}, headers)
            assert (status, replied["WWW-Authenticate"]) == (401, "Bearer")
            assert json.loads(text) == {"error": "this rater is not known here"}
    assert stored(server) == before


BODIES: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"choice=1", 400),
    "not a number": (b'{"choice": NaN}', 400),
    "infinity": (b'{"choice": Infinity}', 400),
    "deep": (b"[" * 8000, 400),
    "a list": (b"[1]", 422),
    "other names": (b'{"choice": 1}', 422),
    "too long": (b" " * 9000, 413),
    "far too long": (b" " * 2_000_000, 413),
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("path", ["/api/raters", "/api/answers", "/api/block/end"])
def test_bodies_that_are_none_are_refused(server: Server, path: str, kind: str) -> None:
    body, expected = BODIES[kind]
    rater = Rater(server)
    try:
        status, headers, text = ask(server.port, "POST", path, body, rater.headers)
    except (BrokenPipeError, ConnectionResetError):
        assert kind == "far too long"  # it is cut off while it is still being sent
        return
    assert status == expected
    assert list(json.loads(text)) == ["error"]
    assert headers["Content-Type"] == "application/json"


def test_answers_of_wrong_types_and_ranges_are_refused(server: Server) -> None:
    rater = Rater(server)
    block = rater.block()["block"]
    trial = block["trials"][0]["trial"]
    changes: list[dict[str, Any]] = [{"response_ms": 1e400}, {"shown_ms": [-1]}, {"at": "<script>"}, {"dropped": "'"}]
    changes += [{"choice": value} for value in (2, -1, True, "1", 0.5)] + [{"choice": None, "dropped": None}]
    assert [rater.answer(**{"block": block["block"], "trial": trial} | each) for each in changes] == [400] + [422] * 9
    assert rater.block()["answered"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/api/answers"), ("GET", "/api/answers"), ("DELETE", "/api/block"), ("POST", "/"), ("GET", "/api/raters")],
)
def test_wrong_methods_are_refused(server: Server, method: str, path: str) -> None:
    status, headers, text = ask(server.port, method, path)
    assert status == 405
    assert method not in headers["Allow"]
    assert list(json.loads(text)) == ["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/../../plan.json",
        "/pictures/..%2f..%2fplan.json",
        "/pictures/%2e%2e/%2e%2e/plan.json",
        "/pictures/..%5c..%5cplan.json",
        "/pictures/%2e%2e%2fpictures%2f{name}.png",
        "/pictures//{name}.png",
        "/pictures/{name}.png%00",
        "/pictures/{name}.png%0a",
        "/pictures/{name}.PNG",
        "/pictures/{name}",
        "/pictures/" + "f" * 32 + ".png",
        "/pictures/",
        "/pictures",
        "/plan.json",
        "/../plan.json",
        "/results.sqlite",
        "/blocks/block0-0.js",
        "/public/index.html",
        "//etc/passwd",
        "/owner",
        "/owner/",
        "/owner/x",
        "/owner/x/answers.csv",
        "/owner/%00/answers.csv?abandoned=1",
        "/owner/%ed%a0%80",
    ],
)
def test_nothing_else_of_the_kit_can_be_had(server: Server, path: str) -> None:
    name = STUDY.trials["000000000001"].shown[0]
    with socket.create_connection(("127.0.0.1", server.port), timeout=100) as raw:
        request = f"GET {path.format(name=name)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        raw.sendall(request.encode())
        reply = b"".join(iter(lambda: raw.recv(65536), b""))
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert list(json.loads(body)) == ["error"]


def test_a_request_that_is_no_http_does_no_harm(server: Server) -> None:
    for noise in (b"\x16\x03\x01\x02\x00" + b"\x00" * 50 + b"\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n", b"x" * 100_000):
        with socket.create_connection(("127.0.0.1", server.port), timeout=100) as raw:
            raw.sendall(noise)
            raw.shutdown(socket.SHUT_WR)
            assert b"200 OK" not in raw.recv(65536)
    assert ask(server.port, "GET", "/")[0] == 200


def test_pictures_and_the_page_come_with_strict_headers(server: Server) -> None:
    name = STUDY.trials["000000000001"].shown[0]
    status, headers, content = ask(server.port, "GET", f"/pictures/{name}.png")
    assert (status, content) == (200, b"\x89PNG " + name.encode())
    assert headers["Content-Type"] == "image/png"
    assert "immutable" in headers["Cache-Control"]
    assert {"Last-Modified", "ETag"}.isdisjoint(headers)
    for path in ("/", f"/pictures/{name}.png", "/api/block", "/nothing", server.owner):
        _, headers, _ = ask(server.port, "GET", path)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "Server" not in headers
    status, headers, page = ask(server.port, "GET", "/")
    assert page.decode().index("<script>window.server = true</script>") < page.decode().index("document.title")
    assert headers["Content-Security-Policy"].count("'sha256-") == 3
    assert headers["Cache-Control"] == "no-store"


def test_the_owner_sees_how_far_the_study_is(tmp_path: Path) -> None:
    with Server(write_kit(tmp_path / "kit", small_study())) as server:
        forged = "<script>alert(1)</script>'; DROP TABLE answers; --"
        _, _, text = ask(server.port, "POST", "/api/raters", {"participant": forged + "x" * 500})
        rater = Rater(server)
        rater.headers["Authorization"] = f"Bearer {json.loads(text)['rater']}"
        assert rater.sit() == 1
        status, _, page = ask(server.port, "GET", server.owner)
        assert status == 200
        assert "1 of 4 blocks done" in page.decode()
        assert "<script" not in page.decode()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.decode()
        assert "x" * 60 not in page.decode()
        assert 'http-equiv="refresh"' in page.decode()
        token = server.owner.rpartition("/")[2]
        links = [f"{token}/answers.csv", f"{token}/answers.csv?abandoned=1"]
        assert re.findall(r'(?:src|href)="([^"]+)"', page.decode()) == ["data:,", *links]
        status, headers, table = ask(server.port, "GET", f"{server.owner}/answers.csv")
        assert table.decode().splitlines()[0] == ",".join(COLUMNS)
        assert len(table.decode().splitlines()) == 6
        assert "attachment" in headers["Content-Disposition"]
        token = rater.headers["Authorization"].removeprefix("Bearer ")
        assert token not in table.decode() + page.decode()
        assert ask(server.port, "GET", f"/owner/{token}")[0] == 404
        assert ask(server.port, "GET", server.owner[:-1])[0] == 404
        database = sqlite3.connect(tmp_path / "kit" / "results.sqlite")
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT LENGTH(participant) FROM raters ORDER BY since").fetchall() == [(100,), (0,)]
        database.close()


def test_new_raters_and_requests_are_limited_by_address(tmp_path: Path) -> None:
    options = ("--raters-per-address", "3", "--behind-proxy")
    with Server(write_kit(tmp_path / "kit", small_study()), *options) as server:

        def new(forwarded: str) -> tuple[int, str | None]:
            status, headers, _ = ask(
                server.port, "POST", "/api/raters", {"participant": ""}, {"X-Forwarded-For": forwarded}
            )
            return status, headers["Retry-After"]

        assert [new("10.0.0.1")[0] for _ in range(3)] == [200] * 3
        status, after = new("10.0.0.1")
        assert status == 429
        assert 1000 < int(after or 0) <= 1200
        assert new("6.6.6.6, 10.0.0.1")[0] == 429
        assert new("10.0.0.1, 10.0.0.2")[0] == 200
        rater = Rater(server, "10.0.0.3")
        statuses = [rater.ask("POST", "api/block/end", {"block": "x"})[0] for _ in range(250)]
        assert statuses[:200] == [404] * 200
        assert statuses[-1] == 429
        assert Rater(server, "10.0.0.3").block()


def test_a_forwarded_address_is_not_believed_without_a_proxy(tmp_path: Path) -> None:
    with Server(write_kit(tmp_path / "kit", small_study()), "--raters-per-address", "2") as server:
        statuses = [
            ask(server.port, "POST", "/api/raters", {"participant": ""}, {"X-Forwarded-For": f"10.0.0.{i}"})[0]
            for i in range(4)
        ]
        assert statuses == [200, 200, 429, 429]
        assert server.kill().count("--behind-proxy") == 1


def test_a_prefix_is_understood_whether_the_proxy_hands_it_on_or_takes_it_away(tmp_path: Path) -> None:
    with Server(write_kit(tmp_path / "kit", small_study()), "--prefix", "/lab/study/") as server:
        assert f":{server.port}/lab/study/\n" in server.said
        assert server.owner.startswith("/lab/study/owner/")
        status, headers, _ = ask(server.port, "GET", "/lab/study")
        assert (status, headers["Location"]) == (307, "study/")
        assert Rater(server, prefix="/lab/study").sit() == 1
        assert Rater(server).sit() == 1
        for prefix in ("", "/lab/study"):
            assert ask(server.port, "GET", f"{prefix}/")[0] == 200
            assert (
                ask(server.port, "GET", f"{prefix}/pictures/{small_study().trials['000000000001'].shown[0]}.png")[0]
                == 200
            )
            assert ask(server.port, "GET", f"{prefix}/nothing")[0] == 404
        assert len(server.answers()) == 10


def test_mistakes_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = write_kit(tmp_path / "kit", small_study())
    (lacking := write_kit(tmp_path / "lacking", small_study())).joinpath("public", "index.html").unlink()
    picture = next((write_kit(tmp_path / "hole", small_study()) / "public" / "pictures").iterdir())
    picture.unlink()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        mistakes = {
            (tmp_path,): "holds no plan.json",
            (lacking,): "holds no index.html",
            (tmp_path / "hole",): f"lacks 1 pictures, such as {picture.name}",
            (kit, "--port", taken.getsockname()[1]): "give another --host or --port",
            (kit, "--port", 70000): "--port 70000 is none",
            (kit, "--prefix", "/a b"): "no plain path",
            (kit, "--idle-minutes", 0): "above 0",
            (kit, "--results", kit / "plan.json"): "holds no results",
        }
        for options, sentence in mistakes.items():
            monkeypatch.setattr(sys, "argv", ["vtt", "serve", *map(str, options)])
            with pytest.raises(SystemExit) as end:
                main()
            assert re.fullmatch(rf"error: [^\n]*{re.escape(sentence)}[^\n]*", str(end.value))


def test_a_missing_package_is_named_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "evaluation.vtt.http_server", raising=False)  # another test may have imported it
    monkeypatch.setattr(sys, "argv", ["vtt", "serve", str(write_kit(tmp_path / "kit", small_study()))])
    with pytest.raises(SystemExit, match=r'^error: .*pip install -e "\.\[web\]"$'):
        main()


def test_half_open_connections_keep_nobody_from_being_served(tmp_path: Path) -> None:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (704, 704))  # so that 128 connections are held

    study = small_study(groups=2, layers=5)
    with (
        ExitStack() as stack,
        Server(write_kit(tmp_path / "kit", study), "--behind-proxy", at_start=few_files) as server,
    ):
        for _ in range(300):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with ThreadPoolExecutor(10) as threads:
            raters = list(threads.map(lambda i: Rater(server, f"10.0.0.{i}"), range(10)))
            list(threads.map(Rater.sit, raters))
        assert_all_stored(server, raters)
        assert sum(len(rater.acknowledged) for rater in raters) == 50
        assert server.kill() == ""


def test_the_server_stops_with_a_sentence_when_its_results_are_deleted(tmp_path: Path) -> None:
    kit = write_kit(tmp_path / "kit", small_study())
    with Server(kit) as server:
        rater = Rater(server)
        rater.sit()
        (kit / "results.sqlite").unlink()
        _, said = server.process.communicate(timeout=60)
        assert server.process.returncode == 1
        assert re.fullmatch(r"error: [^\n]*results\.sqlite was deleted, moved or replaced[^\n]*\n", said)
        [rescued] = kit.glob("results-rescued-*.sqlite")
        kept = {(each.trial, each.response_ms) for each in stored_answers(rescued)}
        assert kept == {(trial, body["response_ms"]) for trial, body in rater.acknowledged.items()}


def test_half_a_surrogate_pair_is_refused_and_leaves_no_trace(server: Server) -> None:
    rater = Rater(server)
    block = rater.block()["block"]["block"]
    for path in ("/api/block/end", "/api/answers"):
        body = b'{"block": "\\ud800"}'
        assert ask(server.port, "POST", path, body, rater.headers)[0] == 400
    assert rater.block()["block"]["block"] == block
