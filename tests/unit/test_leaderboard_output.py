"""What the leaderboard writes: Markdown, plots, pictures, the page's file and a W&B run."""

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from evaluation.leaderboard import __main__, markdown, page
from evaluation.leaderboard.gallery import gallery, sheets
from evaluation.leaderboard.rows import find_rows, read_row
from evaluation.leaderboard.tables import tables_of
from tests.unit.scored import KEYS, change_record, only_table, record_of, write_scored


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_markdown_shows_every_row_with_intervals(tmp_path: Path) -> None:
    folder = write_scored(tmp_path / "a", "my|method", 0.5)
    write_scored(tmp_path / "b", "LRAC", 0.9)
    write_scored(tmp_path / "truth", "truth", 1.0, kind="baseline", source={})
    text = markdown.render([only_table(tmp_path)])
    lines = text.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("| method | RMSE αβ ↓ |"))
    assert {len(cells_of(line)) for line in lines[head : head + 5]} == {8}
    metrics = record_of(folder)["metrics"]["psnr"]
    mine = next(line for line in lines if line.startswith("| my\\|method |"))
    assert f"{metrics['value']:.2f} ({metrics['low']:.2f}–{metrics['high']:.2f})" in cells_of(mine)  # noqa: RUF001
    assert [cells_of(line)[0] for line in lines[head + 2 : head + 5]] == ["LRAC", "my\\|method", "truth (check)"]
    assert "### Larsson et al., ECCV 2016, Table 5" in lines
    assert "| *LRAC, random initialisation* (published) | *0.311* | *24.25* |" in lines


def test_markdown_stays_whole_with_any_name_and_reason(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "two\nlines | of _it_", 0.5, variant="snake_case\r\n# head")
    write_scored(tmp_path / "b", "LRAC", 0.9)
    for name in "ab":
        metrics = record_of(tmp_path / name)["metrics"]
        del metrics["saturation"]
        reason = "first\n\n## second | *third*"
        change_record(
            tmp_path / name, metrics=metrics, left_out={"saturation": reason}, set={"label": "# set", "named": False}
        )
    lines = markdown.render([only_table(tmp_path)]).splitlines()
    mine = [line for line in lines if "two lines" in line and line.startswith("|")]
    names = {re.split(r"(?<!\\)\|", line)[1].strip() for line in mine}
    assert names == {r"two lines \| of \_it\_, snake_case # head"}
    assert [line for line in lines if line.startswith("#")] == ["# Leaderboard", "## lrac_cval1k: # set"]
    assert r"Without Saturation: first ## second \| \*third\*." in lines


def test_page_and_markdown_say_what_is_bold_without_a_paired_test(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "PIC", 0.5)
    table = only_table(tmp_path)
    sentence = "Without a paired test (FID, intersections and the like) only the best is bold."
    assert sentence in markdown.render([table])
    assert sentence in " ".join(re.sub("<[^>]*>", "", page.render([table])).split())


def test_only_the_check_by_the_truth_has_no_curve(tmp_path: Path) -> None:
    write_scored(tmp_path / "check", "truth", 1.0, kind="baseline", source={})
    write_scored(tmp_path / "grey", "grey", 0.1, kind="baseline", source={})
    write_scored(tmp_path / "mine", "truth", 0.5, kind="predictions")
    table = only_table(tmp_path)
    (mine,) = table.measured
    section = page.Section(table, {page.identity(mine): "#123456"})
    assert [(row.method, row.standing) for row in section.drawn] == [("truth", False), ("grey", True)]
    assert "#123456" in section.plots[0].svg
    assert page.render([table]).count('<li><svg class="swatch"') == 2


def test_rounding_leaves_no_error_bar_below_zero(tmp_path: Path) -> None:
    folder = write_scored(tmp_path / "a", "PIC", 0.5, "pixcolor_500")
    metrics = record_of(folder)["metrics"]
    metrics["ms_ssim"] |= {"value": 1.0, "low": 1.0 + 1e-15, "high": 1.0 - 1e-15}
    metrics["histogram_intersection_a"] |= {"low": None, "high": None}
    change_record(folder, metrics=metrics)
    (folder / "pictures.csv").unlink()
    table = only_table(tmp_path)
    plots = page.Section(table, {page.identity(table.rows[0]): "#123456"}).plots
    assert plots[-1].title == "Intersection a against diversity"


def test_plots_are_whole_svg_in_the_pages_colours(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "PIC", 0.5, "pixcolor_500")
    write_scored(tmp_path / "b", "LRAC", 0.9, "pixcolor_500")
    table = only_table(tmp_path)
    section = page.Section(
        table, {page.identity(row): page.COLOURS[number] for number, row in enumerate(table.measured)}
    )
    assert [plot.title for plot in section.plots] == [
        "Cumulative error",
        "PSNR",
        "Marginals of a and b",
        "Accuracy within a distance",
        "Diversity",
        "Best of k",
        "Intersection a against diversity",
    ]
    for plot in section.plots:
        ElementTree.fromstring(str(plot.svg).replace("xlink:href", "href"))
        assert "#010203" not in plot.svg
        assert "currentColor" in plot.svg
        for colour in page.COLOURS[:2]:
            assert colour in plot.svg, plot.title


def test_one_sample_has_no_best_of_several(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "PIC", 0.5)
    table = only_table(tmp_path)
    titles = [plot.title for plot in page.Section(table, {page.identity(table.rows[0]): "#000000"}).plots]
    assert titles == ["Cumulative error", "PSNR", "Marginals of a and b", "Accuracy within a distance"]


def test_a_table_without_curves_or_pictures_has_none(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "PIC", 0.5, curves=False)
    table = only_table(tmp_path)
    section = page.Section(table, {page.identity(table.rows[0]): "#000000"})
    assert section.plots == []
    assert section.gallery == []
    assert sheets(section.table.rows[0]) == []


def test_the_gallery_has_grey_methods_and_truth_and_gaps(tmp_path: Path) -> None:
    first = write_scored(tmp_path / "a", "PIC", 0.5, pictures=True)
    second = write_scored(tmp_path / "b", "LRAC", 0.9, pictures=True)
    (second / "gallery" / f"{KEYS[1]}_0.png").unlink()
    for what in ("grey", "truth", "0"):
        (first / "gallery" / f"{KEYS[2]}_{what}.png").unlink()
        (second / "gallery" / f"{KEYS[2]}_{what}.png").unlink()
    third = write_scored(tmp_path / "c", "CIC", 0.9)
    strips = gallery([read_row(folder / "scores.json") for folder in (first, third, second)], ["PIC", "CIC", "LRAC"])
    assert [strip.key for strip in strips] == [KEYS[0], KEYS[1], KEYS[3], KEYS[4]]
    assert [picture.caption for picture in strips[0].pictures] == ["grey", "PIC", "LRAC", "truth"]
    assert [bool(picture.address) for picture in strips[1].pictures] == [True, True, False, True]
    assert all(picture.address.startswith("data:image/jpeg;base64,") for picture in strips[0].pictures)
    assert (strips[0].pictures[0].width, strips[0].pictures[0].height) == (256, 256)


def test_the_command_writes_page_and_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scored(tmp_path / "runs" / "a", "<b>PIC</b>", 0.5, pictures=True)
    __main__.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert "1 rows in 1 tables" in capsys.readouterr().out
    html = (tmp_path / "out" / "leaderboard.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;PIC" in html
    assert "<b>PIC" not in html
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)
    assert (tmp_path / "out" / "leaderboard.md").is_file()


def test_the_command_ends_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: there is no scores\.json in"):
        __main__.main([str(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_directory_to_write_to(tmp_path: Path) -> None:
    write_scored(tmp_path / "run", "PIC", 0.5)
    (tmp_path / "out").write_text("kept")
    with pytest.raises(SystemExit, match=r"^error: --out .*out is a file; give a directory[^\n]*$"):
        __main__.main([str(tmp_path / "run"), "--out", str(tmp_path / "out")])
    assert (tmp_path / "out").read_text() == "kept"


def test_a_record_that_is_damaged_is_named_and_the_others_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c", "d"):
        write_scored(tmp_path / "runs" / name, name, 0.5)
    table = tmp_path / "runs" / "a" / "pictures.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    change_record(tmp_path / "runs" / "b", curves={"cumulative_error": {}})
    (tmp_path / "runs" / "d" / "scores.json").write_text('{"schema": 2, "x": ' + 99_999 * "[" + 99_999 * "]" + "}")
    __main__.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    shown = capsys.readouterr()
    assert "1 rows in 1 tables" in shown.out
    named = sorted(shown.err.splitlines())
    assert len(named) == 3
    assert all(word in named[0] for word in ("a/pictures.csv", "disagree on rmse_alpha_beta"))
    assert "b/scores.json has no curves.cumulative_error.edges" in named[1]
    assert "d/scores.json is nested too deeply" in named[2]
    shutil.rmtree(tmp_path / "runs" / "c")
    with pytest.raises(SystemExit, match=r"^error: .*disagree"):
        __main__.main([str(tmp_path / "runs"), "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("key", ["../../secret/x", "/etc/x", "a/b", "a\\b", "a\0"])
def test_a_gallery_that_leads_elsewhere_is_refused(tmp_path: Path, key: str) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5, gallery=[key])
    with pytest.raises(ValueError, match=r"scores\.json holds .* as gallery\.0, which should be the name of a file"):
        read_row(folder / "scores.json")


def test_pictures_that_lie_elsewhere_or_are_no_pictures_are_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5, pictures=True)
    secret = tmp_path / "secret.png"
    Image.new("RGB", (33, 21), (7, 99, 201)).save(secret)
    for name in (f"gallery/{KEYS[0]}_0.png", "cases.png"):
        (folder / name).unlink()
        (folder / name).symlink_to(secret)
    (folder / "gallery" / f"{KEYS[1]}_0.png").write_bytes(b"no picture")
    text = page.render(tables_of(find_rows([folder])))
    assert 'width="33" height="21"' not in text
    complaints = capsys.readouterr().err.splitlines()
    assert sum("lies outside" in line for line in complaints) == 2
    assert sum("it is no PNG" in line and "<" not in line for line in complaints) == 1
    assert text.count("no picture") == 2


def test_names_are_no_markup_on_a_page_or_in_markdown(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "<b>$x_1$</b> ~~[a](b)~~ &amp;", 0.5)
    tables = tables_of(find_rows([tmp_path]))
    assert r"\<b\>\$x_1\$\</b\> \~\~\[a\](b)\~\~ \&amp;" in markdown.render(tables)
    assert "&lt;b&gt;$x_1$&lt;/b&gt; ~~[a](b)~~ &amp;amp;" in page.render(tables)


def test_without_a_network_weights_and_biases_keeps_the_tables_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = write_scored(tmp_path / "run", "PIC", 0.5, curves=False)
    __main__.main([str(folder), "--out", str(tmp_path / "out"), "--wandb", "colours"])
    (table,) = (tmp_path / "out" / "wandb").glob("offline-run-*/files/media/table/*.table.json")
    kept = json.loads(table.read_text(encoding="utf-8"))
    row = dict(zip(kept["columns"], kept["data"][0], strict=True))
    assert row["method"] == "PIC"
    assert row["psnr/value"] == pytest.approx(record_of(folder)["metrics"]["psnr"]["value"])
