"""Exemplar as a whole: its pipeline step by step, its training, what it starts with, and how two runs are joined."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from scipy.special import huber, log_softmax
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor, nn

from lightning_modules import join as command
from lightning_modules.color import rgb_to_lab, to_float
from lightning_modules.colorizer import Colorizer
from lightning_modules.exemplar.classification import VGG19Classification
from lightning_modules.exemplar.module import Exemplar
from lightning_modules.guidance import Guidance
from lightning_modules.hints import random_patches, uniform_patches
from tests.conftest import GivenPictures, colourful_pictures, quiet_trainer
from tests.unit.test_hints import random_hints, revealed
from tests.unit.test_task import classification, save

Array = npt.NDArray[np.float64]

HINTS = {"sides": [1, 4], "patches": 6, "positions": "uniform", "empty_from_epoch": 15}
LOSS = {
    "hint_weight": 10.0,
    "huber_delta": 1.0,
    "class_weight": 0.0,
    "reconstruction_weight": 0.8,
    "perceptual_weight": 0.2,
}
OPTIMIZATION = {
    "colorization": {"learning_rate": 1e-5, "decay": 0.1, "epochs": 10},
    "transfer": {"learning_rate": 1e-4, "decay": 0.5, "epochs": 5},
}
BOTH = ["colorization", "transfer"]


def small_exemplar(**changes: Any) -> Exemplar:
    """A small one in evaluation mode, of pale colours that are rarely clipped; keywords change its settings."""
    settings: dict[str, Any] = {
        "resolution": 16,
        "parts": BOTH,
        "colorization": {"width": 2},
        "transfer": {"width": 2},
        "hints": HINTS,
        "precolored": True,
        "refined": True,
        "inference_short_side": None,
        "pretrained": {"encoder": None, "colorization": None},
        "loss": LOSS,
        "optimization": OPTIMIZATION,
    }
    nested = {name: {**settings[name], **value} for name, value in changes.items() if isinstance(settings[name], dict)}
    model = Exemplar(**{**settings, **changes, **nested})
    if "colorization" in model.parts:
        nn.init.normal_(model.colorization.out.weight, std=0.05)
    if "transfer" in model.parts:
        weight, bias = model.transfer.decoder.before["1"].parameters()
        nn.init.normal_(weight, std=0.02)
        nn.init.constant_(bias, 0.5)
    return model.eval()


def fit(model: Exemplar, rgb: Tensor, *callbacks: pl.Callback, path: Path | None = None, **settings: Any) -> pl.Trainer:
    """Train on the same batch, from a checkpoint on if there is one."""
    trainer = quiet_trainer(limit_val_batches=0, callbacks=list(callbacks), **{"max_steps": 1, **settings})
    trainer.fit(model.train(), GivenPictures(rgb, batch_size=len(rgb)), ckpt_path=path, weights_only=True)
    return trainer


class Call(NamedTuple):
    """One of a network: its inputs and its output."""

    network: str
    inputs: tuple[Any, ...]
    output: Tensor


@contextmanager
def calls_of(model: Exemplar) -> Iterator[list[Call]]:
    """The calls of both networks, in their order."""
    calls: list[Call] = []

    def noted(name: str) -> Any:
        return lambda module, inputs, output: calls.append(Call(name, inputs, output.clone()))

    hooks = [model.get_submodule(part).register_forward_hook(noted(part)) for part in model.parts]
    yield calls
    for hook in hooks:
        hook.remove()


def lab_of(rgb: Tensor) -> Array:
    """CIELab of RGB in [0, 1], `(B, 3, H, W)`."""
    return np.asarray(rgb2lab(rgb.double().numpy(), channel_axis=1))


def painted(luminance: Tensor | Array, chroma: Tensor | Array) -> Array:
    """RGB in [0, 1] of Lab L and of a and b."""
    parts = [np.asarray(each, dtype=np.float64) for each in (luminance, chroma)]
    return np.asarray(lab2rgb(np.concatenate(parts, axis=1), channel_axis=1))


def grey_pictures(count: int, height: int, width: int) -> Tensor:
    """Smooth Lab L between 40 and 70, `(B, 1, H, W)`."""
    pictures = to_float(colourful_pictures(count, max(height, width)))[:, :1, :height, :width]
    return 40 + 30 * pictures


def references(count: int, height: int, width: int) -> Tensor:
    """RGB in [0, 1]."""
    return to_float(colourful_pictures(count, max(height, width), seed=5))[:, :, :height, :width]


def seeded(seed: int = 3) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def assert_close(found: Tensor | Array, wanted: Tensor | Array, tolerance: float) -> None:
    """Two arrays agree."""
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=0, atol=tolerance)


# The pipeline


@pytest.mark.parametrize("positions", ["uniform", "training"])
@pytest.mark.parametrize(("size", "other"), [((16, 24), (24, 16)), ((19, 30), (33, 17))])
def test_a_reference_is_followed_step_by_step(positions: str, size: tuple[int, int], other: tuple[int, int]) -> None:
    model, luminance, reference = small_exemplar(hints={"positions": positions}), grey_pictures(2, *size), None
    reference = references(2, *other)
    with calls_of(model) as calls:
        found = model.colorize(luminance, guidance=Guidance(reference=reference), generator=seeded())
    assert [call.network for call in calls] == ["colorization", "transfer", "colorization"]
    automatic, stylized, refined = calls
    assert_close(automatic.inputs[0], luminance, 1e-4)
    assert not automatic.inputs[1].any()
    assert_close(stylized.inputs[0], painted(luminance, automatic.output), 1e-4)
    assert torch.equal(stylized.inputs[1], reference)
    coarse = torch.from_numpy(lab_of(stylized.output)[:, 1:])
    assert_close(refined.inputs[0], luminance, 1e-4)
    device = torch.device("cpu")
    if positions == "uniform":
        patches = uniform_patches(2, 6, size, (1, 4), seeded(), device)
    else:
        patches = random_patches(2, size, (1, 4), seeded(), device)
    wanted = revealed(coarse, patches)
    assert 0 < wanted[:, 2].mean() < 1
    assert_close(refined.inputs[1], wanted, 1e-2)
    assert found.shape == (2, 1, 3, *size)
    assert_close(found[:, 0], painted(luminance, refined.output), 1e-4)


def test_without_a_reference_the_one_network_is_called_once() -> None:
    model, luminance, hints = small_exemplar(), grey_pictures(2, 17, 24), random_hints(2, 17, 24, 0.2)
    for guidance in (None, Guidance(hints=hints)):
        with calls_of(model) as calls:
            found = model.colorize(luminance, samples=3, guidance=guidance)
        (call,) = calls
        assert call.network == "colorization"
        assert torch.equal(call.inputs[1], hints if guidance else torch.zeros_like(hints))
        for sample in range(3):
            assert_close(found[:, sample], painted(luminance, call.output), 1e-4)


def test_hints_of_a_person_win_over_those_of_the_reference() -> None:
    model, hints = small_exemplar(hints={"patches": 40}), random_hints(2, 16, 24, 0.3)
    guidance = Guidance(reference=references(2, 16, 16), hints=hints)
    with calls_of(model) as calls:
        model.colorize(grey_pictures(2, 16, 24), guidance=guidance, generator=seeded())
    automatic, stylized, refined = calls
    assert not automatic.inputs[1].any(), "the transfer sub-net sees automatic colours"
    coarse = torch.from_numpy(lab_of(stylized.output)[:, 1:])
    wanted = revealed(coarse, uniform_patches(2, 40, (16, 24), (1, 4), seeded(), torch.device("cpu")))
    own = hints.numpy()
    given = np.broadcast_to(own[:, 2:] > 0, wanted.shape)
    assert (wanted[:, 2:] > 0)[given[:, :1]].any()
    wanted[given] = own[given]
    assert_close(refined.inputs[1], wanted, 1e-2)


@pytest.mark.parametrize("parts", [BOTH, ["transfer"]])
def test_unrefined_chroma_is_shown_as_it_is_transferred(parts: list[str]) -> None:
    model, luminance = small_exemplar(refined=parts == ["transfer"], parts=parts), grey_pictures(2, 19, 16)
    with calls_of(model) as calls:
        found = model.colorize(luminance, samples=2, guidance=Guidance(reference=references(2, 16, 32)))
    assert [call.network for call in calls] == parts
    for sample in range(2):
        assert_close(found[:, sample], painted(luminance, lab_of(calls[-1].output)[:, 1:]), 2e-4)


@pytest.mark.parametrize(("refined", "networks"), [(True, ["transfer", "colorization"]), (False, ["transfer"])])
def test_the_transfer_may_see_grey(refined: bool, networks: list[str]) -> None:
    model, luminance = small_exemplar(precolored=False, refined=refined), grey_pictures(2, 16, 16)
    with calls_of(model) as calls:
        model.colorize(luminance, guidance=Guidance(reference=references(2, 16, 32)))
    assert [call.network for call in calls] == networks
    assert_close(calls[0].inputs[0], painted(luminance, np.zeros((2, 2, 16, 16))), 1e-4)


def test_labels_go_to_the_transfer() -> None:
    model, luminance, reference = small_exemplar(), grey_pictures(2, 16, 24), references(2, 32, 16)
    labels, others = torch.randint(2, (2, 16, 24)), torch.randint(2, (2, 32, 16))
    with calls_of(model) as calls:
        model.colorize(luminance, guidance=Guidance(reference, None, labels, others))
        model.colorize(luminance, guidance=Guidance(reference))
    by_label, plain = (call for call in calls if call.network == "transfer")
    assert [torch.equal(*each) for each in zip(by_label.inputs[2:], (labels, others), strict=True)] == [True, True]
    assert plain.inputs[2:] == (None, None)
    assert not torch.equal(by_label.output, plain.output)


def test_draws_after_a_reference_differ_and_follow_their_generator() -> None:
    model, luminance = small_exemplar(), grey_pictures(1, 16, 24).expand(2, -1, -1, -1)
    guidance, state = Guidance(reference=references(1, 16, 24).expand(2, -1, -1, -1)), torch.random.get_rng_state()
    first, same, other = (
        model.colorize(luminance, samples=3, guidance=guidance, generator=seeded(seed)) for seed in (1, 1, 2)
    )
    assert first.shape == (2, 3, 3, 16, 24)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator was drawn from"
    assert len({tuple(each.flatten().tolist()) for each in first.flatten(0, 1)}) == 6, "two draws are the same"


def test_without_a_reference_all_draws_are_one() -> None:
    model, luminance = small_exemplar(), grey_pictures(2, 16, 24)
    assert not model.stochastic
    state = torch.random.get_rng_state()
    first, second = model.colorize(luminance, samples=2).unbind(1)
    assert torch.equal(first, second)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("size", [(2, 2), (2, 33), (17, 13)])
@pytest.mark.parametrize("other", [(2, 2), (21, 34)])
@pytest.mark.parametrize("refined", [True, False])
def test_pictures_keep_their_size_and_luminance(size: tuple[int, int], other: tuple[int, int], refined: bool) -> None:
    model, luminance = small_exemplar(refined=refined), grey_pictures(2, *size)
    found = model.colorize(luminance, samples=2, guidance=Guidance(reference=references(2, *other)))
    assert found.shape == (2, 2, 3, *size)
    inside = ((found > 0) & (found < 1)).all(dim=2).numpy()
    assert inside.mean() > 0.5
    for sample in range(2):
        difference = lab_of(found[:, sample])[:, 0] - luminance[:, 0].numpy()
        assert np.abs(difference[inside[:, sample]]).max() < 0.01


@pytest.mark.parametrize(
    ("parts", "accepts", "requires"),
    [
        (["colorization"], ["hints"], []),
        (["transfer"], ["labels", "reference", "reference_labels"], ["reference"]),
        (BOTH, ["hints", "labels", "reference", "reference_labels"], []),
    ],
)
def test_it_says_what_it_takes(parts: list[str], accepts: list[str], requires: list[str]) -> None:
    model = small_exemplar(parts=parts)
    assert (sorted(model.accepts), sorted(model.requires)) == (accepts, requires)


def test_guidance_that_cannot_be_followed_is_refused_in_a_sentence() -> None:
    luminance, rgb, labels = grey_pictures(1, 16, 16), references(1, 16, 16), torch.zeros(1, 16, 16).long()
    alone, whole, transfer = (small_exemplar(parts=parts) for parts in (["colorization"], BOTH, ["transfer"]))
    for model, guidance, sentence in (
        (alone, Guidance(reference=rgb), "Exemplar takes no guidance by reference; it takes hints$"),
        (transfer, Guidance(), "Exemplar colours by a reference, and got none"),
        (transfer, Guidance(rgb, torch.zeros(1, 3, 16, 16)), "Exemplar takes no guidance by hints; it takes labels, "),
        (whole, Guidance(rgb, labels=labels), "labels are matched with the reference's; give labels and reference_la"),
        (whole, Guidance(rgb, reference_labels=labels), "labels are matched with the reference's; give labels and re"),
    ):
        with pytest.raises(ValueError, match=rf"^{sentence}") as caught:
            model.colorize(luminance, guidance=guidance)
        assert "\n" not in str(caught.value)
    with pytest.raises(
        ValueError, match=r"follows no reference; join it with a run of exemplar_transfer_coco: python -m"
    ):
        alone.stylize(rgb, Guidance(reference=rgb))
    with pytest.raises(ValueError, match="without a reference there are no colours to take; give one"):
        whole.stylize(rgb, Guidance())


# Large pictures


def resized_by_pillow(maps: Array, size: tuple[int, int]) -> Array:
    """Bicubic, antialiased, `(B, C, H, W)` to `(B, C, *size)`."""
    images = [
        [Image.fromarray(each).resize(size[::-1], Image.Resampling.BICUBIC) for each in picture] for picture in maps
    ]
    return np.array([[np.asarray(each) for each in picture] for picture in images])


def stretched(maps: Array, size: tuple[int, int]) -> Array:
    """Cubic convolution (a = -0.75), pixel by pixel, which repeats the border: `(B, C, H, W)` to `(B, C, *size)`."""
    for axis, side in zip((2, 3), size, strict=True):
        old = maps.shape[axis]
        matrix = np.zeros((side, old))
        for row in range(side):
            at = (row + 0.5) * old / side - 0.5
            for pixel in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
                d = abs(at - pixel)
                near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
                matrix[row, min(max(pixel, 0), old - 1)] += near if d <= 1 else far
        maps = np.moveaxis(np.moveaxis(maps, axis, -1) @ matrix.T, -1, axis)
    return maps


@pytest.mark.parametrize(("size", "seen"), [((40, 64), (16, 26)), ((64, 32), (32, 16)), ((24, 16), (24, 16))])
def test_large_pictures_are_shrunk_and_their_chroma_is_stretched(size: tuple[int, int], seen: tuple[int, int]) -> None:
    model, luminance = small_exemplar(inference_short_side=16), grey_pictures(2, *size)
    reference = references(2, 48, 40)
    with calls_of(model) as calls:
        found = model.colorize(luminance, guidance=Guidance(reference=reference))[:, 0]
    automatic, stylized, refined = calls
    small = resized_by_pillow(luminance.numpy(), seen) if seen != size else luminance.numpy()
    assert_close(automatic.inputs[0], small, 1e-2)
    assert stylized.inputs[0].shape == (2, 3, *seen)
    assert_close(stylized.inputs[1], resized_by_pillow(reference.numpy(), (19, 16)).clip(0, 1), 1e-4)
    assert refined.inputs[1].shape == (2, 3, *seen)
    chroma = stretched(refined.output.double().numpy(), size)
    assert_close(found, painted(luminance, chroma), 2e-4)


def test_hints_in_large_pictures_shrink_with_them() -> None:
    model, hints = small_exemplar(inference_short_side=16), torch.zeros(1, 3, 32, 48)
    hints[0, :, 4, 5] = torch.tensor([20.0, -8.0, 1.0])
    hints[0, :, 5, 4] = torch.tensor([10.0, 4.0, 1.0])
    with calls_of(model) as calls:
        model.colorize(grey_pictures(1, 32, 48), guidance=Guidance(hints=hints))
    seen = calls[0].inputs[1]
    assert seen.shape == (1, 3, 16, 24)
    assert seen[0, :, 2, 2].tolist() == [15, -2, 1]
    assert seen[:, 2].sum() == 1


def test_stylizing_is_the_transfer_alone() -> None:
    model, rgb, reference = small_exemplar(inference_short_side=16), references(1, 32, 16), references(1, 40, 48)
    with calls_of(model) as calls, torch.no_grad():
        found = model.stylize(rgb, Guidance(reference=reference))
    (call,) = calls
    assert call.network == "transfer"
    assert torch.equal(call.inputs[0], rgb)
    assert_close(call.inputs[1], resized_by_pillow(reference.numpy(), (16, 19)).clip(0, 1), 1e-4)
    assert torch.equal(found, call.output)


# Training


def completion_by_hand(model: Exemplar, rgb: Tensor, hints: Tensor) -> Array:
    """The loss of equation 2, and of the class head, of each picture, by what the network gives in its mode."""
    lab, numbers, eighth = lab_of(rgb), model.loss, []
    hook = model.colorization.blocks["8"].register_forward_hook(lambda module, inputs, output: eighth.append(output))
    with torch.no_grad():
        predicted = model.colorization(torch.from_numpy(lab[:, :1]).float(), hints).double().numpy()
    hook.remove()
    residuals = (1 + numbers["hint_weight"] * hints[:, 2:].numpy()) * (predicted - lab[:, 1:]) / 110
    delta = numbers["huber_delta"] / 110
    losses = (huber(delta, residuals) / delta).mean(axis=(1, 2, 3))
    if numbers["class_weight"]:
        with torch.no_grad():
            logs = log_softmax(model.colorization.classes(eighth[0]).double().numpy(), axis=1)
        a, b = (np.rint(lab[:, channel, ::4, ::4] / 10).astype(int) + 11 for channel in (1, 2))
        chosen = np.take_along_axis(logs, (23 * a + b)[:, None], axis=1)
        losses = losses - numbers["class_weight"] * chosen.mean(axis=(1, 2, 3))
    return np.asarray(losses)


def reconstruction_by_hand(model: Exemplar, rgb: Tensor) -> Array:
    """The decoder's loss, of each picture."""
    with torch.no_grad():
        redrawn = model.transfer.reconstruct(rgb)[0]
        features = [model.transfer.encoder(each).double().numpy() for each in (redrawn, rgb)]
    errors = redrawn.double().numpy() - rgb.double().numpy(), features[0] - features[1]
    pixels, perceptual = (np.square(each).mean(axis=(1, 2, 3)) for each in errors)
    numbers = model.loss
    return np.asarray(numbers["reconstruction_weight"] * pixels + numbers["perceptual_weight"] * perceptual)


class Seen(pl.Callback):
    """Notes what there is in each training step: the pictures, the hints to the colourisation sub-net, Adam's rates."""

    def __init__(self) -> None:
        self.pictures: list[Tensor] = []
        self.hints: list[Tensor] = []
        self.rates: list[list[float]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen."""
        assert isinstance(pl_module, Exemplar)
        if "colorization" in pl_module.parts:
            self.hook = pl_module.colorization.blocks["1"].register_forward_pre_hook(self.note)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, number: int) -> None:
        """Before the step."""
        self.pictures.append(to_float(batch["rgb"]))
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def note(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Keep the hints in Lab units."""
        self.hints.append(inputs[0][:, 1:] * torch.tensor([110, 110, 1]).view(3, 1, 1))


@pytest.mark.parametrize("changes", [{}, {"class_weight": 0.3, "hint_weight": 2.0, "huber_delta": 15.0}])
def test_logged_losses_are_those_of_the_batch(changes: dict[str, float]) -> None:
    model, seen = small_exemplar(loss=changes), Seen()
    copy = deepcopy(model).train()
    logged = fit(model, colourful_pictures(4, 16), seen).callback_metrics
    hints, pictures = seen.hints[0], seen.pictures[0]
    assert 0 < hints[:, 2].mean() < 1
    wanted = {
        "train/hinted": completion_by_hand(copy, pictures, hints).mean(),
        "train/reconstruction": reconstruction_by_hand(copy, pictures).mean(),
    }
    assert {name: value.item() for name, value in logged.items()} == {
        name: pytest.approx(value, rel=1e-3) for name, value in wanted.items()
    }


def test_training_hints_are_patches_of_the_true_chroma() -> None:
    model, rgb = small_exemplar(), to_float(colourful_pictures(4, 32))
    found = model.training_hints(rgb_to_lab(rgb), seeded())
    patches = random_patches(4, (32, 32), (1, 4), seeded(), torch.device("cpu"))
    assert_close(found, revealed(torch.from_numpy(lab_of(rgb)[:, 1:]), patches), 1e-2)


@pytest.mark.parametrize("parts", [["colorization"], ["transfer"], BOTH])
def test_validation_logs_the_means_over_all_pictures(parts: list[str]) -> None:
    model, rgb = small_exemplar(parts=parts, loss={"class_weight": 0.1}), colourful_pictures(5, 16)
    rgb[4] = torch.randint(256, (3, 16, 16))  # unlike the others, and alone in its batch
    pictures, wanted, seen = to_float(rgb), {}, Seen()
    if "colorization" in parts:
        hook = model.colorization.blocks["1"].register_forward_pre_hook(seen.note)
    (logged,) = quiet_trainer().validate(model, GivenPictures(rgb), verbose=False)
    if "colorization" in parts:
        hook.remove()
        hints = {"hinted": torch.cat(seen.hints[::2]), "automatic": torch.cat(seen.hints[1::2])}
        assert hints["hinted"].any()
        assert not hints["automatic"].any()
        wanted = {name: completion_by_hand(model, pictures, each) for name, each in hints.items()}
    if "transfer" in parts:
        wanted["reconstruction"] = reconstruction_by_hand(model, pictures)
    wanted["loss"] = np.sum([*wanted.values()], axis=0)
    assert abs((wanted["loss"][:4].mean() + wanted["loss"][4:].mean()) / 2 / wanted["loss"].mean() - 1) > 0.003
    assert logged == {f"validation/{name}": pytest.approx(value.mean(), rel=1e-3) for name, value in wanted.items()}
    (again,) = quiet_trainer().validate(model, GivenPictures(rgb), verbose=False)
    assert again == logged, "the hints are the same every time"


@pytest.mark.parametrize("empty_from", [0, 2, 9])
def test_hints_are_empty_from_the_given_epoch_on(empty_from: int) -> None:
    seen = Seen()
    model = small_exemplar(parts=["colorization"], hints={"empty_from_epoch": empty_from})
    trainer = fit(model, colourful_pictures(6, 16), seen, max_steps=-1, max_epochs=4)
    logged = [name for name in ("train/hinted", "train/automatic") if name in trainer.callback_metrics]
    assert [bool(each.any()) for each in seen.hints] == [epoch < empty_from for epoch in range(4)]
    assert logged[-1] == ("train/hinted" if empty_from > 3 else "train/automatic")


def test_each_part_learns_at_its_own_rate_by_epochs() -> None:
    configured: Any = small_exemplar().configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]
    assert isinstance(optimizer, torch.optim.Adam)
    assert scheduler["interval"] == "epoch"
    for epoch in range(20):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([1e-5 if epoch < 10 else 1e-6, 1e-4 * 0.5 ** (epoch // 5)])
        optimizer.step()
        scheduler["scheduler"].step()


def test_rates_fall_between_epochs_and_not_within_them() -> None:
    optimization = {
        "colorization": {"learning_rate": 0.1, "decay": 0.1, "epochs": 2},
        "transfer": {"learning_rate": 0.4, "decay": 0.5, "epochs": 1},
    }
    seen, rgb = Seen(), colourful_pictures(4, 16)
    trainer = quiet_trainer(limit_val_batches=0, max_epochs=3, callbacks=[seen])
    trainer.fit(small_exemplar(optimization=optimization).train(), GivenPictures(rgb, batch_size=2))
    rates = [[0.1, 0.4], [0.1, 0.2], [0.01, 0.1]]
    assert seen.rates == [pytest.approx(each) for each in rates for _ in range(2)]


def test_both_parts_learn_together_as_each_does_alone() -> None:
    whole, rgb = small_exemplar(), colourful_pictures(4, 16)
    start = deepcopy(whole.state_dict())
    alone: dict[str, Tensor] = {}
    for part in BOTH:
        model = small_exemplar(parts=[part])
        model.load_state_dict({name: start[name] for name in model.state_dict()})
        fit(model, rgb, max_steps=2)
        alone |= model.state_dict()
    fit(whole, rgb, max_steps=2)
    assert alone.keys() == start.keys()
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, alone[name], msg=name)
        if name.endswith("weight"):
            assert torch.equal(alone[name], start[name]) == name.startswith("transfer.encoder"), name


@pytest.mark.parametrize("parts", [["colorization"], ["transfer"]])
def test_it_learns_from_pictures_of_any_size(parts: list[str]) -> None:
    model = small_exemplar(parts=parts)
    before = [value.clone() for value in model.parameters()]
    fit(model, colourful_pictures(4, 20))
    assert any(not torch.equal(*each) for each in zip(before, model.parameters(), strict=True))


def test_it_learns_in_mixed_precision() -> None:
    model = small_exemplar(loss={"class_weight": 0.1})
    logged = fit(model, colourful_pictures(4, 16), precision="bf16-mixed").callback_metrics
    assert all(value.isfinite() for value in logged.values())
    assert all(value.isfinite().all() for value in model.parameters())


def test_hints_are_refused_where_nothing_would_look_at_them() -> None:
    model, luminance = small_exemplar(refined=False), grey_pictures(1, 16, 16)
    hints = torch.zeros(1, 3, 16, 16)
    model.colorize(luminance, guidance=Guidance(hints=hints))
    with pytest.raises(ValueError, match="second pass, which refined=false leaves out"):
        model.colorize(luminance, guidance=Guidance(hints=hints, reference=references(1, 16, 16)))


# What it starts with


def saved_starts(folder: Path) -> dict[str, str]:
    """A run of a classifier and a file of a colouriser's weights, of width 2."""
    settings: Any = {"learning_rate": 1e-3, "weight_decay": 0.0, "steps": 10}
    save(VGG19Classification(resolution=16, classes=3, width=2, optimization=settings), folder / "vgg.ckpt")
    torch.save(small_exemplar().colorization.state_dict(), folder / "colorizer.pth")
    return {"encoder": str(folder / "vgg.ckpt"), "colorization": str(folder / "colorizer.pth")}


STANDSTILL = {part: {"learning_rate": 0.0, "decay": 1.0, "epochs": 1} for part in BOTH}


def test_it_starts_with_other_weights_once(tmp_path: Path) -> None:
    starts, rgb = saved_starts(tmp_path), colourful_pictures(4, 16)
    encoder = torch.load(starts["encoder"], weights_only=True)["state_dict"]
    colorizer = torch.load(starts["colorization"], weights_only=True)
    model = small_exemplar(pretrained=starts, optimization=STANDSTILL)
    trainer = fit(model, rgb)
    own = model.state_dict()
    for name, value in encoder.items():
        if name.startswith("encoder."):
            assert torch.equal(own[f"transfer.{name}"], value), name
    for name, _ in model.colorization.named_parameters():
        assert torch.equal(own[f"colorization.{name}"], colorizer[name]), name
    with torch.no_grad():
        for value in model.parameters():
            value.fill_(0.03125)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    for path in starts.values():
        Path(path).unlink()
    resumed = small_exemplar(pretrained=starts, optimization=STANDSTILL)
    fit(resumed, rgb, path=tmp_path / "last.ckpt", max_steps=2)
    assert all((value == 0.03125).all() for value in resumed.parameters()), "it began anew"


def test_a_part_needs_the_weights_of_itself_only(tmp_path: Path) -> None:
    starts = saved_starts(tmp_path)
    for part, other in (("colorization", "encoder"), ("transfer", "colorization")):
        fit(small_exemplar(parts=[part], pretrained={**starts, other: "absent"}), colourful_pictures(2, 16))
        own = "encoder" if part == "transfer" else part
        with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at absent; give"):
            fit(small_exemplar(parts=[part], pretrained={**starts, own: "absent"}), colourful_pictures(2, 16))


@pytest.mark.parametrize(
    ("changes", "remarks"),
    [
        ({"pretrained": {"encoder": "download"}}, ()),
        ({"pretrained": {"encoder": "weights/vgg19-dcbb9e9d.pth"}}, ()),
        (
            {"pretrained": {"encoder": "runs/vgg_tiny/7"}},
            ("its encoder and perceptual network is not ImageNet's VGG-19 but runs/vgg_tiny/7",),
        ),
        ({}, ("its encoder and perceptual network is not ImageNet's VGG-19 but an untrained one",)),
        ({"parts": ["colorization"]}, ()),
    ],
)
def test_another_encoder_than_the_papers_is_remarked_on(changes: dict[str, Any], remarks: tuple[str, ...]) -> None:
    assert small_exemplar(**changes).remarks == remarks


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"parts": []},
            r"model\.parts=\[\] is no list of colorization and transfer; give model\.parts=\[transfer\], say",
        ),
        ({"parts": ["transfer", "critic"]}, r"model\.parts=\['transfer', 'critic'\] is no list of .*"),
        ({"parts": "transfer"}, r"model\.parts=transfer is no list of .*"),
        ({"hints": {"positions": "centre"}}, r"model\.hints\.positions is uniform or training, not centre"),
        ({"transfer": {"matching": "mean"}}, r"model\.transfer\.matching is one of adain, wct, not mean"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^{sentence}$"):
        small_exemplar(**changes)


# Joining two runs


def saved_parts(folder: Path) -> tuple[dict[str, Exemplar], list[str]]:
    """A run of each part, with other settings, and their checkpoints."""
    runs = {
        "colorization": small_exemplar(
            parts=["colorization"],
            transfer={"width": 5},
            hints={"patches": 3},
            loss={"class_weight": 0.1, "perceptual_weight": 7.0},
            pretrained={"encoder": None, "colorization": "zhang.pth"},
        ),
        "transfer": small_exemplar(
            parts=["transfer"],
            resolution=32,
            colorization={"width": 5},
            transfer={"width": 3, "matched_at": ["encoder"], "alpha": 0.5},
            pretrained={"encoder": "vgg19.pth", "colorization": None},
            loss={"hint_weight": 3.0, "reconstruction_weight": 0.5, "perceptual_weight": 0.25},
            optimization={**OPTIMIZATION, "transfer": {"learning_rate": 0.5, "decay": 0.25, "epochs": 3}},
        ),
    }
    for run in runs.values():
        run.initialized.fill_(True)
    return runs, [str(save(run, folder / f"{part}.ckpt")) for part, run in runs.items()]


@pytest.mark.parametrize("swapped", [False, True])
def test_joined_runs_keep_the_weights_and_the_settings_of_each(
    tmp_path: Path, swapped: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, paths = saved_parts(tmp_path)
    out = str(tmp_path / "folder" / "whole.ckpt")
    monkeypatch.setattr(sys, "argv", ["join", *(paths[::-1] if swapped else paths), "--out", out])
    command.main()
    assert capsys.readouterr().out == f"all parts: {out}\n"
    whole = Colorizer.load(out)
    assert isinstance(whole, Exemplar)
    assert whole.parts == ("colorization", "transfer")
    weights = {name: value for run in runs.values() for name, value in run.state_dict().items()}
    assert weights.keys() == whole.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in whole.state_dict().items())
    settings = dict(whole.hparams)
    assert settings["resolution"] == 16
    assert settings["colorization"] == {"width": 2}
    assert settings["transfer"] == {"width": 3, "matched_at": ["encoder"], "alpha": 0.5}
    assert settings["hints"]["patches"] == 3
    assert settings["pretrained"] == {"encoder": "vgg19.pth", "colorization": "zhang.pth"}
    assert whole.remarks == ()
    luminance, reference = grey_pictures(1, 16, 16), references(1, 16, 16)
    with calls_of(whole) as calls:
        whole.colorize(luminance, guidance=Guidance(reference=reference))
    with torch.no_grad():
        for call in calls:
            assert torch.equal(runs[call.network].get_submodule(call.network)(*call.inputs), call.output)


def test_a_joined_module_would_go_on_learning_as_each_run_did(tmp_path: Path) -> None:
    runs, paths = saved_parts(tmp_path)
    settings = command.joined(paths)["hyper_parameters"]
    for part, run in runs.items():
        assert settings["optimization"][part] == run.optimization[part]
    owners = {"hint_weight": "colorization", "class_weight": "colorization"}
    owners |= {"reconstruction_weight": "transfer", "perceptual_weight": "transfer"}
    for name, part in owners.items():
        assert settings["loss"][name] == dict(runs[part].loss)[name], name


def test_runs_that_do_not_belong_together_are_refused_in_a_sentence(tmp_path: Path) -> None:
    _, (first, other) = saved_parts(tmp_path)
    classifier = str(save(classification(), tmp_path / "classifier.ckpt"))
    for paths, sentence in (
        ([first, first], "2 of .* have a colorization; give one run with each part"),
        ([other], "0 of .* have a colorization; give one run with each part"),
        ([first], "0 of .* have a transfer; give one run with each part"),
        ([first, classifier], "holds GreyClassification; give a run of "),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            command.joined(paths)
        assert "\n" not in str(caught.value)


def test_it_is_rebuilt_from_its_checkpoint_alone(tmp_path: Path) -> None:
    model, luminance = small_exemplar(), grey_pictures(1, 16, 16)
    loaded = Exemplar.load(save(model, tmp_path / "last.ckpt"))
    assert dict(loaded.hparams) == dict(model.hparams)
    guidance = Guidance(reference=references(1, 16, 16))
    found, wanted = (each.colorize(luminance, guidance=guidance, generator=seeded()) for each in (loaded, model))
    assert torch.equal(found, wanted)
    refined = Exemplar.load(tmp_path / "last.ckpt", refined=False, hints={"patches": 2})
    assert not refined.refined
    assert dict(refined.hints) == {**HINTS, "patches": 2}
