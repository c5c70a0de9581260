"""The likelihood of PIC and of its embedding alone, and starting from another model's weights."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.color import lab_to_rgb, rgb_to_lab
from lightning_modules.layers import logistic_mixture
from lightning_modules.pic.base import PICBase
from lightning_modules.pic.chroma import normalize_chroma
from lightning_modules.pic.embedding_only import PICEmbedding
from lightning_modules.pic.module import PIC

MakePIC = Callable[..., PIC]
MakePICEmbedding = Callable[..., PICEmbedding]


def all_whole_values() -> Tensor:
    """Every pair of whole values of a (rows, -127..128) and b (columns, -128..127), normalised, `(1, 2, 256, 256)`."""
    a = torch.arange(-127.0, 129)
    return normalize_chroma(torch.stack(torch.meshgrid(a, a - 1, indexing="ij"))[None])


def save_checkpoint(model: PICBase, path: Path) -> Path:
    """Write what training would."""
    checkpoint: dict[str, Any] = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize("make", ["make_pic", "make_pic_embedding"])
@torch.no_grad()
def test_bits_per_dim_do_not_depend_on_the_split(make: str, pictures: Tensor, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(make)()
    together = model.bits_per_dim(pictures)
    assert together.shape == (5,)
    split = torch.cat([model.bits_per_dim(part) for part in pictures.split([2, 1, 2])])
    torch.testing.assert_close(split, together)


@torch.no_grad()
def test_bits_per_dim_are_the_sum_of_the_log_probabilities(make_pic: MakePIC, pictures: Tensor) -> None:
    model = make_pic()
    log_probabilities = model.log_probabilities(pictures)[0]
    assert log_probabilities.shape == (5, 4, 4)
    expected = -log_probabilities.double().sum(dim=(1, 2)) / (math.log(2) * 4 * 4 * 2)
    torch.testing.assert_close(model.bits_per_dim(pictures).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("make", ["make_pic", "make_pic_embedding"])
@torch.no_grad()
def test_mixture_is_read_from_the_first_channels_of_the_embedding(
    make: str, pictures: Tensor, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(make)()
    embedding = model.embed(model.luminance(pictures))
    assert embedding.shape == (5, 20, 4, 4)
    lab = rgb_to_lab(pictures[:, :, ::2, ::2])
    luminance, chroma = (lab[:, :1] - 50) / 50, normalize_chroma(lab[:, 1:])
    expected = logistic_mixture.log_probability(embedding[:, :16], luminance, chroma)
    torch.testing.assert_close(model.log_probabilities(pictures)[-1], expected)


@pytest.mark.parametrize(("height", "width"), [(7, 8), (8, 7), (16, 16)])
def test_likelihood_refuses_other_resolutions(make_pic: MakePIC, height: int, width: int) -> None:
    with pytest.raises(ValueError, match="bits/dim compare at one resolution only"):
        make_pic().bits_per_dim(torch.rand(1, 3, height, width))


def test_training_loss_weighs_the_prediction_of_the_embedding(
    make_pic: MakePIC, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_pic(auxiliary_weight=0.25)
    monkeypatch.setattr(model, "log", lambda *arguments, **options: None)
    loss = model.training_step({"rgb": (pictures * 255).round().to(torch.uint8)}, 0)
    own, embedding = (-each.mean() / (2 * math.log(2)) for each in model.log_probabilities(pictures))
    torch.testing.assert_close(loss, own + 0.25 * embedding)


@torch.no_grad()
def test_initialisation_reaches_both_networks(make_pic: MakePIC, pictures: Tensor) -> None:
    model = make_pic()
    model.initialize(pictures)
    assert model.initialized
    embedding = model.embed(model.luminance(pictures))
    last_convolution = model.embedding.layers[:-1](
        torch.cat([model.luminance(pictures) / 50 - 1, torch.ones(5, 1, 8, 8)], 1)
    )
    parameters = model.autoregressive(2 * pictures[:, :, ::2, ::2] - 1, embedding)
    for output in (last_convolution, parameters):
        moments = output.mean(dim=(0, 2, 3)), output.var(dim=(0, 2, 3), unbiased=False)
        torch.testing.assert_close(moments[0], torch.zeros_like(moments[0]), rtol=0, atol=1e-5)
        torch.testing.assert_close(moments[1], torch.ones_like(moments[1]), rtol=1e-3, atol=0)


@torch.no_grad()
def test_another_colour_of_the_same_luminance_changes_no_earlier_pixel(make_pic: MakePIC) -> None:
    model = make_pic()
    lab = rgb_to_lab(torch.full((1, 3, 8, 8), 0.5))
    lab[:, 1:] += torch.randn(1, 2, 8, 8)
    other = lab.clone()
    other[:, 1:, 2, 4] += 10
    before, after = (model.log_probabilities(lab_to_rgb(each))[0][0].flatten() for each in (lab, other))
    changed = (before - after).abs() > 1e-3
    assert not changed[:6].any(), "row 1, column 2 of the 4 x 4 grid is pixel 6"
    assert changed[6:].any()


@pytest.mark.parametrize("canvas", ["rgb", "ab"])
@torch.no_grad()
def test_rounded_likelihood_sums_to_one_over_every_chroma(make_pic: MakePIC, pictures: Tensor, canvas: str) -> None:
    model = make_pic(round_ab=True, canvas=canvas)
    picture = model.grid.picture(pictures)
    units = 127.5 * picture.chroma + torch.tensor([0.5, -0.5]).view(1, 2, 1, 1)
    torch.testing.assert_close(units, units.round(), rtol=0, atol=1e-4)
    embedding = model.embed(model.luminance(pictures))
    parameters = model.autoregressive(picture.canvas, embedding)
    chroma = all_whole_values().double()
    y, x = 2, 3
    of_pixel = parameters[:1, :, y : y + 1, x : x + 1].double().expand(1, -1, 256, 256)
    luminance = picture.luminance[:1, :, y : y + 1, x : x + 1].double().expand(1, 1, 256, 256)
    log_probabilities = logistic_mixture.log_probability(of_pixel, luminance, chroma)[0]
    assert log_probabilities.exp().sum().item() == pytest.approx(1, abs=1e-4)
    a, b = units[0, :, y, x].round().int().tolist()
    own = model.log_probabilities(pictures)[0][0, y, x]
    assert own.item() == pytest.approx(log_probabilities[a + 127, b + 128].item(), abs=1e-3)


@torch.no_grad()
def test_embedding_starts_from_a_whole_pic(
    make_pic: MakePIC, make_pic_embedding: MakePICEmbedding, pictures: Tensor, tmp_path: Path
) -> None:
    whole, part = make_pic(), make_pic_embedding()
    part.initialize_from(save_checkpoint(whole, tmp_path / "pic.ckpt"))
    assert part.state_dict().keys() < whole.state_dict().keys()
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in part.state_dict().items())
    auxiliary = whole.log_probabilities(pictures)[1]
    torch.testing.assert_close(part.log_probabilities(pictures)[0], auxiliary)


def test_other_widths_are_refused(make_pic: MakePIC, make_pic_embedding: MakePICEmbedding, tmp_path: Path) -> None:
    stages = [{"width": 10, "blocks": 1}, {"width": 16, "stride": 2, "blocks": 1, "dilation": 2}]
    part = make_pic_embedding(embedding=stages)
    before = {name: value.clone() for name, value in part.state_dict().items()}
    with pytest.raises(ValueError, match="widths"):
        part.initialize_from(save_checkpoint(make_pic(), tmp_path / "pic.ckpt"))
    assert all(torch.equal(value, before[name]) for name, value in part.state_dict().items())


def test_a_whole_pic_does_not_start_from_an_embedding(
    make_pic: MakePIC, make_pic_embedding: MakePICEmbedding, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="absent"):
        make_pic().initialize_from(save_checkpoint(make_pic_embedding(), tmp_path / "embedding.ckpt"))
