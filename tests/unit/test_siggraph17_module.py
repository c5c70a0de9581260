"""SIGGRAPH17 as a whole: how it colours, what it learns from, and what it starts with."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from scipy.special import huber, log_softmax, softmax
from torch import Tensor, nn

from lightning_modules.color import to_float
from lightning_modules.guidance import Guidance
from lightning_modules.hints import random_patches
from lightning_modules.siggraph17.classes import enlarged
from lightning_modules.siggraph17.module import SIGGRAPH17
from lightning_modules.siggraph17.network import ColorizationNetwork
from tests.conftest import GivenPictures, colourful_pictures, quiet_trainer
from tests.unit.test_exemplar_module import assert_close, grey_pictures, lab_of, painted, resized_by_pillow
from tests.unit.test_hints import random_hints, revealed
from tests.unit.test_siggraph17_network import WIDTH
from tests.unit.test_siggraph17_weights import Zhang2016, Zhang2017, zhangs

LOSS = {"huber_weight": 20.0, "huber_delta": 1.0, "class_weight": 1.0, "class_apart": True}
OPTIMIZATION = {"learning_rate": 1e-3, "weight_decay": 0.0, "decay": 0.1, "epochs": 2}
HINTS = {"sides": [1, 4], "whole_share": 0.0, "none_share": 0.0}


def small(**changes: Any) -> SIGGRAPH17:
    """A small one in evaluation mode, of pale colours that are rarely clipped; keywords change its settings."""
    settings: dict[str, Any] = {
        "resolution": 16,
        "network": {"architecture": "published", "width": 2},
        "hints": HINTS,
        "decode": "regression",
        "temperature": 0.38,
        "inference_short_side": None,
        "pretrained": None,
        "loss": LOSS,
        "optimization": OPTIMIZATION,
    }
    model = SIGGRAPH17(**{**settings, **changes})
    nn.init.normal_(model.network.out.weight, std=0.05)
    return model.eval()


@contextmanager
def inputs_of(model: SIGGRAPH17) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Lab L and hints of each call of the network, before they are padded to multiples of 8."""
    calls: list[tuple[Tensor, Tensor]] = []
    features = model.network.features

    def noted(luminance: Tensor, hints: Tensor) -> tuple[Tensor, Tensor]:
        calls.append((luminance.clone(), hints.clone()))
        return features(luminance, hints)

    model.network.features = noted  # type: ignore[method-assign]
    yield calls
    del model.network.features


def fit(model: SIGGRAPH17, rgb: Tensor, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    """Train on the same batch."""
    trainer = quiet_trainer(limit_val_batches=0, callbacks=list(callbacks), **{"max_steps": 1, **settings})
    trainer.fit(model.train(), GivenPictures(rgb, batch_size=len(rgb)))
    return trainer


def loss_by_hand(model: SIGGRAPH17, rgb: Tensor, hints: Tensor) -> float:
    """Both heads' losses, by what the network gives in its mode."""
    lab, numbers = lab_of(rgb), model.loss
    with torch.no_grad():
        quarter, full = model.network.features(torch.from_numpy(lab[:, :1]).float(), hints)
        predicted, logits = model.network.chroma(full), model.network.classes(quarter)
    delta = numbers["huber_delta"] / 110
    regression = huber(delta, (predicted.double().numpy() - lab[:, 1:]) / 110).mean() / delta
    a, b = (np.rint(lab[:, channel, ::4, ::4] / 10).astype(int) + 11 for channel in (1, 2))
    logs = log_softmax(logits.double().numpy(), axis=1)
    classes = -np.take_along_axis(logs, (23 * a + b)[:, None], axis=1).mean()
    return float(numbers["huber_weight"] * regression + numbers["class_weight"] * classes)


def sharpened_mean(logits: Tensor) -> Tensor:
    """The mean colour of the classes at a temperature of 0.5, `(B, 2, h, w)`."""
    shares = softmax(logits.double().numpy() / 0.5, axis=1)
    colours = np.array([(a, b) for a in range(-110, 120, 10) for b in range(-110, 120, 10)])
    return torch.from_numpy(np.einsum("bkyx,kc->bcyx", shares, colours)).float()


# Colouring


@pytest.mark.parametrize("decode", ["regression", "distribution"])
@pytest.mark.parametrize("hinted", [True, False])
@pytest.mark.parametrize("size", [(16, 24), (13, 18)])
def test_images_are_coloured_by_the_chosen_head(decode: str, hinted: bool, size: tuple[int, int]) -> None:
    model, luminance, hints = (
        small(decode=decode, temperature=0.5),
        grey_pictures(2, *size),
        random_hints(2, *size, 0.2),
    )
    found = model.colorize(luminance, samples=3, guidance=Guidance(hints=hints) if hinted else None)
    with torch.no_grad():
        quarter, full = model.network.features(luminance, hints * hinted)
        logits = model.network.classes(quarter)
        chroma = model.network.chroma(full) if decode == "regression" else enlarged(sharpened_mean(logits), size)
    assert found.shape == (2, 3, 3, *size)
    for sample in range(3):
        assert_close(found[:, sample], painted(luminance, chroma), 2e-4)


def test_hints_change_colours_and_nothing_is_random() -> None:
    model, luminance, state = small(), grey_pictures(1, 16, 16), torch.random.get_rng_state()
    hints = random_hints(1, 16, 16, 0.3)
    torch.random.set_rng_state(state)
    plain, again, other = (model.colorize(luminance, guidance=each) for each in (None, None, Guidance(hints=hints)))
    assert torch.equal(plain, again)
    assert (plain - other).abs().max() > 1e-3
    assert torch.equal(state, torch.random.get_rng_state())
    assert not model.stochastic


@pytest.mark.parametrize("decode", ["regression", "distribution"])
def test_large_images_are_seen_smaller_and_hints_shrink_with_them(decode: str) -> None:
    model, luminance, hints = small(inference_short_side=16, decode=decode), grey_pictures(1, 32, 48), None
    hints = torch.zeros(1, 3, 32, 48)
    hints[0, :, 4, 5] = torch.tensor([20.0, -8.0, 1.0])
    hints[0, :, 5, 4] = torch.tensor([10.0, 4.0, 1.0])
    with inputs_of(model) as calls:
        found = model.colorize(luminance, guidance=Guidance(hints=hints))
    ((seen, shown),) = calls
    assert_close(seen, resized_by_pillow(luminance.numpy(), (16, 24)), 1e-2)
    assert shown[0, :, 2, 2].tolist() == [15, -2, 1]
    assert shown[:, 2].sum() == 1
    assert found.shape == (1, 1, 3, 32, 48)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"architecture": "vgg"}}, "network.architecture is published or compact"),
        ({"decode": "mode"}, "model.decode is regression or"),
        ({"temperature": -1.0}, "temperature=-1.0 is less than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small(**changes)


# Training


def test_training_reveals_random_patches() -> None:
    lab = torch.from_numpy(lab_of(to_float(colourful_pictures(4, 16)))).float()
    hints = small().training_hints(lab, torch.Generator().manual_seed(2))
    patches = random_patches(4, (16, 16), (1, 4), torch.Generator().manual_seed(2), torch.device("cpu"))
    wanted = revealed(lab[:, 1:], patches)
    assert 0 < wanted[:, 2].mean() < 1
    assert_close(hints, wanted, 1e-3)


@pytest.mark.parametrize("changes", [{}, {"class_weight": 0.3, "huber_delta": 15.0, "class_apart": False}])
def test_training_loss_is_the_weighted_sum_of_both_heads(changes: dict[str, Any]) -> None:
    model, rgb = small(loss=LOSS | changes), colourful_pictures(4, 16)
    copy = deepcopy(model).train()
    with inputs_of(model) as calls:
        logged = fit(model, rgb).callback_metrics
    ((luminance, hints),) = calls
    assert 0 < hints[:, 2].mean() < 1
    own = torch.from_numpy(lab_of(to_float(rgb))[:, :1]).float()
    shuffled = to_float(rgb)[torch.cdist(luminance.flatten(1), own.flatten(1)).argmin(dim=1)]
    assert logged["train/loss"].item() == pytest.approx(loss_by_hand(copy, shuffled, hints), rel=1e-4)


def test_of_a_share_of_images_everything_is_revealed() -> None:
    model, rgb = small(hints=HINTS | {"whole_share": 0.5}), to_float(colourful_pictures(2, 16)).repeat(200, 1, 1, 1)
    lab = torch.from_numpy(lab_of(rgb)).float()
    hints = model.training_hints(lab, torch.Generator().manual_seed(0))
    whole = hints[:, 2].flatten(1).all(dim=1)
    assert 0.4 < whole.double().mean() < 0.6
    assert torch.equal(hints[whole, :2], lab[whole, 1:])
    assert hints[~whole, 2].mean() < 0.6
    assert model.training_hints(lab, torch.Generator().manual_seed(0)).equal(hints)


@pytest.mark.parametrize("apart", [True, False])
def test_the_class_head_teaches_the_blocks_before_it_only_if_it_may(apart: bool) -> None:
    model = small(loss=LOSS | {"huber_weight": 0.0, "class_apart": apart}).train()
    lab = torch.from_numpy(lab_of(to_float(colourful_pictures(2, 16)))).float()
    model.completion_loss(lab, model.training_hints(lab, None)).backward()
    taught = {name for name, value in model.network.named_parameters() if value.grad is not None and value.grad.any()}
    assert {"classes.weight", "classes.bias"} <= taught
    assert any(name.startswith("blocks.7.") for name in taught) is not apart
    assert not any(name.startswith(("blocks.9.", "blocks.10.", "out.")) for name in taught)
    assert all(value.grad is not None for value in model.parameters()), "DDP waits for every gradient"


def test_validation_logs_the_loss_with_hints_without_and_their_sum() -> None:
    model, rgb = small(), colourful_pictures(4, 16)
    trainer = quiet_trainer()
    with inputs_of(model) as calls:
        first, second = (trainer.validate(model, GivenPictures(rgb), verbose=False)[0] for _ in range(2))
    assert first == second, "hints are the same every time"
    by_hand = [loss_by_hand(model, to_float(rgb), hints) for _, hints in calls[:2]]
    assert not calls[0][1].any()
    assert calls[1][1][:, 2].any()
    wanted = {"automatic": by_hand[0], "hinted": by_hand[1], "loss": sum(by_hand)}
    assert first == {f"validation/{name}": pytest.approx(value, rel=1e-4) for name, value in wanted.items()}


def test_without_hints_nothing_is_revealed() -> None:
    model, rgb = small(hints=None), colourful_pictures(4, 16)
    logged = quiet_trainer().validate(model, GivenPictures(rgb), verbose=False)[0]
    assert logged.keys() == {"validation/automatic", "validation/loss"}
    with inputs_of(model) as calls:
        fit(model, rgb)
    assert not calls[0][1].any()


class Rates(pl.Callback):
    """Notes Adam's rate in each epoch."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep it."""
        self.found.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_the_rate_falls_in_steps() -> None:
    rates = Rates()
    fit(small(), colourful_pictures(2, 16), rates, max_steps=-1, max_epochs=5)
    assert rates.found == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


def test_it_learns_to_follow_hints() -> None:
    schedule = OPTIMIZATION | {"learning_rate": 3e-3, "decay": 1.0}
    model, rgb = (
        small(network={"architecture": "published", "width": 8}, optimization=schedule),
        colourful_pictures(8, 16),
    )
    lab = torch.from_numpy(lab_of(to_float(rgb))).float()
    luminance, hints = lab[:, :1], model.training_hints(lab, torch.Generator().manual_seed(5))

    def error() -> float:
        with torch.no_grad():
            return float((model.eval().network(luminance, hints) - lab[:, 1:]).abs().mean())

    before = error()
    fit(model, rgb, max_steps=60)
    assert error() < before / 2


def test_pretrained_blocks_are_taken_once(tmp_path: Path) -> None:
    theirs, path = zhangs(Zhang2016, tmp_path)
    model, rgb = (
        small(network={"architecture": "published", "width": WIDTH}, pretrained=path),
        colourful_pictures(2, 16),
    )
    fit(model, rgb, max_steps=0)
    model.on_fit_start()
    network = model.network
    assert isinstance(network, ColorizationNetwork)
    for number in range(1, 8):
        wanted = theirs.get_submodule(f"model{number}").state_dict()
        for name, value in network.blocks[f"{number}"].state_dict().items():
            if (number, name) != (1, "0.weight"):
                assert torch.equal(value, wanted[name]), (number, name)
    nn.init.zeros_(network.blocks["3"].get_parameter("0.weight"))
    model.on_fit_start()
    assert not network.blocks["3"].get_parameter("0.weight").any(), "a resumed run starts anew"


# The small network


COMPACT = {"architecture": "compact", "widths": [4, 6, 8, 10], "blocks": [1, 1, 1, 1], "head": 12}


@pytest.mark.parametrize("size", [(16, 16), (2, 3), (21, 34)])
def test_the_small_network_has_the_same_two_heads(size: tuple[int, int]) -> None:
    network, (height, width) = small(network=COMPACT).network, size
    luminance, hints = grey_pictures(2, *size), random_hints(2, *size, 0.3)
    with torch.no_grad():
        quarter, full = network.features(luminance, hints)
        chroma, logits = network.chroma(full), network.classes(quarter)
        other = network.chroma(network.features(luminance, torch.zeros_like(hints))[1])
    assert chroma.shape == (2, 2, height, width)
    assert logits.shape == (2, 529, -(-height // 4), -(-width // 4))
    assert chroma.abs().max() <= 110
    assert (chroma - other).abs().max() > 1e-3, "hints have no influence"


def test_the_small_network_learns_to_its_end_and_starts_from_runs_of_its_own_kind_only(tmp_path: Path) -> None:
    rates, rgb, schedule = Rates(), colourful_pictures(4, 16), OPTIMIZATION | {"epochs": None}
    model = small(network=COMPACT, optimization=schedule)
    fit(model, rgb, rates, max_steps=-1, max_epochs=4).save_checkpoint(tmp_path / "last.ckpt")
    assert rates.found == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    again = small(network=COMPACT, pretrained=str(tmp_path))
    again.on_fit_start()
    assert all(
        torch.equal(value, model.network.state_dict()[name]) for name, value in again.network.state_dict().items()
    )
    for path in (zhangs(Zhang2016, tmp_path)[1], zhangs(Zhang2017, tmp_path)[1]):
        with pytest.raises(ValueError, match="cannot start this network"):
            small(network=COMPACT, pretrained=path).on_fit_start()
