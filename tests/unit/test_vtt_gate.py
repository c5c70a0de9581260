"""How often somebody may ask, who asks, what a browser may run, and what a body may be."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the server is tested where Starlette is installed")
from starlette.exceptions import HTTPException

from evaluation.vtt import gate, intake
from evaluation.vtt.gate import Allowance, Gate, policy_of
from tests.unit.vtt_kits import small_study

ANSWER = {
    "block": "block0-0",
    "trial": "000000000001",
    "choice": 1,
    "response_ms": 431.5,
    "shown_ms": [1000, 999.9],
    "dropped": None,
    "at": "2026-01-01T00:00:00.123Z",
}


def taken(allowance: Allowance, name: str) -> bool:
    try:
        allowance.take(name)
    except HTTPException:
        return False
    return True


def test_an_allowance_is_used_up_and_comes_back() -> None:
    now = [0.0]
    allowance = Allowance(3, 0.5, lambda: now[0])
    assert [taken(allowance, "a") for _ in range(5)] == [True, True, True, False, False]
    assert taken(allowance, "b")
    now[0] = 1.9
    assert not taken(allowance, "a")
    now[0] = 2.0
    assert [taken(allowance, "a") for _ in range(2)] == [True, False]
    now[0] = 1000.0
    assert [taken(allowance, "a") for _ in range(4)] == [True, True, True, False]


def test_who_asks_too_often_is_told_when_to_try_again() -> None:
    allowance = Allowance(1, 0.3, lambda: 5.0)
    allowance.take("a")
    with pytest.raises(HTTPException) as refusal:
        allowance.take("a")
    assert (refusal.value.status_code, refusal.value.headers) == (429, {"Retry-After": "4"})


def test_an_allowance_remembers_a_bounded_number_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "KNOWN", 3)
    allowance = Allowance(1, 0.001)
    assert taken(allowance, "first")
    for name in "abc":
        taken(allowance, name)
    assert len(allowance.left) == 3
    assert not taken(allowance, "c")


@pytest.mark.parametrize(
    ("peer", "forwarded", "behind_proxy", "address"),
    [
        ("10.0.0.7", [], False, "10.0.0.7"),
        ("127.0.0.1", ["1.2.3.4"], False, "127.0.0.1"),
        ("127.0.0.1", ["1.2.3.4"], True, "1.2.3.4"),
        ("127.0.0.1", ["6.6.6.6, 1.2.3.4"], True, "1.2.3.4"),
        ("127.0.0.1", ["6.6.6.6", "1.2.3.4"], True, "1.2.3.4"),
        ("127.0.0.1", [], True, "127.0.0.1"),
        ("127.0.0.1", ["<script>"], True, "unknown"),
        ("2001:db8:1:2:3:4:5:6", [], False, "2001:db8:1:2::/64"),
        ("::ffff:1.2.3.4", [], False, "1.2.3.4"),
    ],
)
def test_who_asks(peer: str, forwarded: list[str], behind_proxy: bool, address: str) -> None:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    scope = {"type": "http", "client": (peer, 1), "headers": headers}
    assert Gate(lambda *_: asyncio.sleep(0), behind_proxy).address(scope) == address


def test_a_policy_has_the_hashes_of_the_specification() -> None:
    # Content Security Policy Level 3, section 8.4: the hash of alert('Hello, world.');
    page = "<head><title>x</title><script>alert('Hello, world.');</script></head><p>script</p>"
    policy = dict(part.strip().split(" ", 1) for part in policy_of(page).split(";"))
    assert policy["script-src"] == "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
    assert policy["style-src"] == policy["default-src"] == "'none'"


def test_an_answer_is_read_as_it_is() -> None:
    answer = intake.answer_in(ANSWER, small_study(), "someone")
    assert answer.__dict__ == {**ANSWER, "study": "a-study", "rater": "someone", "shown_ms": (1000.0, 999.9)}


@pytest.mark.parametrize(
    "change",
    [
        {"block": 1},
        {"trial": ["000000000001"]},
        {"choice": 2},
        {"choice": -1},
        {"choice": True},
        {"choice": 1.0},
        {"choice": "1"},
        {"choice": None},
        {"dropped": "timing"},
        {"choice": None, "dropped": "lazy"},
        {"choice": None, "dropped": ["timing"]},
        {"choice": None, "dropped": {"timing": 1}},
        {"response_ms": "431"},
        {"response_ms": None},
        {"response_ms": True},
        {"response_ms": -1},
        {"response_ms": float("nan")},
        {"response_ms": float("inf")},
        {"response_ms": 10**400},
        {"shown_ms": "1000 1000"},
        {"shown_ms": {"0": 1}},
        {"shown_ms": [1000, "1000"]},
        {"shown_ms": [1000, [1000]]},
        {"shown_ms": [1000, 1000, 1000]},
        {"at": 5},
        {"at": "yesterday"},
        {"at": "2026-01-01T00:00:00"},
        {"at": "=1+1"},
        {"at": "2026-01-01T00:00:00Z\n"},
        {"at": "٢٠٢٦-01-01T00:00:00Z"},
    ],
)
def test_what_is_no_answer_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(HTTPException) as refusal:
        intake.answer_in(ANSWER | change, small_study(), "someone")
    assert refusal.value.status_code == 422


class Sent:
    """A request whose body comes in parts."""

    def __init__(self, *parts: bytes, seconds: float = 0) -> None:
        self.parts, self.seconds = parts, seconds

    async def stream(self) -> AsyncIterator[bytes]:
        """The parts, one after the other."""
        for part in self.parts:
            await asyncio.sleep(self.seconds)
            yield part


def read(sent: Any) -> Any:
    return asyncio.run(intake.read_body(sent, {"block"}))


def test_a_body_is_read_whole() -> None:
    assert read(Sent(b'{"blo', b'ck": "a"}')) == {"block": "a"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe\x00", 400),
        (b'{"block": NaN}', 400),
        (b'{"block": -Infinity}', 400),
        (b"[" * 8000, 400),
        (b'{"block": ' + b"9" * 8000 + b"}", 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
        (b'{"block": 1, "more": 2}', 422),
        (json.dumps({"block": "x" * 8192}).encode(), 413),
    ],
)
def test_a_body_that_is_none_is_refused(body: bytes, status: int) -> None:
    with pytest.raises(HTTPException) as refusal:
        read(Sent(body))
    assert refusal.value.status_code == status


def test_a_body_that_never_ends_or_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HTTPException) as refusal:
        read(Sent(*[b" " * 1000] * 1000))
    assert refusal.value.status_code == 413
    monkeypatch.setattr(intake, "SECONDS", 0.01)
    with pytest.raises(HTTPException) as refusal:
        read(Sent(b"{", seconds=5))
    assert refusal.value.status_code == 408


@pytest.mark.parametrize(
    ("given", "kept"),
    [("A1B2", "A1B2"), ("é" * 300, "é" * 100), ("a\ud800\u202e\x00\nb", "ab"), ("'; DROP TABLE answers; --", None)],
)
def test_what_is_kept_of_a_participant(given: str, kept: str | None) -> None:
    assert intake.participant_in({"participant": given}) == (given if kept is None else kept)
