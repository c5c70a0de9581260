"""Scoring a set, part by part: the numbers, whoever computes them and however often they begin."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from evaluation import runner
from evaluation.interval import interval_around
from evaluation.parts import PART, Parts
from evaluation.protocols import ScoringProtocol, keys_sha256
from evaluation.runner import evaluate
from evaluation.scorer import Entry
from evaluation.standing_rows import STANDING_ROWS, StandingRow
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance
from lightning_modules.pic.module import PIC
from tests.conftest import colourful_pictures

MEASURES = ["rmse_alpha_beta", "psnr", "histogram_intersection_a", "saturation", "colorfulness_delta", "auc_rebalanced"]
RULES = ScoringProtocol("mine", "A few pictures.", MEASURES)
ENTRY = Entry("somebody", "predictions", {"path": "there", "sha256": "abc"})


@dataclass
class Few:
    """Pictures with predictions, in memory; it remembers which were visited."""

    truths: Sequence[Tensor]
    predictions: Sequence[Tensor] = ()
    broken: frozenset[int] = frozenset()
    visited: list[int] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """Their names."""
        return [f"picture_{number:03}" for number in range(len(self.truths))]

    def at(self, number: int) -> dict[str, Any]:
        """A picture, and that it was visited."""
        self.visited.append(number)
        if number in self.broken:
            raise ValueError("it is cut short")
        item = {"rgb": self.truths[number], "key": self.keys[number]}
        return item | ({"samples": self.predictions[number]} if self.predictions else {})

    def digest(self, number: int) -> bytes:
        """The picture and its predictions themselves."""
        shown = [self.truths[number], *([self.predictions[number]] if self.predictions else [])]
        return b"".join(each.numpy().tobytes() for each in shown)


def few(count: int, samples: int = 1, seed: int = 0) -> Few:
    """Pictures of two sizes, each with predictions that are somewhat off."""
    truths = [*colourful_pictures(count, 24, seed)]
    truths = [truth[:, :, :16] if number % 3 else truth for number, truth in enumerate(truths)]
    generator = torch.Generator().manual_seed(seed)
    predictions = []
    for truth in truths:
        noise = torch.randint(-30, 31, (samples, *truth.shape), generator=generator)
        predictions.append((truth + noise).clamp(0, 255).byte())
    return Few(truths, predictions)


def score(pictures: Few, output: Path, rules: ScoringProtocol = RULES, entry: Entry = ENTRY, **more: Any) -> Any:
    return evaluate(entry, pictures, rules, output, data={}, **more)


def array(rgb: Tensor) -> NDArray[np.float64]:
    return rgb.permute(1, 2, 0).numpy().astype(np.float64) / 255


def alpha_beta(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    lightness = rgb.mean(axis=-1) + 1e-4
    return np.stack([(blue - (red + green) / 2) / lightness, (red - green) / lightness], axis=-1)


def test_means_weigh_pictures_and_pixels_as_the_papers_do(tmp_path: Path) -> None:
    pictures = few(9, samples=2)
    scores = score(pictures, tmp_path, entry=replace(ENTRY, samples=2), rules=replace(RULES, samples=2))
    pairs = [(array(t), [array(p) for p in ps]) for t, ps in zip(pictures.truths, pictures.predictions, strict=True)]
    psnr = np.mean([np.mean([peak_signal_noise_ratio(t, p, data_range=1) for p in ps]) for t, ps in pairs])
    assert scores["metrics"]["psnr"]["value"] == pytest.approx(psnr, abs=1e-4)
    errors = [np.sqrt(((alpha_beta(t) - alpha_beta(p)) ** 2).mean(axis=-1)).ravel() for t, ps in pairs for p in ps]
    assert scores["metrics"]["rmse_alpha_beta"]["value"] == pytest.approx(np.concatenate(errors).mean(), rel=1e-4)
    edges = np.arange(-110, 111)
    counts = [
        np.histogram(np.concatenate([rgb2lab(each)[..., 1].ravel() for each in side]), edges)[0]
        for side in ([p for _, ps in pairs for p in ps], [t for t, _ in pairs])
    ]
    intersection = np.minimum(*(each / each.sum() for each in counts)).sum()
    assert scores["metrics"]["histogram_intersection_a"]["value"] == pytest.approx(intersection, abs=2e-3)
    for name, metric in scores["metrics"].items():
        assert metric["n"] == 9
        if name == "auc_rebalanced":
            assert metric["low"] is metric["high"] is None, "pictures do not resample rare colours"
        else:
            assert metric["low"] <= metric["value"] <= metric["high"]
    mean = np.mean([truth.mean(axis=(0, 1)) for truth, _ in pairs], axis=0)
    assert scores["set"]["mean_rgb"] == pytest.approx(mean.tolist(), abs=1e-5)


def test_the_size_of_a_difference_has_an_interval_folded_at_0(tmp_path: Path) -> None:
    pictures = few(40)
    rules = replace(RULES, measures=["colorfulness", "colorfulness_of_truth", "colorfulness_delta"])
    metric = score(pictures, tmp_path, rules)["metrics"]["colorfulness_delta"]
    with (tmp_path / "pictures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    differences = np.array([float(row["colorfulness"]) - float(row["colorfulness_of_truth"]) for row in rows])
    assert metric["value"] == pytest.approx(abs(differences.mean()), rel=1e-5)
    error = 1.96 * differences.std(ddof=1) / len(differences) ** 0.5
    assert metric["low"] == pytest.approx(abs(differences.mean()) - error, abs=0.15 * error)
    generator = np.random.default_rng(0)
    assert interval_around(-0.1, generator.normal(-0.1, 1, 2000), absolute=True) == pytest.approx((0, 2.06), abs=0.1)
    assert interval_around(-5.0, generator.normal(-5, 1, 2000), absolute=True) == pytest.approx((3.04, 6.96), abs=0.1)


def test_an_interval_is_that_of_the_mean(tmp_path: Path) -> None:
    pictures = few(200)
    scores = score(pictures, tmp_path, replace(RULES, measures=["psnr"]))
    pairs = zip(pictures.truths, pictures.predictions, strict=True)
    values = [peak_signal_noise_ratio(array(t), array(p), data_range=1) for t, (p,) in pairs]
    error = 1.96 * np.std(values, ddof=1) / np.sqrt(len(values))
    metric = scores["metrics"]["psnr"]
    assert metric["low"] == pytest.approx(np.mean(values) - error, abs=0.1 * error)
    assert metric["high"] == pytest.approx(np.mean(values) + error, abs=0.1 * error)


def test_two_processes_and_workers_give_the_numbers_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = few(3 * PART + 5)
    alone = score(pictures, tmp_path / "alone")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert score(pictures, tmp_path / "both") is None
    pictures.visited.clear()
    monkeypatch.setenv("RANK", "0")
    both = score(pictures, tmp_path / "both")
    assert len(set(pictures.visited)) < len(pictures.truths), "the other process had done its share"
    monkeypatch.delenv("RANK")
    with_workers = score(pictures, tmp_path / "workers", workers=2)
    monkeypatch.setenv("RANK", "0")
    first_does_all = score(pictures, tmp_path / "abandoned")
    for scores, name in ((both, "both"), (with_workers, "workers"), (first_does_all, "abandoned")):
        assert scores["metrics"] == alone["metrics"]
        assert scores["curves"] == alone["curves"]
        assert (tmp_path / name / "pictures.csv").read_bytes() == (tmp_path / "alone" / "pictures.csv").read_bytes()


def test_scoring_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = few(4 * PART)
    whole = score(pictures, tmp_path / "whole")
    save = Parts.save

    def stop_at_two(parts: Parts, number: int, part: Any) -> None:
        if number == 2:
            raise KeyboardInterrupt
        save(parts, number, part)

    with monkeypatch.context() as stopped:
        stopped.setattr(Parts, "save", stop_at_two)
        with pytest.raises(KeyboardInterrupt):
            score(pictures, tmp_path / "again")
    assert not (tmp_path / "again" / "scores.json").exists()
    pictures.visited.clear()
    again = score(pictures, tmp_path / "again")
    assert min(pictures.visited[: 2 * PART]) == 2 * PART
    assert again["metrics"] == whole["metrics"]
    assert not (tmp_path / "again" / "parts").exists()
    assert json.loads((tmp_path / "again" / "scores.json").read_text()) == json.loads(json.dumps(again))


def test_parts_of_another_scoring_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = few(PART)
    with monkeypatch.context() as stopped:
        stopped.setattr(runner, "summarize", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            score(few(PART, seed=1), tmp_path, entry=replace(ENTRY, source={"sha256": "other"}))
    assert score(pictures, tmp_path)["metrics"] == score(pictures, tmp_path / "fresh")["metrics"]


def test_grey_and_unreadable_pictures_are_counted_and_left_out(tmp_path: Path) -> None:
    pictures = few(6)
    grey = pictures.truths[1][:1].expand(3, -1, -1)
    pictures.truths = [pictures.truths[0], grey, *pictures.truths[2:]]
    pictures.broken = frozenset({4})
    scores = score(pictures, tmp_path)
    counts = {"all": 5, "coloured": 4, "grey": 1, "unreadable": 1, "exact": 0, "grey_predictions": 0}
    assert scores["pictures"] == counts
    assert not scores["set"]["complete"]
    assert scores["set"]["keys_sha256"] == keys_sha256(set(pictures.keys) - {"picture_004"})
    others = Few([pictures.truths[n] for n in (0, 2, 3, 5)], [pictures.predictions[n] for n in (0, 2, 3, 5)])
    assert score(others, tmp_path / "others")["metrics"]["psnr"] == scores["metrics"]["psnr"]
    with_grey = score(pictures, tmp_path / "grey", replace(RULES, exclude_grey=False))
    assert with_grey["pictures"]["coloured"] == 5
    assert with_grey["pictures"]["grey"] == 1, "counted, but not left out"


def test_a_table_lists_every_coloured_picture(tmp_path: Path) -> None:
    pictures = few(5)
    scores = score(pictures, tmp_path)
    with (tmp_path / "pictures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == pictures.keys
    assert [(row["height"], row["width"]) for row in rows] == [("24", "24" if n % 3 == 0 else "16") for n in range(5)]
    assert np.mean([float(row["psnr"]) for row in rows]) == pytest.approx(scores["metrics"]["psnr"]["value"])
    weights = [int(row["pixels"]) for row in rows]
    rmse = np.average([float(row["rmse_alpha_beta"]) for row in rows], weights=weights)
    assert rmse == pytest.approx(scores["metrics"]["rmse_alpha_beta"]["value"])


def test_pictures_beside_the_scores(tmp_path: Path) -> None:
    pictures = few(12, samples=3)
    rules = replace(RULES, samples=3, measures=[*MEASURES, "ms_ssim"])
    scores = score(pictures, tmp_path, rules, replace(ENTRY, samples=3))
    assert scores["gallery"] == rules.gallery(pictures.keys)
    for key in scores["gallery"]:
        number = int(key[-3:])
        for name, wanted in (("truth", pictures.truths[number]), ("2", pictures.predictions[number][2])):
            shown = np.asarray(Image.open(tmp_path / "gallery" / f"{key}_{name}.png"))
            assert np.array_equal(shown, wanted.permute(1, 2, 0).numpy())
    assert Image.open(tmp_path / "cases.png").height > 6 * 192
    assert Image.open(tmp_path / "diversity.png").width > 3 * 100


def test_a_prediction_may_have_the_size_of_the_picture_or_of_the_protocol(tmp_path: Path) -> None:
    rules = replace(RULES, resize={"square": 12})
    pictures = few(4)
    ready = Few(pictures.truths, [rules.prepare(samples) for samples in pictures.predictions])
    assert score(pictures, tmp_path / "a", rules)["metrics"] == score(ready, tmp_path / "b", rules)["metrics"]
    ready.predictions = [*ready.predictions[:3], ready.predictions[3][:, :, :, :11]]
    with pytest.raises(ValueError, match="for picture_003 is 11x12, but the picture 24x24, or 12x12 as mine compares"):
        score(ready, tmp_path / "c", rules, unreadable="stop")
    assert score(ready, tmp_path / "d", rules)["pictures"]["unreadable"] == 1


def test_a_part_of_a_set_does_not_bear_its_name(tmp_path: Path) -> None:
    pictures = few(6)
    rules = replace(RULES, set="six", keys_sha256=keys_sha256(pictures.keys))
    whole = score(pictures, tmp_path / "whole", rules)["set"]
    assert (whole["label"], whole["named"], whole["complete"]) == ("six", True, True)
    some = score(pictures, tmp_path / "some", rules, limit=4)["set"]
    assert (some["label"], some["named"], some["complete"]) == ("subset of 4 pictures", False, False)
    matched = Few(pictures.truths[:5], pictures.predictions[:5])
    part = score(matched, tmp_path / "part", rules, whole=pictures.keys)["set"]
    assert (part["label"], part["complete"]) == ("subset of 5 pictures", False)
    other = score(matched, tmp_path / "other", rules)["set"]
    assert (other["label"], other["named"], other["complete"]) == ("5 pictures", False, True)


def test_a_choice_of_the_set_wants_predictions_of_the_chosen_only(tmp_path: Path) -> None:
    pictures = few(10)
    rules = replace(RULES, sampled_pictures=3, set="ten", keys_sha256=keys_sha256(pictures.keys))
    places = rules.chosen(pictures.keys)
    scores = score(pictures, tmp_path, rules)
    assert scores["pictures"]["coloured"] == 3
    assert sorted(set(pictures.visited)) == places
    assert scores["set"]["label"] == "ten"


def test_a_method_colours_each_picture_the_same_way_again(
    tmp_path: Path, make_pic: Callable[..., PIC], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = Few([*colourful_pictures(PART + 3, 8)])
    entry = Entry("PIC", "checkpoint", {}, make_pic(), samples=2)
    rules = replace(RULES, samples=2, measures=["bits_per_dim", *MEASURES], sampled_pictures=PART + 1)
    alone = score(pictures, tmp_path / "alone", rules, entry)
    assert alone["metrics"]["bits_per_dim"]["n"] == PART + 3
    assert alone["metrics"]["psnr"]["n"] == PART + 1
    model = entry.colorizer
    assert isinstance(model, PIC)
    with torch.no_grad():
        bits = model.bits_per_dim(torch.stack([*pictures.truths]) / 255).mean()
    assert alone["metrics"]["bits_per_dim"]["value"] == pytest.approx(float(bits), rel=1e-5)
    assert "CIELab" in alone["metrics"]["bits_per_dim"]["space"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        both = score(pictures, tmp_path / "both", rules, entry, workers=1)
    assert both["metrics"] == alone["metrics"]


class Copyist(Colorizer):
    """Colours every picture as its reference is coloured."""

    stochastic = False
    accepts = frozenset({"reference"})

    def luminance(self, rgb: Tensor) -> Tensor:
        """Any."""
        return rgb[:, :1]

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: Any) -> Tensor:
        """The reference; grey without one."""
        drawn = luminance.expand(-1, 3, -1, -1) if guidance.reference is None else guidance.reference
        return drawn.unsqueeze(1)


def test_guidance_by_the_truth_shows_a_method_the_true_picture(tmp_path: Path, make_pic: Callable[..., PIC]) -> None:
    pictures, entry = Few([*colourful_pictures(3, 8)]), Entry("Copyist", "checkpoint", {}, Copyist())
    guided = replace(RULES, guidance="truth")
    assert score(pictures, tmp_path / "guided", guided, entry)["metrics"]["rmse_alpha_beta"]["value"] == 0
    assert score(pictures, tmp_path / "alone", RULES, entry)["metrics"]["rmse_alpha_beta"]["value"] > 0.1
    with pytest.raises(ValueError, match="PIC takes no guidance by reference"):
        score(pictures, tmp_path / "pic", guided, Entry("PIC", "checkpoint", {}, make_pic()))


def test_what_a_row_cannot_have_is_left_out_with_the_reason(tmp_path: Path) -> None:
    rules = replace(RULES, measures=["bits_per_dim", "ms_ssim", "psnr", "lpips"])
    scores = score(few(3), tmp_path, rules, left_out={"lpips": "no weights"})
    assert list(scores["metrics"]) == ["psnr"]
    assert "somebody has no exact likelihood" in scores["left_out"]["bits_per_dim"]
    assert "one of each" in scores["left_out"]["ms_ssim"]
    assert scores["left_out"]["lpips"] == "no weights"


def test_colours_that_are_no_numbers_stop_the_scoring(tmp_path: Path, make_pic: Callable[..., PIC]) -> None:
    model = make_pic()
    monkey = lambda *_, **__: torch.full((2, 1, 3, 8, 8), torch.nan)  # noqa: E731
    model.draw = monkey  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"PIC gives picture_000.* not numbers"):
        score(Few([*colourful_pictures(2, 8)]), tmp_path, entry=Entry("PIC", "checkpoint", {}, model))


def test_a_set_without_anything_to_score_says_so(tmp_path: Path) -> None:
    pictures = few(3)
    pictures.broken = frozenset(range(3))
    with pytest.raises(ValueError, match="not one picture could be scored: 3 unreadable"):
        score(pictures, tmp_path)


def test_numbers_of_pictures_and_workers_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pictures=-3 should be a number from 1 on"):
        score(few(3), tmp_path, limit=-3)
    with pytest.raises(ValueError, match="workers=-1 should be a number from 0 on"):
        score(few(3), tmp_path, workers=-1)
    with pytest.raises(ValueError, match="is no name for a row"):
        Entry("two\nlines", "predictions")


@pytest.mark.parametrize("name", STANDING_ROWS)
def test_standing_rows_check_every_measure(name: str, tmp_path: Path) -> None:
    pictures = Few(few(8).truths)
    row = StandingRow(pictures, RULES, name)
    scores = score(row, tmp_path, entry=Entry(name, "baseline"))  # type: ignore[arg-type]
    values = {measure: metric["value"] for measure, metric in scores["metrics"].items()}
    predictions = [array(row.at(number)["samples"][0]) for number in range(8)]
    truths = [array(truth) for truth in pictures.truths]
    if name == "truth":
        assert values["rmse_alpha_beta"] == 0
        assert values["psnr"] == 100
        assert values["histogram_intersection_a"] == values["auc_rebalanced"] == pytest.approx(1)
        assert scores["pictures"]["exact"] == 8
        return
    for prediction, truth in zip(predictions, truths, strict=True):
        if name == "grey":
            assert np.abs(prediction - truth.mean(axis=-1, keepdims=True)).max() < 0.5 / 255 + 1e-6
            continue
        inside = ((prediction > 0) & (prediction < 1)).all(axis=-1)
        assert np.abs(rgb2lab(prediction) - rgb2lab(truth))[..., 0][inside].max() < 1
        if name == "mean_color":
            wanted = rgb2lab(np.array(RULES.mean_color).reshape(1, 1, 3))[0, 0, 1:]
            assert np.abs(rgb2lab(prediction)[inside][:, 1:] - wanted).max() < 2.5
    if name == "permuted_chroma":
        partners = [row.partner(number) for number in range(8)]
        assert len({partner.numpy().tobytes() for partner in partners}) == 8
        assert not any(torch.equal(partner, truth) for partner, truth in zip(partners, pictures.truths, strict=True))


def test_a_standing_row_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="this set has only one"):
        StandingRow(few(1), RULES, "permuted_chroma")
    with pytest.raises(ValueError, match="baseline=sepia is none of truth"):
        StandingRow(few(2), RULES, "sepia")
