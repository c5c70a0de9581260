"""The leaderboard's page in a real browser, from a file: sorting, notes, gallery, dark mode, a phone's width."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.leaderboard.__main__ import main
from tests.unit.scored import change_record, record_of, write_scored

METHODS = {"CIC": 0.3, "LRAC": 0.9, "PIC": 0.6}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a page with a whole named set, several samples, a subset and an older protocol."""
    folder = tmp_path_factory.mktemp("leaderboard")
    for name, quality in METHODS.items():
        write_scored(folder / "runs" / name, name, quality, "pixcolor_500", pictures=True)
    left_out = {"ms_ssim": "there is one sample of each picture"}
    for name in ("truth", "grey"):
        place = write_scored(
            folder / "runs" / name, name, 0.1, "pixcolor_500", kind="baseline", source={}, curves=False
        )
        metrics = record_of(place)["metrics"]
        del metrics["ms_ssim"]
        change_record(place, metrics=metrics, left_out=left_out)
    write_scored(folder / "runs" / "whole", "LRAC", 0.9, "lrac_cval1k")
    part = write_scored(folder / "runs" / "part", "LRAC", 0.9, "lrac_ctest10k")
    change_record(
        part,
        set={"label": "subset of 60 pictures of ctest10k", "complete": False, "named": False, "keys_sha256": "cd" * 32},
    )
    change_record(write_scored(folder / "runs" / "old", "LRAC", 0.9, "lrac_ctest10k"), protocol={"seed": 5})
    main([str(folder / "runs"), "--out", str(folder / "out")])
    return (folder / "out" / "leaderboard.html").as_uri()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Any]:
    """The page on a desktop; what its console or network says by the end of a test fails it."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda request: faults.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
    )
    page.goto(address)
    yield page
    page.close()
    assert faults == []


def scores(page: Any) -> Any:
    """The table of several samples."""
    return page.locator("table.scores").filter(has=page.locator("text=MS-SSIM between samples")).first


def shown(table: Any, measure: str) -> list[float]:
    """A measure's values in the order of the measured rows."""
    script = """(table, measure) => {
        const heads = [...table.tHead.rows[0].cells];
        const column = heads.findIndex((head) => head.dataset.measure === measure);
        return [...table.querySelectorAll("tbody.measured tr")].map((row) => parseFloat(row.cells[column].textContent));
    }"""
    values: list[float] = table.evaluate(script, measure)
    return values


def names(table: Any, body: str = "measured") -> list[str]:
    """The names of a body's rows."""
    found: list[str] = table.locator(f"tbody.{body} .name").all_inner_texts()
    return found


def test_a_click_sorts_best_first_and_another_turns_it(opened: Any) -> None:
    table = scores(opened)
    head = table.locator("th[data-measure=rmse_alpha_beta]")
    assert names(table) == ["LRAC", "PIC", "CIC"]
    checks = names(table, "standing")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert shown(table, "rmse_alpha_beta") == sorted(shown(table, "rmse_alpha_beta"))
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert shown(table, "rmse_alpha_beta") == sorted(shown(table, "rmse_alpha_beta"), reverse=True)
    assert names(table) == ["CIC", "PIC", "LRAC"]
    assert names(table, "standing") == checks
    assert table.locator("[aria-sort]").count() == 1


def test_enter_on_a_focused_head_sorts(opened: Any) -> None:
    table = scores(opened)
    head = table.locator("th[data-measure=ms_ssim]")
    head.locator("button").focus()
    opened.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert shown(table, "ms_ssim") == sorted(shown(table, "ms_ssim"), reverse=True)
    opened.keyboard.press("Space")
    assert shown(table, "ms_ssim") == sorted(shown(table, "ms_ssim"))
    table.locator("th").first.locator("button").click()
    assert names(table) == ["CIC", "LRAC", "PIC"]


def test_published_rows_stand_apart_and_are_sorted_for_themselves(opened: Any) -> None:
    place = opened.locator("figure").filter(has=opened.locator("text=Figure 8 of Guadarrama")).locator("table")
    assert names(place, "published") == ["PixColor", "CIC", "LTBC", "LRAC"]
    style = "(name) => getComputedStyle(name).fontStyle"
    assert place.locator("tbody.published .name").first.evaluate(style) == "italic"
    assert place.locator("tbody.measured .name").first.evaluate(style) == "normal"
    place.locator("th[data-measure=histogram_intersection_a] button").click(click_count=2)
    assert names(place, "published") == ["LRAC", "LTBC", "CIC", "PixColor"]
    assert names(place) == ["CIC", "PIC", "LRAC"]


def test_a_dash_says_why_to_the_mouse_and_to_the_keyboard(opened: Any) -> None:
    dash = scores(opened).locator(".dash").first
    tip = opened.locator("#tip")
    assert not tip.is_visible()
    dash.hover()
    assert tip.inner_text() == "there is one sample of each picture"
    opened.mouse.move(0, 0)
    assert not tip.is_visible()
    dash.focus()
    assert tip.is_visible()
    opened.keyboard.press("Escape")
    assert not tip.is_visible()


def test_a_name_leads_to_what_its_row_was_made_of(opened: Any) -> None:
    link = scores(opened).locator("tbody.measured a.name").first
    link.hover()
    assert "commit 0123456789abcdef" in opened.locator("#tip").inner_text()
    details = opened.locator(f"details[id='{link.get_attribute('href')[1:]}']")
    assert not details.locator("dl").is_visible()
    link.click()
    details.locator("dl").wait_for(state="visible")
    assert "evaluate.py checkpoint=runs/LRAC" in details.inner_text()


def test_a_picture_opens_steps_by_arrows_and_closes_by_escape(opened: Any) -> None:
    dialog = opened.locator("#enlarged")
    first = opened.locator(".strip button").first
    first.focus()
    opened.keyboard.press("Enter")
    assert dialog.is_visible()
    caption, key, picture = dialog.locator("b"), dialog.locator("small"), dialog.locator("img")
    seen = [(caption.inner_text(), picture.get_attribute("src"))]
    for _ in range(4):
        opened.keyboard.press("ArrowRight")
        seen.append((caption.inner_text(), picture.get_attribute("src")))
    assert [name for name, _ in seen] == ["grey", "LRAC", "PIC", "CIC", "truth"]
    assert len({source for _, source in seen}) == 5
    opened.keyboard.press("ArrowRight")
    assert caption.inner_text() == "grey"
    opened.keyboard.press("ArrowLeft")
    assert caption.inner_text() == "truth"
    before = key.inner_text()
    opened.keyboard.press("ArrowDown")
    assert caption.inner_text() == "truth"
    assert key.inner_text() != before
    opened.keyboard.press("Escape")
    assert not dialog.is_visible()
    first.click()
    dialog.locator("[data-step=ArrowRight]").click()
    assert caption.inner_text() == "LRAC"
    dialog.locator("[data-close]").click()
    assert not dialog.is_visible()


def test_warnings_stand_over_what_does_not_compare(opened: Any) -> None:
    warnings = opened.locator(".warning").all_inner_texts()
    assert len(warnings) == 2
    assert warnings[0].startswith("Subset of 60 pictures of ctest10k: these rows do not compare")
    assert "scored by another definition of lrac_ctest10k" in warnings[1]


@pytest.mark.parametrize("width", [1280, 390])
def test_dark_mode_changes_paper_and_ink_and_nothing_overflows(browser: Any, address: str, width: int) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
        page.goto(address)
        script = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        colours[scheme] = [brightness(colour) for colour in page.evaluate(script)]
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        page.close()
    assert colours["light"][0] > 240 > 60 > colours["light"][1]
    assert colours["dark"][0] < 60 < 200 < colours["dark"][1]


def brightness(colour: str) -> float:
    """Of a computed `rgb(r, g, b)`."""
    return sum(int(part) for part in colour.strip("rgb()").split(",")) / 3


def test_the_names_stay_while_a_phone_scrolls_a_table(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(address)
    table = scores(page)
    box = table.locator("xpath=..")
    assert box.evaluate("(box) => box.scrollWidth > box.clientWidth")
    cell = table.locator("tbody th").first
    before = cell.bounding_box()["x"]
    box.evaluate("(box) => { box.scrollLeft = 200; }")
    assert cell.bounding_box()["x"] == before
    page.close()


def test_arrows_pass_a_method_that_is_named_as_the_truth_is(browser: Any, tmp_path: Path) -> None:
    write_scored(tmp_path / "run", "truth", 0.5, kind="predictions", pictures=True, curves=False)
    main([str(tmp_path / "run"), "--out", str(tmp_path / "out")])
    page = browser.new_page()
    page.goto((tmp_path / "out" / "leaderboard.html").as_uri())
    page.locator(".strip button").first.click()
    seen = []
    for _ in range(4):
        seen.append(page.locator("#enlarged img").get_attribute("src"))
        page.keyboard.press("ArrowRight")
    assert len(set(seen)) == 3
    assert seen[3] == seen[0]
    assert "Chosen by their names, the same for every method" in page.locator("main").inner_text()
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_all_runs_of_a_sweep_fold_out_and_are_sorted(browser: Any, tmp_path: Path, width: int) -> None:
    for number, quality in enumerate((0.5, 0.9, 0.7)):
        folder = write_scored(tmp_path / "rates" / f"{number}", "PIC", quality, curves=False)
        best = {"monitor": "validation/loss", "mode": "min", "value": 1.0 + number}
        record = {"overrides": [f"model.optimization.learning_rate={10.0**-number:g}"], "best": best}
        (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "rates" / "failed").mkdir()
    (tmp_path / "rates" / "failed" / "run.json").write_text(json.dumps({"status": "failed", "failure": "no memory"}))
    main(["--sweep", str(tmp_path / "rates"), "--out", str(tmp_path / "out")])
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto((tmp_path / "out" / "leaderboard.html").as_uri())
    runs = page.locator("table.sweep")
    names = runs.locator("th[scope=row] .name")
    assert not runs.is_visible()
    page.get_by_text("All 4 runs of rates").click()
    assert runs.is_visible()
    assert names.all_inner_texts() == ["learning_rate=1", "learning_rate=0.1", "learning_rate=0.01"]
    assert runs.locator("tbody tr").last.locator("th").inner_text().split("\n") == ["failed", "failed: no memory"]
    head = runs.locator("th[data-measure=psnr]")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert names.all_inner_texts() == ["learning_rate=0.1", "learning_rate=0.01", "learning_rate=1"]
    assert runs.locator("tbody tr").last.locator("th").inner_text().startswith("failed")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    page.close()
