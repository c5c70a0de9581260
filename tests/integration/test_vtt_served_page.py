"""The page of a study in a real browser, from the real server: a whole block, reloads, two tabs, SIGKILL."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the server is tested where uvicorn is installed")
from evaluation.vtt.kit import page_of
from tests.integration.vtt_served import Server
from tests.unit.vtt_kits import small_study, write_kit

STUDY = replace(small_study(groups=2, layers=1, trials=2), exposure_ms=100)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Of a study with the real page and small pictures, under a path prefix."""
    kit = write_kit(tmp_path / "kit", STUDY)
    (kit / "public" / "index.html").write_text(page_of(STUDY), encoding="utf-8")
    for number, path in enumerate((kit / "public" / "pictures").iterdir()):
        Image.new("RGB", (64, 48), (20 * number % 256, 90, 160)).save(path)
    with Server(kit, "--prefix", "/study") as started:
        yield started


class Visit:
    """A tab of a rater, who chooses first and second in turn.

    Attributes:
        sent: The answers that the tab has sent, as they were sent.
        keys: What was chosen whenever the page asked.
        faults: What the browser has complained about.
    """

    def __init__(self, context: Any, server: Server) -> None:
        self.tab = context.new_page()
        self.sent: list[dict[str, Any]] = []
        self.keys: list[int] = []
        self.faults: list[str] = []
        self.tab.on("request", self.note)
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.tab.goto(f"http://127.0.0.1:{server.port}/study/?participant=someone")

    def note(self, request: Any) -> None:
        """Remember an answer that is being sent."""
        if request.url.endswith("/api/answers"):
            self.sent.append(json.loads(request.post_data))

    def begin(self) -> None:
        """From the first screen to the first trial that is left."""
        self.tab.locator("#begin").click()
        self.tab.locator("#begin:enabled").click()

    def step(self) -> str:
        """Wait for what the page wants, and do it; its name."""
        question, following, message = "#question.on button:enabled", "#feedback button", "#message:not([hidden]) h1"
        self.tab.locator(f"{question}, {following}, {message}").first.wait_for()
        if self.tab.locator(following).count():
            self.tab.locator(following).click()
            return "next"
        if self.tab.locator(question).count():
            self.keys.append(len(self.keys) % 2)
            self.tab.keyboard.press("12"[self.keys[-1]])
            return "answer"
        title = str(self.tab.locator(message).inner_text())
        if title == "Practice is over":
            self.tab.locator("#actions button").click()
        return title

    def answer(self, count: int) -> None:
        """Go on until `count` more answers were given."""
        while count:
            count -= self.step() == "answer"

    def finish(self) -> str:
        """Go on until the block is over: the title of its last screen."""
        while not (title := self.step()).startswith("Thank you"):
            pass
        return title


def assert_stored(server: Server, *visits: Visit) -> None:
    """The server has, of each trial of the block and once, the answer that was sent first."""
    sent: dict[str, dict[str, Any]] = {}
    for answer in (each for visit in visits for each in visit.sent):
        assert sent.setdefault(answer["trial"], answer) == answer
    stored = server.answers()
    assert {each.trial for each in stored} == set(STUDY.blocks[stored[0].block].trials)
    assert len(stored) == len(sent) == 4
    for each in stored:
        body = sent[each.trial]
        assert {name: getattr(each, name) for name in body} == body | {"shown_ms": tuple(body["shown_ms"])}


@pytest.mark.slow
def test_two_tabs_go_on_with_one_block(browser: Any, server: Server) -> None:
    context = browser.new_context()
    one = Visit(context, server)
    one.begin()
    one.answer(2)
    two = Visit(context, server)
    two.tab.get_by_text("open in another tab").wait_for()
    two.tab.get_by_role("button", name="Go on here").click()
    two.begin()
    one.tab.get_by_text("open in another tab").wait_for()
    assert two.finish() == "Thank you: this part is done"
    assert_stored(server, one, two)
    assert one.faults == two.faults == []
    context.close()


def test_a_block_goes_on_after_sigkill_and_after_a_reload(browser: Any, server: Server) -> None:
    visit = Visit(browser.new_context(), server)
    visit.begin()
    while visit.step() != "Practice is over":  # whose answer is stored by then
        pass
    server.kill()
    notice = visit.tab.get_by_text("The server cannot be reached")
    while not notice.is_visible():
        visit.tab.wait_for_timeout(50)
        if visit.tab.locator("#question.on").count():
            visit.step()
    server.start()
    visit.answer(1)
    server.kill()
    server.start()
    visit.tab.reload()
    visit.begin()
    visit.finish()
    assert_stored(server, visit)
    assert all("Failed to load resource" in fault for fault in visit.faults)
    visit.tab.context.close()
