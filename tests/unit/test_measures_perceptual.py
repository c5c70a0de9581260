"""Measures that need published networks, here on random ones of the same structure, from temporary files."""

import math
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from sklearn.metrics import top_k_accuracy_score
from torch import Tensor, nn
from torchvision.models import alexnet, inception_v3, vgg16

from evaluation.functional.classification import VGG16Classification, top_hits
from evaluation.functional.inception import InceptionFeatures, average_without_border, inception
from evaluation.functional.perceptual import LearnedPerceptualSimilarity
from evaluation.functional.weights import MissingWeightsError
from evaluation.metrics import frechet_inception_distance
from evaluation.metrics.frechet_inception_distance import FrechetInceptionDistance
from tests.unit.photographs import photograph_pair, photographs

ASKING = {
    "alexnet-owt-7be5be79.pth": LearnedPerceptualSimilarity,
    "vgg16-397923af.pth": VGG16Classification,
    "pt_inception-2015-12-05-6726825d.pth": FrechetInceptionDistance,
}
LAST_OF_SLICES = (1, 4, 7, 9, 11)


@pytest.fixture(scope="module")
def alexnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AlexNet of random features, without the classifier, which nothing here wants."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({f"features.{name}": value for name, value in alexnet().features.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def vgg16_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VGG-16 of random weights, whose file stays small: the rows of large matrices overlap in memory."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    weights = {}
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vgg16().state_dict().items()}
    for name, shape in shapes.items():
        scale = math.sqrt(2 / math.prod(shape[1:]))
        if len(shape) == 2:
            weights[name] = (scale * torch.randn(sum(shape))).as_strided(shape, (1, 1))
        else:
            weights[name] = scale * torch.randn(shape) if len(shape) > 1 else torch.zeros(shape)
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Inception of random weights and moments, with 1,008 classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    network = inception()
    for name, buffer in network.named_buffers():
        if name.endswith("var"):
            buffer.uniform_(0.05, 0.2)  # so small that a picture's differences reach the features
        elif name.endswith("mean"):
            buffer.uniform_(-0.1, 0.1)
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("file", ASKING)
def test_missing_weights_are_one_sentence(file: str, tmp_path: Path) -> None:
    for path, reason in ((None, "no path was given"), (tmp_path / "gone.pth", "gone.pth")):
        with pytest.raises(MissingWeightsError, match=reason) as raised:
            ASKING[file](path)
        sentence = str(raised.value)
        assert f"needs {file}" in sentence
        assert "https://" in sentence
        assert "\n" not in sentence


@pytest.mark.parametrize("make", ASKING.values())
def test_other_files_are_refused_in_one_sentence(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="is not a whole checkpoint or file of weights"):
        make(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="holds a list"):
        make(path)
    torch.save({"features.0.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="does not hold the weights") as raised:
        make(path)
    assert "\n" not in str(raised.value)


def test_weights_that_would_run_code_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"features.0.weight": Path("anything")}, path)
    with pytest.raises(ValueError, match="is not a whole checkpoint or file of weights"):
        VGG16Classification(path)


def test_lpips_as_its_paper_writes_it(alexnet_file: Path) -> None:
    first, second = photograph_pair(70, 64)
    network = alexnet().features.eval()
    network.load_state_dict({name[9:]: value for name, value in torch.load(alexnet_file).items()})
    package = find_spec("torchmetrics")
    assert package is not None
    assert package.origin is not None
    heads = torch.load(Path(package.origin).parent / "functional" / "image" / "lpips_models" / "alex.pth", "cpu")
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def features(rgb: Tensor) -> list[Tensor]:
        picture = (rgb - mean.view(1, 3, 1, 1)) / spread.view(1, 3, 1, 1)
        found = []
        for index, layer in enumerate(network):
            picture = layer(picture)
            if index in LAST_OF_SLICES:
                found.append(picture / picture.norm(dim=1, keepdim=True))
        return found

    wanted = torch.zeros(len(first))
    with torch.no_grad():
        for scale, (one, other) in enumerate(zip(features(first), features(second), strict=True)):
            weights = heads[f"lin{scale}.model.1.weight"].view(1, -1, 1, 1)
            wanted += (weights * (one - other).square()).sum(dim=1).mean(dim=(1, 2))
    assert LearnedPerceptualSimilarity(alexnet_file)(first, second).tolist() == pytest.approx(wanted.tolist(), rel=1e-4)


def test_lpips_is_a_symmetric_distance(alexnet_file: Path, vgg16_file: Path) -> None:
    first, second = photograph_pair(64, 64)
    for lpips in (LearnedPerceptualSimilarity(alexnet_file), LearnedPerceptualSimilarity(vgg16_file, "vgg")):
        distance = lpips(first, second)
        assert distance.shape == (2,)
        assert (distance > 1e-4).all()
        assert torch.equal(lpips(first, first), torch.zeros(2))
        assert lpips(second, first).tolist() == pytest.approx(distance.tolist(), rel=1e-5)
        assert lpips(first[:1], second[:1]).tolist() == pytest.approx(distance[:1].tolist(), rel=1e-4)


def test_networks_stay_in_evaluation_mode(alexnet_file: Path) -> None:
    holder = nn.Sequential(LearnedPerceptualSimilarity(alexnet_file)).train()
    assert not any(module.training for module in holder[0].modules())
    assert not any(parameter.requires_grad for parameter in holder.parameters())


def test_vgg16_prepares_pictures_as_it_was_trained(vgg16_file: Path) -> None:
    classifier = VGG16Classification(vgg16_file)
    picture = photographs(256, 300)[:1]
    with torch.device("meta"):
        network = vgg16()
    network.load_state_dict(torch.load(vgg16_file), assign=True)
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    prepared = (picture[:, :, 16:240, 38:262] - mean.view(1, 3, 1, 1)) / spread.view(1, 3, 1, 1)
    with torch.no_grad():
        wanted = network.eval()(prepared)
    scores = classifier(picture)
    assert scores.shape == (1, 1000)
    assert wanted.std() > 0.1
    torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-4)
    larger = F.interpolate(picture, scale_factor=2, mode="nearest")
    assert (classifier(larger) - scores).norm() < 0.2 * scores.std() * math.sqrt(1000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(classifier(picture), scores)


def test_top_hits_are_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.rand(200, 20, generator=generator), torch.randint(20, (200,), generator=generator)
    hits = top_hits(scores, labels)
    assert hits.shape == (200, 2)
    wanted = [top_k_accuracy_score(labels.numpy(), scores.numpy(), k=k, labels=np.arange(20)) for k in (1, 5)]
    assert hits.mean(dim=0).tolist() == pytest.approx(wanted)


def test_inception_has_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        ours, theirs = inception(), inception_v3(aux_logits=False, num_classes=1008, init_weights=False)
    assert {name: value.shape for name, value in ours.state_dict().items()} == {
        name: value.shape for name, value in theirs.state_dict().items()
    }


def test_inception_leaves_borders_out_of_averages() -> None:
    assert torch.equal(average_without_border(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))
    features = torch.rand(1, 288, 6, 6)
    network = inception().eval()
    blocks: list[tuple[Any, Callable[[Tensor], Tensor]]] = [
        (network.Mixed_5d, average_without_border),
        (network.Mixed_6e, average_without_border),
        (network.Mixed_7b, average_without_border),
        (network.Mixed_7c, partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)),
    ]
    with torch.no_grad():
        for block, pool in blocks:
            last = block.branch_pool
            features = torch.rand(1, last.conv.in_channels, 4, 4)
            assert torch.equal(block(features)[:, -last.conv.out_channels :], last(pool(features)))


def test_inception_blocks_are_torchvisions_but_for_the_averages() -> None:
    """Inside the border both average the same, so that a block differs there by nothing."""
    network = inception()
    theirs = inception_v3(aux_logits=False, num_classes=1008, init_weights=False)
    theirs.load_state_dict(network.state_dict())
    network.eval()
    theirs.eval()
    with torch.no_grad():
        for name in ("Mixed_5b", "Mixed_6c", "Mixed_7b"):
            ours = getattr(network, name)
            features = torch.rand(1, ours.branch1x1.conv.in_channels, 7, 7)
            torch.testing.assert_close(
                ours(features)[..., 1:-1, 1:-1], getattr(theirs, name)(features)[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-6
            )


def test_inception_features_and_their_preparation(inception_file: Path) -> None:
    extractor = InceptionFeatures(inception_file)
    pictures = photographs(200, 240)
    features = extractor(pictures)
    assert features.shape == (2, 2048)
    network = inception()
    network.load_state_dict(torch.load(inception_file))
    network.fc = nn.Identity()
    with torch.no_grad():
        wanted = network.eval()(2 * F.interpolate(pictures, (299, 299), mode="bilinear") - 1)
    assert (wanted[0] - wanted[1]).norm() > 0.05 * wanted.norm()
    assert (features - wanted).norm() < 1e-4 * wanted.norm()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(extractor(pictures), features)


class MeanColors(nn.Module):
    """Three features for an Inception of 2,048, whose covariance takes a minute."""

    num_features = 3

    def __init__(self, weights: Path | None) -> None:
        super().__init__()

    def forward(self, rgb: Tensor) -> Tensor:
        """Means over pixels, (B, 3)."""
        return rgb.mean(dim=(2, 3))


def test_frechet_distance_of_two_normal_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frechet_inception_distance, "InceptionFeatures", MeanColors)
    prediction, truth = torch.rand(40, 3, 4, 4) ** 2, torch.rand(40, 3, 4, 4)
    distance = FrechetInceptionDistance(None)
    distance.update(prediction[:25], truth[:25])
    distance.update(prediction[25:], truth[25:])
    one, other = (pictures.mean(dim=(2, 3)).double().numpy() for pictures in (prediction, truth))
    root = scipy.linalg.sqrtm(np.cov(one.T) @ np.cov(other.T))
    wanted = ((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum() + np.trace(
        np.cov(one.T) + np.cov(other.T) - 2 * root.real
    )
    assert distance.compute().item() == pytest.approx(wanted, rel=1e-4)
    same = FrechetInceptionDistance(None)
    same.update(truth, truth)
    assert same.compute().item() == pytest.approx(0, abs=1e-6)
    lone = FrechetInceptionDistance(None)
    lone.update(truth[:1], truth[:1])
    with pytest.raises(ValueError, match="at least 2 pictures"):
        lone.compute()
