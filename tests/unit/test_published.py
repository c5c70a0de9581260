"""The published numbers: as the papers print them, and refused where a row is not as it should be."""

from collections import Counter
from typing import Any

import pytest
import yaml

from evaluation.published import PublishedRow, parse_rows, published_papers, published_rows

ROWS = published_rows()

METRICS = {
    "rmse_alpha_beta",
    "psnr",
    "psnr_geometric",
    "bits_per_dim",
    "saturation",
    "visual_turing_test",
    "histogram_intersection_a",
    "histogram_intersection_b",
    "fid",
    "colorfulness_abs",
    "colorfulness_abs_delta",
    "mean_intersection_over_union",
    "seconds",
}


def rows_of(paper: str, place: str) -> list[PublishedRow]:
    return [row for row in ROWS if (row.paper, row.place) == (paper, place)]


def the_row(
    paper: str, place: str, method: str, variant: str | None = None, protocol: str | None = None
) -> PublishedRow:
    found = [row for row in rows_of(paper, place) if (row.method, row.variant) == (method, variant)]
    found = [row for row in found if protocol in (None, row.protocol)]
    assert len(found) == 1
    return found[0]


# typed in from the papers' text, not from the YAML
@pytest.mark.parametrize(
    ("paper", "place", "method", "variant", "metrics"),
    [
        ("larsson2016", "Table 1", "grey", None, {"rmse_alpha_beta": 0.343, "psnr": 22.98}),
        ("larsson2016", "Table 1", "LRAC", "Lab, K = 16 x 16", {"rmse_alpha_beta": 0.328, "psnr": 24.3}),
        ("larsson2016", "Table 2", "LRAC", "hypercolumn conv5_1..fc7", {"rmse_alpha_beta": 0.307, "psnr": 24.38}),
        ("larsson2016", "Table 3", "Welsh", "automatically matched reference", {"rmse_alpha_beta": 0.353}),
        ("larsson2016", "Table 4", "LRAC", "quantile matching", {"rmse_alpha_beta": 0.178}),
        ("larsson2016", "Table 5", "LRAC", "random initialisation", {"rmse_alpha_beta": 0.311, "psnr": 24.25}),
        ("larsson2016", "Table 6", "BiGAN", "AlexNet, colour input", {"mean_intersection_over_union": 34.9}),
        ("larsson2016", "Table 7", "LRAC", "hue sample, chroma sample", {"rmse_alpha_beta": 0.426, "psnr": 21.41}),
        (
            "larsson2016",
            "Section 4",
            "LRAC",
            "hue/chroma, chromatic fading, 10 epochs",
            {"rmse_alpha_beta": 0.293, "psnr": 24.94},
        ),
        ("larsson2016", "Figure 7", "LRAC", None, {"psnr_geometric": 32.7}),
        ("royer2017", "Section 4.1", "PIC", None, {"bits_per_dim": 2.72}),
        ("royer2017", "Section 4.2", "PIC", None, {"bits_per_dim": 2.51}),
        ("royer2017", "Section 4.3", "PIC", None, {"saturation": 36.4}),
        ("guadarrama2017", "Figure 7", "PixColor", "seed 2", {"visual_turing_test": 35.4}),
        (
            "guadarrama2017",
            "Figure 5",
            "PixColor",
            "true chroma at 28 x 28, unrefined",
            {"visual_turing_test": 29.6},
        ),
        (
            "guadarrama2017",
            "Figure 8",
            "LTBC",
            None,
            {"histogram_intersection_a": 0.82, "histogram_intersection_b": 0.82},
        ),
    ],
)
def test_numbers_are_those_of_the_papers(
    paper: str, place: str, method: str, variant: str | None, metrics: dict[str, float]
) -> None:
    row = the_row(paper, place, method, variant)
    assert row.metrics == metrics
    assert row.status == "verified"


@pytest.mark.parametrize(
    ("method", "size", "seconds"),
    [("Welsh", 256, 3.51), ("Gupta", 1024, 1784.58), ("Xiao", 512, 1.4), ("Pierre", 1024, 66.38)],
)
def test_runtimes_are_those_of_the_paper(method: str, size: int, seconds: float) -> None:
    assert the_row("xu2020", "Table 1", method, protocol=f"runtime_{size}").metrics == {"seconds": seconds}


def test_runtimes_in_stages_add_up_to_the_total() -> None:
    staged = [row for row in ROWS if row.paper == "xu2020" and row.note and row.metrics]
    assert len(staged) == 5
    for row in staged:
        assert row.note is not None
        stages = [[float(factor) for factor in stage.split(" x ")] for stage in row.note.split(" + ")]
        total = sum(stage[0] * (stage[1] if len(stage) == 2 else 1) for stage in stages)
        assert row.metrics["seconds"] == pytest.approx(total)


def test_a_run_out_of_memory_has_a_note_and_no_number() -> None:
    failed = [row for row in ROWS if not row.metrics]
    assert [(row.method, row.protocol, row.note) for row in failed] == [("He", "runtime_1024", "49.96 + out of memory")]


def test_errors_stand_where_the_papers_print_them() -> None:
    printed = {(row.paper, row.place) for row in ROWS if row.errors}
    assert printed == {("larsson2016", "Figure 7"), ("guadarrama2017", "Figure 7")}
    assert the_row("larsson2016", "Figure 7", "LRAC").errors == {"psnr_geometric": 2.0}
    errors = [row.errors["visual_turing_test"] for row in rows_of("guadarrama2017", "Figure 7")]
    assert errors == [0.97, 0.98, 1.02, 1.04, 1.01, 1.03, 0.98]


def test_every_protocol_has_its_rows() -> None:
    assert Counter(row.protocol for row in ROWS) == {
        "lrac_cval1k": 6 + 6 + 2 + 6,  # tables 1, 2, 5 and 7
        "lrac_ctest10k": 2,
        "sun6": 5,
        "sun6_histogram": 4,
        "suna": 2,
        "voc2012_segmentation": 7,
        "pic_cifar10": 1,
        "pic_imagenet128": 3,
        "pixcolor_500": 7 + 1 + 4 + 4,  # the test, its mean, the ablation and the histograms
        "runtime_256": 6,
        "runtime_512": 6 + 1,  # LRAC gives its own speed
        "runtime_1024": 6,
        "ddcolor_val5k": 8,
        "palette_5k": 4,
    }


def test_rows_are_distinct_and_their_measures_known() -> None:
    places = Counter((row.paper, row.place, row.protocol, row.method, row.variant) for row in ROWS)
    assert max(places.values()) == 1
    assert {metric for row in ROWS for metric in row.metrics} == METRICS


def test_second_hand_rows_are_those_of_the_two_papers_not_read() -> None:
    assert {row.paper for row in ROWS if row.status == "transcribed"} == {"ddcolor2023", "palette2022"}
    assert {row.paper for row in ROWS if row.status == "verified"} == {
        "larsson2016",
        "royer2017",
        "guadarrama2017",
        "xu2020",
    }


@pytest.mark.parametrize("table", ["Table 1", "Table 2", "Table 7"])
def test_best_row_of_larsson_is_the_same_in_every_table(table: str) -> None:
    rows = rows_of("larsson2016", table)
    best = min(rows, key=lambda row: row.metrics["rmse_alpha_beta"])
    assert best.metrics == {"rmse_alpha_beta": 0.299, "psnr": 24.45}
    assert max(row.metrics["psnr"] for row in rows) == 24.45


def test_hue_and_chroma_are_best_with_fading_only() -> None:
    ranked = sorted(rows_of("larsson2016", "Table 1"), key=lambda row: row.metrics["rmse_alpha_beta"])
    assert ranked[0].variant == "hue/chroma, K = 32, chromatic fading"
    # without fading, only leaving the picture grey is worse
    assert [row.variant for row in ranked[-2:]] == ["hue/chroma, K = 32", None]


def test_sun6_is_ranked_as_in_the_paper() -> None:
    given = {(row.method, row.variant): row.metrics["rmse_alpha_beta"] for row in rows_of("larsson2016", "Table 4")}
    assert min(given, key=given.__getitem__) == ("LRAC", "energy minimisation")
    assert given["LRAC", "quantile matching"] < given["Deshpande", "quantile matching, true scene class"]
    automatic = rows_of("larsson2016", "Table 3")
    assert min(automatic, key=lambda row: row.metrics["rmse_alpha_beta"]).method == "LRAC"


def test_colourisation_closes_more_than_half_of_the_gap_in_segmentation() -> None:
    union = {
        row.method: row.metrics["mean_intersection_over_union"]
        for row in rows_of("larsson2016", "Table 6")
        if row.variant == "VGG-16, grey input"
    }
    assert union["LRAC"] - union["random initialisation"] > union["classifier"] - union["LRAC"]
    assert round(union["LRAC"] - union["random initialisation"]) == 18


def test_every_seed_of_pixcolor_fools_more_raters_than_every_other_method() -> None:
    rates = [(row.method, row.metrics["visual_turing_test"]) for row in rows_of("guadarrama2017", "Figure 7")]
    seeds = [rate for method, rate in rates if method == "PixColor"]
    assert min(seeds) > max(rate for method, rate in rates if method != "PixColor")
    assert max(seeds) == 38.3  # the oracle
    # the paper prints 33.9
    assert sum(seeds[:3]) / 3 == pytest.approx(33.9, abs=0.1)


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_exemplar_is_the_fastest_and_welsh_the_fastest_of_the_three_older(size: int) -> None:
    rows = [row for row in rows_of("xu2020", "Table 1") if row.protocol == f"runtime_{size}" and row.metrics]
    ranked = [row.method for row in sorted(rows, key=lambda row: row.metrics["seconds"])]
    assert ranked[0] == "Exemplar"
    assert [method for method in ranked if method in ("Welsh", "Pierre", "Gupta")] == ["Welsh", "Pierre", "Gupta"]


def test_colourfulness_differs_from_one_and_the_same_truth() -> None:
    for row in rows_of("ddcolor2023", "Table 1"):
        assert abs(row.metrics["colorfulness_abs"] - 38.21) == pytest.approx(row.metrics["colorfulness_abs_delta"])


def test_papers_are_cited_by_first_author_and_venue() -> None:
    papers = published_papers()
    assert {row.paper for row in ROWS} == papers.keys()
    assert papers["guadarrama2017"].title == "PixColor: Pixel Recursive Colorization"
    assert papers["larsson2016"].citation == "Larsson et al., ECCV 2016"


ROW: dict[str, Any] = {
    "method": "LRAC",
    "variant": "with fading",
    "paper": "larsson2016",
    "place": "Table 1",
    "protocol": "lrac_cval1k",
    "status": "verified",
    "metrics": {"psnr": 24},
}


def parse(row: dict[str, Any]) -> PublishedRow:
    return parse_rows(
        yaml.safe_dump({"papers": {"larsson2016": dict.fromkeys(("title", "authors", "venue"), "x")}, "rows": [row]})
    )[0]


def test_whole_numbers_are_numbers() -> None:
    assert parse(ROW) == PublishedRow(
        method="LRAC",
        variant="with fading",
        paper="larsson2016",
        place="Table 1",
        protocol="lrac_cval1k",
        status="verified",
        metrics={"psnr": 24.0},
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"paper": "larson2016"}, "unknown paper larson2016"),
        ({"status": "guessed"}, "is guessed, and not verified or transcribed"),
        ({"status": "transcribed"}, "names no known paper as its source"),
        ({"status": "transcribed", "source": "hearsay"}, "names no known paper as its source"),
        ({"protocol": None}, "has no protocol"),
        ({"place": ""}, "has no place"),
        ({"note": 0.04}, "0.04 as note, which is no text"),
        ({"metrics": {"psnr": "24.45 dB"}}, "'24.45 dB' as psnr, which is no number"),
        ({"metrics": {"psnr": True}}, "True as psnr, which is no number"),
        ({"metrics": {"psnr": float("nan")}}, "nan as psnr, which is no number"),
        ({"metrics": None}, "None where metrics by name belong"),
        ({"metrics": {}}, "neither a metric nor a note"),
        ({"errors": {"psnr": "0.1"}}, "'0.1' as psnr, which is no number"),
        ({"errors": {"fid": 0.1}}, "an error of fid, but no such metric"),
        ({"varient": "without"}, "the unknown key varient"),
    ],
)
def test_a_wrong_row_is_refused_by_name(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refusal:
        parse({**ROW, **change})
    message = str(refusal.value)
    assert message.startswith("row 1 (LRAC, with fading, ")
    assert message.endswith(".")
    assert "\n" not in message


def test_a_missing_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match=r"row 1 \(LRAC, with fading, larsson2016, Table 1\).* has no protocol"):
        parse({key: value for key, value in ROW.items() if key != "protocol"})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1", "no whole YAML"),
        ("", "all of it should be a valid dictionary"),
        ("rows: []", "papers is missing"),
        ("papers: {}\nrows: [1]", "rows.0 should be a valid dictionary"),
        ("papers: {a: {title: 3, authors: b, venue: c}}\nrows: []", "papers.a.title should be a valid string"),
    ],
)
def test_what_is_no_document_is_refused_in_one_sentence(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refusal:
        parse_rows(text)
    assert "\n" not in str(refusal.value)
