"""Sweeps on a leaderboard: which run stands for all, how it was chosen, and that all are listed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evaluation.leaderboard import __main__, markdown, page
from evaluation.leaderboard.best import tables_with_sweeps
from evaluation.leaderboard.lines import DASH, Line
from evaluation.leaderboard.rows import find_rows
from evaluation.leaderboard.sweeps import read_sweep
from evaluation.leaderboard.tables import Table
from tests.unit.scored import change_record, record_of, write_scored

LOSS = {"monitor": "validation/loss", "mode": "min"}


def write_run(
    folder: Path, quality: float | None, value: float | None = 1.0, method: str = "PIC", **changes: Any
) -> Path:
    """A run of a sweep with a validation loss; without a quality it has no scores."""
    if quality is None:
        folder.mkdir(parents=True)
    else:
        write_scored(folder, method, quality, curves=False)
    record = {
        "status": "finished",
        "failure": None,
        "overrides": [f"seed={folder.name}"],
        "best": LOSS | {"value": value},
    }
    (folder / "run.json").write_text(json.dumps(record | changes), encoding="utf-8")
    return folder


def table_of(*sweeps: Path, rows: Path | None = None) -> Table:
    """The one table of some sweeps and of the rows below a folder."""
    (table,) = tables_with_sweeps(find_rows([rows]) if rows else [], [read_sweep(sweep) for sweep in sweeps])
    return table


def chosen(table: Table) -> list[str]:
    """The folders of a table's rows."""
    return [row.folder.name for row in table.rows]


def listed(table: Table) -> list[Line]:
    """The lines of the one sweep beneath a table."""
    (sweep,) = table.sweeps
    return sweep.lines


# ---- the choice


@pytest.mark.parametrize(("mode", "best"), [("min", "b"), ("max", "c")])
def test_the_best_by_validation_stands_for_all_whatever_its_score_here(tmp_path: Path, mode: str, best: str) -> None:
    qualities = {"a": (0.9, 0.5), "b": (0.3, 0.4), "c": (0.2, 0.6)}
    for name, (quality, value) in qualities.items():
        write_run(tmp_path / "rates" / name, quality, best={"monitor": "validation/x", "mode": mode, "value": value})
    table = table_of(tmp_path / "rates")
    assert chosen(table) == [best]
    (line,) = table.lines
    assert (line.name, line.detail) == ("PIC", "best of 3 in rates")
    value = qualities[best][1]
    assert line.note == f"seed={best}; chosen by validation/x, {value}; 3 of 3 runs scored here"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_run_that_diverged_is_last_and_does_not_change_how_it_is_chosen(
    tmp_path: Path, value: float | None, mode: str
) -> None:
    write_run(tmp_path / "rates" / "a", 0.9, best={"monitor": "validation/x", "mode": mode, "value": value})
    write_run(tmp_path / "rates" / "b", 0.2, best={"monitor": "validation/x", "mode": mode, "value": -3.0})
    table = table_of(tmp_path / "rates")
    assert chosen(table) == ["b"]
    assert "chosen by validation/x, -3;" in table.lines[0].note
    assert listed(table)[1].cells[0].note == "validation/x is not finite"


def unscored_in_validation(sweep: Path) -> None:
    write_run(sweep / "d", 0.1, best=None)


def of_another_measure(sweep: Path) -> None:
    write_run(sweep / "d", 0.1, best={"monitor": "validation/mean_iou", "mode": "max", "value": 0.01})


def of_another_space(sweep: Path) -> None:
    write_run(sweep / "d", 0.1, value=7.0)
    bits = {"value": 3.0, "low": 2.9, "high": 3.1, "n": 60, "space": "RGB at 32x32"}
    change_record(sweep / "d", metrics=record_of(sweep / "d")["metrics"] | {"bits_per_dim": bits})


@pytest.mark.parametrize("write_other", [unscored_in_validation, of_another_measure, of_another_space])
def test_where_validation_scores_do_not_compare_the_score_here_chooses_and_the_note_says_so(
    tmp_path: Path, write_other: Any
) -> None:
    write_run(tmp_path / "heads" / "a", 0.2, value=0.1)
    write_run(tmp_path / "heads" / "b", 0.9, value=0.9)
    write_run(tmp_path / "heads" / "c", 0.5, value=0.5)
    assert chosen(table_of(tmp_path / "heads")) == ["a"]
    write_other(tmp_path / "heads")
    table = table_of(tmp_path / "heads")
    assert chosen(table) == ["b"]
    why = "as the runs have no validation scores that compare"
    assert f"; chosen by its score here, RMSE αβ, {why}; 4 of 4 runs" in table.lines[0].note
    errors = [float(line.cells[1].text) for line in listed(table)]
    assert errors == sorted(errors)


def test_where_nothing_ranks_the_first_stands_and_the_note_says_so(tmp_path: Path) -> None:
    for name in "ab":
        folder = write_run(tmp_path / "s" / name, 0.5, best=None)
        change_record(folder, metrics={"saturation": record_of(folder)["metrics"]["saturation"]})
        (folder / "pictures.csv").unlink()
    table = table_of(tmp_path / "s")
    assert chosen(table) == ["a"]
    why = "as the runs have no validation scores that compare, nor scores here"
    assert table.lines[0].note == f"seed=a; the first of them, {why}; 2 of 2 runs scored here"


def test_scores_of_different_measures_name_them(tmp_path: Path) -> None:
    write_run(tmp_path / "s" / "a", 0.5, value=0.25)
    write_run(tmp_path / "s" / "b", 0.4, best={"monitor": "validation/mean_iou", "mode": "max", "value": 0.75})
    table = table_of(tmp_path / "s")
    cells = [line.cells[0] for line in listed(table)]
    assert [(cell.text, cell.interval) for cell in cells] == [
        ("0.25", "validation/loss"),
        ("0.75", "validation/mean_iou"),
    ]
    head = table.sweeps[0].columns[0]
    assert (head.unit, head.better) == ("", None)
    assert "| 0.75 (validation/mean_iou) |" in markdown.render([table])


def test_a_check_on_the_protocol_is_no_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "s" / "a", 0.5)
    write_scored(run / "grey", "grey", 0.1, kind="baseline", source={}, curves=False)
    table = table_of(tmp_path / "s")
    assert [line.name for line in table.standing_lines] == ["grey"]
    assert [line.name for line in table.lines] == ["PIC"]
    assert [line.detail for line in listed(table)] == ["PIC, a"]
    assert not table.standing_lines[0].detail


def test_each_method_and_each_protocol_has_its_own_best(tmp_path: Path) -> None:
    sweep = tmp_path / "both"
    for name, method, value in (("a", "PIC", 0.5), ("b", "PIC", 0.4), ("c", "LRAC", 7.0)):
        write_run(sweep / name, 0.8 if method == "PIC" else 0.4, value, method)
    # only the worse run was evaluated elsewhere, too
    write_scored(sweep / "a" / "evaluations" / "test", "PIC", 0.5, "lrac_ctest10k", curves=False)
    (elsewhere, here) = tables_with_sweeps([], [read_sweep(sweep)])
    assert [line.detail for line in here.lines] == ["best of 2 in both", "best of 1 in both"]
    assert sorted(chosen(here)) == ["b", "c"]
    assert [line.note for line in listed(here)] == ["in the table above", "", "in the table above"]
    assert [row.folder for row in elsewhere.rows] == [sweep / "a" / "evaluations" / "test"]
    assert elsewhere.lines[0].note == "seed=a; the only one of its method; 1 of 3 runs scored here, 2 not scored here"
    assert [line.detail for line in listed(elsewhere)] == ["PIC, a", "b", "c"]


def test_variants_of_one_method_are_not_chosen_among_one_another(tmp_path: Path) -> None:
    run = write_run(tmp_path / "s" / "a", 0.5)
    write_scored(run / "evaluations" / "cold", "PIC", 0.6, variant="temperature 0.8", curves=False)
    details = {line.detail for line in table_of(tmp_path / "s").lines}
    assert details == {"best of 1 in s", "temperature 0.8, best of 1 in s"}


def test_a_run_scored_twice_is_one_run_and_shows_its_own_scores(tmp_path: Path) -> None:
    run = write_run(tmp_path / "s" / "a", 0.5)
    write_scored(run / "again", "PIC", 0.9, curves=False)
    write_run(tmp_path / "s" / "b", 0.7, value=2.0)
    table = table_of(tmp_path / "s")
    assert [row.folder for row in table.rows] == [run]
    assert table.lines[0].detail == "best of 2 in s"
    assert table.sweeps[0].title == "All 2 runs of s"
    assert [line.detail for line in listed(table)] == ["PIC, a", "PIC, a", "PIC, b"]


def test_rows_of_a_sweep_are_not_shown_twice_and_others_stay(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "sweeps" / "s" / "a", 0.5)
    write_run(tmp_path / "runs" / "sweeps" / "s" / "b", 0.6, value=0.5)
    write_scored(tmp_path / "runs" / "lrac", "LRAC", 0.9)
    write_scored(tmp_path / "runs" / "truth", "truth", 1.0, kind="baseline", source={})
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    table = table_of(tmp_path / "runs" / "sweeps" / "s", rows=tmp_path / "link")
    assert [line.name for line in table.lines] == ["LRAC", "PIC"]
    assert [line.name for line in table.standing_lines] == ["truth"]
    assert table.lines[1].detail == "best of 2 in s"


# ---- settings, and the runs that were not scored


def test_settings_are_the_overrides_that_differ(tmp_path: Path) -> None:
    rates = {
        "a": ["model.optimization.learning_rate=0.001", "resume=auto"],
        "b": ["model.optimization.learning_rate=0.1"],
    }
    for name, overrides in rates.items():
        everywhere = ["+experiment=pic_tiny", f"name=sweeps/{name}"]
        write_run(tmp_path / "rates" / name, 0.5, value=float(name == "a"), overrides=everywhere + overrides)
    # killed before its record was whole
    write_run(tmp_path / "rates" / "c", None, best=None, overrides=None, status="running")
    table = table_of(tmp_path / "rates")
    assert table.lines[0].note.startswith("model.optimization.learning_rate=0.1; chosen by validation/loss, 0;")
    assert [line.name for line in listed(table)] == ["learning_rate=0.1", "learning_rate=0.001", ""]


def test_settings_whose_names_end_alike_are_shown_in_full(tmp_path: Path) -> None:
    for name in "ab":
        overrides = [
            f"model.encoder.width={name}",
            f"model.decoder.width={name}",
            f"+data.side={name}",
            f"~model.{name}",
        ]
        write_run(tmp_path / "s" / name, 0.5, overrides=overrides)
    names = {line.name for line in listed(table_of(tmp_path / "s"))}
    assert names == {f"model.encoder.width={name}, model.decoder.width={name}, +side={name}, ~{name}" for name in "ab"}


def test_every_run_is_listed_with_its_scores_or_why_it_has_none(tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    write_run(sweep / "a", 0.5, value=0.75)
    write_run(sweep / "b", 0.6, value=0.25)
    write_run(sweep / "c", None, best=None, status="failed", failure="no memory is left")
    write_run(sweep / "d", None, value=0.125, status="running")
    write_run(sweep / "e", None, status="stopped")
    table = table_of(sweep)
    assert table.lines[0].note.endswith("2 of 5 runs scored here, 1 failed, 1 unfinished, 1 stopped")
    (runs,) = table.sweeps
    assert runs.title == "All 5 runs of s"
    assert [column.title for column in runs.columns] == ["Validation", *(column.title for column in table.columns)]
    assert (runs.columns[0].unit, runs.columns[0].better) == ("loss", "lower")
    assert [(line.detail, line.note) for line in runs.lines] == [
        ("PIC, b", "in the table above"),
        ("PIC, a", ""),
        ("c", "failed: no memory is left"),
        ("d", "unfinished"),
        ("e", "stopped"),
    ]
    assert [line.cells[0].text for line in runs.lines] == ["0.25", "0.75", DASH, "0.125", "1"]
    psnr = [column.measure for column in runs.columns].index("psnr")
    score = record_of(sweep / "a")["metrics"]["psnr"]
    assert runs.lines[1].cells[psnr].text == f"{score['value']:.2f}"
    assert runs.lines[1].cells[psnr].interval == f"{score['low']:.2f}{DASH}{score['high']:.2f}"
    assert runs.lines[2].cells[psnr].note == "failed: no memory is left"


def test_records_from_before_sweeps_are_read(tmp_path: Path) -> None:
    for name, quality in (("a", 0.2), ("b", 0.4)):
        folder = write_run(tmp_path / "s" / name, quality)
        (folder / "run.json").write_text(json.dumps({"schema": 1, "status": "finished"}), encoding="utf-8")
    table = table_of(tmp_path / "s")
    assert chosen(table) == ["b"]
    assert table.lines[0].note.startswith("chosen by its score here, RMSE αβ, as the runs have no validation scores")
    assert [line.detail for line in listed(table)] == ["PIC, b", "PIC, a"]


# ---- pages and mistakes


def test_page_and_markdown_list_all_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "a<b" / "x", 0.5, overrides=["data.shape=[1|2]"])
    write_run(tmp_path / "a<b" / "y", 0.6, value=2.0, overrides=["data.shape=[3]"])
    write_run(tmp_path / "a<b" / "z", None, best=None, status="failed", failure="<no> memory")
    table = table_of(tmp_path / "a<b")
    html = page.render([table])
    assert "<summary>All 3 runs of a&lt;b</summary>" in html
    assert "failed: &lt;no&gt; memory" in html
    assert html.count("chosen by validation/loss, 1; 2 of 3 runs scored here, 1 failed") == 2
    lines = markdown.render([table]).splitlines()
    start = lines.index("<details><summary>All 3 runs of a&lt;b</summary>")
    rows = [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in lines[start + 2 : start + 7]]
    assert {len(cells) for cells in rows} == {len(table.columns) + 2}
    assert [cells[:2] for cells in rows[2:]] == [
        [r"shape=\[1\|2\], PIC, x (in the table above)", "1"],
        [r"shape=\[3\], PIC, y", "2"],
        [r"seed=z, z (failed: \<no\> memory)", DASH],
    ]
    assert lines[start + 7 : start + 9] == ["", "</details>"]
    note = r"data.shape=\[1\|2\]; chosen by validation/loss, 1; 2 of 3 runs scored here, 1 failed."
    assert rf"PIC, best of 2 in a\<b: {note}" in lines


def test_the_command_takes_sweeps_with_and_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sweep in "st":
        for name in "ab":
            write_run(tmp_path / sweep / name, 0.5)
    write_scored(tmp_path / "lrac", "LRAC", 0.9)
    sweeps = ["--sweep", str(tmp_path / "s"), "--sweep", str(tmp_path / "t"), "--out", str(tmp_path / "out")]
    __main__.main(sweeps)
    assert "2 rows in 1 tables" in capsys.readouterr().out
    __main__.main([str(tmp_path), *sweeps])
    assert "3 rows in 1 tables" in capsys.readouterr().out
    assert (tmp_path / "out" / "leaderboard.html").read_text(encoding="utf-8").count("<summary>All 2 runs of") == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "there is nothing to show; give directories that hold scores.json, or --sweep DIR"),
        (["--sweep", "nowhere"], "there is no nowhere; give directories that hold scores.json"),
        (["--sweep", "good/a/run.json"], "--sweep good/a/run.json is a file; give the directory"),
        (["--sweep", "failed"], "there is no scores.json in failed"),
        (["--sweep", "good", "--sweep", "good/a"], "good/a is in two sweeps, good and good/a; give it once"),
        (["--sweep", "stray"], "stray/b/scores.json has no run.json beside or above it"),
    ],
)
def test_a_mistake_ends_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("good/a"), 0.5)
    write_run(Path("failed/a"), None, status="failed")
    write_run(Path("stray/a"), 0.5)
    write_scored(Path("stray/b"), "PIC", 0.5)
    # what lies above the sweep is no run of it
    Path("run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        __main__.main([*arguments, "--out", "out"])
    assert str(ended.value).startswith(f"error: {complaint}")
    assert "\n" not in str(ended.value)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ({"overrides": "x"}, "holds 'x' as overrides, which should be a valid list"),
        ({"best": LOSS | {"mode": "most", "value": 1}}, "holds 'most' as best.mode, which should be 'min' or 'max'"),
        ({"best": LOSS | {"value": 10**400}}, "as best.value, which should be a valid number"),
        (None, "is no whole JSON file"),
    ],
)
def test_a_damaged_record_of_a_run_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record: dict[str, Any] | None, complaint: str
) -> None:
    for name in "abc":
        write_run(tmp_path / "sweep" / name, None if name == "c" else 0.5)
    path = tmp_path / "sweep" / "c" / "run.json"
    path.write_text("{" if record is None else json.dumps(json.loads(path.read_text()) | record), encoding="utf-8")
    sweep = read_sweep(tmp_path / "sweep")
    assert [(run.name, run.state) for run in sweep.runs][2] == ("c", "damaged")
    assert len(sweep.rows) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"left out: {path} ")
    assert complaint in told
