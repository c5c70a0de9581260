"""PixColor as a whole: its likelihood, its training, its drawing, and how two runs are joined in one."""

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from scipy.special import log_softmax
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from lightning_modules import METHODS
from lightning_modules import join as command
from lightning_modules.color import to_float
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance
from lightning_modules.pixcolor import module
from lightning_modules.pixcolor.module import PixColor
from tests.conftest import GivenPictures, colourful_pictures, quiet_trainer
from tests.unit.test_pixcolor_chroma import jfif_rgb, stretched
from tests.unit.test_task import classification, save

Y = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
FROM_THE_START = {"before": 1.0, "after": 1.0, "step": 0}
ADAM = {"learning_rate": 1e-3, "betas": [0.9, 0.999], "epsilon": 1e-8}


def small_pixcolor(**changes: Any) -> PixColor:
    """A small one in evaluation mode, neither uniform nor grey; keywords change its hyper-parameters."""
    settings: dict[str, Any] = {
        "resolution": 16,
        "parts": ["pixelcnn", "refinement"],
        "conditioning": {"block": "basic", "blocks": [1, 1, 1], "stride": 8, "width": 4},
        "pixelcnn": {"width": 4, "blocks": 1, "hidden_width": 8},
        "refinement": {"width": 4},
        "temperature": 1.0,
        "refined": True,
        "chroma": "drawn",
        "pretrained": None,
        "gradient_multiplier": FROM_THE_START,
        "optimization": ADAM,
    }
    if changes.get("parts") == ["refinement"]:
        settings["chroma"] = "reference"
    model = PixColor(**{**settings, **changes})
    if "pixelcnn" in model.parts:
        for value in model.pixelcnn.parameters():
            nn.init.normal_(value, std=0.7)
        nn.init.normal_(cast(Tensor, cast(nn.Sequential, model.conditioning.adaptation)[4].weight), std=10)
    if "refinement" in model.parts:
        nn.init.normal_(cast(Tensor, model.refinement.decoder[-1].weight), std=3)
    return model.eval()


def fit_steps(model: PixColor, rgb: Tensor, steps: int = 1, *callbacks: pl.Callback) -> pl.Trainer:
    """Train on the same batch for some steps."""
    trainer = quiet_trainer(max_steps=steps, limit_val_batches=0, callbacks=list(callbacks))
    trainer.fit(model.train(), GivenPictures(rgb, batch_size=len(rgb)))
    return trainer


def luminance_of(rgb: Tensor) -> Tensor:
    """Y of RGB in [0, 1], `(..., 3, H, W)`: `(..., 1, H, W)`."""
    return (Y * rgb).sum(dim=-3, keepdim=True)


def chroma_of(rgb: Tensor) -> npt.NDArray[np.float64]:
    """JFIF's Cr and Cb in 0..255 of RGB in [0, 1], `(B, 3, H, W)`: `(B, 2, H, W)`."""
    red, green, blue = 255 * rgb.double().numpy().transpose(1, 0, 2, 3)
    cb = 128 - 0.168735892 * red - 0.331264108 * green + 0.5 * blue
    cr = 128 + 0.5 * red - 0.418687589 * green - 0.081312411 * blue
    return np.stack([cr, cb], axis=1)


def low_bins(rgb: Tensor, cell: int) -> npt.NDArray[np.int64]:
    """The bins nearest to the means of chroma over square cells, `(B, 2, H / cell, W / cell)`."""
    chroma = chroma_of(rgb)
    bins = np.zeros((len(rgb), 2, rgb.shape[2] // cell, rgb.shape[3] // cell), dtype=np.int64)
    for picture, channel, row, column in np.ndindex(*bins.shape):
        y, x = cell * row, cell * column
        mean = chroma[picture, channel, y : y + cell, x : x + cell].mean()
        bins[picture, channel, row, column] = min(range(32), key=lambda k: abs(8 * k - mean))
    return bins


def log_distributions(model: PixColor, luminance: Tensor, bins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of every symbol, in nats, `(B, 2, 32, h, w)`, from one forward of the PixelCNN."""
    with torch.no_grad():
        canvas = torch.from_numpy((bins - 15.5) / 15.5).float()
        logits = model.pixelcnn(canvas, model.conditioning(luminance))
    return np.asarray(log_softmax(logits.double().numpy(), axis=2))


def log_probabilities(model: PixColor, luminance: Tensor, bins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of the bins themselves, `(B, 2, h, w)`."""
    return np.take_along_axis(log_distributions(model, luminance, bins), bins[:, :, None], axis=2)[:, :, 0]


def resized_by_pillow(luminance: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic, antialiased, `(B, 1, H, W)` to `(B, 1, *size)`."""
    maps = [Image.fromarray(each[0].numpy()).resize(size[::-1], Image.Resampling.BICUBIC) for each in luminance]
    return torch.from_numpy(np.stack([np.asarray(each) for each in maps]))[:, None].clamp(0, 1)


def refined_by_hand(model: PixColor, luminance: Tensor, bins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """What the refinement makes of bins, at the size of luminance, in 0..255, `(B, 2, H, W)`."""
    with torch.no_grad():
        refined: Tensor = model.refinement(luminance, torch.from_numpy(8 * bins / 255).float())
    return np.asarray(255 * refined.double().numpy())


def painted(luminance: Tensor, chroma: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """RGB of luminance `(B, 1, H, W)` and of Cr and Cb in 0..255 of any size, `(B, 2, h, w)`."""
    height, width = luminance.shape[2:]
    pictures = zip(luminance.double().numpy(), chroma, strict=True)
    return np.stack(
        [jfif_rgb(255 * y, stretched(cb, height, width), stretched(cr, height, width)) for (y,), (cr, cb) in pictures]
    )


def grey_pictures(count: int, height: int, width: int) -> Tensor:
    """Smooth luminance between 0.3 and 0.7, `(B, 1, H, W)`."""
    pictures = to_float(colourful_pictures(count, max(height, width)))[:, :1, :height, :width]
    return 0.3 + 0.4 * pictures


# The likelihood


def test_bits_per_dim_are_those_of_the_logits() -> None:
    model, rgb = small_pixcolor(), to_float(colourful_pictures(3, 16))
    wanted = -log_probabilities(model, luminance_of(rgb), low_bins(rgb, 8)).mean(axis=(1, 2, 3)) / np.log(2)
    with torch.no_grad():
        found = model.bits_per_dim(rgb)
    assert wanted.std() > 0.05
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4)


def test_a_uniform_distribution_costs_five_bits() -> None:
    model = small_pixcolor()
    for value in model.pixelcnn.output.parameters():
        nn.init.zeros_(value)
    with torch.no_grad():
        assert model.bits_per_dim(torch.rand(2, 3, 16, 16)).tolist() == pytest.approx([5, 5])


@pytest.mark.parametrize(("height", "width"), [(15, 16), (16, 24), (32, 32)])
def test_likelihood_refuses_other_resolutions(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=rf"of {width}x{height} were given to a model of 16x16, .*; resize the"):
        small_pixcolor().bits_per_dim(torch.rand(1, 3, height, width))


def test_what_a_refinement_alone_cannot_do_is_refused_in_a_sentence() -> None:
    model = small_pixcolor(parts=["refinement"])
    remedy = r"join it with a run that has the pixelcnn: python -m lightning_modules\.join --help$"
    with pytest.raises(ValueError, match=rf"^a PixColor of refinement alone has no likelihood; {remedy}"):
        model.bits_per_dim(torch.rand(1, 3, 16, 16))
    with pytest.raises(ValueError, match=rf"^a PixColor of refinement alone cannot draw colours; {remedy}"):
        model.sample(torch.rand(1, 1, 16, 16), 1)


# Training


def test_logged_losses_are_those_of_the_batch() -> None:
    model, rgb = small_pixcolor(), colourful_pictures(4, 16)
    copy, pictures = deepcopy(model).train(), to_float(rgb)
    bins, luminance = low_bins(pictures, 8), luminance_of(pictures)
    bits = -log_probabilities(copy, luminance, bins).mean() / np.log(2)
    error = np.abs(refined_by_hand(copy, luminance, bins) - chroma_of(pictures)).mean() / 255
    logged = fit_steps(model, rgb).callback_metrics
    assert {name: value.item() for name, value in logged.items()} == {
        "train/bits_per_dim": pytest.approx(bits, rel=1e-4),
        "train/absolute_error": pytest.approx(error, rel=1e-4),
    }


@pytest.mark.parametrize("parts", [["pixelcnn"], ["refinement"], ["pixelcnn", "refinement"]])
def test_validation_logs_the_means_over_all_pictures(parts: list[str]) -> None:
    model, rgb = small_pixcolor(parts=parts), colourful_pictures(5, 16)
    rgb[4] = torch.randint(256, (3, 16, 16))  # unlike the others, and alone in its batch
    pictures, wanted = to_float(rgb), {}
    bins, luminance = low_bins(pictures, 8), luminance_of(pictures)
    if "pixelcnn" in parts:
        wanted["bits_per_dim"] = -log_probabilities(model, luminance, bins) / np.log(2)
    if "refinement" in parts:
        wanted["absolute_error"] = np.abs(refined_by_hand(model, luminance, bins) - chroma_of(pictures)) / 255
    wanted["loss"] = sum(value.mean(axis=(1, 2, 3)) for value in wanted.values())
    assert abs((wanted["loss"][:4].mean() + wanted["loss"][4:].mean()) / 2 / wanted["loss"].mean() - 1) > 0.003
    (logged,) = quiet_trainer().validate(model, GivenPictures(rgb), verbose=False)
    assert logged == {f"validation/{name}": pytest.approx(value.mean(), rel=1e-4) for name, value in wanted.items()}


def test_each_loss_trains_its_own_part() -> None:
    model = small_pixcolor().train()
    model.trainer = quiet_trainer(max_steps=1)
    losses = model.losses_of(to_float(colourful_pictures(2, 16)))
    parts = {
        "bits_per_dim": [*model.conditioning.parameters(), *model.pixelcnn.parameters()],
        "absolute_error": [*model.refinement.parameters()],
    }
    assert sum(map(len, parts.values())) == len([*model.parameters()])
    for loss in losses:
        for part, weights in parts.items():
            gradients = torch.autograd.grad(losses[loss], weights, allow_unused=True, retain_graph=True)
            for gradient in gradients:
                assert (gradient is not None) == (loss == part)


def test_both_parts_learn_together_as_each_does_alone() -> None:
    whole, rgb = small_pixcolor(), colourful_pictures(4, 16)
    start = deepcopy(whole.state_dict())
    alone: dict[str, Tensor] = {}
    for part in ("pixelcnn", "refinement"):
        model = small_pixcolor(parts=[part])
        model.load_state_dict({name: start[name] for name in model.state_dict()})
        fit_steps(model, rgb, 2)
        alone |= model.state_dict()
    fit_steps(whole, rgb, 2)
    assert alone.keys() == start.keys()
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, alone[name], msg=name)
    for name in ("conditioning.trunk.conv1", "conditioning.adaptation.4", "pixelcnn.output", "refinement.local.0"):
        assert not torch.equal(alone[f"{name}.weight"], start[f"{name}.weight"]), f"{name} learnt nothing"


def test_adam_has_the_given_numbers() -> None:
    model = small_pixcolor(optimization={"learning_rate": 0.02, "betas": [0.8, 0.95], "epsilon": 1e-3})
    optimizer = model.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["eps"]) == (0.02, (0.8, 0.95), 1e-3)
    assert len(group["params"]) == len([*model.parameters()])


class Gradients(pl.Callback):
    """Notes at every step which of trunk, adaptation and PixelCNN get a gradient, and the first weights'."""

    def __init__(self) -> None:
        self.reached: list[tuple[bool, ...]] = []
        self.first: list[Tensor] = []

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the step."""
        model = cast(PixColor, pl_module)
        parts = (model.conditioning.trunk, model.conditioning.adaptation, model.pixelcnn)
        gradients = [[cast(Tensor, value.grad) for value in part.parameters()] for part in parts]
        self.reached.append(tuple(any(bool(each.any()) for each in part) for part in gradients))
        self.first.append(gradients[0][0].clone())


def test_the_trunk_learns_from_the_given_step_on() -> None:
    model, gradients = small_pixcolor(gradient_multiplier={"before": 0.0, "after": 1.0, "step": 2}), Gradients()
    fit_steps(model, colourful_pictures(2, 16), 4, gradients)
    assert gradients.reached == [(False, True, True)] * 2 + [(True, True, True)] * 2


def test_gradients_into_the_trunk_are_multiplied() -> None:
    rgb, found = colourful_pictures(2, 16), []
    start = small_pixcolor().state_dict()
    for before in (1.0, 0.25):
        model, gradients = small_pixcolor(gradient_multiplier={"before": before, "after": 0.0, "step": 1}), Gradients()
        model.load_state_dict(start)
        fit_steps(model, rgb, 2, gradients)
        assert not gradients.first[1].any()
        found.append(gradients.first[0])
    assert found[0].abs().max() > 0
    torch.testing.assert_close(found[1], 0.25 * found[0])


def test_it_starts_from_pretrained_weights_once(tmp_path: Path) -> None:
    path, weights = tmp_path / "resnet.pth", ResNet(BasicBlock, [1, 1, 1, 1]).state_dict()
    torch.save(weights, path)
    frozen = {"before": 0.0, "after": 0.0, "step": 0}
    model = small_pixcolor(pretrained=str(path), gradient_multiplier=frozen)
    fit_steps(model, colourful_pictures(2, 16))
    for name, value in model.conditioning.trunk.named_parameters():
        assert torch.equal(value, weights[name]), name
    path.unlink()
    resumed = PixColor.load(save(model, tmp_path / "run.ckpt"))
    with torch.no_grad():
        for value in resumed.conditioning.trunk.parameters():
            value.fill_(0.25)
    fit_steps(resumed, colourful_pictures(2, 16))
    assert all((value == 0.25).all() for value in resumed.conditioning.trunk.parameters())


def test_a_refinement_needs_no_pretrained_weights(tmp_path: Path) -> None:
    fit_steps(small_pixcolor(parts=["refinement"], pretrained=str(tmp_path / "absent.pth")), colourful_pictures(2, 16))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"parts": []},
            r"model\.parts=\[\] is no list of pixelcnn and refinement; give model\.parts=\[pixelcnn\], say",
        ),
        ({"parts": ["pixelcnn", "critic"]}, r"model\.parts=\['pixelcnn', 'critic'\] is no list of .*"),
        ({"parts": "pixelcnn"}, r"model\.parts=pixelcnn is no list of .*"),
        (
            {"parts": ["refinement"], "chroma": "drawn"},
            r"a refinement alone draws nothing; give it model\.chroma=reference",
        ),
        ({"temperature": -1}, r"model\.temperature=-1 is less than 0"),
        ({"pixelcnn": {"conditioning": "gate"}}, r"model\.pixelcnn\.conditioning is gates or logits, not gate"),
        ({"refinement": {"width": 5}}, r"model\.refinement\.width=5 is odd, .*"),
        ({"chroma": "guessed"}, r"model\.chroma is drawn or reference, not guessed"),
        ({"resolution": 20}, r"model\.resolution=20 is no multiple of the chroma's stride, 8"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^{sentence}$"):
        small_pixcolor(**changes)


# Drawing


@pytest.mark.parametrize(
    ("chroma", "temperature", "stochastic", "guidance"),
    [
        ("drawn", 1.0, True, frozenset()),
        ("drawn", 0.0, False, frozenset()),
        ("reference", 1.0, False, frozenset({"reference"})),
    ],
)
def test_it_says_what_it_takes_and_whether_draws_differ(
    chroma: str, temperature: float, stochastic: bool, guidance: frozenset[str]
) -> None:
    model = small_pixcolor(chroma=chroma, temperature=temperature)
    assert (model.stochastic, model.accepts, model.requires) == (stochastic, guidance, guidance)


@pytest.mark.parametrize(
    ("size", "seen"), [((16, 16), (16, 16)), ((40, 16), (40, 16)), ((64, 32), (32, 16)), ((10, 200), (16, 64))]
)
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_likelihood_of_draws_is_that_of_one_forward(
    size: tuple[int, int], seen: tuple[int, int], temperature: float
) -> None:
    model, luminance = small_pixcolor(temperature=temperature), grey_pictures(2, *size)
    bins, log_likelihood = model.sample(luminance, 3)
    assert bins.shape == (2, 3, 2, seen[0] // 8, seen[1] // 8)
    assert log_likelihood.shape == (2, 3)
    brought = resized_by_pillow(luminance, seen)
    for sample in range(3):
        wanted = log_probabilities(model, brought, bins[:, sample].numpy()).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(log_likelihood[:, sample].numpy(), wanted, rtol=1e-3)
    assert (bins[:, 0] == bins[:, 1]).all() == (temperature == 0)
    assert (log_likelihood[0] - log_likelihood[1]).abs().min() > 0.1, "the pictures are alike"


@pytest.mark.parametrize("size", [(40, 16), (10, 200), (2, 3), (17, 13)])
@pytest.mark.parametrize("refined", [True, False])
def test_pictures_keep_their_size_and_luminance(size: tuple[int, int], refined: bool) -> None:
    model, luminance = small_pixcolor(refined=refined), grey_pictures(2, *size)
    bias = cast(Tensor, model.pixelcnn.output.bias).data.view(2, 32)
    bias[:, 14:19] += 100  # pale colours, of which few are clipped
    found = model.colorize(luminance, samples=2)
    assert found.shape == (2, 2, 3, *size)
    inside = ((found > 0) & (found < 1)).all(dim=2, keepdim=True)
    assert inside.float().mean() > 0.5
    difference = (luminance_of(found) - luminance[:, None])[inside].abs().max()
    assert difference < 1e-6
    assert (found.amax(dim=2) - found.amin(dim=2)).max() > 0.05


@pytest.mark.parametrize("refined", [True, False])
def test_colours_are_those_of_the_bins_drawn(refined: bool) -> None:
    model, luminance = small_pixcolor(refined=refined), grey_pictures(2, 16, 40)
    found = model.colorize(luminance, samples=2, generator=torch.Generator().manual_seed(3))
    bins = model.sample(luminance, 2, torch.Generator().manual_seed(3))[0].numpy()
    for sample in range(2):
        drawn = bins[:, sample]
        chroma = refined_by_hand(model, luminance, drawn) if refined else 8.0 * drawn
        np.testing.assert_allclose(found[:, sample].numpy(), painted(luminance, chroma), rtol=0, atol=1e-5)


def test_draws_follow_their_generator() -> None:
    model, luminance = small_pixcolor(), grey_pictures(1, 16, 24).expand(2, -1, -1, -1)
    state = torch.random.get_rng_state()
    first, same, other = (
        model.colorize(luminance, samples=3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator was drawn from"
    assert len({tuple(each.flatten().tolist()) for each in first.flatten(0, 1)}) == 6, "two draws are the same"


def test_temperature_zero_takes_the_likeliest_bin() -> None:
    model, luminance = small_pixcolor(temperature=0.0), grey_pictures(1, 16, 24)
    bins, _ = model.sample(luminance, 2)
    own = bins[:, 0].numpy()
    assert np.array_equal(own, log_distributions(model, luminance, own).argmax(axis=2))
    first, second = model.colorize(luminance, samples=2)[0]
    assert torch.equal(first, second)


@pytest.mark.parametrize("parts", [["refinement"], ["pixelcnn"], ["pixelcnn", "refinement"]])
@pytest.mark.parametrize("refined", [True, False])
@pytest.mark.parametrize(("size", "cell"), [((16, 40), 8), ((48, 32), 16)])
def test_chroma_of_a_reference_is_refined_or_stretched(
    parts: list[str], refined: bool, size: tuple[int, int], cell: int
) -> None:
    model = small_pixcolor(parts=parts, chroma="reference", refined=refined)
    rgb = to_float(colourful_pictures(2, 48))[:, :, : size[0], : size[1]]
    luminance, bins = model.luminance(rgb), low_bins(rgb, cell)
    found = model.colorize(luminance, samples=2, guidance=Guidance(reference=rgb))
    chroma = refined_by_hand(model, luminance, bins) if refined and "refinement" in parts else 8.0 * bins
    for sample in range(2):
        np.testing.assert_allclose(found[:, sample].numpy(), painted(luminance, chroma), rtol=0, atol=1e-5)


def test_a_reference_is_demanded_where_chroma_comes_from_one_and_refused_elsewhere() -> None:
    luminance, reference = torch.rand(1, 1, 16, 16), torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match="PixColor colours by a reference, and got none"):
        small_pixcolor(chroma="reference").colorize(luminance)
    with pytest.raises(ValueError, match="PixColor takes no guidance by reference"):
        small_pixcolor().colorize(luminance, guidance=Guidance(reference=reference))


def test_large_pictures_are_refined_at_a_smaller_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFINED_PIXELS", 512)
    model = small_pixcolor(parts=["refinement"], chroma="reference")
    seen: list[tuple[int, ...]] = []
    model.refinement.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    rgb = 0.3 + 0.4 * to_float(colourful_pictures(2, 64))[:, :, :32]
    luminance = model.luminance(rgb)
    found = model.colorize(luminance, guidance=Guidance(reference=rgb))[:, 0]
    assert seen == [(16, 32)]
    chroma = refined_by_hand(model, resized_by_pillow(luminance, (16, 32)), low_bins(rgb, 16))
    np.testing.assert_allclose(found.numpy(), painted(luminance, chroma), rtol=0, atol=1e-4)
    assert ((found > 0) & (found < 1)).all(), "nothing is clipped"
    torch.testing.assert_close(luminance_of(found), luminance, rtol=0, atol=1e-6)
    model.colorize(luminance[:, :, :16, :32], guidance=Guidance(reference=rgb[:, :, :16, :32]))
    assert seen[-1] == (16, 32), "no larger, so at its own size"


# Joining two runs


def saved_parts(folder: Path, **changes: Any) -> tuple[PixColor, PixColor, list[str]]:
    """A run with a PixelCNN and one with a refinement, which `changes` are of, and their checkpoints."""
    pixelcnn = small_pixcolor(parts=["pixelcnn"], temperature=0.0)
    refinement = small_pixcolor(
        **{"parts": ["refinement"], "chroma": "reference", "refinement": {"width": 6}, "resolution": 32, **changes}
    )
    for value in refinement.buffers():
        if value.is_floating_point() and value.ndim:
            nn.init.uniform_(value, 0.5, 1.5)
    paths = [str(save(model, folder / f"{model.parts[0]}.ckpt")) for model in (pixelcnn, refinement)]
    return pixelcnn, refinement, paths


@pytest.mark.parametrize("swapped", [False, True])
def test_joined_runs_draw_with_the_one_and_refine_with_the_other(
    tmp_path: Path, swapped: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixelcnn, refinement, paths = saved_parts(tmp_path)
    out = str(tmp_path / "folder" / "whole.ckpt")
    monkeypatch.setattr(sys, "argv", ["join", *(paths[::-1] if swapped else paths), "--out", out])
    command.main()
    assert capsys.readouterr().out == f"all parts: {out}\n"
    whole = Colorizer.load(out)
    assert isinstance(whole, PixColor)
    assert whole.parts == ("pixelcnn", "refinement")
    assert (whole.resolution, whole.temperature, whole.chroma) == (16, 0.0, "drawn")
    luminance = grey_pictures(2, 16, 24)
    bins, _ = pixelcnn.sample(luminance, 1)
    chroma = refined_by_hand(refinement, luminance, bins[:, 0].numpy())
    found = whole.colorize(luminance)[:, 0].numpy()
    np.testing.assert_allclose(found, painted(luminance, chroma), rtol=0, atol=1e-5)
    pictures = to_float(colourful_pictures(2, 16))
    with torch.no_grad():
        torch.testing.assert_close(whole.bits_per_dim(pictures), pixelcnn.bits_per_dim(pictures))


def test_runs_that_do_not_belong_together_are_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conditioning = {"block": "basic", "blocks": [1, 1, 1], "stride": 4, "width": 4}
    _, _, (first, other) = saved_parts(tmp_path, conditioning=conditioning)
    absent, classifier = str(tmp_path / "absent.ckpt"), str(save(classification(), tmp_path / "classifier.ckpt"))
    for runs, sentence in (
        ([first, first], f"2 of {first} and {first} have a pixelcnn; give one run with each part"),
        ([other, other], f"0 of {other} and {other} have a pixelcnn; give one run with each part"),
        ([first, absent], f"there is no checkpoint at {absent}; give a .ckpt file or a run's directory"),
        ([classifier, other], f"{classifier} holds GreyClassification; give a run of {' or '.join(METHODS)}"),
        ([first, other], "their chroma has strides 8 and 4; join runs of one stride"),
    ):
        monkeypatch.setattr(sys, "argv", ["join", *runs, "--out", str(tmp_path / "whole.ckpt")])
        with pytest.raises(SystemExit) as caught:
            command.main()
        assert caught.value.code == f"error: {sentence}"
        assert not (tmp_path / "whole.ckpt").exists()
        assert capsys.readouterr().out == ""
