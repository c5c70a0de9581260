"""The transfer sub-net: its published size, torchvision's VGG-19, and the whole walk computed step by step."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.models import vgg19
from torchvision.models.vgg import cfgs, make_layers
from torchvision.transforms.v2.functional import normalize

from lightning_modules.exemplar.classification import VGG19Classification
from lightning_modules.exemplar.encoder import Encoder, begin_with_vgg19
from lightning_modules.exemplar.matching import match
from lightning_modules.exemplar.transfer import Decoder, TransferNetwork
from tests.unit.test_exemplar_matching import NAIVE, naive_by_label, nearest
from tests.unit.test_task import save

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
WIDTH = 4
CHANGED = [
    *("encoder 1", "encoder 2", "encoder 3", "encoder 4"),
    *("skips 1", "skips 2", "skips 3"),
    *("decoder 3", "decoder 2", "decoder 1"),
]
"""All that section 3.1 matches, the pooled maps by the level that they end."""

Kind = Literal["adain", "wct"]
Visit = Callable[[str, Tensor], Tensor]


def small_network(
    matching: Kind = "adain", matched_at: Collection[str] = ("encoder", "skips", "decoder"), alpha: float = 1.0
) -> TransferNetwork:
    """A narrow network, the same every time, whose pictures are rarely clipped."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = TransferNetwork(WIDTH, matching, matched_at, alpha)
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(value, std=0.1)
        weight, bias = network.decoder.before["1"].parameters()
        nn.init.normal_(weight, std=0.03)
        nn.init.constant_(bias, 0.5)
    return network.eval()


def torchvisions(width: int) -> nn.Sequential:
    """The layers of torchvision's VGG-19, of a width other than 64."""
    layers: nn.Sequential = make_layers([each if each == "M" else int(each) * width // 64 for each in cfgs["E"]])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            assert layer.bias is not None
            nn.init.normal_(layer.bias, std=0.3)
    return layers


def as_file(layers: nn.Sequential) -> dict[str, Tensor]:
    """Weights as torchvision's file of a classifier names them."""
    return {f"features.{name}": value for name, value in layers.state_dict().items()} | {
        "classifier.0.weight": torch.zeros(1)
    }


def naive(
    network: TransferNetwork,
    content: Tensor,
    reference: Tensor,
    change: Callable[[Tensor, Tensor], Tensor],
    matched: Collection[str] = CHANGED,
) -> Tensor:
    """The picture, not clipped, in float64, from sides that are multiples of 16 (section 3.1, Figure 2)."""
    weights = {name: value.double() for name, value in network.state_dict().items()}

    def convolved(x: Tensor, name: str) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def encoded(x: Tensor, name: str) -> Tensor:
        return convolved(x, f"encoder.layers.conv{name}").clamp(min=0)

    def decoded(x: Tensor, name: str) -> Tensor:
        return convolved(x, f"decoder.{name}").clamp(min=0)

    def pooled(x: Tensor) -> Tensor:
        return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4

    def enlarged(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def walk(rgb: Tensor, visit: Visit) -> Tensor:
        x = (rgb.double() - torch.tensor(MEAN).double().view(3, 1, 1)) / torch.tensor(STD).double().view(3, 1, 1)
        relu1_1 = visit("encoder 1", encoded(x, "1_1"))
        relu1_2 = encoded(relu1_1, "1_2")
        relu2_1 = visit("encoder 2", encoded(pooled(relu1_2), "2_1"))
        relu2_2 = encoded(relu2_1, "2_2")
        relu3_1 = visit("encoder 3", encoded(pooled(relu2_2), "3_1"))
        relu3_4 = encoded(encoded(encoded(relu3_1, "3_2"), "3_3"), "3_4")
        relu4_1 = visit("encoder 4", encoded(pooled(relu3_4), "4_1"))
        pool1, pool2, pool3 = (
            visit(f"skips {level}", pooled(each)) for level, each in enumerate((relu1_2, relu2_2, relu3_4), 1)
        )
        x = torch.cat([enlarged(decoded(relu4_1, "before.4")), enlarged(pool3), relu3_4], dim=1)
        x = visit("decoder 3", decoded(decoded(decoded(x, "after.4.0"), "after.4.2"), "after.4.4"))
        x = torch.cat([enlarged(decoded(x, "before.3")), enlarged(pool2), relu2_2], dim=1)
        x = visit("decoder 2", decoded(x, "after.3.0"))
        x = torch.cat([enlarged(decoded(x, "before.2")), enlarged(pool1), relu1_2], dim=1)
        x = visit("decoder 1", decoded(x, "after.2.0"))
        return convolved(x, "decoder.before.1")

    kept: dict[str, Tensor] = {}

    def keep(place: str, features: Tensor) -> Tensor:
        kept[place] = features
        return features

    with torch.no_grad():
        walk(reference, keep)
        assert set(kept) == set(CHANGED)
        return walk(content, lambda place, x: change(x, kept[place]) if place in matched else x)


def by_loop(kind: Kind, features: Tensor, reference: Tensor) -> Tensor:
    """Matched picture by picture."""
    pairs = zip(features.flatten(2).numpy(), reference.flatten(2).numpy(), strict=True)
    return torch.from_numpy(np.stack([NAIVE[kind](*pair) for pair in pairs])).view_as(features)


def pictures(count: int, height: int, width: int) -> Tensor:
    """Random pictures, each channel of a range of its own."""
    ends, shares = torch.rand(2, count, 3, 1, 1), torch.rand(count, 3, height, width)
    return ends[0] + (ends[1] - ends[0]) * shares


# The encoder


def test_parameters_of_the_published_network() -> None:
    with torch.device("meta"):
        encoder, decoder, theirs = Encoder(), Decoder(), vgg19()
    assert sum(value.numel() for value in encoder.parameters()) == 3_505_728
    assert sum(value.numel() for value in decoder.parameters()) == 5_053_507
    convolutions = [layer for layer in theirs.features[:21] if isinstance(layer, nn.Conv2d)]
    assert [layer.weight.shape for layer in encoder.layers.children()] == [layer.weight.shape for layer in convolutions]


@pytest.mark.parametrize("size", [(16, 16), (32, 48)])
def test_it_is_torchvisions_vgg19_with_averages_and_reflection(tmp_path: Path, size: tuple[int, int]) -> None:
    layers = torchvisions(WIDTH)
    torch.save(as_file(layers), tmp_path / "vgg19.pth")
    encoder = Encoder(WIDTH)
    begin_with_vgg19(encoder, str(tmp_path / "vgg19.pth"))
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            layers[number] = nn.AvgPool2d(2)
        elif isinstance(layer, nn.Conv2d):
            layers[number] = nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1, padding_mode="reflect")
            layers[number].load_state_dict(layer.state_dict())
    rgb = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        wanted = layers[:21].double()(normalize(rgb, MEAN, STD))
        found = encoder.double()(rgb)
    assert found.shape == (2, 8 * WIDTH, size[0] // 8, size[1] // 8)
    assert 0.1 < (wanted > 0).double().mean() < 0.9
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def saved_task(folder: Path) -> str:
    """A run of a classifier, its directory."""
    optimization: Any = {"learning_rate": 1e-3, "weight_decay": 0.0, "steps": 10}
    task = VGG19Classification(resolution=16, classes=3, width=WIDTH, optimization=optimization)
    save(task, folder / "checkpoints" / "last.ckpt")
    return str(folder)


def saved_colorizer(folder: Path) -> str:
    """The checkpoint of a colouriser with a transfer sub-net."""
    weights = {f"transfer.{name}": value for name, value in small_network().state_dict().items()}
    torch.save({"method": "Exemplar", "state_dict": weights}, folder / "exemplar.ckpt")
    return str(folder / "exemplar.ckpt")


@pytest.mark.parametrize("saved", [saved_task, saved_colorizer])
def test_it_starts_from_a_run(tmp_path: Path, saved: Callable[[Path], str]) -> None:
    path = saved(tmp_path)
    file = next(each for each in tmp_path.rglob("*.ckpt"))
    weights = torch.load(file, weights_only=True)["state_dict"]
    encoder = Encoder(WIDTH)
    begin_with_vgg19(encoder, path)
    for name, value in encoder.state_dict().items():
        (wanted,) = (other for each, other in weights.items() if each.endswith(f"encoder.{name}"))
        assert torch.equal(value, wanted), name


def test_weights_that_do_not_fit_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path, whole = tmp_path / "vgg19.pth", as_file(torchvisions(WIDTH))
    others = {
        "conv1_1": {name: value[:, :1] if name == "features.0.weight" else value for name, value in whole.items()},
        "conv3_4": {name: value for name, value in whole.items() if name != "features.16.bias"},
        "conv4_1": whole | {"features.19.weight": torch.full_like(whole["features.19.weight"], torch.nan)},
        "conv2_2": whole | {"features.7.bias": torch.full_like(whole["features.7.bias"], torch.inf)},
    }
    for layer, weights in others.items():
        torch.save(weights, path)
        encoder = Encoder(WIDTH)
        before = encoder.state_dict()["layers.conv1_2.weight"].clone()
        with pytest.raises(ValueError, match=rf"vgg19\.pth cannot start this encoder: {layer} is absent") as caught:
            begin_with_vgg19(encoder, str(path))
        assert "\n" not in str(caught.value)
        assert torch.equal(encoder.state_dict()["layers.conv1_2.weight"], before), "it was begun all the same"
    torch.save(whole, path)
    with pytest.raises(ValueError, match=r"conv1_1 is absent there.* Give model\.transfer\.width that one's width"):
        begin_with_vgg19(Encoder(WIDTH + 1), str(path))
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at .*absent\.pth; give"):
        begin_with_vgg19(Encoder(WIDTH), str(tmp_path / "absent.pth"))
    path.write_text("weights")
    with pytest.raises(ValueError, match=r"vgg19\.pth is not a whole checkpoint or file of weights"):
        begin_with_vgg19(Encoder(WIDTH), str(path))


# The auto-encoder


def test_nothing_matched_is_the_auto_encoder() -> None:
    network, content = small_network(matched_at=()), pictures(2, 32, 48)
    wanted = naive(network, content, content, lambda x, y: x)
    assert wanted.std() > 0.01
    with torch.no_grad():
        redrawn = network.reconstruct(content)[0]
        found = network(content, pictures(2, 16, 16))
    torch.testing.assert_close(redrawn.double(), wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.double(), wanted.clamp(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("own", [True, False])
def test_a_picture_after_itself_or_with_no_share_of_another_is_the_auto_encoder(own: bool) -> None:
    network = small_network(alpha=1.0 if own else 0.0)
    content = pictures(2, 32, 48)
    with torch.no_grad():
        found = network(content, content if own else pictures(2, 16, 64))
        redrawn = network.reconstruct(content)[0].clamp(0, 1)
    torch.testing.assert_close(found, redrawn, rtol=0, atol=1e-4)


def test_the_decoder_learns_and_the_encoder_does_not() -> None:
    network = small_network()
    network.reconstruct(pictures(2, 16, 16))[0].square().mean().backward()
    assert all(value.grad is None and not value.requires_grad for value in network.encoder.parameters())
    assert all(value.grad is not None and value.grad.any() for value in network.decoder.parameters())


# After a reference


@pytest.mark.parametrize(
    "matched_at", [["encoder"], ["skips"], ["decoder"], ["encoder", "decoder"], ["decoder", "skips", "encoder"]]
)
@pytest.mark.parametrize("kind", ["adain", "wct"])
def test_the_walk_is_that_of_the_paper(kind: Kind, matched_at: list[str]) -> None:
    content, reference = pictures(1, 32, 48), pictures(1, 48, 16)
    network = small_network(kind, matched_at)
    matched = [place for place in CHANGED if place.split()[0] in matched_at]
    wanted = naive(network, content, reference, lambda x, y: by_loop(kind, x, y), matched)
    unlike = naive(network, content, reference, lambda x, y: x)
    assert ((wanted > 0) & (wanted < 1)).double().mean() > 0.6
    assert (wanted - unlike).abs().mean() > 0.01, "the reference has no effect"
    with torch.no_grad():
        found = network(content, reference)
    torch.testing.assert_close(found.double(), wanted.clamp(0, 1), rtol=0, atol=2e-4)


def test_every_place_is_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    maps: list[tuple[int, ...]] = []

    def counted(matching: Any, features: Tensor, reference: Any, labels: Tensor | None) -> Tensor:
        maps.append(tuple(features.shape[1:]))
        return match(matching, features, reference, labels)

    monkeypatch.setattr("lightning_modules.exemplar.transfer.match", counted)
    levels = [(WIDTH * 2**level, 32 >> level, 48 >> level) for level in range(4)]
    pooled = [(WIDTH * 2**level, 16 >> level, 24 >> level) for level in range(3)]
    wanted = {"encoder": levels, "skips": pooled, "decoder": levels[:3]}
    for place, shapes in wanted.items():
        maps.clear()
        small_network(matched_at=[place])(torch.rand(1, 3, 32, 48), torch.rand(1, 3, 16, 16))
        assert sorted(maps) == sorted(shapes)
    maps.clear()
    small_network()(torch.rand(1, 3, 32, 48), torch.rand(1, 3, 16, 16))
    assert sorted(maps) == sorted(levels + pooled + levels[:3])


@pytest.mark.parametrize("alpha", [0.25, 0.8])
def test_alpha_is_the_share_of_matched_features(alpha: float) -> None:
    content, reference = pictures(2, 16, 32), pictures(2, 32, 32)
    network = small_network(alpha=alpha)
    wanted = naive(network, content, reference, lambda x, y: (1 - alpha) * x + alpha * by_loop("adain", x, y))
    with torch.no_grad():
        torch.testing.assert_close(network(content, reference).double(), wanted.clamp(0, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (17, 31), (37, 16), (5, 50)])
@pytest.mark.parametrize("other", [(2, 2), (19, 40), (16, 16)])
@pytest.mark.parametrize("kind", ["adain", "wct"])
def test_any_size_goes_with_any_reference(size: tuple[int, int], other: tuple[int, int], kind: Kind) -> None:
    content, reference = torch.rand(2, 3, *size), torch.rand(2, 3, *other)
    network = small_network(kind)
    with torch.no_grad():
        found = network(content, reference)
        assert found.shape == content.shape
        assert found.isfinite().all()
        assert found.min() >= 0
        assert found.max() <= 1
        height, width = size
        larger = np.pad(content.numpy(), ((0, 0), (0, 0), (0, -height % 16), (0, -width % 16)), mode="edge")
        whole = by_pillow(reference, *(max(1, round(side / 16)) * 16 for side in other))
        wanted = network(torch.from_numpy(larger), whole)[:, :, :height, :width]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


def by_pillow(rgb: Tensor, height: int, width: int) -> Tensor:
    """Pictures of another size, by Pillow's bicubic filter."""
    channels = [
        np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC))
        for each in rgb.flatten(0, 1).numpy()
    ]
    return torch.from_numpy(np.stack(channels)).view(-1, 3, height, width).clamp(0, 1)


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    network, content, reference = small_network(), pictures(3, 16, 32), pictures(3, 32, 16)
    labels, others = torch.randint(2, (3, 16, 32)), torch.randint(2, (3, 32, 16))
    with torch.no_grad():
        together, by_label = network(content, reference), network(content, reference, labels, others)
        alone, alone_by_label = (
            network(content[1:2], reference[1:2], *each) for each in ((), (labels[1:2], others[1:2]))
        )
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(by_label[1:2], alone_by_label, rtol=0, atol=1e-5)


# By label


def test_labels_are_matched_at_every_place() -> None:
    content, reference, network = pictures(2, 48, 64), pictures(2, 64, 48), small_network()
    labels, others = torch.zeros(2, 48, 64).long(), torch.ones(2, 64, 48).long()
    labels[:, :, 24:], others[:, 20:] = 1, 0
    labels[1, :4] = 77  # of which the reference has none

    def by_label(x: Tensor, y: Tensor) -> Tensor:
        own, wanted = (
            nearest(each, (maps.shape[2], maps.shape[3])).flatten(1) for each, maps in ((labels, x), (others, y))
        )
        groups = zip(x.flatten(2), y.flatten(2), own, wanted, strict=True)
        return torch.from_numpy(
            np.stack([naive_by_label("adain", *(each.numpy() for each in group)) for group in groups])
        ).view_as(x)

    wanted = naive(network, content, reference, by_label)
    with torch.no_grad():
        found, plain = network(content, reference, labels, others), network(content, reference)
    torch.testing.assert_close(found.double(), wanted.clamp(0, 1), rtol=0, atol=2e-4)
    assert (found - plain).abs().mean() > 0.002


@pytest.mark.parametrize("kind", ["adain", "wct"])
def test_one_label_everywhere_is_none(kind: Kind) -> None:
    network, content, reference = small_network(kind), torch.rand(1, 3, 40, 37), torch.rand(1, 3, 33, 50)
    labels, others = torch.full((1, 40, 37), 5), torch.full((1, 33, 50), 5)
    with torch.no_grad():
        found, wanted = network(content, reference, labels, others), network(content, reference)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_labels_may_be_smaller_or_larger_than_their_pictures() -> None:
    network, content, reference = small_network(), torch.rand(1, 3, 40, 37), torch.rand(1, 3, 32, 48)
    labels, others = torch.randint(2, (1, 9, 13)), torch.randint(2, (1, 80, 90))
    with torch.no_grad():
        found = network(content, reference, labels, others)
        wanted = network(content, reference, nearest(labels, (40, 37)), nearest(others, (32, 48)))
    assert torch.equal(found, wanted)


# The rest


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"matching": "mean"}, r"model\.transfer\.matching is one of adain, wct, not mean"),
        ({"matched_at": "encoder"}, r"model\.transfer\.matched_at=encoder is no list of encoder, skips, decoder"),
        (
            {"matched_at": ["encoder", "bottleneck"]},
            r"model\.transfer\.matched_at=\['encoder', 'bottleneck'\] is no .*",
        ),
        ({"alpha": 1.5}, r"model\.transfer\.alpha=1\.5 lies outside 0 to 1"),
        ({"alpha": -0.1}, r"model\.transfer\.alpha=-0\.1 lies outside 0 to 1"),
        ({"alpha": float("nan")}, r"model\.transfer\.alpha=nan lies outside 0 to 1"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^{sentence}$"):
        TransferNetwork(WIDTH, **changes)


@pytest.mark.parametrize("kind", ["adain", "wct"])
def test_mixed_precision_stays_finite_and_near(kind: Kind) -> None:
    network, content, reference = small_network(kind), pictures(1, 48, 32), pictures(1, 32, 48)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            found = network(content, reference)
        assert found.dtype == torch.float32
        assert (found - network(content, reference)).abs().mean() < 0.02
