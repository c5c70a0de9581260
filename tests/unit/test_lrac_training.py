"""What the trainings of LRAC's network share, and the first of them: naming what grey pictures show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from sklearn.metrics import log_loss
from torch import Tensor

from datamodules.base import PictureDataModule
from datamodules.cifar10 import SmallPictures
from lightning_modules.lrac.classification import GreyClassification
from lightning_modules.lrac.network import GreyClassifier, LRACNetwork, VGG16Trunk
from lightning_modules.lrac.training import hypercolumn_is_new, random_locations
from tests.conftest import colourful_pictures, quiet_trainer
from tests.unit.test_lrac_initialization import FC_WIDTH, STD, small_vgg16

NETWORK = {"width": 2, "fc_width": FC_WIDTH, "dropout": 0.0}
STANDSTILL = {"learning_rate": 0.0, "momentum": 0.0, "weight_decay": 0.0, "milestones": [], "decay": 1.0}


@pytest.fixture
def make_classification() -> Callable[..., GreyClassification]:
    """Build a small classification that learns nothing; keywords change its hyper-parameters."""

    def make(**changes: Any) -> GreyClassification:
        settings = {"resolution": 32, "classes": 3, "network": NETWORK, "pretrained": None, "optimization": STANDSTILL}
        return GreyClassification(**{**settings, **changes})

    return make


Make = Callable[..., GreyClassification]


class LabelledPictures(PictureDataModule):
    """Pictures with labels, the same for all three purposes."""

    def __init__(self, rgb: Tensor, labels: list[int], batch_size: int = 4) -> None:
        super().__init__(batch_size=batch_size, evaluation_batch_size=4, workers=0, seed=0)
        names = [str(number) for number in range(len(rgb))]
        self.training = self.validation = self.test = SmallPictures(rgb, names, torch.tensor(labels))


def striped_pictures(count: int, side: int) -> tuple[Tensor, list[int]]:
    """Stripes across and along by turns, in colours that tell nothing: uint8 `(count, 3, side, side)`, and 0 or 1."""
    stripes = (torch.arange(side) // 4 % 2).float().expand(3, side, side)
    colours = torch.rand(count, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    pictures = [colour * (stripes if number % 2 else stripes.mT) for number, colour in enumerate(colours)]
    return (255 * torch.stack(pictures)).byte(), [number % 2 for number in range(count)]


def test_scores_are_those_of_all_pictures_however_they_come_in_batches(make_classification: Make) -> None:
    method = make_classification(classes=6).eval()
    torch.nn.init.normal_(method.network.fc8.weight, std=3e4)  # nothing has brought the layers to one scale
    rgb = colourful_pictures(7, 32)
    with torch.no_grad():
        logits = [method.network(picture.float().mean(dim=0)[None, None] / 255)[0].double() for picture in rgb]
    ranks = [0, 0, 1, 4, 5, 5, 2]
    labels = [int(each.argsort(descending=True)[rank]) for each, rank in zip(logits, ranks, strict=True)]
    probabilities = torch.stack(logits).softmax(dim=1).numpy()
    trainer, data = quiet_trainer(), LabelledPictures(rgb, labels)
    (scores,) = trainer.validate(method, data, verbose=False)
    wanted = log_loss(labels, probabilities, labels=range(6))
    halves = [log_loss(labels[part], probabilities[part], labels=range(6)) for part in (slice(4), slice(4, 7))]
    assert abs(np.mean(halves) - wanted) > 0.01, "the batches' own means would give another"
    accuracy = {"top_1": pytest.approx(2 / 7), "top_5": pytest.approx(5 / 7)}
    assert scores == {
        "validation/loss": pytest.approx(wanted, rel=1e-4),
        **{f"validation/{name}": value for name, value in accuracy.items()},
    }
    (scores,) = trainer.test(method, data, verbose=False)
    assert scores == {f"test/{name}": value for name, value in accuracy.items()}


def test_of_few_classes_only_the_best_guess_is_scored(make_classification: Make) -> None:
    data = LabelledPictures(colourful_pictures(3, 32), [0, 1, 2])
    (scores,) = quiet_trainer().validate(make_classification(classes=4), data, verbose=False)
    assert set(scores) == {"validation/loss", "validation/top_1"}
    (scores,) = quiet_trainer().test(make_classification(classes=5), data, verbose=False)
    assert set(scores) == {"test/top_1", "test/top_5"}


def test_pictures_without_usable_labels_are_refused_in_words(make_classification: Make) -> None:
    method, rgb = make_classification(classes=3), colourful_pictures(2, 32)
    with pytest.raises(ValueError, match="these pictures have no labels; classification wants") as caught:
        method.training_step({"rgb": rgb}, 0)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"of class 3, counted from 0; give model\.classes=4 or more") as caught:
        quiet_trainer().validate(method, LabelledPictures(rgb, [2, 3]), verbose=False)
    assert "\n" not in str(caught.value)


def test_it_learns_what_grey_pictures_show(make_classification: Make) -> None:
    optimization = {"learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.0, "milestones": [], "decay": 1.0}
    network = {**NETWORK, "fc_width": 16, "batch_norm": True, "mean_lightness": 0.2}
    method = make_classification(classes=2, network=network, optimization=optimization)
    data = LabelledPictures(*striped_pictures(32, 32), batch_size=16)
    (before,) = quiet_trainer().validate(method, data, verbose=False)
    quiet_trainer(max_steps=30, limit_val_batches=0).fit(method, data)
    (after,) = quiet_trainer().validate(method, data, verbose=False)
    assert before["validation/top_1"] < 0.8
    assert after["validation/top_1"] > 0.95
    assert after["validation/loss"] < 0.5 * before["validation/loss"]


def test_a_step_is_that_of_gradient_descent_with_biases_twice_as_fast(make_classification: Make) -> None:
    optimization = {"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.5, "milestones": [1], "decay": 0.01}
    method, rgb, labels = make_classification(optimization=optimization), colourful_pictures(2, 32), [0, 2]
    for name, value in method.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.uniform_(value, 0, 0.2)
    before = {name: value.detach().clone() for name, value in method.named_parameters()}
    lightness = rgb.float().mean(dim=1, keepdim=True) / 255
    F.cross_entropy(method.network(lightness), torch.tensor(labels)).backward()
    gradients = {name: value.grad.clone() for name, value in method.named_parameters() if value.grad is not None}
    assert gradients.keys() == before.keys()
    trainer = quiet_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(method, LabelledPictures(rgb, labels, batch_size=2))
    for name, value in method.named_parameters():
        step = 0.2 * gradients[name] if name.endswith("bias") else 0.1 * (gradients[name] + 0.5 * before[name])
        torch.testing.assert_close(value.detach(), before[name] - step, rtol=1e-4, atol=1e-6)
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == pytest.approx([0.001, 0.002])


@pytest.mark.parametrize("classes", [3, 4])
def test_it_starts_as_torchvisions_classifier(tmp_path: Path, make_classification: Make, classes: int) -> None:
    theirs = small_vgg16().state_dict()
    torch.save(theirs, tmp_path / "vgg16.pth")
    method = make_classification(classes=classes, pretrained=str(tmp_path / "vgg16.pth"))
    own = method.network.fc8.weight.clone()
    quiet_trainer(max_steps=1, limit_val_batches=0).fit(method, LabelledPictures(colourful_pictures(4, 32), [0] * 4))
    ours = list(method.network.trunk.parameters())
    for number, (value, wanted) in enumerate(zip(ours, list(theirs.values())[:-2], strict=True)):
        if number > 1:
            assert torch.equal(value.flatten(), wanted.flatten()), f"weights or biases {number} were balanced or lost"
    seen = (theirs["features.0.weight"] / torch.tensor(STD).view(3, 1, 1)).sum(dim=1, keepdim=True)
    torch.testing.assert_close(ours[0].detach(), seen)
    fc8 = method.network.fc8.weight
    assert torch.equal(fc8, theirs["classifier.6.weight"] if classes == 3 else own)
    assert bool(method.initialized)


def test_it_starts_from_other_weights_once(tmp_path: Path, make_classification: Make) -> None:
    path, data = tmp_path / "vgg16.pth", LabelledPictures(colourful_pictures(4, 32), [0] * 4)
    torch.save(small_vgg16().state_dict(), path)
    method = make_classification(pretrained=str(path))
    with torch.no_grad():
        for value in method.parameters():
            value.fill_(0.25)
    method.initialized.fill_(True)
    path.unlink()
    quiet_trainer(max_steps=1, limit_val_batches=0).fit(method, data)
    assert all((value == 0.25).all() for value in method.parameters())


def test_a_hypercolumn_is_new_where_nothing_has_balanced_its_layers() -> None:
    def network(batch_norm: bool) -> LRACNetwork:
        return LRACNetwork(3, width=2, fc_width=FC_WIDTH, hidden_width=5, batch_norm=batch_norm)

    trunk = {name: value for name, value in network(False).state_dict().items() if name.startswith("trunk.")}
    whole = trunk | {"h_fc1.weight": torch.zeros(1), "h_fc1.bias": torch.zeros(1)}
    assert hypercolumn_is_new(network(batch_norm=False), trunk)
    assert not hypercolumn_is_new(network(batch_norm=False), whole)
    assert not hypercolumn_is_new(network(batch_norm=True), trunk)
    assert not hypercolumn_is_new(network(batch_norm=True), whole)
    assert not hypercolumn_is_new(GreyClassifier(VGG16Trunk(2, FC_WIDTH)), trunk), "it has none"


def test_every_pixel_is_drawn_as_often() -> None:
    pictures, generator = torch.zeros(2, 3, 5, 8), torch.Generator().manual_seed(0)
    drawn = random_locations(pictures, 8000, generator)
    assert drawn.shape == (2, 8000, 2)
    assert drawn.dtype == torch.int64
    for places in drawn:
        counts = np.zeros((5, 8))
        np.add.at(counts, tuple(places.T.numpy()), 1)
        assert chisquare(counts.ravel()).pvalue > 1e-3
    assert not torch.equal(drawn[0], drawn[1])


def test_locations_follow_their_generator() -> None:
    pictures, state = torch.zeros(2, 1, 50, 60), torch.random.get_rng_state()
    first, same, other = (random_locations(pictures, 9, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator was drawn from"
    following_global = random_locations(pictures, 9, None)
    torch.random.set_rng_state(state)
    assert torch.equal(following_global, random_locations(pictures, 9, None))
