"""Anybody's folders of pictures and predictions: names, matching, and what is told of each prediction."""

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datamodules.folders import Folder, Predicted, UnmatchedError
from datamodules.picture_set import BadPictureError
from tests.conftest import colourful_pictures

IMAGENET = "ILSVRC2012_val_0000000"


def save(path: Path, seed: int = 0, height: int = 6, width: int = 8, **settings: Any) -> Tensor:
    """Write a smooth colour picture; returns its pixels, uint8 (3, height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = colourful_pictures(1, max(height, width), seed)[0][:, :height, :width]
    Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(path, **settings)
    return picture


def fill(folder: Path, names: Iterable[str]) -> Path:
    """Write pictures of these names, each of its own colours."""
    for seed, name in enumerate(names):
        save(folder / name, seed)
    return folder


def predicted(
    tmp_path: Path,
    truth: Iterable[str],
    predictions: Iterable[str],
    unmatched: Literal["stop", "leave_out"] = "stop",
    restrict_to: Iterable[str] | None = None,
) -> Predicted:
    """The set of pictures and predictions of these names."""
    pictures = Folder(fill(tmp_path / "truth", truth))
    folder = fill(tmp_path / "predictions", predictions)
    return Predicted(pictures, folder, unmatched, None if restrict_to is None else list(restrict_to))


def files_of(pictures: Predicted) -> dict[str, list[str]]:
    """The files of each picture's samples, below the folder of predictions."""
    return {
        key: [file.relative_to(pictures.predictions).as_posix() for file in files]
        for key, files in zip(pictures.keys, pictures.files, strict=True)
    }


def is_one_sentence(error: BaseException) -> bool:
    """Whether a message is one line that does not end in a full stop."""
    return "\n" not in str(error) and not str(error).endswith(".")


def test_a_folder_shows_its_pictures_by_stem(tmp_path: Path) -> None:
    second, first = save(tmp_path / "b" / "one.png", 1), save(tmp_path / "a two é.PNG", 2, height=9)
    (tmp_path / "notes.txt").write_text("no picture")
    folder = Folder(tmp_path)
    assert folder.keys == ["a two é", "one"]
    assert len(folder) == 2
    for number, picture in enumerate([first, second]):
        sample = folder.at(number)
        assert sample.keys() == {"rgb", "key"}
        assert sample["key"] == folder.keys[number]
        assert torch.equal(sample["rgb"], picture)


def test_a_folder_may_hold_a_single_picture(tmp_path: Path) -> None:
    save(tmp_path / "only.png")
    assert Folder(tmp_path).keys == ["only"]


def test_names_are_paths_where_stems_repeat(tmp_path: Path) -> None:
    fill(tmp_path, ["a/cat/1.png", "dog/1.png", "dog/2.png", "1.png"])
    assert Folder(tmp_path).keys == ["1", "a_cat_1", "dog_1", "dog_2"]


@pytest.mark.parametrize("names", [["a/x.png", "a/x.jpg"], ["a/x.png", "a_x.png", "b/x.png"]])
def test_two_pictures_of_one_name_are_an_error(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"a.x\.\w+ and .*a.x\.png would both be called a_x; rename") as caught:
        Folder(fill(tmp_path, names))
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("name", [".hidden.png", ".thumbnails/a.png", "b/.cache/c/a.png"])
def test_hidden_files_are_no_pictures(tmp_path: Path, name: str) -> None:
    assert Folder(fill(tmp_path, ["a.png", name])).keys == ["a"]


def test_a_folder_within_a_hidden_one_is_read(tmp_path: Path) -> None:
    assert Folder(fill(tmp_path / ".cache" / "set", ["a.png"])).keys == ["a"]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no pictures"):
        Folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Folder(tmp_path / "nowhere")


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"text")
    with pytest.raises(BadPictureError, match=r"torn\.png cannot be read as a picture") as caught:
        Folder(tmp_path).at(0)
    assert caught.value.name == str(tmp_path / "torn.png")


def test_a_folder_may_be_taken_in_part(tmp_path: Path) -> None:
    fill(tmp_path, [f"{number}.png" for number in range(6)])
    folder = Folder(tmp_path, {"4", "1"})
    assert folder.keys == ["1", "4"]
    assert torch.equal(folder.at(1)["rgb"], Folder(tmp_path).at(4)["rgb"])


def test_pictures_that_are_not_there_are_listed(tmp_path: Path) -> None:
    fill(tmp_path, ["1.png", "2.png"])
    with pytest.raises(ValueError, match=r"8 pictures are wanted; .* holds 1 of them: missing 3, 4, 5, 6, 7, \.\.\.$"):
        Folder(tmp_path, [f"{number}" for number in range(2, 10)])
    with pytest.raises(ValueError, match=r"2 pictures are wanted; .* holds 1 of them: missing 3$"):
        Folder(tmp_path, ["2", "3"])


def test_pictures_of_one_folder_have_one_label(tmp_path: Path) -> None:
    fill(tmp_path, ["ship/a.png", "cat/b.png", "ship/images/c.png", "cat/d.png", "e.png"])
    folder = Folder(tmp_path)
    assert folder.labels is not None
    by_key = dict(zip(folder.keys, folder.labels, strict=True))
    assert by_key["b"] == by_key["d"]
    assert len(set(by_key.values())) == 4
    assert Folder(tmp_path, ["a", "d"]).labels == [by_key["a"], by_key["d"]]
    assert "label" not in folder.at(0), "a number that no network knows"
    assert Folder(tmp_path / "cat").labels is None


def test_labels_of_pictures_with_predictions_are_those_of_the_pictures(tmp_path: Path) -> None:
    pictures = predicted(tmp_path, ["x/a.png", "y/b.png", "x/c.png"], ["c.png", "b.png"], "leave_out")
    assert pictures.keys == ["b", "c"]
    assert pictures.labels == [1, 0]
    assert predicted(tmp_path / "plain", ["a.png"], ["a.png"]).labels is None


def test_imagenets_classes_are_labels(tmp_path: Path) -> None:
    classes = [f"n{number:08}" for number in range(7, 1007)]
    for name in reversed(classes):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"picture_of_{name}.png").touch()
    save(tmp_path / classes[998] / "another.png")
    assert Folder(tmp_path).at(0)["label"] == 998
    save(tmp_path / classes[0] / f"picture_of_{classes[0]}.png")
    assert Folder(tmp_path, [f"picture_of_{classes[0]}"]).at(0)["label"] == 0


@pytest.mark.parametrize("change", ["one fewer", "one more", "another name", "a folder between", "a picture outside"])
def test_other_folders_are_no_labels(tmp_path: Path, change: str) -> None:
    root = tmp_path / "set"
    classes = [f"n{number:08}" for number in range({"one fewer": 999, "one more": 1001}.get(change, 1000))]
    if change == "another name":
        classes[5] = "cat"
    if change == "a folder between":
        classes[5] = f"more/{classes[5]}"
    if change == "a picture outside":
        classes[5] = "."
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / f"z{number}.png").touch()
    save(root / classes[0] / "a.png")
    assert "label" not in Folder(root).at(0)


def test_predictions_are_shown_beside_their_truth(tmp_path: Path) -> None:
    truths = {name: save(tmp_path / "truth" / f"{name}.png", seed) for seed, name in enumerate("ab")}
    made = {name: save(tmp_path / "predictions" / f"{name}.png", seed + 9, 3, 5) for seed, name in enumerate("ab")}
    pictures = Predicted(Folder(tmp_path / "truth"), tmp_path / "predictions", "stop")
    assert len(pictures) == 2
    assert pictures.keys == ["a", "b"]
    for number, name in enumerate("ab"):
        sample = pictures.at(number)
        assert sample["key"] == name
        assert torch.equal(sample["rgb"], truths[name])
        assert torch.equal(sample["samples"], made[name][None])
        assert [sample[flag] for flag in ("mislabelled", "grey_prediction", "lossy")] == [False, False, False]


def test_what_the_truth_shows_is_kept(tmp_path: Path) -> None:
    class Labelled(Folder):
        def __getitem__(self, visit: Any) -> dict[str, Any]:
            return super().__getitem__(visit) | {"label": 7}

    truth, folder = fill(tmp_path / "truth", ["a.png"]), fill(tmp_path / "predictions", ["a.png"])
    assert Predicted(Labelled(truth), folder, "stop").at(0)["label"] == 7


@pytest.mark.parametrize(
    ("truth", "predictions", "wanted"),
    [
        (["a.jpg", "b.jpg"], ["a.png", "b.png"], {"a": ["a.png"], "b": ["b.png"]}),
        (["a.jpg", "b.jpg"], ["a_0.png", "b_0.png"], {"a": ["a_0.png"], "b": ["b_0.png"]}),
        (["a.jpg", "b.jpg"], ["a.png", "b_0.png"], {"a": ["a.png"], "b": ["b_0.png"]}),
        (["a.jpg"], [f"a_{n}.png" for n in range(12)], {"a": [f"a_{n}.png" for n in range(12)]}),
        (["a.jpg"], ["a.png", "a_1.png"], {"a": ["a.png", "a_1.png"]}),
        ([f"{IMAGENET}1.png"], [f"{IMAGENET}1.png"], {f"{IMAGENET}1": [f"{IMAGENET}1.png"]}),
        (
            [f"{IMAGENET}1.png", f"{IMAGENET}2.png"],
            [f"{IMAGENET}{n}_{s}.png" for n in (1, 2) for s in (0, 1)],
            {f"{IMAGENET}{n}": [f"{IMAGENET}{n}_{s}.png" for s in (0, 1)] for n in (1, 2)},
        ),
        (
            ["x.png", "x_0.png", "x_1.png"],
            ["x.png", "x_0.png", "x_1.png"],
            {n: [f"{n}.png"] for n in ("x", "x_0", "x_1")},
        ),
        (["x_0.png"], ["x_0_0.png", "x_0_1.png"], {"x_0": ["x_0_0.png", "x_0_1.png"]}),
        (["a.jpg"], ["n01/a.png"], {"a": ["n01/a.png"]}),
        (["n01/a.jpg", "n02/b.jpg"], ["n01/a_0.png", "b.png"], {"a": ["n01/a_0.png"], "b": ["b.png"]}),
        (["cat/1.png", "dog/1.png"], ["cat/1.png", "dog/1.png"], {"cat_1": ["cat/1.png"], "dog_1": ["dog/1.png"]}),
        (["cat/1.png", "dog/1.png"], ["cat_1.png", "dog_1_0.png"], {"cat_1": ["cat_1.png"], "dog_1": ["dog_1_0.png"]}),
        (["a b é.jpg", "日本.PNG"], ["a b é.PNG", "日本_0.png"], {"a b é": ["a b é.PNG"], "日本": ["日本_0.png"]}),
        (["a.b.jpg"], ["a.b.png"], {"a.b": ["a.b.png"]}),
        (["a.jpg"], ["a_0.png", "a_1.png", "a_sheet.png", ".a.png"], {"a": ["a_0.png", "a_1.png"]}),
        (["a_sheet.jpg"], ["a_sheet.png"], {"a_sheet": ["a_sheet.png"]}),
    ],
    ids=str,
)
def test_matching(tmp_path: Path, truth: list[str], predictions: list[str], wanted: dict[str, list[str]]) -> None:
    assert files_of(predicted(tmp_path, truth, predictions)) == wanted


def test_accents_may_be_stored_apart(tmp_path: Path) -> None:
    apart, together = normalize("NFD", "é"), normalize("NFC", "é")
    assert apart != together
    pictures = predicted(tmp_path, [f"{together}.png", "a.png"], [f"{apart}_0.png", "a_0.png"], restrict_to=[apart])
    assert pictures.keys == [together]


def test_samples_come_by_number(tmp_path: Path) -> None:
    pictures = predicted(tmp_path, ["a.png"], [f"a_{number}.png" for number in (10, *range(10))])
    wanted = [np.asarray(Image.open(tmp_path / "predictions" / f"a_{number}.png")) for number in range(11)]
    assert np.array_equal(pictures.at(0)["samples"].permute(0, 2, 3, 1).numpy(), np.stack(wanted))


TEN = [f"picture{number}.png" for number in range(10)]


def test_pictures_without_prediction_stop(tmp_path: Path) -> None:
    with pytest.raises(
        UnmatchedError, match=r"lacks 7 of 10 predictions \(picture1, .*, picture7, \.\.\.\);"
    ) as caught:
        predicted(tmp_path, TEN, ["picture0.png", "picture2.png", "picture5.png"])
    assert caught.value.missing == [f"picture{number}" for number in (1, 3, 4, 6, 7, 8, 9)]
    assert caught.value.strangers == []
    assert str(caught.value).endswith("; rename them, or give unmatched=leave_out")
    assert is_one_sentence(caught.value)


def test_predictions_without_picture_stop(tmp_path: Path) -> None:
    strangers = ["picture10.png", "picture1_a.png", "sub/x.png"]
    with pytest.raises(UnmatchedError, match=r"has 3 that are of no picture \(picture10\.png, .*\); rename") as caught:
        predicted(tmp_path, TEN, [*TEN, *strangers])
    assert caught.value.strangers == strangers
    assert caught.value.missing == []


def test_both_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnmatchedError, match=r"lacks 1 of 2 predictions \(b\) and has 1 that are of no picture \(c\."):
        predicted(tmp_path, ["a.png", "b.png"], ["a.png", "c.png"])


def test_both_may_be_left_out(tmp_path: Path) -> None:
    pictures = predicted(tmp_path, ["a.png", "b.png", "c.png"], ["b.png", "c.png", "d.png"], "leave_out")
    assert pictures.keys == ["b", "c"]
    assert pictures.missing == ["a"]
    assert pictures.strangers == ["d.png"]
    assert [pictures.at(number)["key"] for number in range(2)] == ["b", "c"]


@pytest.mark.parametrize("unmatched", ["stop", "leave_out"])
def test_nothing_that_matches_is_an_error(tmp_path: Path, unmatched: Literal["stop", "leave_out"]) -> None:
    with pytest.raises(UnmatchedError, match=r"name predictions as their pictures$") as caught:
        predicted(tmp_path, ["a.png"], ["b.png"], unmatched)
    assert (caught.value.missing, caught.value.strangers) == (["a"], ["b.png"])


def test_only_some_pictures_may_want_predictions(tmp_path: Path) -> None:
    pictures = predicted(tmp_path, ["a.png", "b.png", "c.png", "d.png"], ["b.png", "c.png"], restrict_to=["c", "b"])
    assert pictures.keys == ["b", "c"]
    assert (pictures.missing, pictures.strangers) == ([], [])


def test_predictions_of_pictures_that_want_none_do_no_harm(tmp_path: Path) -> None:
    pictures = predicted(tmp_path, ["a.png", "b.png"], ["a_0.png", "b_0.png", "b_1.png"], restrict_to=["a"])
    assert files_of(pictures) == {"a": ["a_0.png"]}


def test_wanted_predictions_must_still_be_there(tmp_path: Path) -> None:
    with pytest.raises(UnmatchedError, match=r"lacks 1 of 2 predictions \(b\) and has 1 that are of no picture \(e\."):
        predicted(tmp_path, ["a.png", "b.png", "c.png"], ["a.png", "c.png", "e.png"], restrict_to=["a", "b"])


@pytest.mark.parametrize(
    "predictions",
    [
        ["a.png", "a.jpg"],
        ["a.png", "a_0.png"],
        ["a_0.png", "a_00.png"],
        ["n01/a.png", "n02/a.png"],
        ["a.png", "a_b.png", "a_b_0.png"],
    ],
)
@pytest.mark.parametrize("unmatched", ["stop", "leave_out"])
def test_two_files_of_one_sample_are_an_error(
    tmp_path: Path, predictions: list[str], unmatched: Literal["stop", "leave_out"]
) -> None:
    with pytest.raises(ValueError, match=r"are the same sample of a(_b)?; keep one of them") as caught:
        predicted(tmp_path, ["a.png", "a_b.png"], predictions, unmatched)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize(("numbers", "named"), [((0, 2), "0, 2"), ((1, 2), "1, 2"), ((3,), "3")])
def test_samples_have_no_gap(tmp_path: Path, numbers: tuple[int, ...], named: str) -> None:
    with pytest.raises(ValueError, match=f"a has predictions of the numbers {named}; number them from 0 without a gap"):
        predicted(tmp_path, ["a.png"], [f"a_{number}.png" for number in numbers])


def test_every_picture_has_as_many_samples(tmp_path: Path) -> None:
    names = ["a_0.png", "a_1.png", "b_0.png", "b_1.png", "c_0.png", "d_0.png"]
    with pytest.raises(ValueError, match="pictures differ in how many predictions they have: a 2, c 1"):
        predicted(tmp_path, ["a.png", "b.png", "c.png", "d.png"], names)


def test_samples_of_two_sizes_are_an_error(tmp_path: Path) -> None:
    pictures = predicted(tmp_path, ["a.png"], ["a_0.png"])
    save(tmp_path / "predictions" / "a_1.png", height=4, width=4)
    pictures = Predicted(pictures.truth, pictures.predictions, "stop")
    with pytest.raises(ValueError, match=r"a_1\.png is 4x4, but a_0\.png is 8x6") as caught:
        pictures.at(0)
    assert not isinstance(caught.value, BadPictureError)


def test_truths_of_one_name_are_an_error(tmp_path: Path) -> None:
    truth = Folder(fill(tmp_path, ["a.png", "b.png"]))
    truth.keys = ["a", "a"]
    with pytest.raises(ValueError, match="several pictures are called a"):
        Predicted(truth, tmp_path, "stop")


def test_an_unknown_way_with_what_does_not_match_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unmatched is stop or leave_out, not skip"):
        predicted(tmp_path, ["a.png"], ["a.png"], "skip")  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", ["truth", "predictions"])
def test_a_corrupt_picture_is_named(tmp_path: Path, broken: str) -> None:
    pictures = predicted(tmp_path, ["a.png", "b.png"], ["a.png", "b.png"])
    whole = (tmp_path / broken / "a.png").read_bytes()
    (tmp_path / broken / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadPictureError, match=rf"{broken}.a\.png cannot be read") as caught:
        pictures.at(0)
    assert caught.value.name == str(tmp_path / broken / "a.png")
    assert pictures.at(1)["key"] == "b"


@pytest.mark.parametrize(
    ("suffix", "content", "mislabelled", "lossy"),
    [
        ("png", "PNG", False, False),
        ("png", "JPEG", True, True),
        ("PNG", "PNG", False, False),
        ("jpg", "JPEG", False, True),
        ("JPEG", "JPEG", False, True),
        ("jpg", "MPO", False, True),
        ("jpg", "PNG", True, False),
        ("tif", "TIFF", False, False),
        ("bmp", "PNG", True, False),
        ("webp", "WEBP", False, False),
        ("ppm", "PPM", False, False),
    ],
)
def test_what_a_prediction_is_stored_as(
    tmp_path: Path, suffix: str, content: str, mislabelled: bool, lossy: bool
) -> None:
    truth, folder = fill(tmp_path / "truth", ["a.png"]), tmp_path / "predictions"
    save(folder / "a_0.png")
    several: dict[str, Any] = (
        {"save_all": True, "append_images": [Image.new("RGB", (8, 6))]} if content == "MPO" else {}
    )
    save(folder / f"a_1.{suffix}", format=content, **several)
    sample = Predicted(Folder(truth), folder, "stop").at(0)
    assert sample["mislabelled"] is mislabelled
    assert sample["lossy"] is lossy
    assert sample["samples"].shape == (2, 3, 6, 8)


@pytest.mark.parametrize("mode", ["L", "1", "I;16", "P"])
def test_predictions_of_every_depth_are_eight_bit_colours(tmp_path: Path, mode: str) -> None:
    truth, folder = fill(tmp_path / "truth", ["a.png"]), tmp_path / "predictions"
    save(folder / "a.png")
    with Image.open(folder / "a.png") as opened:
        if mode == "I;16":
            levels = np.asarray(opened.convert("L")).astype(np.uint16)
            Image.fromarray(levels * 257).save(folder / "a.png")
            wanted = np.repeat(levels[..., None], 3, axis=2)
        else:
            converted = opened.convert(mode)
            converted.save(folder / "a.png")
            wanted = np.asarray(converted.convert("RGB"))
    sample = Predicted(Folder(truth), folder, "stop").at(0)
    assert np.array_equal(sample["samples"][0].permute(1, 2, 0).numpy(), wanted)
    assert sample["grey_prediction"] is (mode != "P")
    assert not sample["mislabelled"]


def test_a_prediction_is_grey_if_no_sample_has_colour(tmp_path: Path) -> None:
    pictures = predicted(tmp_path, ["a.png"], ["a_0.png", "a_1.png"])
    for number in (0, 1):
        assert pictures.at(0)["grey_prediction"] is False
        path = pictures.files[0][number]
        Image.open(path).convert("L").convert("RGB").save(path)
    assert pictures.at(0)["grey_prediction"] is True


def test_the_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    names = ["a_0.png", "a_1.png", "sub/b_0.png", "sub/b_1.png"]
    pictures = predicted(tmp_path, ["a.png", "b.png"], [*names, "c.png"], "leave_out")
    lines = "".join(
        f"{hashlib.sha256((pictures.predictions / name).read_bytes()).hexdigest()}  {name}\n" for name in names
    )
    assert pictures.sha256 == hashlib.sha256(lines.encode()).hexdigest()


def test_the_digest_can_be_had_from_the_shell(tmp_path: Path) -> None:
    pictures = predicted(tmp_path, ["a.png", "B.png", "a b.png"], ["a.png", "x/B.png", "a b.png"])
    command = "find -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=pictures.predictions, capture_output=True, text=True, check=True)
    assert pictures.sha256 == printed.stdout.split()[0]


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    pictures = predicted(tmp_path, ["a.png"], ["a.png"])
    before = pictures.sha256
    path = pictures.files[0][0]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert Predicted(pictures.truth, pictures.predictions, "stop").sha256 != before
