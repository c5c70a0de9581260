"""`python -m datamodules.shards` as a user runs it, mistakes included."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from datamodules.shards.__main__ import main
from datamodules.splits import keys_of
from tests.conftest import PROJECT, colourful_pictures

CapSys = pytest.CaptureFixture[str]


def encoded(seed: int, kind: str = "PNG", width: int = 14, height: int = 10) -> bytes:
    """A small encoded colour picture."""
    pixels = colourful_pictures(1, max(width, height), seed)[0].permute(1, 2, 0).numpy()[:height, :width].copy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def run(*arguments: str | Path) -> int | str | None:
    """Run the command line in this process; returns what it exits with: a status or a message."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def run_alone(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "datamodules.shards", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def check(folder: Path) -> int | str | None:
    """Check a set of shards."""
    return run("check", folder, "--workers", "1")


def index(shards: str | Path, out: Path) -> int | str | None:
    """Index shards."""
    return run("index", shards, "--out", out, "--workers", "1")


def is_one_sentence(message: int | str | None) -> bool:
    """Whether this is an error message of one line."""
    return isinstance(message, str) and message.startswith("error: ") and "\n" not in message.strip()


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    """The index by key."""
    table = np.load(out / "index.npy")
    rows = {row["key"].decode(): {name: row[name] for name in table.dtype.names} for row in table}
    assert len(rows) == len(table), "keys are unique"
    return rows


def bytes_of(out: Path, row: dict[str, Any]) -> bytes:
    """The stretch of a shard, beside its index, that a row points at."""
    manifest = json.loads((out / "manifest.json").read_text())
    shards = [shard["name"] for shards in manifest["splits"].values() for shard in shards]
    shard: bytes = (out / shards[row["shard"]]).read_bytes()
    data = shard[row["offset"] : row["offset"] + row["length"]]
    assert row["checksum"] == zlib.crc32(data)
    return data


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Six pictures of two classes; two are the same, one is grey, and a seventh file is none."""
    for number in range(6):
        path = tmp_path / "pets" / ("cat" if number % 2 else "dog") / f"pet{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(0 if number == 5 else number))
    with Image.open(tmp_path / "pets" / "cat" / "pet3.png") as picture:
        grey = picture.convert("L")
    grey.save(tmp_path / "pets" / "cat" / "pet3.png")
    (tmp_path / "pets" / "dog" / "text.jpg").write_text("this is text")
    return tmp_path / "pets"


@pytest.fixture
def shards(pets: Path, tmp_path: Path, capsys: CapSys) -> Path:
    """Three shards of the pets."""
    out = tmp_path / "shards"
    assert run("write", pets, out, "--pictures-per-shard", "3", "--workers", "1") == 0
    assert len(list(out.glob("*.tar"))) == 3
    capsys.readouterr()
    return out


@pytest.fixture
def theirs(tmp_path: Path) -> Callable[..., Path]:
    """Writes a shard with webdataset's own writer, in a folder of its own."""
    (tmp_path / "theirs").mkdir()

    def make(*samples: dict[str, Any], name: str = "000.tar") -> Path:
        with webdataset.TarWriter(str(tmp_path / "theirs" / name)) as writer:
            for sample in samples:
                writer.write(sample)
        return tmp_path / "theirs" / name

    return make


def test_write_says_what_it_wrote_and_what_it_left_out(pets: Path, tmp_path: Path, capsys: CapSys) -> None:
    assert run("write", pets, tmp_path / "out", "--pictures-per-shard", "3", "--workers", "1") == 0
    said = capsys.readouterr().out
    assert "6 pictures in 3 shards" in said
    assert "grey-encoded: 1 (pet3)" in said
    assert "duplicates: 1 (" in said
    assert "pet0 = pet5" in said or "pet5 = pet0" in said
    assert "left out as unreadable: 1 (text.jpg: " in said


def test_write_and_check_in_processes_of_their_own(pets: Path, tmp_path: Path) -> None:
    written = run_alone("write", pets, tmp_path / "out", "--quality", "90", "--workers", "1")
    assert (written.returncode, written.stderr) == (0, "")
    checked = run_alone("check", tmp_path / "out", "--workers", "1")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "1 shards checked, 0 faults" in checked.stdout


def test_options_reach_the_shards(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("pet0.png\npet1.png\n")
    options = ("--short-side", "5", "--quality", "80", "--test-list", tmp_path / "list", "--workers", "1")
    assert run("write", pets, tmp_path / "out", *options) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {split: sum(shard["pictures"] for shard in shards) for split, shards in manifest["splits"].items()} == {
        "train": 4,
        "test": 2,
    }
    row = rows_of(tmp_path / "out")["pet0"]
    assert (row["width"], row["height"]) == (7, 5)
    assert Image.open(io.BytesIO(bytes_of(tmp_path / "out", row))).format == "JPEG"


def test_an_unpacked_archive_is_removed_when_its_shards_are_written(tmp_path: Path) -> None:
    archive = tmp_path / "set.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        header = tarfile.TarInfo("set/cat/tom.png")
        header.size = len(encoded(0))
        tar.addfile(header, io.BytesIO(encoded(0)))
    assert run("write", archive, tmp_path / "out", "--workers", "1") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"all-000000.tar", "manifest.json", "index.npy"}


def test_a_finished_set_is_refused_in_one_sentence(shards: Path, pets: Path) -> None:
    message = run("write", pets, shards, "--workers", "1")
    assert is_one_sentence(message)
    assert "holds a finished set of shards" in str(message)


def test_a_set_without_a_single_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.jpg").write_text("this is text")
    assert is_one_sentence(run("write", tmp_path / "texts", tmp_path / "out", "--workers", "1"))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_check_finds_nothing_wrong_with_what_was_written(shards: Path, capsys: CapSys) -> None:
    assert check(shards) == 0
    said = capsys.readouterr()
    assert "3 shards checked, 0 faults" in said.out
    assert said.err == ""


def flip_a_byte(path: Path) -> str:
    """Change one byte in the middle; returns what the fault is about."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return "SHA-256"


def truncate(path: Path) -> str:
    """Cut a file in half; returns what the fault is about."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "bytes where the manifest says"


def delete(path: Path) -> str:
    """Delete a file; returns what the fault is about."""
    path.unlink()
    return "is missing"


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, delete])
def test_check_names_a_damaged_shard(shards: Path, capsys: CapSys, damage: Callable[[Path], str]) -> None:
    fault = damage(shards / "all-000001.tar")
    assert check(shards) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "all-000001.tar" in line
    assert fault in line


def test_check_names_a_tar_that_does_not_belong_to_the_set(shards: Path, capsys: CapSys) -> None:
    (shards / "stranger.tar").write_bytes((shards / "all-000001.tar").read_bytes())
    assert check(shards) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "stranger.tar is not in the manifest" in line


def test_check_names_every_fault(shards: Path, capsys: CapSys) -> None:
    flip_a_byte(shards / "all-000000.tar")
    delete(shards / "all-000002.tar")
    assert check(shards) == 1
    said = capsys.readouterr()
    assert [name for line in said.err.splitlines() for name in ("000000", "000001", "000002") if name in line] == [
        "000000",
        "000002",
    ]
    assert "2 faults" in said.out


def test_check_compares_the_counts_of_the_index_and_of_the_manifest(shards: Path, capsys: CapSys) -> None:
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest["splits"]["all"][1]["pictures"] += 1
    (shards / "manifest.json").write_text(json.dumps(manifest))
    assert check(shards) == 1
    assert "all-000001.tar" in capsys.readouterr().err


def test_describe_prints_counts_and_draws_a_contact_sheet(
    shards: Path, tmp_path: Path, capsys: CapSys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run("describe", shards, "--sheet", tmp_path / "sheet.png") == 0
    said = capsys.readouterr().out
    (row,) = [line for line in said.splitlines() if "│ all" in line]
    split, pictures, files, _, classes, masks, grey, size = (cell.strip() for cell in row.strip(" │").split("│"))
    assert (split, pictures, files, classes, masks, grey, size) == ("all", "6", "3", "2", "0", "1", "14 x 10")
    assert "grey-encoded: 1 (pet3)" in said
    assert "left out as unreadable: 1 (text.jpg" in said
    assert hashlib.sha256((shards / "manifest.json").read_bytes()).hexdigest() in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.size == (6 * (96 + 4) + 4, 96 + 2 * 4), "six squares of 96 pixels, 4 between and around them"


def test_a_contact_sheet_has_at_most_twelve_columns_and_eight_rows(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(100):
        (tmp_path / "many" / f"{number}.png").write_bytes(encoded(number, width=4, height=4))
    assert run("write", tmp_path / "many", tmp_path / "out", "--workers", "1") == 0
    assert run("describe", tmp_path / "out", "--sheet", tmp_path / "sheet.png") == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (12 * 100 + 4, 8 * 100 + 4)


def test_describe_counts_the_pictures_of_published_splits(tmp_path: Path, capsys: CapSys) -> None:
    (tmp_path / "set").mkdir()
    for number, key in enumerate([*keys_of("cval1k")[:3], "another"]):
        (tmp_path / "set" / f"{key}.png").write_bytes(encoded(number))
    assert run("write", tmp_path / "set", tmp_path / "out", "--workers", "1") == 0
    assert run("describe", tmp_path / "out", "--sheet", tmp_path / "sheet.png") == 0
    said = capsys.readouterr().out
    assert "cval1k: 3 of its 1,000 pictures" in said
    assert "ctest10k: " not in said


def test_index_of_shards_by_webdatasets_writer(theirs: Callable[..., Path], tmp_path: Path) -> None:
    photos = [encoded(number, "JPEG") for number in range(3)]
    shard = theirs(*({"__key__": f"{n:04}", "jpg": photo, "cls": 5 + n} for n, photo in enumerate(photos)))
    assert index(shard, shard.parent) == 0
    rows = rows_of(shard.parent)
    assert set(rows) == {"0000", "0001", "0002"}
    for number, photo in enumerate(photos):
        row = rows[f"{number:04}"]
        assert bytes_of(shard.parent, row) == photo
        assert row["label"] == 5 + number
        assert (row["width"], row["height"]) == (14, 10)
    manifest = json.loads((shard.parent / "manifest.json").read_text())
    (entry,) = manifest["splits"]["all"]
    assert entry["sha256"] == hashlib.sha256(shard.read_bytes()).hexdigest()
    assert (entry["name"], entry["bytes"], entry["pictures"]) == ("000.tar", shard.stat().st_size, 3)
    assert check(shard.parent) == 0


def test_index_of_png_shards_without_labels(theirs: Callable[..., Path]) -> None:
    shard = theirs({"__key__": "a", "png": encoded(1)}, {"__key__": "b", "json": {"no": "picture"}})
    assert index(shard, shard.parent) == 0
    (row,) = rows_of(shard.parent).values()
    assert row["label"] == -1
    assert bytes_of(shard.parent, row) == encoded(1)


def test_index_of_several_shards_by_pattern(theirs: Callable[..., Path]) -> None:
    for number in range(3):
        theirs({"__key__": f"k{number}", "png": encoded(number), "cls": number}, name=f"{number:03}.tar")
    folder = theirs({"__key__": "k3", "png": encoded(3), "cls": 3}, name="other.tar").parent
    assert index(f"{folder}/{{000..001}}.tar", folder) == 0
    assert set(rows_of(folder)) == {"k0", "k1"}
    (folder / "manifest.json").unlink()
    assert index(f"{folder}/00*.tar", folder) == 0
    rows = rows_of(folder)
    assert {key: (row["shard"], row["label"]) for key, row in rows.items()} == {
        "k0": (0, 0),
        "k1": (1, 1),
        "k2": (2, 2),
    }
    assert [bytes_of(folder, rows[f"k{number}"]) for number in range(3)] == [encoded(number) for number in range(3)]


def test_index_of_nested_names(theirs: Callable[..., Path]) -> None:
    names = ["a/b/0001", "a/b/0002", "c/0003"]
    shard = theirs(*({"__key__": name, "jpg": encoded(n, "JPEG"), "cls": n} for n, name in enumerate(names)))
    assert index(shard, shard.parent) == 0
    rows = rows_of(shard.parent)
    assert [key.rpartition("/")[2] for key in rows] == ["0001", "0002", "0003"]
    for number, row in enumerate(rows.values()):
        assert row["label"] == number
        assert bytes_of(shard.parent, row) == encoded(number, "JPEG")


def test_index_tells_pictures_of_the_same_name_in_different_folders_apart(theirs: Callable[..., Path]) -> None:
    names = ["a/0001", "b/0001"]
    shard = theirs(*({"__key__": name, "png": encoded(n), "cls": n} for n, name in enumerate(names)))
    assert index(shard, shard.parent) == 0
    rows = rows_of(shard.parent)
    assert [row["label"] for row in rows.values()] == [0, 1]
    assert [bytes_of(shard.parent, row) for row in rows.values()] == [encoded(0), encoded(1)]


def test_index_points_at_one_picture_where_a_sample_has_two(theirs: Callable[..., Path]) -> None:
    shard = theirs({"__key__": "a", "jpg": encoded(0, "JPEG"), "png": encoded(1), "cls": 3})
    assert index(shard, shard.parent) == 0
    (row,) = rows_of(shard.parent).values()
    assert bytes_of(shard.parent, row) in (encoded(0, "JPEG"), encoded(1))
    assert row["label"] == 3


def test_index_takes_masks_and_labels_whatever_the_order_of_members(tmp_path: Path) -> None:
    mask = io.BytesIO()
    Image.new("L", (14, 10), 7).save(mask, "PNG")
    members = {"k.cls": b"4\n", "k.seg.png": mask.getvalue(), "k.JPG": encoded(0, "JPEG"), "k.txt": b"a pet"}
    shard = tmp_path / "theirs.tar"
    shard.write_bytes(tar_of(members))
    assert index(shard, tmp_path) == 0
    (row,) = rows_of(tmp_path).values()
    assert row["label"] == 4
    assert bytes_of(tmp_path, row) == members["k.JPG"]
    assert shard.read_bytes()[row["mask_offset"] :][: row["mask_length"]] == members["k.seg.png"]
    assert row["mask_checksum"] == zlib.crc32(members["k.seg.png"])


def tar_of(members: dict[str, bytes]) -> bytes:
    """A tar file; names that end with a slash are folders."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            header.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("names", [("a/", "a/1.png"), ("a/1.png", "empty/")])
def test_index_takes_tars_with_folders_in_them(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of({name: b"" if name.endswith("/") else encoded(0) for name in names}))
    assert index(tmp_path / "x.tar", tmp_path) == 0
    (row,) = rows_of(tmp_path).values()
    assert bytes_of(tmp_path, row) == encoded(0)


def test_index_leaves_out_what_is_unreadable_and_names_it(
    theirs: Callable[..., Path], capsys: CapSys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    half = encoded(0, "JPEG", width=80, height=80)
    half = half[: -len(half) // 3]  # the header is whole, the pixels are not
    shard = theirs({"__key__": "bad", "jpg": half, "cls": 1}, {"__key__": "good", "png": encoded(1), "cls": 2})
    assert index(shard, shard.parent) == 0
    assert set(rows_of(shard.parent)) == {"good"}
    said = capsys.readouterr().out
    assert "left out as unreadable: 1 (" in said
    assert "bad.jpg" in said


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8])
def test_index_of_a_truncated_tar_is_an_error_that_names_it(theirs: Callable[..., Path], share: float) -> None:
    shard = theirs(*({"__key__": f"{n}", "png": encoded(n)} for n in range(20)), name="cut.tar")
    shard.write_bytes(shard.read_bytes()[: int(shard.stat().st_size * share)])
    message = index(shard, shard.parent)
    assert is_one_sentence(message)
    assert "cut.tar is no whole tar file" in str(message)
    assert not (shard.parent / "manifest.json").exists()


def test_index_of_a_tar_cut_between_two_members_is_an_error_that_names_it(tmp_path: Path) -> None:
    data = tar_of({"1.png": encoded(1), "2.png": encoded(2)})
    (tmp_path / "cut.tar").write_bytes(data[: 512 + -(-len(encoded(1)) // 512) * 512])
    message = index(tmp_path / "cut.tar", tmp_path)
    assert is_one_sentence(message)
    assert "cut.tar is no whole tar file" in str(message)


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_index_of_a_tar_with_a_broken_header_is_an_error_that_names_it(tmp_path: Path, broken: int) -> None:
    data = bytearray(tar_of({f"{number}.png": encoded(number, width=9, height=9) for number in range(3)}))
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
        start = tar.getmembers()[broken].offset
    data[start + 150] ^= 0xFF  # in the header's checksum
    (tmp_path / "broken.tar").write_bytes(data)
    message = index(tmp_path / "broken.tar", tmp_path)
    assert is_one_sentence(message)
    assert "broken.tar is no whole tar file" in str(message)


def test_index_of_a_label_that_is_no_number_is_an_error_that_names_the_shard(tmp_path: Path) -> None:
    (tmp_path / "words.tar").write_bytes(tar_of({"1.png": encoded(1), "1.cls": b"n01440764"}))
    message = index(tmp_path / "words.tar", tmp_path)
    assert is_one_sentence(message)
    assert "words.tar" in str(message)


def test_index_of_shards_without_pictures_is_an_error(theirs: Callable[..., Path]) -> None:
    shard = theirs({"__key__": "a", "txt": "words"})
    message = index(shard, shard.parent)
    assert is_one_sentence(message)
    assert "not one picture can be read" in str(message)


def test_index_of_shards_that_are_not_there_is_an_error(tmp_path: Path) -> None:
    message = index(tmp_path / "{000..002}.tar", tmp_path)
    assert is_one_sentence(message)
    assert "there is no shard" in str(message)
    assert "000.tar" in str(message)


def test_a_missing_source_is_one_sentence(tmp_path: Path) -> None:
    message = run("write", tmp_path / "nowhere", tmp_path / "out", "--workers", "1")
    assert is_one_sentence(message)
    assert "there is no" in str(message)
    assert "nowhere" in str(message)


def test_a_missing_source_has_exit_status_1_and_no_traceback(tmp_path: Path) -> None:
    result = run_alone("write", tmp_path / "nowhere", tmp_path / "out")
    assert result.returncode == 1
    assert result.stderr.startswith("error: there is no ")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("option", ["--labels", "--test-list"])
def test_a_missing_table_or_list_is_one_sentence(pets: Path, tmp_path: Path, option: str) -> None:
    message = run("write", pets, tmp_path / "out", option, tmp_path / "nowhere.txt", "--workers", "1")
    assert is_one_sentence(message)
    assert "nowhere.txt" in str(message)


@pytest.mark.parametrize("command", ["check", "describe"])
def test_a_missing_manifest_is_one_sentence(tmp_path: Path, command: str) -> None:
    message = run(command, tmp_path)
    assert is_one_sentence(message)
    assert f"there is no manifest.json in {tmp_path}" in str(message)
    assert "python -m datamodules.shards index" in str(message)


@pytest.mark.parametrize("damage", ["empty", "half", "list", "schema", "column", "zeros"])
@pytest.mark.parametrize("command", ["check", "describe"])
def test_a_damaged_manifest_is_one_sentence_that_names_it(shards: Path, command: str, damage: str) -> None:
    path = shards / "manifest.json"
    text = path.read_text()
    fields = json.loads(text)
    path.write_bytes(
        {
            "empty": b"",
            "half": text[: len(text) // 2].encode(),
            "list": b"[]",
            "schema": json.dumps({**fields, "schema": 99}).encode(),
            "column": json.dumps({**fields, "colour": "blue"}).encode(),
            "zeros": b"\xff\x00" * 300,
        }[damage]
    )
    message = run(command, shards)
    assert is_one_sentence(message)
    assert f"{path} is no whole manifest" in str(message)


@pytest.mark.parametrize("damage", ["deleted", "truncated", "of another set"])
@pytest.mark.parametrize("command", ["check", "describe"])
def test_an_index_that_does_not_belong_to_the_manifest_is_one_sentence(shards: Path, command: str, damage: str) -> None:
    path = shards / "index.npy"
    if damage == "deleted":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        np.save(path, np.load(path)[::-1])
    message = run(command, shards)
    assert is_one_sentence(message)
    assert f"{path} is missing or not the one" in str(message)
