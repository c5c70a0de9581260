"""CIC's bins, loss, decoding and network, against closed forms and a port written from its layer table."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from skimage.color import rgb2lab
from torch import Tensor, nn

from datamodules import color_prior
from evaluation.report.sheet import to_image
from lightning_modules.chroma import annealed_mean, drawn_chroma
from lightning_modules.cic.bins import bin_centres, prior_of, rebalancing_weights, soft_encoded
from lightning_modules.cic.module import CIC, classes_loss, in_thirds, linear, read_prior
from lightning_modules.cic.network import CICNetwork
from lightning_modules.cic.published import from_published
from lightning_modules.layers.compact_unet import CompactUNet
from tests.conftest import RandomPictures, colourful_pictures, quiet_trainer

GREY_INDEX = 120


def at(a: float, b: float) -> Tensor:
    """One pixel of a colour, `(1, 2, 1, 1)`."""
    return torch.tensor([float(a), float(b)]).view(1, 2, 1, 1)


def cic(*overrides: str) -> CIC:
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("train", ["model=cic_tiny", "model.network.width=4", "model.resolution=16", *overrides])
    method = instantiate(config.model, _convert_="all")
    assert isinstance(method, CIC)
    return method


def test_the_bins_are_the_corners_of_the_cells_that_srgb_reaches_and_four_more() -> None:
    levels, ends = torch.arange(256), torch.tensor([0, 255])
    faces = [[ends, levels, levels], [levels, ends, levels], [levels, levels, ends], [levels[::5]] * 3]
    colours = torch.cat([torch.cartesian_prod(*sides) for sides in faces]).numpy() / 255
    cells = {tuple(cell) for cell in np.unique(rgb2lab(colours[None])[0, :, 1:] // 10, axis=0).astype(int).tolist()}
    corners = {(10 * (a + da), 10 * (b + db)) for a, b in cells for da in (0, 1) for db in (0, 1)}
    centres = [(int(a), int(b)) for a, b in bin_centres().tolist()]
    assert set(centres) == corners | {(40, 90), (100, -90), (100, -10), (100, 0)}
    assert centres == sorted(centres)
    assert len(centres) == 313
    assert centres[GREY_INDEX] == (0, 0)


@pytest.mark.parametrize(
    ("colour", "shares"),
    [
        ((0, 0), [0.61922] + [0.08380] * 4 + [0.01134] * 4 + [0.00021]),
        ((5, 5), [0.24332] * 4 + [0.00446] * 6),
    ],
)
def test_colours_are_spread_by_a_gaussian_of_their_distance(colour: tuple[float, float], shares: list[float]) -> None:
    bins, found = soft_encoded(at(*colour), bin_centres())
    assert found.flatten().tolist() == pytest.approx(shares, abs=1e-5)
    if colour == (0, 0):
        assert bins.flatten()[0] == GREY_INDEX


def test_divergence_of_a_uniform_prediction_is_log_313_less_the_entropy_of_the_target() -> None:
    divergence, nearest = classes_loss(torch.zeros(1, 313, 1, 1), at(0, 0), bin_centres())
    assert divergence.item() == pytest.approx(4.41337, abs=1e-5)
    assert nearest.item() == GREY_INDEX


def test_gradient_of_the_divergence_is_probabilities_less_shares() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 313, 1, 1, requires_grad=True)
    classes_loss(logits, at(12, -31), bin_centres())[0].sum().backward()
    distance = (bin_centres() - torch.tensor([12.0, -31.0])).square().sum(dim=1)
    near = distance.argsort()[:10]
    wanted = torch.zeros(313)
    wanted[near] = torch.exp(-distance[near] / 50) / torch.exp(-distance[near] / 50).sum()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.flatten(), logits.detach().softmax(1).flatten() - wanted)


def test_rebalancing_weighs_bins_by_the_inverse_of_their_mixed_prior() -> None:
    prior = torch.tensor([0.7, 0.2, 0.1, 0.0], dtype=torch.float64)
    inverse = [1 / (0.5 * share + 0.5 / 3) for share in (0.7, 0.2, 0.1)]
    scale = sum(share * each for share, each in zip((0.7, 0.2, 0.1), inverse, strict=True))
    wanted = [each / scale for each in inverse]
    assert rebalancing_weights(prior, 0.5).tolist() == pytest.approx([*wanted, 0.0])
    assert rebalancing_weights(prior, 1.0).tolist() == pytest.approx([1, 1, 1, 0])
    assert rebalancing_weights(prior, 0.0)[:3].tolist() == pytest.approx([1 / (3 * p) for p in (0.7, 0.2, 0.1)])


@pytest.mark.parametrize(("temperature", "value"), [(1.0, 20.0), (0.38, 12.7986), (1e-3, 0.0), (0.0, 0.0)])
def test_annealed_mean_goes_from_the_mean_to_the_mode(temperature: float, value: float) -> None:
    logits = torch.full((1, 313, 1, 1), -math.inf)
    where = {tuple(centre): index for index, centre in enumerate(bin_centres().tolist())}
    logits[0, where[0.0, 0.0]], logits[0, where[50.0, 50.0]] = math.log(0.6), math.log(0.4)
    assert annealed_mean(logits, bin_centres(), temperature).flatten().tolist() == pytest.approx([value] * 2, abs=1e-4)


def test_learning_rate_falls_in_thirds_or_to_nothing() -> None:
    assert [in_thirds(9, step) for step in (0, 2, 3, 5, 6, 8)] == pytest.approx([1, 1, 1 / 3, 1 / 3, 0.1, 0.1])
    assert [linear(4, step) for step in (0, 2, 4)] == [1, 0.5, 0]


def port(weights: dict[str, Tensor], luminance: Tensor) -> Tensor:
    """The release's forward pass, written from its layer table: a and b, `(B, 2, H, W)`."""

    def layer(name: str, features: Tensor, **options: int) -> Tensor:
        return F.conv2d(features, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    features = (luminance - 50) / 100
    for block, last, dilation in [(1, 2, 1), (2, 2, 1), (3, 4, 1), (4, 4, 1), (5, 4, 2), (6, 4, 2), (7, 4, 1)]:
        for index in range(0, last + 1, 2):
            stride = 2 if block < 4 and index == last else 1
            name = f"model{block}.{index}"
            features = layer(name, features, stride=stride, padding=dilation, dilation=dilation).relu()
        norm = f"model{block}.{last + 2}"
        statistics = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        features = F.batch_norm(features, *statistics, weights[f"{norm}.weight"], weights[f"{norm}.bias"])
    features = F.conv_transpose2d(features, weights["model8.0.weight"], weights["model8.0.bias"], stride=2, padding=1)
    for index in (2, 4):
        features = layer(f"model8.{index}", features.relu(), padding=1)
    probabilities = layer("model8.6", features.relu()).softmax(dim=1)
    chroma = F.conv2d(probabilities, weights["model_out.weight"])
    return 110 * F.interpolate(chroma, scale_factor=4, mode="bilinear")


def released(width: int) -> dict[str, Tensor]:
    """Random weights by the release's names and shapes."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def add(name: str, outputs: int, inputs: int, side: int) -> None:
        scale = math.sqrt(2 / (inputs * side**2))
        weights[f"{name}.weight"] = scale * torch.randn(outputs, inputs, side, side, generator=generator)
        weights[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)

    inputs = 1
    for block, multiple, layers in [(1, 1, 2), (2, 2, 2), (3, 4, 3), (4, 8, 3), (5, 8, 3), (6, 8, 3), (7, 8, 3)]:
        for index in range(layers):
            add(f"model{block}.{2 * index}", multiple * width, inputs, 3)
            inputs = multiple * width
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"model{block}.{2 * layers}.{part}"] = 0.5 + torch.rand(inputs, generator=generator)
        weights[f"model{block}.{2 * layers}.num_batches_tracked"] = torch.tensor(7)
    add("model8.0", inputs, 4 * width, 4)
    weights["model8.0.bias"] = torch.zeros(4 * width)
    add("model8.2", 4 * width, 4 * width, 3)
    add("model8.4", 4 * width, 4 * width, 3)
    add("model8.6", 313, 4 * width, 1)
    weights["model_out.weight"] = (bin_centres() / 110).T[:, :, None, None].contiguous()
    return weights


def test_released_weights_colour_as_a_port_of_the_release_does() -> None:
    weights, luminance = released(64), 100 * torch.rand(1, 1, 32, 24, generator=torch.Generator().manual_seed(1))
    method = from_published(weights)
    chroma = annealed_mean(method.network(luminance), method.centres, 1.0)
    with torch.no_grad():
        found = F.interpolate(chroma, scale_factor=4, mode="bilinear")
        torch.testing.assert_close(found, port(weights, luminance), atol=1e-4, rtol=1e-5)  # of 110 units


def test_weights_of_something_else_are_refused() -> None:
    weights = released(64)
    for name, value in {"model8.6.weight": torch.zeros(529, 256, 1, 1), "model11.0.weight": torch.zeros(1)}.items():
        with pytest.raises(ValueError, match="not those of CIC"):
            from_published({**weights, name: value})
    with pytest.raises(ValueError, match="313 colours"):
        from_published({**weights, "model_out.weight": weights["model_out.weight"].flip(1)})


@pytest.mark.parametrize(("outputs", "parameters"), [(313, 32_235_385), (2, 32_155_458)])
def test_the_network_has_the_published_number_of_weights(outputs: int, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(value.numel() for value in CICNetwork(outputs).parameters()) == parameters


@pytest.mark.parametrize("network", [CICNetwork(5, width=4), CompactUNet(1, 5, widths=(4, 8, 8, 8))])
@pytest.mark.parametrize("size", [(176, 176), (2, 2), (33, 21)])
def test_outputs_have_a_quarter_of_the_size(network: nn.Module, size: tuple[int, int]) -> None:
    outputs = network.eval()(torch.rand(1, 1, *size))
    assert outputs.shape == (1, 5, math.ceil(size[0] / 4), math.ceil(size[1] / 4))


def test_the_loss_is_the_weighted_divergence_of_every_fourth_pixel_and_grey_images_teach_nothing() -> None:
    method = cic().eval()
    method.weights.copy_(torch.rand(313, generator=torch.Generator().manual_seed(0)))
    rgb = torch.stack([torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2)), torch.full((3, 16, 16), 0.4)])
    found = method.losses_of(rgb)
    logits = method.network(method.luminance(rgb)).detach()
    total = plain = 0.0
    for image in range(2):
        lab = rgb2lab(rgb[image].movedim(0, -1).numpy())
        for row in range(4):
            for column in range(4):
                _, a, b = lab[4 * row, 4 * column]
                divergence, nearest = classes_loss(
                    logits[image, :, row, column].view(1, -1, 1, 1), at(float(a), float(b)), bin_centres()
                )
                plain += divergence.item() / 32
                total += method.weights[nearest].item() * divergence.item() / 32 * (image == 0)
    assert found["loss"].item() == pytest.approx(total, rel=1e-4)
    assert found["divergence"].item() == pytest.approx(plain, rel=1e-4)


def test_the_prior_is_that_of_a_loop_over_pixels(tmp_path: Path) -> None:
    images = colourful_pictures(3, 12)
    for number, image in enumerate(images):
        to_image(image).save(tmp_path / f"{number}.png")
    color_prior.main([str(tmp_path), "--out", str(tmp_path / "prior.json")])
    centres, wanted = bin_centres().double(), torch.zeros(313, dtype=torch.float64)
    for image in images:
        lab = torch.from_numpy(rgb2lab(image.movedim(0, -1).numpy()))
        for colour in lab[::4, ::4, 1:].reshape(-1, 2):
            distance = (centres - colour).square().sum(dim=1)
            near = distance.argsort()[:10]
            wanted[near] += (-distance[near] / 50).softmax(dim=0)
    prior = read_prior(str(tmp_path / "prior.json"))
    torch.testing.assert_close(prior, wanted / wanted.sum(), atol=1e-5, rtol=1e-3)
    assert json.loads((tmp_path / "prior.json").read_text())["images"] == 3


def test_a_prior_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prior.json"
    with pytest.raises(FileNotFoundError, match=r"color_prior"):
        read_prior(str(path))
    for text in ("{", '{"prior": "x"}', '{"other": 1}', '{"prior": [1, 2]}', json.dumps({"prior": [-1.0] * 313})):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"model.prior"):
            read_prior(str(path))


def test_training_measures_the_prior_once_and_keeps_it(tmp_path: Path) -> None:
    method = cic("model.prior_images=8")
    trainer = quiet_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(method, RandomPictures(16))
    images = trainer.datamodule.first_pictures(8)  # type: ignore[attr-defined]
    prior = prior_of(method.reduced(rgb_chroma(images)), bin_centres())
    torch.testing.assert_close(method.weights, rebalancing_weights(prior, 0.5).float(), rtol=1e-4, atol=1e-4)
    assert method.weights.std() > 0
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert torch.equal(CIC.load(tmp_path / "last.ckpt").weights, method.weights)


def rgb_chroma(images: Tensor) -> Tensor:
    lab = torch.stack([torch.from_numpy(rgb2lab(image.movedim(0, -1).numpy())).float() for image in images])
    return lab.movedim(-1, 1)[:, 1:]


def test_the_l2_variant_regresses_and_starts_from_a_classifier(tmp_path: Path) -> None:
    classifier = cic()
    trainer = quiet_trainer(max_steps=0, limit_val_batches=0)
    trainer.strategy.connect(classifier)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    method = cic("model.target=values")
    method.begin_with(str(tmp_path))
    own, other = method.network.state_dict(), classifier.network.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own if not name.startswith("out."))
    rgb = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    lab = rgb2lab(rgb[0].movedim(0, -1).numpy())[::4, ::4, 1:]
    predicted = 110 * method.eval().network(method.luminance(rgb))[0].movedim(0, -1).detach().numpy()
    assert method.losses_of(rgb)["squared_error"].item() == pytest.approx(
        ((predicted - lab) ** 2).sum(-1).mean(), rel=1e-4
    )


@pytest.mark.parametrize(
    "override",
    [
        "model.target=hues",
        "model.uniform=1.5",
        "model.temperature=-1",
        "model.reduction=x",
        "model.optimization.schedule=x",
    ],
)
def test_settings_without_a_meaning_are_refused(override: str) -> None:
    with pytest.raises(Exception, match=override.split("=")[0]):
        cic(override)


def test_varied_colourings_are_means_under_one_preference_for_the_whole_image() -> None:
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, -30.0]])
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = drawn_chroma(logits, centres, 0.7, 0.3, 3, torch.Generator().manual_seed(1))
    directions = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1))
    for image in range(2):
        for sample in range(3):
            bias = [float(0.3 / 10 * directions[image, sample] @ centre) for centre in centres]
            for row in range(4):
                weights = [math.exp((float(logits[image, bin_, row, 2]) + bias[bin_]) / 0.7) for bin_ in range(3)]
                wanted = [sum(w * float(c[axis]) for w, c in zip(weights, centres, strict=True)) for axis in (0, 1)]
                mean = [value / sum(weights) for value in wanted]
                assert found[image, sample, :, row, 2].tolist() == pytest.approx(mean, rel=1e-4, abs=1e-4)
    still = drawn_chroma(logits, centres, 0.7, 0.0, 3, None)
    assert torch.equal(still, annealed_mean(logits, centres, 0.7).unsqueeze(1).expand(-1, 3, -1, -1, -1))


def test_a_varied_model_draws_different_colours_where_it_is_unsure() -> None:
    method = cic("model.variety=0.5").eval()
    luminance = 100 * torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    drawn = method.colorize(luminance, samples=2, generator=torch.Generator().manual_seed(0))
    assert method.stochastic
    assert (drawn[:, 0] - drawn[:, 1]).abs().max() > 0.01
    assert not cic().stochastic
