"""Records, protocols, sheets and the report page."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from evaluation.curves import read_curves
from evaluation.record import RESERVE, RunRecord, file_sha256, git_commit, read_json, run_record, write_json
from evaluation.report.run_report import write_report
from evaluation.report.sheet import contact_sheet, grey_of, to_image
from evaluation.report.table import print_scores


def test_json_comes_back_whole_and_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    write_json(path, {"name": "café", "value": 1.5})
    assert read_json(path) == {"name": "café", "value": 1.5}
    assert [each.name for each in path.parent.iterdir()] == ["run.json"]


def test_records_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no run\.json"):
        read_json(tmp_path / "run.json")
    (tmp_path / "run.json").write_text('{"half": ')
    with pytest.raises(ValueError, match="no whole JSON"):
        read_json(tmp_path / "run.json")


def test_run_record_says_what_ran_where() -> None:
    record = run_record({"name": "pic", "seed": 7}, ["+experiment=pic_tiny", "model.embedding=[{width: 8}]"], "pic-1")
    assert json.loads(json.dumps(record)) == record
    assert record["command"] == "python train.py +experiment=pic_tiny 'model.embedding=[{width: 8}]' resume=auto"
    assert record["packages"]["torch"] == torch.__version__.split("+")[0]
    assert record["seed"] == 7
    assert record["hardware"]["cores"] >= 1
    commit = git_commit()
    assert commit is None or len(commit.split("+")[0]) == 40


def record_in(folder: Path, rank: int = 0) -> RunRecord:
    """A rank's record of a run."""
    entries = run_record({"seed": 0}, [], "pic-1") | {"wall_seconds": 100.0}
    return RunRecord(folder / "run.json", entries, rank, sentence_of=str)


def test_a_run_is_running_and_then_finished(tmp_path: Path) -> None:
    with record_in(tmp_path) as record:
        assert read_json(tmp_path / "run.json")["status"] == "running"
        record.save(best={"value": 3.0})
        assert read_json(tmp_path / "run.json")["best"] == {"value": 3.0}
    ended = read_json(tmp_path / "run.json")
    assert (ended["status"], ended["failure"]) == ("finished", None)
    assert 100 < ended["wall_seconds"] < 101


class Preempted(SystemExit):
    """Ends a run for good reason."""

    status = "preempted"


@pytest.mark.parametrize(
    ("error", "status", "failure"),
    [
        (ValueError("no data"), "failed", "no data"),
        (KeyboardInterrupt(), "stopped", None),
        (SystemExit(1), "stopped", None),
        (Preempted(), "preempted", None),
    ],
)
def test_a_record_says_how_a_run_ended(tmp_path: Path, error: BaseException, status: str, failure: str | None) -> None:
    with pytest.raises(type(error)), record_in(tmp_path):
        raise error
    ended = read_json(tmp_path / "run.json")
    assert (ended["status"], ended["failure"]) == (status, failure)


def test_the_rank_that_failed_first_is_blamed(tmp_path: Path) -> None:
    first, second = record_in(tmp_path), record_in(tmp_path, rank=1)
    first.__enter__()
    first.entries["best"] = {"value": 3.0}
    for record, error in ((second, ValueError("no data")), (first, RuntimeError("lost a peer"))):
        record.__exit__(type(error), error, None)
    ended = read_json(tmp_path / "run.json")
    assert (ended["status"], ended["failure"]) == ("failed", "rank 1: no data")


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == wanted


def test_contact_sheet_shows_every_picture_at_its_place() -> None:
    red, blue = torch.tensor([1.0, 0, 0]).view(3, 1, 1), torch.tensor([0, 0, 1.0]).view(3, 1, 1)
    rows = [[red.expand(3, 8, 16), blue.expand(3, 8, 4)], [blue.expand(3, 8, 16), red.expand(3, 8, 4)]]
    sheet = contact_sheet(rows, ["wide", "tall"], cell_height=40)
    colours = {colour: count for count, colour in sheet.getcolors(1 << 16) or []}
    assert colours[(255, 0, 0)] == colours[(0, 0, 255)] == 40 * 80 + 40 * 20
    assert sheet.height > 80


def test_grey_of_a_colour_is_its_luma() -> None:
    grey = grey_of(torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1))
    assert grey.flatten().tolist() == pytest.approx([0.299 + 0.587 * 0.5 + 0.114 * 0.25] * 3)
    assert to_image(grey[0]).size == (1, 1)


@pytest.fixture
def records() -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's two records."""
    run = run_record({"name": "pic <photos>", "seed": 0, "model": {"width": 8}}, [], "pic-1") | {"wall_seconds": 90.0}
    metric = {"value": 2.72, "low": 2.7, "high": 2.74, "n": 3}
    scores = {
        "method": "PIC",
        "protocol": {"name": "photos", "description": "Held out.", "samples": 2, "hash": "abc"},
        "set": {"label": "3 pictures"},
        "pictures": {"all": 3, "coloured": 3, "grey": 1, "unreadable": 0},
        "metrics": {"bits_per_dim": {**metric, "space": "CIELab"}, "psnr": metric},
        "left_out": {"lpips": "no weights"},
        "notes": ["2 of 3 predictions have no colour at all"],
    }
    return run, scores


def test_report_stands_alone(tmp_path: Path, records: tuple[dict[str, Any], dict[str, Any]]) -> None:
    run, scores = records
    for version, rows in enumerate((["0,0,9.0,", "0,1,8.0,", "0,2,7.0,6.5"], ["0,2,5.0,", "0,3,4.0,"])):
        folder = tmp_path / "logs" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("\n".join(["epoch,step,train/loss,validation/loss", *rows]) + "\n")
    (tmp_path / "samples").mkdir()
    for step in (10, 200):
        Image.new("RGB", (4, 4)).save(tmp_path / "samples" / f"step_{step:06}.png")
    grey = {"metrics": {"psnr": {"value": 23.5}}}
    page = write_report(tmp_path, run, scores, grey, Image.new("RGB", (20, 20), "red")).read_text()
    for words in (
        "pic &lt;photos&gt;",
        "2.720",
        "2.700 to 2.740",
        "23.500",
        "CIELab",
        "step 10<",
        "step 200<",
        "width: 8",
        "<svg",
    ):
        assert words in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert 'src="data:' in page


def test_curves_of_a_resumed_run_are_joined(tmp_path: Path) -> None:
    for version, rows in ((0, ["0,1.5", "1,1.4", "2,9"]), (10, ["2,1.3", "3,1.2"])):
        folder = tmp_path / f"version_{version}"
        folder.mkdir()
        (folder / "metrics.csv").write_text("\n".join(["step,loss", *rows, ""]))
    curve = read_curves(tmp_path)["loss"]
    assert [curve[step] for step in range(4)] == [1.5, 1.4, 1.3, 1.2]


def test_rows_of_a_log_that_are_damaged_or_not_yet_whole_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "version_0").mkdir()
    rows = b"epoch,step,loss\r\n0,1,2.5\r\n0,x,3.5\r\n\0\0\0\r\n0,2,\xff\r\n0\r\n0,3,1,2\r\n0,4,1.5\r\n0,5,1.2"
    (tmp_path / "version_0" / "metrics.csv").write_bytes(rows)
    assert read_curves(tmp_path) == {"loss": {1: 2.5, 4: 1.5}}, "1.2 may be the beginning of 1.234"


def test_a_record_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"whole": True})
    (tmp_path / "scores.json").mkdir()
    with pytest.raises(OSError, match=r"scores\.json cannot be written"):
        write_json(tmp_path / "scores.json", {"whole": False})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "scores.json"]


def test_a_record_keeps_file_names_that_are_no_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "run.json", {"name": name})
    assert read_json(tmp_path / "run.json") == {"name": name}
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["name"] == name


def test_a_run_that_ends_on_a_full_disk_has_room_for_its_last_record(tmp_path: Path) -> None:
    record = record_in(tmp_path).__enter__()
    assert (tmp_path / RESERVE).stat().st_size > 10 * (tmp_path / "run.json").stat().st_size
    record.__exit__(OSError, OSError("the disk is full"), None)
    assert not (tmp_path / RESERVE).exists()
    assert read_json(tmp_path / "run.json")["failure"] == "the disk is full"


def test_what_a_killed_process_left_of_a_record_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".run.json-0123").write_text("{")
    with record_in(tmp_path):
        pass
    assert not (tmp_path / ".run.json-0123").exists()


def test_scores_are_printed(capsys: pytest.CaptureFixture[str], records: tuple[dict[str, Any], dict[str, Any]]) -> None:
    print_scores(records[1])
    told = capsys.readouterr().out
    assert "2.720 bits" in told
    assert "2.720 dB" in told
    assert "without lpips: no weights" in told
    assert "2 of 3 predictions have no colour at all" in told
    assert not math.isnan(records[1]["metrics"]["psnr"]["value"])
