"""The raters' page in a real browser, from a file: whole blocks, timing, reloads, tabs, going back, keys and touch."""

import json
import statistics
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from evaluation.vtt.answers import read_answers
from evaluation.vtt.study import TRUTH, Study, read_study
from tests.unit.vtt_folders import build_kit, build_preference_kit

EXPOSURE = 100
SMALL = ["--block", "3", "--pictures", "3", "--catch", "1", "--practice", "1", "--raters", "2", "--short-side", "64"]
WATCH = """
window.seen = [];
let last = null;
let since = 0;
(function look() {
  const on = [...document.querySelectorAll("#stage img")].find((each) => getComputedStyle(each).opacity === "1");
  const now = performance.now();
  if ((on ?? null) !== last) {
    if (last) window.seen.push({ name: last.src.slice(-36, -4), milliseconds: now - since });
    [last, since] = [on ?? null, now];
  }
  requestAnimationFrame(look);
})();
"""
"""Watches, apart from the page's own clock, which picture is to be seen, and for how long."""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Visual Turing Test: 5 trials a block, one of them for practice."""
    return build_kit(tmp_path_factory.mktemp("turing"), 5, "--exposure-ms", str(EXPOSURE), *SMALL)[0]


@pytest.fixture(scope="module")
def preference_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preference study of 4 targets and 3 methods."""
    return build_preference_kit(tmp_path_factory.mktemp("preference"), "--raters", "2", "--short-side", "96")[0]


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A rater's browser; what its console or network says by the end of a test fails it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    faults: list[str] = []
    context.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    context.on("weberror", lambda error: faults.append(str(error.error)))
    foreign = ("file:", "data:", "blob:")
    context.on("request", lambda request: faults.append(request.url) if not request.url.startswith(foreign) else None)
    yield context.new_page()
    context.close()
    assert faults == []


def block_of(kit: Path, number: int = 0) -> tuple[Study, str]:
    """A study and one of its blocks."""
    study = read_study(kit)
    return study, sorted(study.blocks)[number]


def start(page: Any, kit: Path, block: str) -> None:
    """Open a block, load its pictures and begin."""
    page.goto(f"{(kit / 'public' / 'index.html').as_uri()}#block={block}")
    begin(page)


def begin(page: Any) -> None:
    """Load the pictures and begin."""
    page.locator("#begin", has_text="Begin").click()
    page.locator("#begin:enabled", has_not_text="Begin").click()


def wait_for_question(page: Any) -> Any:
    """The trial that is asked about, by the names of its pictures."""
    page.wait_for_selector("#question.on button:enabled, #message:not([hidden]) button", timeout=100_000)
    if page.locator("#message button").is_visible():
        page.locator("#message button").click()
        page.wait_for_selector("#question.on button:enabled", timeout=100_000)
    return page.locator("#stage img").evaluate_all("(all) => all.map((each) => each.src.slice(-36, -4))")


def answer(page: Any, study: Study, key: str) -> str:
    """Answer the trial that is asked about; its name."""
    shown = wait_for_question(page)
    (trial,) = (name for name, each in study.trials.items() if list(each.context or each.shown) == shown)
    page.keyboard.press(key)
    if study.trials[trial].role == "practice":
        right = study.trials[trial].meaning[{"1": 0, "ArrowLeft": 0, "2": 1, "ArrowRight": 1}[key]] == TRUTH
        assert page.locator("#feedback span").inner_text().strip() == ("Right:" if right else "No:")
        page.keyboard.press("Enter")
    return trial


def answer_all(page: Any, study: Study, keys: str) -> list[tuple[str, int]]:
    """Answer what is left with these keys in turn: each trial that was asked about, and what was chosen.

    A busy machine may show a picture too late, so that its trial comes once more: the last choice of each counts.
    """
    given = []
    for key in cycle(keys):
        page.wait_for_selector("#save, #question.on button:enabled, #message button")
        if page.locator("#save").is_visible():
            break
        given.append((answer(page, study, key), int(key) - 1))
    return given


def results(page: Any, folder: Path) -> Path:
    """The file that the page hands out at its end."""
    page.wait_for_selector("#save")
    with page.expect_download() as download:
        page.click("#save")
    path = folder / str(download.value.suggested_filename)
    download.value.save_as(path)
    return path


def test_a_whole_block_is_stored_as_it_was_answered_and_shown_as_long_as_it_should_be(
    tab: Any, kit: Path, tmp_path: Path
) -> None:
    study, block = block_of(kit)
    tab.add_init_script(WATCH)
    start(tab, kit, block)
    arrows = {answer(tab, study, "ArrowRight"): 1, answer(tab, study, "ArrowLeft"): 0}
    given = arrows | dict(answer_all(tab, study, "212"))
    path = results(tab, tmp_path)
    found = read_answers([path], study)
    assert sorted(each.trial for each in found) == sorted(study.blocks[block].trials)
    assert all(each.choice == (None if each.dropped else given[each.trial]) for each in found)
    assert sum(each.dropped is None for each in found) >= 3
    file = json.loads(path.read_text(encoding="utf-8"))
    assert file.keys() == {"study", "block", "rater", "agent", "screen", "refresh_hz", "answers"}
    assert (file["study"], file["block"], len(file["rater"])) == (study.name, block, 16)
    assert "HeadlessChrome" in file["agent"]
    assert file["screen"] == {"width": 1280, "height": 900, "ratio": 1}
    frame = 1000 / file["refresh_hz"]
    watched = {each["name"]: each["milliseconds"] for each in tab.evaluate("window.seen")}
    shown = [ms for each in found for ms in each.shown_ms]
    seen = [watched[name] for each in found for name in study.trials[each.trial].shown]
    assert len(shown) == len(seen) == 10
    assert abs(statistics.median(shown) - EXPOSURE) <= frame
    assert abs(statistics.median(seen) - EXPOSURE) <= frame
    assert all(each.response_ms > 0 and each.at for each in found)


@pytest.mark.slow
def test_a_second_is_a_second(tab: Any, tmp_path: Path) -> None:
    kit, study = build_kit(tmp_path, 10, *SMALL, "--block", "8", "--pictures", "8")
    block = sorted(study.blocks)[0]
    tab.add_init_script(WATCH)
    start(tab, kit, block)
    answer_all(tab, study, "1")
    file = json.loads(results(tab, tmp_path).read_text(encoding="utf-8"))
    shown = [ms for each in file["answers"] for ms in each["shown_ms"]]
    seen = [each["milliseconds"] for each in tab.evaluate("window.seen")]
    assert len(shown) == 20
    for measured in (shown, seen):
        assert abs(statistics.median(measured) - 1000) <= 1000 / file["refresh_hz"]


def test_a_reload_goes_on_where_it_was_and_a_pair_that_was_seen_comes_once_more_at_the_end(
    tab: Any, kit: Path, tmp_path: Path
) -> None:
    study, block = block_of(kit, 1)
    start(tab, kit, block)
    practice = answer(tab, study, "1")
    seen = wait_for_question(tab)
    (left,) = (name for name, trial in study.trials.items() if list(trial.shown) == seen)
    tab.reload()
    assert tab.locator("#begin").inner_text() == "Begin"
    begin(tab)
    given = [answer(tab, study, key) for key in "212"]
    assert practice not in given
    assert left not in given
    while wait_for_question(tab) != seen:
        answer(tab, study, "2")
    tab.reload()  # seen twice, it is not shown a third time
    begin(tab)
    again = dict(answer_all(tab, study, "2"))
    assert left not in again
    found = {each.trial: each for each in read_answers([results(tab, tmp_path)], study)}
    assert sorted(found) == sorted([practice, *given, left])
    assert (found[left].choice, found[left].dropped) == (None, "hidden")


def test_what_was_shown_too_long_or_not_looked_at_comes_once_more(tab: Any, kit: Path, tmp_path: Path) -> None:
    study, block = block_of(kit, 2)
    start(tab, kit, block)
    answer(tab, study, "1")
    tab.locator("#message button").click()
    tab.wait_for_selector("#stage img.on")
    tab.evaluate("(until) => { while (performance.now() < until); }", tab.evaluate("performance.now()") + 300)
    late = answer(tab, study, "1")
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    wait_for_question(tab)
    tab.evaluate(hide, True)
    tab.evaluate(hide, False)
    hidden = answer(tab, study, "1")
    given = answer_all(tab, study, "2")
    again = [trial for trial, _ in given]
    assert again.index(late) < again.index(hidden)
    assert again[0] not in (late, hidden)
    found = {each.trial: each for each in read_answers([results(tab, tmp_path)], study)}
    assert found[late].choice == (None if found[late].dropped else 1)
    assert found[hidden].choice == (None if found[hidden].dropped else 1)
    assert len(found) == 5


def test_a_second_tab_says_so_and_can_take_over(tab: Any, preference_kit: Path) -> None:
    study, block = block_of(preference_kit)
    start(tab, preference_kit, block)
    first = answer(tab, study, "3")
    other = tab.context.new_page()
    other.goto(tab.url)
    assert other.locator("#title").inner_text() == "This study is open in another tab"
    other.get_by_role("button", name="Go on here").click()
    begin(other)
    tab.wait_for_selector("#message:not([hidden])")
    assert tab.locator("#title").inner_text() == "This study is open in another tab"
    tab.keyboard.press("1")
    assert answer(other, study, "1") != first
    stored = other.evaluate("localStorage[Object.keys(localStorage).find((name) => name.includes(':block:'))]")
    assert [each["choice"] for each in json.loads(stored)["answers"]] == [2, 0]
    other.close()
    tab.reload()
    assert tab.locator("#begin").is_visible()


def test_going_back_undoes_nothing(tab: Any, preference_kit: Path, tmp_path: Path) -> None:
    study, block = block_of(preference_kit)
    tab.goto("about:blank")
    start(tab, preference_kit, block)
    given = {answer(tab, study, "1"): 0}
    asked = wait_for_question(tab)
    for _ in range(2):
        tab.go_back()
        tab.wait_for_selector("#notice:not([hidden])")
    assert "Going back does not change an answer" in tab.locator("#notice").inner_text()
    assert wait_for_question(tab) == asked
    given |= {answer(tab, study, key): int(key) - 1 for key in "231"}
    found = read_answers([results(tab, tmp_path)], study)
    assert {each.trial: each.choice for each in found} == given


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(
    browser: Any, kit: Path, preference_kit: Path, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, color_scheme=scheme)
    page = context.new_page()

    def assert_fits() -> None:
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390

    page.goto((kit / "public" / "index.html").as_uri())
    page.wait_for_selector("#blocks a")
    assert_fits()
    for each in (kit, preference_kit):
        start(page, each, block_of(each)[1])
        assert_fits()
        wait_for_question(page)
        assert_fits()
        buttons = page.locator("#choices button")
        assert all(buttons.nth(number).bounding_box()["height"] >= 44 for number in range(buttons.count()))
        buttons.last.tap()
        page.wait_for_selector("#feedback button" if each == kit else "#question.on")
        assert_fits()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 27)"
    assert dark == (scheme == "dark")
    context.close()


def test_the_list_leads_to_blocks_and_tells_which_are_done(tab: Any, preference_kit: Path, tmp_path: Path) -> None:
    study, _ = block_of(preference_kit)
    tab.goto((preference_kit / "public" / "index.html").as_uri())
    assert tab.locator("#blocks a").count() == 2
    tab.locator("#blocks a").first.click()
    begin(tab)
    for _ in range(4):
        wait_for_question(tab)
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent") == "1"
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
    assert [each.choice for each in read_answers([results(tab, tmp_path)], study)] == [1] * 4
    tab.get_by_role("link", name="Other blocks").click()
    tab.wait_for_selector("#blocks span")
    assert tab.locator("#blocks").inner_text().split("\n")[0] == "Part 1"
    assert (tab.locator("#blocks a").count(), tab.locator("#blocks span").count()) == (0, 2)
