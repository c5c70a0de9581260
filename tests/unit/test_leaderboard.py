"""The leaderboard: what it reads and refuses, which rows share a table, and who leads."""

import csv
import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from evaluation.leaderboard import page
from evaluation.leaderboard.rows import Row, find_rows, read_row
from evaluation.leaderboard.tables import tables_of
from tests.unit.scored import KEYS, MEAN_RGB, change_record, only_table, record_of, write_scored


def rows_of(*folders: Path) -> list[Row]:
    return find_rows(folders)


def write_record(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "scores.json").write_text(text, encoding="utf-8")
    return folder


# ---- reading


def test_records_are_found_at_any_depth_and_once(tmp_path: Path) -> None:
    deep = write_scored(tmp_path / "runs" / "a" / "evaluations" / "x", "PIC", 0.5)
    other = write_scored(tmp_path / "b", "LRAC", 0.9)
    found = find_rows([tmp_path / "runs", tmp_path, other / "scores.json"])
    assert [row.folder for row in found] == [deep, other]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is no whole JSON file"),
        ("[1]", "is of schema None, and the leaderboard reads 2"),
        ('{"schema": 1}', "is of schema 1, and the leaderboard reads 2"),
        ('{"schema": 2, "method": "PIC"}', "has no kind; score it again"),
        (
            '{"schema": 2, "method": "PIC", "kind": "baseline", "source": {}, "protocol": {"name": "x"}, "set": {},'
            ' "pictures": {}, "metrics": {}, "left_out": {}}',
            r"has no protocol\.description; score it again",
        ),
    ],
)
def test_what_is_no_record_is_refused_in_one_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refusal:
        find_rows([write_record(tmp_path / "run", text)])
    assert str(tmp_path / "run" / "scores.json") in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("NaN", "nan"),
        ("Infinity", "inf"),
        ("-Infinity", "-inf"),
        ("1e999", "inf"),
        ("1" + 400 * "0", r"10+\.\.\.0+"),
        ("null", "None"),
        ("true", "True"),
        ('"12"', "'12'"),
        ("[1]", r"\[1\]"),
    ],
)
def test_what_is_no_number_is_refused_with_its_file_and_measure(tmp_path: Path, number: str, shown: str) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5)
    text = re.sub(r'("psnr": \{"value": )[\d.]+', rf"\g<1>{number}", (folder / "scores.json").read_text("utf-8"))
    (folder / "scores.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"scores\.json holds {shown} as metrics\.psnr\.value"):
        find_rows([folder])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"variant": ["a"]}, "holds ['a'] as variant, which should be a valid string"),
        ({"method": {}}, "holds {} as method, which should be a valid string"),
        ({"metrics": [1]}, "holds [1] as metrics, which should be a valid dictionary"),
        ({"metrics": {"psnr": 24.9}}, "holds 24.9 as metrics.psnr, which should be a valid dictionary"),
        ({"metrics": {"psnr": {"value": 24.9}}}, "has no metrics.psnr.n"),
        (
            {"metrics": {"psnr": {"value": 24.9, "low": "24", "n": 60}}},
            "holds '24' as metrics.psnr.low, which should be a valid number",
        ),
        ({"source": "best.ckpt"}, "holds 'best.ckpt' as source, which should be a valid dictionary"),
        ({"source": {"sha256": 7}}, "holds 7 as source.sha256, which should be a valid string"),
        ({"curves": []}, "holds [] as curves, which should be a valid dictionary"),
        ({"set": {"mean_rgb": [0.5]}}, "holds [0.5] as set.mean_rgb, which should have at least 3 items"),
        ({"set": {"label": None}}, "holds None as set.label, which should be a valid string"),
        ({"set": {"complete": "yes"}}, "holds 'yes' as set.complete, which should be a valid boolean"),
        (
            {"set": {"keys_sha256": "cd" * 32}},
            "holds true as set.named, but set.keys_sha256 is not that of lrac_cval1k",
        ),
        ({"protocol": {"seed": -1}}, "holds -1 as protocol.seed, which should be greater than or equal to 0"),
        (
            {"protocol": {"measures": ["psnr", "beauty"]}},
            "holds 'beauty' as protocol.measures.1, which is no measure here",
        ),
        ({"pictures": {"all": "many"}}, "holds 'many' as pictures.all, which should be a valid integer"),
        ({"left_out": {"fid": None}}, "holds None as left_out.fid, which should be a valid string"),
        ({"gallery": [["a"]]}, "holds ['a'] as gallery.0, which should be a valid string"),
    ],
)
def test_an_entry_of_odd_shape_is_refused_with_its_file_and_place(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5)
    change_record(folder, **changes)
    with pytest.raises(ValueError, match=re.escape(complaint)) as refusal:
        find_rows([folder])
    assert str(refusal.value).startswith(str(folder / "scores.json"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("part", ["set", "protocol"])
def test_a_part_that_is_no_mapping_is_refused(tmp_path: Path, part: str) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5)
    (folder / "scores.json").write_text(json.dumps(record_of(folder) | {part: ["x"]}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"scores\.json holds \['x'\] as {part}, which should be a valid dictionary"):
        find_rows([folder])


def test_a_variant_may_be_a_number_and_what_is_optional_null(tmp_path: Path) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5, variant=0)
    optional = ("curves", "gallery", "notes", "packages", "hardware", "hyper_parameters", "wall_seconds")
    change_record(folder, **dict.fromkeys(optional))
    table = only_table(tmp_path)
    assert table.rows[0].name == "PIC, 0"
    assert [line.detail for line in table.lines] == ["0"]
    assert "PIC" in page.render([table])


def test_a_protocol_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5)
    record = record_of(folder)
    record["protocol"]["resize"] = {"short_side": 64}
    (folder / "scores.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ValueError, match=r"names the protocol lrac_cval1k .*changed by hand"):
        find_rows([folder])
    record["protocol"]["resize"] = {"short_side": 256}
    record["protocol"]["description"] = "in other words"
    (folder / "scores.json").write_text(json.dumps(record), encoding="utf-8")
    assert find_rows([folder])[0].redefined is None


def test_an_unknown_measure_is_refused(tmp_path: Path) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5, metrics={"beauty": {"value": 1, "low": 1, "high": 1, "n": 1}})
    with pytest.raises(ValueError, match=r"holds 'beauty' as metrics\.beauty, which is no measure here"):
        find_rows([folder])


def test_no_record_and_no_such_place_are_different_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no scores\.json in"):
        find_rows([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere; give directories"):
        find_rows([tmp_path / "nowhere"])


def test_scores_of_pictures_average_to_those_of_the_set(tmp_path: Path) -> None:
    (row,) = rows_of(write_scored(tmp_path / "run", "PIC", 0.5))
    assert row.pictures.keys() == {
        "rmse_alpha_beta",
        "rmse_alpha_beta_norm",
        "psnr",
        "saturation",
        "saturation_of_truth",
    }
    with (row.folder / "pictures.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    pixels = sum(int(line["pixels"]) for line in lines)
    by_pixels = sum(float(line["rmse_alpha_beta"]) * int(line["pixels"]) for line in lines) / pixels
    assert statistics.fmean(row.pictures["rmse_alpha_beta"].values()) == pytest.approx(by_pixels, rel=1e-9)
    plain = statistics.fmean(float(line["rmse_alpha_beta"]) for line in lines)
    assert abs(plain - by_pixels) > 1e-5  # or the pixels would not have been tested
    assert row.pictures["psnr"][KEYS[3]] == float(lines[3]["psnr"])


def test_a_measure_that_is_no_mean_over_pictures_is_not_compared_by_them(tmp_path: Path) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5)
    text = (folder / "pictures.csv").read_text().splitlines()
    lines = [text[0] + ",histogram_intersection_a", *(f"{line},0.31" for line in text[1:])]
    (folder / "pictures.csv").write_text("\n".join(lines))
    (row,) = rows_of(folder)
    assert row.metrics["histogram_intersection_a"]["value"] == pytest.approx(0.81)
    assert "histogram_intersection_a" not in row.pictures


@pytest.mark.parametrize("change", ["another value", "one less", "one twice", "none"])
def test_pictures_of_another_scoring_are_refused(tmp_path: Path, change: str) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5)
    with (folder / "pictures.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    psnr = {line["key"]: line["psnr"] for line in lines}
    if change == "another value":
        # 60 pictures share 2 dB, which moves their mean of about 24 dB by a little more than a thousandth
        lines[5]["psnr"] = str(float(psnr[KEYS[5]]) + 2)
    elif change == "one less":
        mean = record_of(folder)["metrics"]["psnr"]["value"]
        lines[5]["psnr"] = ""
        lines[6]["psnr"] = str(float(psnr[KEYS[6]]) + float(psnr[KEYS[5]]) - mean)
    elif change == "one twice":
        lines[5]["key"] = KEYS[6]
    else:
        lines = [line | {"psnr": ""} for line in lines]
    with (folder / "pictures.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    row = read_row(folder / "scores.json")
    measure = "rmse_alpha_beta" if change == "one twice" else "psnr"
    with pytest.raises(ValueError, match=rf"pictures\.csv and .*scores\.json disagree on {measure}; score it again$"):
        _ = row.pictures


def test_a_table_of_pictures_without_pixels_is_refused(tmp_path: Path) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5)
    text = (folder / "pictures.csv").read_text()
    (folder / "pictures.csv").write_text(text.replace("pixels", "size", 1))
    row = read_row(folder / "scores.json")
    with pytest.raises(ValueError, match=rf"pictures\.csv holds None as pixels of {KEYS[0]}"):
        _ = row.pictures
    (folder / "pictures.csv").write_bytes(b"key,\xff")
    row = read_row(folder / "scores.json")
    with pytest.raises(ValueError, match=r"pictures\.csv is no table of pictures"):
        _ = row.pictures


@pytest.mark.parametrize("wrong", ["nan", "inf", "dark"])
def test_a_picture_without_a_finite_score_is_refused(tmp_path: Path, wrong: str) -> None:
    folder = write_scored(tmp_path / "run", "PIC", 0.5)
    text = (folder / "pictures.csv").read_text()
    (folder / "pictures.csv").write_text(re.sub(rf"({KEYS[2]},\d+,\d+,\d+),[\d.]+", rf"\1,{wrong}", text))
    row = read_row(folder / "scores.json")
    with pytest.raises(ValueError, match=rf"pictures\.csv holds {wrong} as rmse_alpha_beta of {KEYS[2]}"):
        _ = row.pictures


# ---- grouping


def test_rows_share_a_table_only_with_the_same_protocol_and_pictures(tmp_path: Path) -> None:
    for name, quality in (("a", 0.5), ("b", 0.6)):
        write_scored(tmp_path / name, name, quality)
    write_scored(tmp_path / "elsewhere", "PIC", 0.5, "lrac_ctest10k")
    other = write_scored(tmp_path / "part", "PIC", 0.5)
    part = {"label": "subset of 59 pictures of cval1k", "complete": False, "named": False, "keys_sha256": "cd" * 32}
    change_record(other, set=part)
    old = write_scored(tmp_path / "old", "PIC", 0.5)
    change_record(old, protocol={"seed": 7})
    tables = tables_of(find_rows([tmp_path]))
    assert [(table.protocol["name"], table.label, len(table.rows)) for table in tables] == [
        ("lrac_ctest10k", "ctest10k", 1),
        ("lrac_cval1k", "cval1k", 2),
        ("lrac_cval1k", "subset of 59 pictures of cval1k", 1),
        ("lrac_cval1k", "cval1k", 1),
    ]
    assert [bool(table.published) for table in tables] == [True, True, False, False]
    assert tables[2].warning == ("Subset of 59 pictures of cval1k: these rows do not compare with published numbers.")
    ours, now = tables[3].protocol["hash"], tables[1].protocol["hash"]
    assert tables[3].warning == (
        f"These rows were scored by another definition of lrac_cval1k (hash {ours}, the installed one is {now})."
    )
    assert len({table.anchor for table in tables}) == 4


def test_names_alone_do_not_make_the_same_pictures(tmp_path: Path) -> None:
    changes = {"other": 0.3, "a": 0.0, "within": 0.0019, "beyond": 0.0021}
    for name, change in changes.items():
        place = write_scored(tmp_path / name, name, 0.5)
        change_record(place, set={"mean_rgb": [MEAN_RGB[0], MEAN_RGB[1] - change, MEAN_RGB[2]]})
    tables = tables_of(find_rows([tmp_path / name for name in changes]))
    assert [[row.name for row in table.rows] for table in tables] == [["a", "within"], ["other"], ["beyond"]]
    warning = "Other pictures under the same names: these rows do not compare with the table above."
    assert [table.warning for table in tables] == [None, warning, warning]
    assert [bool(table.published) for table in tables] == [True, False, False]
    assert len({table.anchor for table in tables}) == 3


def test_an_unknown_mean_colour_is_as_any(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "a", 0.5)
    change_record(write_scored(tmp_path / "b", "b", 0.5), set={"mean_rgb": None})
    record = record_of(write_scored(tmp_path / "c", "c", 0.5))
    del record["set"]["mean_rgb"]
    (tmp_path / "c" / "scores.json").write_text(json.dumps(record), encoding="utf-8")
    assert len(only_table(tmp_path).rows) == 3


def test_a_whole_set_and_a_part_of_the_same_names_do_not_share_a_table(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "a", 0.5, "folder", curves=False)
    part = {"complete": False, "label": "subset of 60 pictures"}
    change_record(write_scored(tmp_path / "b", "b", 0.5, "folder", curves=False), set=part)
    tables = tables_of(find_rows([tmp_path]))
    assert [(table.label, len(table.rows)) for table in tables] == [("60 pictures", 1), ("subset of 60 pictures", 1)]
    assert tables[0].anchor != tables[1].anchor


def test_what_methods_were_told_is_part_of_a_tables_title(tmp_path: Path) -> None:
    for guidance in (None, "hints:1", "hints:10"):
        folder = write_scored(tmp_path / f"{guidance}", "a", 0.5, "folder", curves=False)
        change_record(folder, protocol={"guidance": guidance})
    labels = {table.label for table in tables_of(find_rows([tmp_path]))}
    assert labels == {"60 pictures", "60 pictures, guided by hints:1", "60 pictures, guided by hints:10"}


def test_published_tables_stand_in_the_papers_order_with_measured_rows_beside(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "PIC", 0.4)
    write_scored(tmp_path / "b", "LRAC", 0.9)
    published = only_table(tmp_path).published
    assert [table.place for table in published] == ["Table 1", "Table 2", "Table 5", "Table 7"]
    first = published[0]
    assert [column.measure for column in first.columns] == ["rmse_alpha_beta", "psnr"]
    assert [[cell.text for cell in line.cells] for line in first.published][:4] == [
        ["0.343", "22.98"],
        ["0.318", "24.25"],
        ["0.321", "24.33"],
        ["0.328", "24.30"],  # as printed, the last zero too
    ]
    assert [line.name for line in first.measured] == ["LRAC", "PIC"]
    assert first.status == "verified in the paper"
    assert first.paper.citation == "Larsson et al., ECCV 2016"


def test_published_measures_that_nothing_here_measures_stand_alone(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "PixColor", 0.9, "pixcolor_500")
    published = {table.place: table for table in only_table(tmp_path).published}
    assert [column.title for column in published["Figure 7"].columns] == ["Raters fooled"]
    assert published["Figure 7"].measured == []
    assert published["Figure 7"].published[0].cells[0].interval == "± 0.97"
    assert [line.name for line in published["Figure 8"].measured] == ["PixColor"]


def test_second_hand_numbers_say_so(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", "PIC", 0.4, "ddcolor_val5k")
    (published,) = only_table(tmp_path).published
    assert published.status == "transcribed from Kang et al., ICCV 2023"


# ---- ranking


def test_methods_are_ranked_and_checks_are_not(tmp_path: Path) -> None:
    for name, quality in (("CIC", 0.3), ("LRAC", 0.9), ("PIC", 0.6)):
        write_scored(tmp_path / name, name, quality)
    write_scored(tmp_path / "truth", "truth", 1.0, kind="baseline", source={})
    write_scored(tmp_path / "mean", "mean_color", 0.1, kind="baseline", source={})
    table = only_table(tmp_path)
    assert [line.name for line in table.lines] == ["LRAC", "PIC", "CIC"]
    assert [line.name for line in table.standing_lines] == ["mean colour", "truth"]
    errors = [row.metrics["rmse_alpha_beta"]["value"] for row in table.measured]
    assert errors == sorted(errors)
    assert table.ranked_by is not None
    assert table.ranked_by.measure == "rmse_alpha_beta"
    assert not any(cell.best for line in table.standing_lines for cell in line.cells)


def test_the_truth_costs_the_methods_no_digit(tmp_path: Path) -> None:
    folder = write_scored(tmp_path / "PIC", "PIC", 0.5)
    exact = {"psnr": {"value": 100.0, "low": 100.0, "high": 100.0, "n": 60}}
    truth = write_scored(tmp_path / "truth", "truth", 1.0, kind="baseline", source={}, metrics=exact)
    (truth / "pictures.csv").unlink()
    table = only_table(tmp_path)
    number = [column.measure for column in table.columns].index("psnr")
    assert table.lines[0].cells[number].text == f"{record_of(folder)['metrics']['psnr']['value']:.2f}"
    assert table.standing_lines[0].cells[number].text == "100.00"


def test_what_a_paired_test_cannot_tell_from_the_best_shares_its_mark(tmp_path: Path) -> None:
    for name, quality in (("one", 0.9), ("other", 0.899), ("worse", 0.6)):
        write_scored(tmp_path / name, name, quality)
    table = only_table(tmp_path)
    marked = {
        column.measure: {line.name for line in table.lines if line.cells[number].best}
        for number, column in enumerate(table.columns)
    }
    found = {row.name: found for row, _, found in table.comparisons}
    alike = {"one", "other"} - found.keys()
    assert found.keys() == {"one", "other", "worse"} - alike
    assert found["worse"]["p_value"] < 0.001
    assert found["worse"]["difference"] > 0
    assert min(entry["p_value"] for name, entry in found.items() if name != "worse") >= 0.05
    assert marked["rmse_alpha_beta"] == marked["psnr"] == {"one", "other"}
    # of which pictures have no score: only the best
    assert marked["histogram_intersection_a"] == {"one"}
    # neither more nor less saturation is better
    assert marked["saturation"] == set()


def test_the_same_value_of_what_no_pictures_have_shares_the_mark(tmp_path: Path) -> None:
    for name, quality in (("one", 0.9), ("same", 0.9), ("close", 0.8999)):
        write_scored(tmp_path / name, name, quality)
    table = only_table(tmp_path)
    number = [column.measure for column in table.columns].index("histogram_intersection_a")
    assert {line.name for line in table.lines if line.cells[number].best} == {"one", "same"}


def test_likelihoods_in_different_spaces_are_not_compared(tmp_path: Path) -> None:
    bits = {"value": 2.5, "low": 2.4, "high": 2.6, "n": 60, "space": "CIELab a and b at 32x32"}
    for name, value, space in (("a", 2.5, bits["space"]), ("b", 2.9, bits["space"])):
        write_scored(
            tmp_path / name,
            name,
            0.5,
            "pic_imagenet128",
            metrics={"bits_per_dim": bits | {"value": value, "space": space}},
        )
    table = only_table(tmp_path)
    assert [line.cells[0].best for line in table.lines] == [True, False]
    record = record_of(tmp_path / "b")
    record["metrics"]["bits_per_dim"]["space"] = "RGB at 32x32"
    (tmp_path / "b" / "scores.json").write_text(json.dumps(record), encoding="utf-8")
    table = only_table(tmp_path)
    assert [line.cells[0].best for line in table.lines] == [False, False]
    assert table.ranked_by is None


def test_rows_that_look_alike_are_told_apart_by_their_source(tmp_path: Path) -> None:
    for name, sha in (("a", "aaaaaaaa" * 8), ("b", "bbbbbbbb" * 8)):
        write_scored(tmp_path / name, "PIC", 0.5, variant="temperature 0.8", source={"path": "x", "sha256": sha})
    write_scored(tmp_path / "c", "PIC", 0.5)
    table = only_table(tmp_path)
    assert sorted(table.names.values()) == [
        ("PIC", ""),
        ("PIC", "temperature 0.8, aaaaaaa"),
        ("PIC", "temperature 0.8, bbbbbbb"),
    ]


def test_what_no_row_has_is_said_once_and_what_one_lacks_where_it_lacks(tmp_path: Path) -> None:
    first = write_scored(tmp_path / "a", "PIC", 0.5, "pixcolor_500")
    second = write_scored(tmp_path / "b", "CIC", 0.4, "pixcolor_500")
    record = record_of(second)
    del record["metrics"]["ms_ssim"]
    change_record(second, metrics=record["metrics"], left_out=record["left_out"] | {"ms_ssim": "sides are below 11"})
    table = only_table(tmp_path)
    assert table.absent["LPIPS"] == "LPIPS (alex) needs alexnet-owt-7be5be79.pth, but no path was given"
    number = [column.measure for column in table.columns].index("ms_ssim")
    cells = {line.name: line.cells[number] for line in table.lines}
    assert cells["CIC"].value is None
    assert cells["CIC"].note == "sides are below 11"
    assert cells["PIC"].text == f"{record_of(first)['metrics']['ms_ssim']['value']:.3f}"
