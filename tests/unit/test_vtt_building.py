"""Kits: who sees what, and that nothing which raters get tells which picture is true."""

import csv
import json
import os
import shutil
import struct
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binom
from skimage.color import lab2lch, rgb2lab
from sklearn.ensemble import RandomForestClassifier

from datamodules.pictures import read_picture as read_for_training
from evaluation.vtt.assignment import Deal, deal_preference, deal_turing, latin_square, parts
from evaluation.vtt.folders import pictures_by_stem
from evaluation.vtt.pictures import name_again, plain_png, read_generated, read_picture, write_plain, wrong_colors
from evaluation.vtt.study import CATCH, TRUTH, Role, Study, read_study
from tests.conftest import colourful_pictures
from tests.unit.vtt_folders import build_kit, build_preference_kit, command, write_generated, write_truth

DESIGNS = [(50, 3, 5, 10), (13, 2, 3, 5), (7, 1, 1, 7), (12, 4, 2, 5), (9, 3, 3, 3), (15, 5, 5, 5)]
"""Pictures, conditions, raters, and pairs in a block."""
BEFORE_PIXELS = 8
"""Bytes of how a PNG's pixels are stored: zlib's header, that of its first stretch, and the first row's filter."""
IHDR = 33
"""Bytes of a PNG's signature and its first chunk."""


def turing(pictures: int, conditions: int, raters: int, block: int, seed: int = 0) -> Deal:
    groups = parts([f"picture {number}" for number in range(pictures)], block)
    others = {
        role: [[f"{role} {group} {number}" for number in range(each)] for group in range(len(groups))]
        for role, each in (("practice", 2), ("catch", 3))
    }
    shown: dict[Role, Any] = {"practice": others["practice"], "catch": others["catch"], "study": groups}
    names = [f"M#{number}" for number in range(conditions)]
    return deal_turing(shown, names, raters, lambda picture: True, Random(seed))


def ratings(deal: Deal | Study, role: Role) -> dict[tuple[str, str], list[tuple[str, int]]]:
    """Of each picture under each condition: in which blocks, and at which place the truth is."""
    found = defaultdict(list)
    for block, dealt in deal.blocks.items():
        for trial in (deal.trials[name] for name in dealt.trials):
            if trial.role == role:
                place = trial.meaning.index(TRUTH)
                found[trial.picture, trial.meaning[1 - place]].append((block, place))
    return found


@pytest.mark.parametrize("design", DESIGNS)
def test_each_picture_is_rated_under_each_condition_by_as_many_different_raters(design: tuple[int, ...]) -> None:
    pictures, conditions, raters, _ = design
    found = ratings(turing(*design), "study")
    assert len(found) == pictures * conditions
    assert {len(each) for each in found.values()} == {raters}
    assert all(len({block for block, _ in each}) == raters for each in found.values())


@pytest.mark.parametrize("design", DESIGNS)
def test_no_rater_sees_a_picture_twice(design: tuple[int, ...]) -> None:
    deal = turing(*design)
    of_group = defaultdict(list)
    for block in deal.blocks.values():
        seen = [deal.trials[name].picture for name in block.trials]
        assert len(set(seen)) == len(seen)
        of_group[block.group].append(frozenset(seen))
    assert all(len(set(seen)) == 1 for seen in of_group.values())
    assert all(not one[0] & other[0] for one, other in combinations(of_group.values(), 2))


@pytest.mark.parametrize("design", DESIGNS)
def test_the_truth_is_first_in_half_of_everything(design: tuple[int, ...]) -> None:
    deal = turing(*design)
    roles: tuple[Role, ...] = ("study", "catch", "practice")
    for role in roles:
        found = ratings(deal, role)
        everything = [place for each in found.values() for _, place in each]
        assert abs(2 * sum(everything) - len(everything)) <= 1
        of_block = defaultdict(list)
        for item, each in found.items():
            for block, place in each:
                of_block[block].append(place)
            of_item = [place for _, place in each]
            assert role != "study" or abs(2 * sum(of_item) - len(of_item)) <= 1, item
        assert all(abs(2 * sum(places) - len(places)) <= 1 for places in of_block.values())


def test_a_block_mixes_its_conditions_and_the_place_of_the_truth_hangs_on_none() -> None:
    deal = turing(60, 4, 5, 20)
    for block in deal.blocks.values():
        shown = [deal.trials[name] for name in block.trials]
        count = Counter(each for trial in shown if trial.role == "study" for each in trial.meaning if each != TRUTH)
        assert set(count.values()) == {5}
    first: dict[str, list[int]] = defaultdict(list)
    for (_, condition), each in ratings(deal, "study").items():
        first[condition] += [place for _, place in each]
    assert all(abs(np.mean(places) - 0.5) < 3 * 0.5 / len(places) ** 0.5 for places in first.values())


def test_practice_comes_first_and_catch_trials_anywhere_after_it() -> None:
    deal = turing(40, 2, 4, 10)
    places: Counter[int] = Counter()
    for block in deal.blocks.values():
        roles = [deal.trials[name].role for name in block.trials]
        assert roles[:2] == ["practice", "practice"]
        assert Counter(roles) == {"practice": 2, "catch": 3, "study": 10}
        places.update(place for place, role in enumerate(roles) if role == "catch")
    assert set(places) == set(range(2, 15))


def test_every_shown_picture_has_a_name_of_its_own_and_the_seed_gives_no_names() -> None:
    one, same, other = turing(12, 2, 3, 6), turing(12, 2, 3, 6), turing(12, 2, 3, 6, seed=1)
    names = [name for trial in one.trials.values() for name in trial.shown] + [*one.trials, *one.blocks]
    assert len(set(names)) == len(names)
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in names)
    assert not set(names) & {name for trial in same.trials.values() for name in trial.shown}

    def plan(deal: Deal) -> list[Any]:
        return [
            [(deal.trials[name].picture, deal.trials[name].meaning) for name in block.trials]
            for block in deal.blocks.values()
        ]

    assert plan(one) == plan(same) != plan(other)


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_a_latin_square_is_one(order: int) -> None:
    square = latin_square(order, Random(order))
    assert all(sorted(line) == list(range(order)) for line in [*square, *zip(*square, strict=True)])


@pytest.mark.parametrize(("pictures", "methods", "raters"), [(15, 5, 50), (4, 3, 7), (7, 4, 10), (3, 2, 1)])
def test_each_method_is_at_each_place_equally_often(pictures: int, methods: int, raters: int) -> None:
    names = [f"M{number}#0" for number in range(methods)]
    groups = [[str(number) for number in range(pictures)]]
    deal = deal_preference(groups, names, raters, with_truth=False, random=Random(0))
    assert len(deal.blocks) == raters
    counts: dict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    for trial in deal.trials.values():
        assert sorted(trial.meaning) == names
        for place, method in enumerate(trial.meaning):
            counts[trial.picture][method, place] += 1
    total = sum(counts.values(), Counter())
    for count in (*counts.values(), total):
        several = [count[method, place] for method in names for place in range(methods)]
        assert max(several) - min(several) <= 1


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """A kit of truth in JPEGs and generated pictures in PNGs of other sizes."""
    design = ["--block=10", "--raters=10", "--catch=3", "--practice=2", "--short-side=16", "--seed=3"]
    return build_kit(tmp_path_factory.mktemp("kit"), 25, *design)


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kinds and contents of a PNG's chunks, read from the specification alone."""
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


@dataclass
class Look:
    """What one sees of all trials without looking at their pictures.

    Attributes:
        listed: Of each trial, what names, encodings, listings, times of change and blocks show.
        truth_first: Of each trial.
        linked: What the file system knows besides of the truth and the other, of each pair; trials of it share that.
    """

    listed: list[list[float]]
    truth_first: list[bool]
    linked: dict[tuple[str, ...], tuple[list[int], list[int]]]


def look(folder: Path, study: Study) -> Look:
    entries = {entry.name.partition(".")[0]: (place, entry) for place, entry in enumerate(os.scandir(folder))}
    uses = Counter(name for trial in study.trials.values() for name in trial.shown)
    found = Look([], [], {})
    for block, dealt in study.blocks.items():
        for place, name in enumerate(dealt.trials):
            trial, listed, linked = study.trials[name], [], []
            for shown in trial.shown:
                order, entry = entries[shown]
                facts, data = entry.stat(), Path(entry.path).read_bytes()
                parts = chunks(data) if data.startswith(b"\x89PNG") else [(b"JPEG", data)]
                encoding = [len(parts), len(parts[-1][1]), *parts[len(parts) // 2][1][:BEFORE_PIXELS]]
                listed.append([int(shown[:8], 16), facts.st_size, facts.st_mtime, order, uses[shown], *encoding])
                linked.append([facts.st_ino, facts.st_nlink, facts.st_ctime_ns])
            found.listed.append([place, int(name[:8], 16), int(block[:8], 16), *both(listed)])
            found.truth_first.append(trial.meaning[0] == TRUTH)
            truth, other = linked if trial.meaning[0] == TRUTH else linked[::-1]
            found.linked[trial.picture, str(truth[0]), str(other[0])] = truth, other
    return found


def both(pair: Sequence[Sequence[float]]) -> list[float]:
    """What is seen of two files, and how it differs."""
    return [*pair[0], *pair[1], *(one - other for one, other in zip(*pair, strict=True))]


def told(rows: list[list[float]], truth: list[bool], train: NDArray[np.bool_]) -> tuple[int, int]:
    """How many of the other trials are told by what was learnt from some of them; and how many there are."""
    seen, right = np.array(rows, float), np.array(truth)
    learnt = RandomForestClassifier(50, random_state=0).fit(seen[train], right[train])
    return int((learnt.predict(seen[~train]) == right[~train]).sum()), int((~train).sum())


def assert_by_chance(right: int, trials: int) -> None:
    """One honest kit in a thousand is outside."""
    low, high = binom.interval(0.999, trials, 0.5)
    assert low <= right <= high


def test_nothing_but_the_pictures_themselves_tells_which_is_true(built: tuple[Path, Study], tmp_path: Path) -> None:
    kit, study = built
    seen = look(kit / "public" / "pictures", study)
    assert len(seen.listed) > 700
    half = np.random.default_rng(0).random(len(seen.listed)) < 0.5
    assert_by_chance(*told(seen.listed, seen.truth_first, half))

    # links tell which trials show the same two files, so of each two the truth must be either as often
    assert {links for _, links, _ in [file for pair in seen.linked.values() for file in pair]} == {study.raters}
    for number in (0, 2):
        values = [(truth[number], other[number]) for truth, other in seen.linked.values()]
        before = [truth < other for truth, other in values if truth != other]
        assert_by_chance(sum(before), len(before))

    # the same look tells nearly all trials if pictures keep their encodings
    for trial in study.trials.values():
        for name, meaning in zip(trial.shown, trial.meaning, strict=True):
            source = kit.parent / ("truth" if meaning == TRUTH else "two") / trial.picture
            suffix = ".jpg" if meaning == TRUTH else ".png"
            shutil.copyfile(source.with_suffix(suffix), tmp_path / f"{name}{suffix}")
    right, trials = told(look(tmp_path, study).listed, seen.truth_first, half)
    assert right > 0.95 * trials


def test_what_raters_get_says_nothing_in_words(built: tuple[Path, Study]) -> None:
    kit, study = built
    for file in (kit / "public").rglob("*"):
        assert not any(word in file.name for word in ("picture_", "truth", "catch", "One", "Two"))
        if file.suffix == ".js":
            text = file.read_text(encoding="utf-8")
            assert not any(word in text for word in ("picture_", "truth", "catch", '"study": "One', "meaning", "#0"))
    for name in study.blocks:
        assert sum("practice" in trial for trial in study.public_block(name)["trials"]) == 2
        text = (kit / "public" / "blocks" / f"{name}.js").read_text(encoding="utf-8")
        assert json.loads(text.removeprefix("window.block = ").removesuffix(";\n")) == study.public_block(name)


def test_every_file_has_as_many_links_the_same_time_and_a_size_of_its_dimensions(built: tuple[Path, Study]) -> None:
    kit, study = built
    files = sorted((kit / "public" / "pictures").iterdir())
    assert {path.stem for path in files} == {name for trial in study.trials.values() for name in trial.shown}
    facts = [path.stat() for path in files]
    assert {each.st_nlink for each in facts} == {study.raters}
    assert len({each.st_mtime_ns for each in facts}) == 1
    assert len({(len(path.read_bytes()), path.read_bytes()[:IHDR]) for path in files}) == 1


def test_each_file_shows_what_the_plan_says(built: tuple[Path, Study]) -> None:
    kit, study = built
    seen = set()
    for trial in study.trials.values():
        for name, meaning in zip(trial.shown, trial.meaning, strict=True):
            if meaning == CATCH or (trial.picture, meaning) in seen:
                continue
            seen.add((trial.picture, meaning))
            pixels = read_picture(kit / "public" / "pictures" / f"{name}.png")
            assert min(pixels.shape[1:]) == 16
            method, _, sample = meaning.partition("#")
            source = {
                TRUTH: kit.parent / "truth" / f"{trial.picture}.jpg",
                "One": kit.parent / "one" / f"{trial.picture}_{sample}.png",
                "Two": kit.parent / "two" / f"{trial.picture}.png",
            }[method]
            with Image.open(source) as picture:
                expected = np.asarray(picture.resize((pixels.shape[2], 16), Image.Resampling.BICUBIC), int)
            assert np.abs(expected - pixels.permute(1, 2, 0).numpy()).max() <= 1
    chosen = {picture for picture, meaning in seen if meaning == "Two#0"}
    assert {meaning for picture, meaning in seen if picture in chosen} == {TRUTH, "One#0", "One#1", "Two#0"}


def test_a_png_holds_its_pixels_and_nothing_else() -> None:
    for height, width in ((1, 1), (7, 5), (64, 96)):
        flat = torch.full((3, height, width), 9, dtype=torch.uint8)
        noise = torch.randint(256, (3, height, width), generator=torch.Generator().manual_seed(0)).byte()
        files = [plain_png(flat), plain_png(noise)]
        assert len(files[0]) == len(files[1])
        for data, expected in zip(files, (flat, noise), strict=True):
            assert [kind for kind, _ in chunks(data)] == [b"IHDR", b"IDAT", b"IEND"]
            with Image.open(BytesIO(data)) as opened:
                assert (opened.mode, opened.info) == ("RGB", {})
                assert np.array_equal(np.asarray(opened), expected.permute(1, 2, 0).numpy())


def test_wrong_colours_are_the_negative_or_the_opposite_hues_in_more_chroma() -> None:
    picture = torch.from_numpy(np.full((3, 8, 8), 128, np.uint8))
    picture[0], picture[2] = 150, 110
    assert torch.equal(wrong_colors(picture, negative=True), 255 - picture)
    turned = wrong_colors(picture, negative=False)
    before, after = (lab2lch(rgb2lab(each.permute(1, 2, 0).numpy()))[0, 0] for each in (picture, turned))
    assert after[0] == pytest.approx(before[0], abs=0.5)
    assert after[1] == pytest.approx(1.5 * before[1], rel=0.05)
    assert abs(after[2] - before[2]) == pytest.approx(np.pi, abs=0.05)
    pale = torch.full((3, 8, 8), 128, dtype=torch.uint8)
    assert torch.equal(wrong_colors(pale, negative=False), 255 - pale)


def test_all_kinds_of_pictures_are_read_as_they_are_for_training(photo_folder: Path) -> None:
    for path in pictures_by_stem(photo_folder / "album").values():
        assert torch.equal(read_picture(path), read_for_training(path))
    for name in ("grey", "transparent", "palette", "bilevel", "sixteen_bit"):
        path = photo_folder / f"{name}.png"
        assert (read_picture(path).int() - read_for_training(path).int()).abs().max() <= 1
    for name in ("print", "sideways"):
        assert torch.equal(read_picture(photo_folder / f"{name}.jpg"), read_for_training(photo_folder / f"{name}.jpg"))
    for name in ("cut_short.jpg", "no_picture.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as a picture"):
            read_picture(photo_folder / name)


def test_a_generated_picture_gets_the_size_of_the_true_one_or_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (44, 32)).save(tmp_path / "small.png")
    assert read_generated(tmp_path / "small.png", (256, 350)).shape == (3, 256, 350)
    Image.new("RGB", (32, 32)).save(tmp_path / "square.png")
    with pytest.raises(ValueError, match=r"square.png is 32x32, but what it is shown beside is of the shape 350x256"):
        read_generated(tmp_path / "square.png", (256, 350))


def test_where_there_are_no_links_copies_are_as_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    write_plain(colourful_pictures(1, 8)[0], paths[0])
    for path in paths[1:]:
        name_again(paths[0], path)
    facts = [(path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_nlink) for path in paths]
    assert facts[0] == facts[1] == facts[2]
    assert facts[0][2] == 1


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """The truth, and a method's pictures of it."""
    write_generated(tmp_path / "method", write_truth(tmp_path / "truth", 6))
    return tmp_path


def build(folder: Path, *arguments: str) -> None:
    """Build a kit of `folders`."""
    named = ["--truth", str(folder / "truth"), "--method", f"M={folder / 'method'}"]
    command("build", *named, "--out", str(folder / "kit"), "--short-side", "16", *arguments)


def test_every_picture_that_does_not_match_is_listed(folders: Path) -> None:
    for number in (1, 4):
        (folders / "method" / f"picture_{number}.png").rename(folders / "method" / f"photo_{number}.png")
    with pytest.raises(SystemExit) as stopped:
        build(folders)
    message = str(stopped.value)
    assert message.startswith("error: pictures are matched by their names; ")
    assert "lacks 2 of 6 pictures: picture_1, picture_4" in message
    assert "holds 2 of no picture in" in message
    assert "photo_1.png, photo_4.png" in message


def test_samples_that_are_missing_are_listed(folders: Path) -> None:
    for number in range(6):
        path = folders / "method" / f"picture_{number}.png"
        shutil.copyfile(path, path.with_stem(f"picture_{number}_1"))
    (folders / "method" / "picture_3_1.png").unlink()
    (folders / "method" / "picture_2_sheet.png").write_bytes(b"of all samples, by colorize.py")
    with pytest.raises(SystemExit, match=r"lacks 1 of 12 pictures: picture_3_1$"):
        build(folders)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--pictures", "6"), "are 8 more than .*truth holds; give --spare"),
        (("--pictures", "7", "--catch", "0", "--practice", "0"), "are 1 more than"),
        (("--method", "M=elsewhere"), "two methods have one name"),
        (("--spare", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_a_mistake_gets_a_sentence_and_leaves_nothing(folders: Path, arguments: tuple[str, ...], sentence: str) -> None:
    before = sorted(folders.iterdir())
    with pytest.raises(SystemExit, match=f"^error: .*{sentence}"):
        build(folders, *arguments)
    assert sorted(folders.iterdir()) == before


def test_a_picture_that_cannot_be_read_leaves_no_kit(folders: Path) -> None:
    (folders / "method" / "picture_3.png").write_bytes(b"no picture")
    before = sorted(folders.iterdir())
    with pytest.raises(SystemExit, match=r"error: .*picture_3.png cannot be read as a picture"):
        build(folders, "--pictures", "6", "--catch", "0", "--practice", "0")
    assert sorted(folders.iterdir()) == before


def test_nothing_is_written_over(folders: Path) -> None:
    small = ("--pictures", "2", "--catch", "1", "--practice", "1", "--raters", "2")
    build(folders, *small)
    with pytest.raises(SystemExit, match=r"error: --out .*kit is there already"):
        build(folders, *small)


def test_spare_pictures_are_for_practice_and_catch_trials_alone(folders: Path) -> None:
    write_truth(folders / "written", 20)
    (folders / "more").mkdir()
    for path in (folders / "written").iterdir():
        path.rename(folders / "more" / path.name.replace("picture", "other"))
    arguments = ["--pictures", "6", "--catch", "2", "--practice", "1", "--block", "3", "--raters", "2"]
    build(folders, *arguments, "--spare", str(folders / "more"))
    study = read_study(folders / "kit")
    assert len(study.blocks) == 4
    for trial in study.trials.values():
        assert trial.picture.startswith("picture_" if trial.role == "study" else "other_")
        assert trial.role == "study" or set(trial.meaning) == {TRUTH, CATCH}


def test_a_preference_kit_shows_the_target_in_grey_the_reference_and_all_results(tmp_path: Path) -> None:
    truth = ["--truth", str(tmp_path / "truth")]
    kit, study = build_preference_kit(tmp_path, "--raters", "6", "--short-side", "16", *truth)
    assert (study.kind, study.exposure_ms, study.samples) == ("preference", 0, {"M0": 1, "M1": 1, "M2": 1})
    assert len(study.blocks) == 6
    shown = {name: read_picture(kit / "public" / "pictures" / f"{name}.png") for name in names_in(study)}
    for block in study.blocks.values():
        trials = [study.trials[name] for name in block.trials]
        assert [trial.role for trial in trials] == ["study"] * 4 + ["catch"]
        assert len({trial.picture for trial in trials[:4]}) == 4
        for trial in trials:
            target, reference = (shown[name] for name in trial.context)
            true = read_generated(tmp_path / "truth" / f"{trial.picture}.jpg", target.shape[1:])
            assert (target[0] == target[1]).all()
            assert np.abs(rgb2lab(target.movedim(0, 2)) - rgb2lab(true.movedim(0, 2)))[..., 0].max() < 1
            if trial.role == "catch":
                assert torch.equal(reference, shown[trial.shown[trial.meaning.index(TRUTH)]])
            else:
                assert sorted(trial.meaning) == ["M0#0", "M1#0", "M2#0"]


def names_in(study: Study) -> set[str]:
    """Of all pictures."""
    return {name for trial in study.trials.values() for name in (*trial.shown, *trial.context)}


def test_a_preference_of_one_method_is_refused(tmp_path: Path) -> None:
    write_truth(tmp_path / "truth", 2)
    named = [f"--{name}={tmp_path / 'truth'}" for name in ("targets", "references")]
    with pytest.raises(SystemExit, match="error: a preference needs at least two methods"):
        command("preference", *named, f"--method=M={tmp_path / 'truth'}", "--out", str(tmp_path / "kit"))


def test_crowds_get_a_row_for_each_block_and_the_code_that_the_page_shows(
    built: tuple[Path, Study], tmp_path: Path
) -> None:
    kit, study = built
    command("crowds", str(kit), "--address", "https://example.org/study/", "--out", str(tmp_path))
    with (tmp_path / "mturk.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(study.blocks)
    assert {(row["address"], row["trials"]) for row in rows} == {("https://example.org/study/", str(trials_of(study)))}
    layout = (tmp_path / "mturk.html").read_text(encoding="utf-8")
    assert all(f"${{{name}}}" in layout for name in ("address", "minutes"))
    sheet = (tmp_path / "prolific.md").read_text(encoding="utf-8")
    assert "https://example.org/study/?PROLIFIC_PID={{%PROLIFIC_PID%}}&" in sheet
    assert f"| Completion code | {study.name[:8].upper()} |" in sheet
    with pytest.raises(SystemExit, match=r"error: --address example.org is no plain address"):
        command("crowds", str(kit), "--address", "example.org", "--out", str(tmp_path))
    with pytest.raises(SystemExit, match="error: give --address and --out for sheets, or --copies"):
        command("crowds", str(kit))


def trials_of(study: Study) -> int:
    """Of the longest block."""
    return max(len(block.trials) for block in study.blocks.values())


def test_a_copy_holds_one_block_and_its_pictures(built: tuple[Path, Study], tmp_path: Path) -> None:
    kit, study = built
    command("crowds", str(kit), "--copies", str(tmp_path))
    archives = sorted(tmp_path.iterdir())
    assert len(archives) == len(study.blocks)
    for path in archives[:3]:
        with ZipFile(path) as archive:
            names = set(archive.namelist())
            (block,) = (name for name in study.blocks if f"blocks/{name}.js" in names)
            shown = {f"pictures/{each}.png" for name in study.blocks[block].trials for each in study.trials[name].shown}
            assert names == {"index.html", "blocks/index.js", f"blocks/{block}.js"} | shown
            assert archive.read("blocks/index.js").decode() == f'window.blocks = [["{block}"]];\n'
            assert len({entry.date_time for entry in archive.infolist()}) == 1
            assert all(entry.compress_size == entry.file_size for entry in archive.infolist())
