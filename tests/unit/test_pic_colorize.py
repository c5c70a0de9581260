"""Colouring with PIC and with its embedding alone."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import skimage.color
import torch
from torch import Tensor

from lightning_modules.color import lab_to_rgb, rgb_to_lab
from lightning_modules.guidance import Guidance
from lightning_modules.pic.embedding_only import PICEmbedding
from lightning_modules.pic.module import PIC

MakePIC = Callable[..., PIC]
MakePICEmbedding = Callable[..., PICEmbedding]


def grey(height: int, width: int, batch: int = 1) -> Tensor:
    """Random luminance between 20 and 80."""
    return torch.rand(batch, 1, height, width) * 60 + 20


def seeded(seed: int = 0) -> torch.Generator:
    """A source of randomness."""
    return torch.Generator().manual_seed(seed)


def luminance_of(rgb: Tensor) -> np.ndarray:
    """CIELab L of `(..., 3, H, W)` by scikit-image, `(..., H, W)`."""
    lab: np.ndarray = skimage.color.rgb2lab(rgb.double().movedim(-3, -1).numpy())
    return lab[..., 0]


def test_luminance_survives_rgb_for_an_in_gamut_picture(make_pic: MakePIC, pictures: Tensor) -> None:
    lab = rgb_to_lab(pictures)
    np.testing.assert_allclose(luminance_of(lab_to_rgb(lab)), lab[:, 0].numpy(), rtol=0, atol=2e-3)
    np.testing.assert_allclose(make_pic().luminance(pictures)[:, 0].numpy(), luminance_of(pictures), rtol=0, atol=1e-4)


def test_finished_picture_has_the_luminance_and_the_chroma_asked_for(make_pic: MakePIC) -> None:
    luminance = grey(11, 7, batch=2) / 3 + 40
    ab = torch.tensor([6.0, -9.0]).view(1, 2, 1, 1).expand(6, 2, 4, 4)
    rgb = make_pic().grid.join(luminance, ab)
    assert rgb.shape == (2, 3, 3, 11, 7)
    lab = skimage.color.rgb2lab(rgb.double().movedim(-3, -1).numpy())
    np.testing.assert_allclose(lab[..., 0], luminance.expand(2, 3, 11, 7).numpy(), rtol=0, atol=5e-3)
    np.testing.assert_allclose(lab[..., 1:], np.broadcast_to([6, -9], lab[..., 1:].shape), rtol=0, atol=5e-2)


@pytest.mark.parametrize("make", ["make_pic", "make_pic_embedding"])
def test_colorize_keeps_the_luminance_inside_the_gamut(make: str, request: pytest.FixtureRequest) -> None:
    luminance = grey(9, 14, batch=2)
    model = request.getfixturevalue(make)()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3)  # random weights would colour far outside the gamut
    rgb = model.colorize(luminance, generator=seeded())[:, 0]
    inside = ((rgb > 1e-3) & (rgb < 1 - 1e-3)).all(dim=1)
    assert inside.float().mean() > 0.1
    difference = torch.from_numpy(luminance_of(rgb)) - luminance[:, 0]
    assert difference[inside].abs().max() < 5e-3


def test_most_likely_colours_are_deterministic(make_pic_embedding: MakePICEmbedding) -> None:
    model, luminance = make_pic_embedding(), grey(8, 8, batch=2)
    first = model.colorize(luminance, samples=3, generator=seeded(0))
    assert torch.equal(first, model.colorize(luminance, samples=3, generator=seeded(1)))
    assert torch.equal(first, first[:, :1].expand_as(first))
    assert not torch.equal(first[0], first[1])


def test_random_component_follows_the_generator(make_pic_embedding: MakePICEmbedding) -> None:
    model, luminance = make_pic_embedding(map_component="random"), grey(8, 8, batch=2)
    first = model.colorize(luminance, samples=2, generator=seeded(0))
    assert torch.equal(first, model.colorize(luminance, samples=2, generator=seeded(0)))
    assert not torch.equal(first, model.colorize(luminance, samples=2, generator=seeded(1)))


@pytest.mark.parametrize(("height", "width"), [(13, 9), (5, 31), (2, 3)])
@pytest.mark.parametrize(("upsampling", "canvas"), [("phase", "rgb"), ("corner", "ab")])
def test_colorize_keeps_the_size(make_pic: MakePIC, height: int, width: int, upsampling: str, canvas: str) -> None:
    rgb = make_pic(upsampling=upsampling, canvas=canvas).colorize(grey(height, width))
    assert rgb.shape == (1, 1, 3, height, width)
    assert rgb.isfinite().all()
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_samples_follow_the_generator_and_differ(make_pic: MakePIC) -> None:
    model, luminance = make_pic(), grey(8, 8)
    first = model.colorize(luminance, samples=2, generator=seeded(0))
    assert first.shape == (1, 2, 3, 8, 8)
    assert torch.equal(first, model.colorize(luminance, samples=2, generator=seeded(0)))
    assert not torch.equal(first, model.colorize(luminance, samples=2, generator=seeded(1)))
    assert (first[:, 0] - first[:, 1]).abs().max() > 0.01


def test_temperature_zero_leaves_one_component_nothing_to_draw(make_pic: MakePIC) -> None:
    model, luminance = make_pic(mixtures=1, temperature=0.0), grey(8, 8)
    assert torch.equal(model.colorize(luminance, generator=seeded(0)), model.colorize(luminance, generator=seeded(1)))


def test_reconstruction_follows_the_generator_and_keeps_the_luminance(make_pic: MakePIC, pictures: Tensor) -> None:
    model = make_pic(temperature=0.1)
    first = model.reconstruct(pictures, generator=seeded(0))
    assert first.shape == pictures.shape
    assert torch.equal(first, model.reconstruct(pictures, generator=seeded(0)))
    assert not torch.equal(first, model.reconstruct(pictures, generator=seeded(1)))
    inside = ((first > 1e-3) & (first < 1 - 1e-3)).all(dim=1).numpy()
    assert inside.any()
    assert np.abs(luminance_of(first) - luminance_of(pictures))[inside].max() < 5e-3


def test_colorize_switches_dropout_off_and_restores_the_mode(make_pic_embedding: MakePICEmbedding) -> None:
    model, luminance = make_pic_embedding(dropout=0.5), grey(8, 8)
    expected = model.colorize(luminance)
    model.train()
    assert torch.equal(model.colorize(luminance), expected)
    assert model.training


@pytest.mark.parametrize(
    "luminance",
    [torch.rand(1, 3, 8, 8), torch.rand(1, 8, 8), torch.rand(1, 1, 1, 8), torch.full((1, 1, 8, 8), math.nan)],
    ids=["channels", "dimensions", "side", "not finite"],
)
def test_colorize_refuses_what_is_no_luminance(make_pic_embedding: MakePICEmbedding, luminance: Tensor) -> None:
    with pytest.raises(ValueError, match=r"luminance|small"):
        make_pic_embedding().colorize(luminance)


def test_colorize_refuses_guidance_that_it_does_not_take(make_pic_embedding: MakePICEmbedding) -> None:
    with pytest.raises(ValueError, match="no guidance by hints"):
        make_pic_embedding().colorize(grey(8, 8), guidance=Guidance(hints=torch.zeros(1, 3, 8, 8)))
