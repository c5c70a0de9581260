"""What can stand for ImageNet's VGG-19: a small one, taught to name what pictures show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from lightning_modules.exemplar.classification import VGG19Classification
from lightning_modules.task import Task
from tests.conftest import colourful_pictures, quiet_trainer
from tests.unit.test_lrac_training import LabelledPictures, striped_pictures
from tests.unit.test_task import save


def small_classification(classes: int = 3, width: int = 2, **optimization: Any) -> VGG19Classification:
    """A small one that learns nothing; keywords change its optimisation."""
    settings: Any = {"learning_rate": 0.0, "weight_decay": 0.0, "steps": 100, **optimization}
    return VGG19Classification(resolution=32, classes=classes, width=width, optimization=settings)


def test_scores_are_those_of_all_pictures_however_they_come_in_batches() -> None:
    method, rgb = small_classification(classes=6).eval(), colourful_pictures(7, 32)
    nn.init.normal_(method.classifier.weight, std=3)
    with torch.no_grad():
        features = method.encoder(rgb.float() / 255).double().flatten(2).numpy()
    weight, bias = (value.detach().double().numpy() for value in method.classifier.parameters())
    logits = features.mean(axis=2) @ weight.T + bias
    ranks = [0, 0, 1, 4, 5, 5, 2]
    labels = [int(np.argsort(-each)[rank]) for each, rank in zip(logits, ranks, strict=True)]
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    wanted = log_loss(labels, probabilities, labels=range(6))
    halves = [log_loss(labels[part], probabilities[part], labels=range(6)) for part in (slice(4), slice(4, 7))]
    assert abs(np.mean(halves) - wanted) > 0.01, "the batches' own means would give another"
    trainer, data = quiet_trainer(), LabelledPictures(rgb, labels)
    (scores,) = trainer.validate(method, data, verbose=False)
    accuracy = {"top_1": pytest.approx(2 / 7), "top_5": pytest.approx(5 / 7)}
    assert scores == {
        "validation/loss": pytest.approx(wanted, rel=1e-4),
        **{f"validation/{name}": value for name, value in accuracy.items()},
    }
    (scores,) = trainer.test(method, data, verbose=False)
    assert scores == {f"test/{name}": value for name, value in accuracy.items()}


def test_it_learns_what_pictures_show() -> None:
    method = small_classification(classes=2, learning_rate=0.01, steps=30)
    data = LabelledPictures(*striped_pictures(32, 32), batch_size=16)
    (before,) = quiet_trainer().validate(method, data, verbose=False)
    quiet_trainer(max_steps=30, limit_val_batches=0).fit(method, data)
    (after,) = quiet_trainer().validate(method, data, verbose=False)
    assert before["validation/top_1"] < 0.8
    assert after["validation/top_1"] > 0.95
    assert after["validation/loss"] < 0.5 * before["validation/loss"]


def test_pictures_without_usable_labels_are_refused_in_words() -> None:
    method, rgb = small_classification(), colourful_pictures(2, 32)
    with pytest.raises(ValueError, match="these pictures have no labels; classification wants") as caught:
        method.training_step({"rgb": rgb}, 0)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"of class 3, counted from 0; give model\.classes=4 or more") as caught:
        quiet_trainer().validate(method, LabelledPictures(rgb, [2, 3]), verbose=False)
    assert "\n" not in str(caught.value)


def test_its_rate_rises_and_falls_to_nothing() -> None:
    method = small_classification(learning_rate=0.1, steps=20)
    rates: list[float] = []
    trainer = quiet_trainer(max_steps=20, limit_val_batches=0)
    hook = method.encoder.register_forward_pre_hook(
        lambda module, inputs: rates.append(trainer.optimizers[0].param_groups[0]["lr"])
    )
    trainer.fit(method, LabelledPictures(colourful_pictures(2, 16), [0, 1], batch_size=2))
    hook.remove()
    assert len(rates) == 20, "the last of the steps is reached"
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(0.1, rel=0.02)
    assert 0 < peak < 10
    assert rates[0] < 0.01
    assert rates[-1] < 0.01
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()


def test_weights_decay_by_themselves() -> None:
    method = small_classification(learning_rate=0.1, weight_decay=0.5, steps=10)
    configured: Any = method.configure_optimizers()
    (group,) = configured["optimizer"].param_groups
    before = [value.detach().clone() for value in method.parameters()]
    for value in method.parameters():
        value.grad = torch.zeros_like(value)
    configured["optimizer"].step()
    assert group["lr"] > 0
    for value, old in zip(method.parameters(), before, strict=True):
        torch.testing.assert_close(value.detach(), old * (1 - group["lr"] * 0.5))


def test_it_is_rebuilt_from_its_checkpoint_alone(tmp_path: Path) -> None:
    method = small_classification().eval()
    loaded = Task.load(save(method, tmp_path / "last.ckpt"))
    assert isinstance(loaded, VGG19Classification)
    assert not loaded.training
    batch = {"rgb": colourful_pictures(2, 32)}
    with torch.no_grad():
        assert torch.equal(loaded.logits(batch), method.logits(batch))
