"""What a method is told of each picture under a protocol with guidance, and that it does not depend on the scoring."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch import Tensor

from evaluation import plan
from evaluation.protocols import ScoringProtocol, keys_sha256
from evaluation.runner import evaluate
from evaluation.scorer import Entry
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance
from tests.conftest import colourful_pictures

RULES = ScoringProtocol("mine", "A few pictures.", ["psnr"], guidance="same_class")
LABELS = [0, 1, 2, 0, 1, 2, 0, 1, 0, 2, 0, 1]


@dataclass
class Labelled:
    """Pictures with labels, in memory."""

    truths: Sequence[Tensor]
    labels: Sequence[int] | None
    keys: list[str] = field(default_factory=list)
    broken: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.keys = self.keys or [f"picture_{number:02}" for number in range(len(self.truths))]

    def at(self, number: int) -> dict[str, Any]:
        """A picture."""
        if self.keys[number] in self.broken:
            raise ValueError("it is cut short")
        return {"rgb": self.truths[number], "key": self.keys[number]}

    def digest(self, number: int) -> bytes:
        """The picture itself."""
        return self.truths[number].numpy().tobytes()

    @property
    def label_of(self) -> dict[str, int]:
        """Labels by name."""
        return dict(zip(self.keys, self.labels or (), strict=True))


class Recorder(Colorizer):
    """Remembers its guidance by the red of the picture that it is given, of which its colours are made."""

    stochastic = False
    accepts = frozenset({"reference", "hints"})
    remarks = ("It has seen nothing.",)

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Tensor, Guidance]] = []

    def luminance(self, rgb: Tensor) -> Tensor:
        """The red."""
        return rgb[:, :1]

    def draw(self, luminance: Tensor, samples: int, guidance: Guidance, generator: Any) -> Tensor:
        """Red, and no other colour."""
        for number, red in enumerate(luminance):
            given = {name: getattr(guidance, name)[number] for name in guidance.given()}
            self.told.append((red[0], Guidance(**given)))
        return torch.nn.functional.pad(luminance, (0, 0, 0, 0, 0, 2)).unsqueeze(1)


class WithLikelihood(Recorder):
    """One that has bits per dimension, too."""

    likelihood_space = "none"

    def bits_per_dim(self, rgb: Tensor) -> Tensor:
        """One."""
        return torch.ones(len(rgb))


def labelled(labels: Sequence[int] | None = LABELS, count: int = len(LABELS)) -> Labelled:
    """Pictures of two sizes."""
    pictures = colourful_pictures(count, 24)
    return Labelled([picture[:, :, : 16 if number % 3 else 24] for number, picture in enumerate(pictures)], labels)


def score(pictures: Labelled, output: Path, rules: ScoringProtocol = RULES, **more: Any) -> tuple[Recorder, Any]:
    """Score a recorder; returns it and the scores."""
    method = more.pop("method", None) or Recorder()
    return method, evaluate(Entry("Recorder", "checkpoint", {}, method), pictures, rules, output, data={}, **more)


def named(pictures: Labelled, rules: ScoringProtocol, rgb: Tensor) -> str:
    """The name of a picture, (3, h, w), or of its red, (h, w), in [0, 1], as the protocol prepares it."""
    for key, truth in zip(pictures.keys, pictures.truths, strict=True):
        prepared = rules.prepare(truth) / 255
        if torch.equal(prepared if rgb.ndim == 3 else prepared[0], rgb):
            return key
    raise AssertionError("the method saw something that is no picture of the set")


def references(pictures: Labelled, method: Recorder, rules: ScoringProtocol = RULES) -> dict[str, str]:
    """The name of each picture's reference."""
    found: dict[str, str] = {}
    for red, guidance in method.told:
        assert guidance.given() == {"reference"}
        key, reference = named(pictures, rules, red), named(pictures, rules, guidance.reference)  # type: ignore[arg-type]
        assert found.setdefault(key, reference) == reference, "coloured again, for the sheet of cases"
    return found


def wanted(pictures: Labelled, same: bool, unfit: frozenset[str] = frozenset(), seed: int = 0) -> dict[str, str]:
    """The references by their definition, for pictures that have one and are fit themselves."""
    order = sorted(pictures.keys, key=lambda key: sha256(f"reference {seed} {key}".encode()).hexdigest())
    labels, found = pictures.label_of, {}
    for number, key in enumerate(order):
        for other in order[number + 1 :] + order[:number]:
            if key not in unfit and other not in unfit and (labels[other] == labels[key]) == same:
                found[key] = other
                break
    return found


@pytest.mark.parametrize("kind", ["same_class", "other_class"])
def test_a_reference_is_the_next_picture_of_the_wanted_label(kind: str, tmp_path: Path) -> None:
    pictures, rules = labelled(), replace(RULES, guidance=kind)
    method, scores = score(pictures, tmp_path / "scores", rules)
    found = references(pictures, method, rules)
    assert found == wanted(pictures, kind == "same_class")
    assert set(found) == set(pictures.keys)
    for key, reference in found.items():
        assert key != reference
        assert (pictures.label_of[key] == pictures.label_of[reference]) == (kind == "same_class")
    assert scores["set"]["complete"]
    other = score(pictures, tmp_path / "seed", replace(rules, seed=3))[0]
    assert references(pictures, other) == wanted(pictures, kind == "same_class", seed=3) != found


@pytest.mark.parametrize("kind", ["same_class", "other_class", "hints:3"])
def test_guidance_does_not_depend_on_what_else_is_scored_or_where(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, rules = labelled(), replace(RULES, guidance=kind)

    def told(methods: Sequence[Recorder]) -> dict[str, list[Any]]:
        return {
            named(pictures, rules, red): [
                None if given is None else given.tolist() for given in (guidance.reference, guidance.hints)
            ]
            for method in methods
            for red, guidance in method.told
        }

    whole = told([score(pictures, tmp_path / "whole", rules)[0]])
    assert len(whole) == len(LABELS)
    assert len({str(given) for given in whole.values()}) > 1
    turned = Labelled(pictures.truths[::-1], LABELS[::-1], pictures.keys[::-1])
    assert told([score(turned, tmp_path / "turned", rules)[0]]) == whole
    some = told([score(pictures, tmp_path / "some", replace(rules, sampled_pictures=5), limit=4)[0]])
    assert some == {key: whole[key] for key in some}
    assert len(some) == 4
    monkeypatch.setattr(plan, "PART", 3)
    assert told([score(pictures, tmp_path / "parts", rules, workers=1)[0]]) == whole
    monkeypatch.setenv("WORLD_SIZE", "2")
    processes = []
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        processes.append(score(pictures, tmp_path / "both", rules)[0])
    assert told(processes) == whole
    assert len(told(processes[:1])) == len(LABELS) / 2


def test_references_that_are_grey_or_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    pictures = labelled()
    fine = wanted(pictures, same=True)
    grey, broken = fine["picture_00"], fine["picture_01"]
    place = pictures.keys.index(grey)
    truths = list(pictures.truths)
    truths[place] = truths[place][:1].expand(3, -1, -1)
    pictures = replace(pictures, truths=truths, broken=frozenset({broken}))
    method, scores = score(pictures, tmp_path)
    found = references(pictures, method)
    assert found == wanted(pictures, same=True, unfit=frozenset({grey, broken}))
    assert found["picture_00"] != grey
    assert found["picture_01"] != broken
    assert (scores["pictures"]["grey"], scores["pictures"]["unreadable"]) == (1, 1)


def test_a_picture_beside_grey_ones_alone_is_left_out(tmp_path: Path) -> None:
    pictures = labelled([0, 0, 1, 1], 4)
    grey = pictures.truths[1][:1].expand(3, -1, -1)
    pictures.truths = [pictures.truths[0], grey, *pictures.truths[2:]]
    method, scores = score(pictures, tmp_path)
    assert references(pictures, method) == {"picture_02": "picture_03", "picture_03": "picture_02"}
    assert (scores["pictures"]["coloured"], scores["pictures"]["unreadable"]) == (2, 1)
    assert not scores["set"]["complete"]


@pytest.mark.parametrize("method", [Recorder, WithLikelihood])
def test_a_picture_without_another_of_its_class_is_not_coloured(method: Callable[[], Recorder], tmp_path: Path) -> None:
    pictures = labelled([0, 1, 0, 2, -1, -1], 6)
    rules = replace(RULES, set="six", keys_sha256=keys_sha256(pictures.keys), measures=["bits_per_dim", "psnr"])
    told, scores = score(pictures, tmp_path, rules, method=method())
    assert references(pictures, told) == {"picture_00": "picture_02", "picture_02": "picture_00"}
    assert "4 of 6 pictures have no reference by same_class in this set and were not coloured" in scores["notes"]
    assert scores["pictures"]["coloured"] == scores["metrics"]["psnr"]["n"] == 2
    assert (scores["set"]["complete"], scores["set"]["named"]) == (False, False)
    assert scores["set"]["label"].startswith("subset of")
    assert set(scores["gallery"]) == {"picture_00", "picture_02"}
    if method is WithLikelihood:
        assert scores["metrics"]["bits_per_dim"]["n"] == 6, "which wants no reference"


@pytest.mark.parametrize(
    ("kind", "labels", "words"),
    [
        ("same_class", None, "wants several pictures of a class, and these pictures have no labels"),
        ("other_class", None, "wants pictures of several classes, and these pictures have no labels"),
        ("same_class", [0, 1, 2], "of 3 pictures not one has a reference"),
        ("same_class", [-1, -1, -1], "of 3 pictures not one has a reference"),
        ("other_class", [4, 4, 4], "of 3 pictures not one has a reference"),
        ("other_class", [4, 4, -1], "of 3 pictures not one has a reference"),
    ],
)
def test_a_set_in_which_none_has_a_reference_is_refused(
    kind: str, labels: list[int] | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        score(labelled(labels, 3), tmp_path, replace(RULES, guidance=kind))
    assert f"protocol.guidance={kind}" in str(caught.value)
    assert not (tmp_path / "parts").exists()


def test_a_reference_is_prepared_as_pictures_are(tmp_path: Path) -> None:
    pictures, rules = labelled(), replace(RULES, resize={"short_side": 8}, luminance_source="original")
    method, _ = score(pictures, tmp_path, rules)
    sizes = {(tuple(red.shape), tuple(guidance.reference.shape[1:])) for red, guidance in method.told}  # type: ignore[union-attr]
    assert sizes == {((24, side), shown) for side in (16, 24) for shown in ((8, 8), (12, 8))}
    own = {
        named(pictures, RULES, red): named(pictures, rules, guidance.reference)  # type: ignore[arg-type]
        for red, guidance in method.told
    }
    assert own == wanted(pictures, same=True)


def test_predictions_want_no_reference(tmp_path: Path) -> None:
    pictures = labelled(None, 3)
    pictures.at = lambda number: {**Labelled.at(pictures, number), "samples": pictures.truths[number][None]}  # type: ignore[method-assign]
    scores = evaluate(Entry("somebody", "predictions"), pictures, RULES, tmp_path, data={})
    assert scores is not None
    assert scores["metrics"]["psnr"]["value"] == 100


def test_a_method_may_remark_on_itself(tmp_path: Path) -> None:
    assert score(labelled(), tmp_path)[1]["notes"] == ["It has seen nothing."]


@pytest.fixture(scope="module")
def large() -> Labelled:
    """Two pictures, in which a hint has 2 and 3 pixels a side."""
    pictures = colourful_pictures(2, 110)
    return Labelled([pictures[0][:, :, :80], pictures[1]], None)


def hints(pictures: Labelled, count: int, output: Path, **more: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Each picture, uint8 (3, H, W), and its hints, (3, H, W)."""
    rules = replace(RULES, guidance=f"hints:{count}", exclude_grey=False, **more)
    method, _ = score(pictures, output / f"{count}", rules)
    by_key = dict(zip(pictures.keys, pictures.truths, strict=True))
    told = {named(pictures, rules, red): guidance for red, guidance in method.told}
    assert list(told) == pictures.keys
    for key, guidance in told.items():
        assert guidance.given() == {"hints"}
        assert guidance.hints is not None
        yield by_key[key], guidance.hints


def test_hints_show_the_mean_chroma_of_one_patch_more_each_time(large: Labelled, tmp_path: Path) -> None:
    before = [torch.zeros(3, *truth.shape[1:]) for truth in large.truths]
    for count in range(1, 7):
        for number, (truth, shown) in enumerate(hints(large, count, tmp_path)):
            assert shown.shape == truth.shape
            assert set(shown[2].unique().tolist()) == {0, 1}
            assert (shown[:2] * (1 - shown[2]) == 0).all()
            rows, columns = np.nonzero((shown != before[number]).any(dim=0).numpy())
            side = {80: 2, 110: 3}[truth.shape[2]]
            assert len(rows) == side**2, "the new patch, and nothing else"
            assert np.ptp(rows) == np.ptp(columns) == side - 1
            chroma = rgb2lab(truth.permute(1, 2, 0).numpy())[rows, columns, 1:].mean(axis=0)
            assert shown[:2, rows[0], columns[0]].tolist() == pytest.approx(chroma.tolist(), abs=0.02)
            before[number] = shown


def test_no_hints_are_hints_that_show_nothing(large: Labelled, tmp_path: Path) -> None:
    assert [int(shown.count_nonzero()) for _, shown in hints(large, 0, tmp_path)] == [0, 0]


def test_hints_are_all_over_the_picture_and_follow_the_seed(large: Labelled, tmp_path: Path) -> None:
    for (truth, shown), (_, other) in zip(
        hints(large, 300, tmp_path), hints(large, 300, tmp_path / "seed", seed=1), strict=True
    ):
        quarters = [half.chunk(2, dim=1) for half in shown[2].chunk(2)]
        known = torch.stack([quarter.mean() for row in quarters for quarter in row])
        side = {80: 2, 110: 3}[truth.shape[2]]
        expected = 1 - np.exp(-300 * side**2 / truth[0].numel())
        assert known.tolist() == pytest.approx([expected] * 4, rel=0.4)
        assert not torch.equal(shown, other)
