"""LRAC as a method: its heads, its guidance and its start."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_modules.color import to_float
from lightning_modules.guidance import Guidance
from lightning_modules.lrac.module import HEADS, LRAC
from lightning_modules.lrac.network import GreyClassifier, VGG16Trunk
from lightning_modules.lrac.targets import HistogramHead
from tests.conftest import RandomPictures, colourful_pictures, quiet_trainer

NETWORK = {"width": 4, "fc_width": 16, "hidden_width": 24}


@pytest.fixture
def make_lrac() -> Callable[..., LRAC]:
    """Build a small LRAC; keywords change its hyper-parameters."""

    def make(**changes: Any) -> LRAC:
        with initialize_config_module("configs", version_base="1.3"):
            config = compose("train", ["model=lrac_tiny", *(f"model.network.{k}={v}" for k, v in NETWORK.items())])
        method = instantiate(config.model, **changes, _convert_="all")
        assert isinstance(method, LRAC)
        return method.eval()

    return make


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns_and_colours(head: str, make_lrac: Callable[..., LRAC]) -> None:
    method = make_lrac(head=head, resolution=16).train()
    data = RandomPictures(16, count=4, batch_size=4)
    rgb = to_float(data.test.rgb)  # type: ignore[attr-defined]
    grid = torch.cartesian_prod(torch.arange(16), torch.arange(16)).expand(len(rgb), -1, -1)
    with torch.no_grad():
        before = method.loss_at(rgb, grid)
    trainer = quiet_trainer(max_steps=60, limit_val_batches=0)
    trainer.fit(method, data)
    with torch.no_grad():
        assert method.loss_at(rgb, grid) < 0.9 * before
    assert method.colorize(method.luminance(rgb), samples=2).shape == (4, 2, 3, 16, 16)


@pytest.mark.parametrize("size", [(64, 64), (61, 47), (130, 70), (5, 3)])
def test_a_prediction_covers_the_picture(size: tuple[int, int], make_lrac: Callable[..., LRAC]) -> None:
    method = make_lrac(inference_short_side=64)
    prediction = method.predict(torch.rand(1, 1, *size))
    scale = min(1.0, 64 / min(size))
    for cells, side in zip(prediction.shape[3:], size, strict=True):
        assert abs(4 * cells - scale * side) <= 4
    assert torch.allclose(prediction.sum(dim=2), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("transfer", ["energy", "quantiles"])
def test_colours_follow_a_reference(head: str, transfer: str, make_lrac: Callable[..., LRAC]) -> None:
    method = make_lrac(head=head, transfer=transfer, transfer_weight=50.0)
    grey = method.luminance(to_float(colourful_pictures(1, 32)))
    drawn = {}
    for name, colour in (("red", (0.7, 0.3, 0.3)), ("blue", (0.3, 0.3, 0.7))):
        reference = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 24, 40)
        drawn[name] = method.colorize(grey, guidance=Guidance(reference=reference)).mean(dim=(0, 1, 3, 4))
    assert drawn["red"][0] - drawn["red"][2] > 0.05
    assert drawn["blue"][2] - drawn["blue"][0] > 0.05


def test_a_histogram_is_as_good_as_its_reference(make_lrac: Callable[..., LRAC]) -> None:
    method = make_lrac()
    assert isinstance(method.head, HistogramHead)
    rgb = to_float(colourful_pictures(2, 24))
    grey = method.luminance(rgb)
    histogram = method.head.histogram(rgb.flip(0)).flatten(1)
    by_reference = method.colorize(grey, guidance=Guidance(reference=rgb.flip(0)))
    assert torch.allclose(method.colorize(grey, guidance=Guidance(histogram=histogram)), by_reference, atol=1e-6)


def test_a_bias_turns_the_hues(make_lrac: Callable[..., LRAC]) -> None:
    method = make_lrac()
    grey = torch.full((1, 1, 16, 16), 0.5)
    red, blue = method.biased(grey, [0.0, 4 * torch.pi / 3], strength=30.0)[0].mean(dim=(2, 3))
    assert red[0] > red[2] + 0.02
    assert blue[2] > blue[0] + 0.02
    assert 0 <= method.uncertainty(grey).min() <= method.uncertainty(grey).max() <= 1


def test_what_a_head_lacks_is_refused_in_words(make_lrac: Callable[..., LRAC]) -> None:
    method = make_lrac(head="lab_l2")
    grey = torch.full((1, 1, 8, 8), 0.5)
    with pytest.raises(ValueError, match="only histograms can be biased"):
        method.biased(grey, [0.0], 1.0)
    with pytest.raises(ValueError, match="hue and chroma"):
        method.uncertainty(grey)
    with pytest.raises(ValueError, match="no guidance by histogram"):
        method.colorize(grey, guidance=Guidance(histogram=torch.ones(1, 2)))
    for change in ({"head": "hsv"}, {"transfer": "magic"}):
        with pytest.raises(Exception, match=r"is one of|is energy or quantiles"):
            make_lrac(**change)


def test_training_starts_from_torchvision_weights(
    tmp_path: Path, make_lrac: Callable[..., LRAC], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = {}
    own = GreyClassifier(VGG16Trunk(NETWORK["width"], NETWORK["fc_width"])).state_dict()
    generator = torch.Generator().manual_seed(0)
    for name, value in own.items():
        narrow[name] = 0.3 * torch.randn(value.shape, generator=generator).abs()
    monkeypatch.setattr("lightning_modules.lrac.initialization.vgg16", lambda _: narrow)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg16.pth")
    method = make_lrac(
        pretrained=str(tmp_path / "vgg16.pth"),
        network={**NETWORK, "batch_norm": False},
        optimization={"learning_rate": 0.0, "momentum": 0.0, "weight_decay": 0.0, "milestones": [], "decay": 1.0},
    )
    data = RandomPictures(64)
    quiet_trainer(max_steps=1, limit_val_batches=0).fit(method, data)
    assert bool(method.initialized)
    with torch.no_grad():
        maps = method.eval().network.trunk(method.luminance(to_float(data.first_pictures(8))))
    for name, features in maps.items():
        if name != "data":
            assert features.square().mean() == pytest.approx(1, rel=1e-3), name


def test_pretrained_weights_of_another_width_are_refused_in_words(
    tmp_path: Path, make_lrac: Callable[..., LRAC], monkeypatch: pytest.MonkeyPatch
) -> None:
    wider = GreyClassifier(VGG16Trunk(2 * NETWORK["width"], NETWORK["fc_width"])).state_dict()
    monkeypatch.setattr("lightning_modules.lrac.initialization.vgg16", lambda _: wider)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg16.pth")
    method = make_lrac(pretrained=str(tmp_path / "vgg16.pth"), network={**NETWORK, "batch_norm": False})
    with pytest.raises(ValueError, match=r"Give model\.network that one's width, fc_width"):
        quiet_trainer(max_steps=1, limit_val_batches=0).fit(method, RandomPictures(64))


def test_pretrained_weights_that_cannot_be_read_are_named(tmp_path: Path, make_lrac: Callable[..., LRAC]) -> None:
    (tmp_path / "vgg16.pth").write_text("no weights")
    method = make_lrac(pretrained=str(tmp_path / "vgg16.pth"))
    with pytest.raises(ValueError, match=r"vgg16\.pth is not a whole"):
        quiet_trainer(max_steps=1, limit_val_batches=0).fit(method, RandomPictures(16))
