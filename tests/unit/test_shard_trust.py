"""What somebody else's manifests, servers, tars and tables may not do."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.shards.__main__ import main
from datamodules.shards.catalogue import index_shards, open_folder, refuse_foreign, tell_apart
from datamodules.shards.files import fetch
from datamodules.shards.index import Manifest, Shard, printable, rows_of, save, unique_names, whole_picture
from datamodules.shards.sources import table_rows


def jpeg(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (10, 14, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def tar_of(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """A tar; a member of text is a link to that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        for name, content in members:
            header = tarfile.TarInfo(name)
            if isinstance(content, str):
                header.type, header.linkname = tarfile.SYMTYPE, content
                tar.addfile(header)
            else:
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    return path


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A set of one shard, whose folder is returned."""
    shard = tar_of(tmp_path / "set" / "0.tar", ("a.jpg", jpeg()))
    index_shards([str(shard)], shard.parent, "test", tmp_path / "cache", 1, 1)
    return shard.parent


@pytest.mark.parametrize("name", ["pipe:touch {flag}", "/etc/passwd", "../0.tar", "file:///etc/passwd", "s3://x/y", ""])
def test_a_manifest_may_name_only_what_lies_beside_it(theirs: Path, tmp_path: Path, name: str) -> None:
    flag = tmp_path / "flag"
    manifest = json.loads((theirs / "manifest.json").read_text())
    manifest["splits"]["all"][0]["name"] = name.format(flag=flag)
    (theirs / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"may not name .*data\.training=PATTERN"):
        open_folder(str(theirs), tmp_path / "cache")
    assert not flag.exists()


def test_the_manifest_of_a_server_may_not_name_other_servers() -> None:
    refuse_foreign(["a.tar", "b/c.tar", "https://host/a.tar"], "manifest.json", web=True)
    with pytest.raises(ValueError, match="may not name"):
        refuse_foreign(["https://host/a.tar"], "https://server/manifest.json", web=False)


def test_index_refuses_to_write_what_could_not_be_read(theirs: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="may not name"):
        main(["index", str(theirs / "0.tar"), "--out", str(tmp_path / "elsewhere")])
    assert not (tmp_path / "elsewhere").exists()


def test_a_reply_that_does_not_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.shards.files.ATTEMPTS", 1)
    with pytest.raises(OSError, match=r"more than the 5,000,000 bytes"):
        fetch("pipe:cat /dev/zero", tmp_path / "file", 5_000_000)
    assert (tmp_path / "file").stat().st_size < 7_000_000


def test_links_in_a_tar_are_left_out_and_named(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "0.tar", ("s.jpg", "/etc/passwd"), ("ok.jpg", jpeg()), ("again.jpg", "ok.jpg"))
    with path.open("rb") as tar:
        rows, unreadable = rows_of(tar, "0.tar")
    assert [row["key"] for row in rows] == ["ok"]
    assert [line.partition(": it is a link")[0] for line in unreadable] == ["0.tar: s.jpg", "0.tar: again.jpg"]


@pytest.mark.parametrize("label", [b"300000000", b"99999999999999999999", b"-5"])
def test_a_label_out_of_range_is_one_sentence(tmp_path: Path, label: bytes) -> None:
    path = tar_of(tmp_path / "0.tar", ("a.jpg", jpeg()), ("a.cls", label))
    with path.open("rb") as tar, pytest.raises(ValueError, match=r"a\.cls: its label is"):
        rows_of(tar, "0.tar")


def test_a_member_that_is_said_to_be_larger_than_its_tar_is_one_sentence(tmp_path: Path) -> None:
    header = tarfile.TarInfo("huge.jpg")
    header.size = 1 << 62
    (tmp_path / "0.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + jpeg() + bytes(2048))
    with (tmp_path / "0.tar").open("rb") as tar, pytest.raises(ValueError, match=r"no whole tar.*huge\.jpg"):
        rows_of(tar, "0.tar")


def test_names_that_are_not_utf8_are_spelled_out(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "0.tar", ("a\udcff.jpg", jpeg()), ("b\udcff.jpg", b"no picture"))
    with path.open("rb") as tar:
        rows, unreadable = rows_of(tar, "0.tar")
    save(tmp_path / "out", Manifest("test", {"all": [Shard("0.tar", 1, "", 1)]}), [row | {"shard": 0} for row in rows])
    assert [row["key"] for row in rows] == [r"a\xff"] == [printable("a\udcff")]
    assert unreadable[0].encode().startswith(rb"0.tar: b\xff.jpg")


def test_equal_keys_in_several_shards_are_told_apart() -> None:
    rows = [{"key": key, "shard": shard} for shard in (0, 1) for key in ("0", f"only{shard}", "1_0")]
    tell_apart(rows, ["a/0.tar", "a/1.tar"])
    assert [row["key"] for row in rows] == ["0_0", "only0", "0_1_0", "1_0_2", "only1", "1_1_0"]


def test_paths_that_look_alike_are_told_apart() -> None:
    paths = ["a/b_c", "x/b_c", "a_b/c", "y/c"]
    assert len(set(unique_names(paths).values())) == len(paths)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('p0.png,sports car\np1.png,"a, b"\n', [("p0.png", "sports car"), ("p1.png", "a, b")]),
        ("\ufeffmy p0.png sports car\nstem a b\n", [("my p0.png", "sports car"), ("stem", "a b")]),
        ("val_0.JPEG\tn03444034\t0\t32\t44\t62\n", [("val_0.JPEG", "n03444034")]),
        ("a.png\tsports car, red\n", [("a.png", "sports car, red")]),
    ],
)
def test_names_and_classes_keep_their_spaces(text: str, rows: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "table").write_text(text, encoding="utf-8")
    assert table_rows(tmp_path / "table") == rows


def test_a_class_that_would_be_cut_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table").write_text("p0.png,sports car,red\n")
    with pytest.raises(ValueError, match="more than a name and a class"):
        table_rows(tmp_path / "table")


def test_no_sentence_tells_an_address() -> None:
    with pytest.raises(ValueError, match="known format") as error:
        whole_picture(b"no picture")
    assert " at 0x" not in str(error.value)


def test_names_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "set", tmp_path / "[bold] :smile:"
    source.mkdir()
    (source / "a.jpg").write_bytes(jpeg())
    (source / "[red]b.jpg").write_bytes(b"no picture")
    with pytest.raises(SystemExit) as ended:
        main(["write", str(source), str(out), "--workers", "1"])
    assert ended.value.code == 0
    said = capsys.readouterr().out.replace("\n", "")
    assert "[bold] :smile:" in said
    assert "[red]b.jpg" in said
