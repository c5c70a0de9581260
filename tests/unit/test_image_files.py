"""Finding image files whatever lies beside them, and writing them whole."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from imaging.files import UNFINISHED, find_images, is_whole, notes_of, write_png
from imaging.outputs import OutputFolder, gather, place

IMAGE = Image.new("RGB", (8, 6), "red")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder with `a.png`, `inner/b.jfif` and `notes.txt`."""
    folder = tmp_path / "album"
    (folder / "inner").mkdir(parents=True)
    IMAGE.save(folder / "a.png")
    IMAGE.save(folder / "inner" / "b.jfif", "JPEG")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.parametrize("suffix", ["avif", "jp2", "jfif", "webp", "tga", "qoi", "pbm"])
def test_images_of_every_suffix_are_found(suffix: str, tmp_path: Path) -> None:
    IMAGE.save(tmp_path / f"a.{suffix}")
    assert find_images(tmp_path).images == [tmp_path / f"a.{suffix}"]


def test_what_cannot_be_read_costs_itself_alone(album: Path, tmp_path: Path) -> None:
    os.mkfifo(album / "pipe.png")
    (album / "loop.png").symlink_to("loop.png")
    (album / "gone.png").symlink_to("nowhere.png")
    (album / "round").symlink_to(album)
    (tmp_path / "elsewhere").mkdir()
    IMAGE.save(tmp_path / "elsewhere" / "c.png")
    (album / "linked").symlink_to(tmp_path / "elsewhere")
    (album / "linked.png").symlink_to(tmp_path / "elsewhere" / "c.png")
    found = find_images(album)
    assert [image.relative_to(album).as_posix() for image in found.images] == [
        "a.png",
        "inner/b.jfif",
        "linked/c.png",
        "linked.png",
    ]
    assert [sentence.split(" ")[0].rpartition("/")[2] for sentence in found.left_out] == [
        "gone.png",
        "loop.png",
        "pipe.png",
    ]
    assert found.others == {".txt": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_an_unreadable_folder_is_named(album: Path) -> None:
    (album / "inner").chmod(0)
    found = find_images(album)
    assert found.images == [album / "a.png"]
    assert "inner" in found.left_out[0]


def test_a_png_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(IMAGE, tmp_path / "a.png", {"key": "1"})

    def fill_the_disk(self: Image.Image, path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        write_png(IMAGE, tmp_path / "a.png", {"key": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert notes_of(tmp_path / "a.png")["key"] == "1"
    assert is_whole(tmp_path / "a.png")


def test_damage_shows(tmp_path: Path) -> None:
    write_png(IMAGE, tmp_path / "a.png", {})
    data = bytearray((tmp_path / "a.png").read_bytes())
    (tmp_path / "short.png").write_bytes(data[:-4])
    data[-20] ^= 1
    (tmp_path / "flipped.png").write_bytes(data)
    assert [is_whole(tmp_path / f"{name}.png") for name in ("a", "short", "flipped", "nowhere")] == [True] + 3 * [False]


def test_photos_are_gathered_once_and_outputs_are_none(album: Path) -> None:
    write_png(IMAGE, album / "a_0.png", {"Software": "chromalab LRAC"})
    photos, met = gather([album / "a.png", album], album)
    assert photos == {album / "a.png": Path("a.png"), album / "inner" / "b.jfif": Path("inner/b.jfif")}
    assert met.others == {".txt": 1, "made by an earlier call": 1}
    assert album / "a_0.png" in gather([album], album.parent / "elsewhere")[0], "beside --out it is a photo"


def test_an_empty_folder_is_named_and_costs_itself_alone(album: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    photos, met = gather([tmp_path / "empty", album], tmp_path / "out")
    assert len(photos) == 2
    assert "empty holds no images" in met.left_out[0]


def test_no_two_photos_share_a_file_and_no_other_file_is_replaced(tmp_path: Path) -> None:
    for name in ("a/x.jpg", "b/x.jpg", "b/x.png", "b/x_0.png", "b/X.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        IMAGE.save(tmp_path / name)
    IMAGE.save(tmp_path / "b" / "y_0.png")  # which somebody else made
    IMAGE.save(tmp_path / "b" / "y.jpg")
    photos = {path: Path(path.name) for path in sorted(tmp_path.glob("[ab]/*.*")) if path.name != "y_0.png"}
    files = [file for each in place(photos, tmp_path / "b", ["_0.png", "_sheet.png"]).values() for file in each]
    assert len({str(file).lower() for file in files}) == 2 * len(photos)
    assert not any(file.exists() for file in files)


def test_files_of_an_earlier_call_keep_their_names(tmp_path: Path) -> None:
    photos = {Path("x.jpg"): Path("x.jpg")}
    (first,) = place(photos, tmp_path, ["_0.png"])[Path("x.jpg")]
    write_png(IMAGE, first, {"Software": "chromalab LRAC"})
    assert place(photos, tmp_path, ["_0.png"])[Path("x.jpg")] == [first]


def test_one_process_at_a_time_writes_to_a_folder(tmp_path: Path) -> None:
    with (
        OutputFolder(tmp_path, {"seed": 0}),
        pytest.raises(OSError, match=r"another .* is writing"),
        OutputFolder(tmp_path, {"seed": 0}),
    ):
        pass


def test_the_record_survives_an_error_and_names_that_are_no_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    folder = OutputFolder(tmp_path, {"seed": 0})
    folder.__enter__()
    folder.note(Path(name), [], kept=False)
    folder.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    record = json.loads((tmp_path / "colorize.json").read_text(encoding="utf-8"))
    assert os.fsencode(record["coloured"][0]["photo"]) == b"caf\xe9.png"
    assert not (tmp_path / UNFINISHED).exists()


def test_an_image_is_kept_only_if_it_is_whole_and_of_the_same_key(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, {"seed": 0})
    folder.write(IMAGE, tmp_path / "a.png", "key", "LRAC")
    written = (tmp_path / "a.png").stat().st_ino
    folder.write(IMAGE, tmp_path / "a.png", "key", "LRAC")
    assert (tmp_path / "a.png").stat().st_ino == written
    folder.write(IMAGE, tmp_path / "a.png", "other", "LRAC")
    assert folder.has(tmp_path / "a.png", "other")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-3])
    assert not folder.has(tmp_path / "a.png", "other")
