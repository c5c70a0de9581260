"""VOC 2012's classes upon LRAC's network: against NumPy's interpolation, scikit-learn's scores and naive loops."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, jaccard_score
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.base import PictureDataModule
from datamodules.picture_set import PictureSet, Visit
from lightning_modules.color import to_float
from lightning_modules.lrac.classification import GreyClassification
from lightning_modules.lrac.module import LRAC
from lightning_modules.lrac.segmentation import Segmentation
from lightning_modules.task import Task
from tests.conftest import colourful_pictures, quiet_trainer
from tests.unit.test_task import save

TRUNK = {"width": 2, "fc_width": 6, "dropout": 0.0}
NETWORK = {**TRUNK, "hidden_width": 12}
STANDSTILL = {"learning_rate": 0.0, "momentum": 0.0, "weight_decay": 0.0, "milestones": [], "decay": 1.0}
UNTRACKED = "ignore:You are trying to `self.log"

Make = Callable[..., Segmentation]


@pytest.fixture
def make_segmentation() -> Make:
    """Build a small segmentation that learns nothing; keywords change its hyper-parameters."""

    def make(**changes: Any) -> Segmentation:
        settings = {
            "resolution": 32,
            "classes": 5,
            "color": False,
            "network": NETWORK,
            "locations": 16,
            "pretrained": None,
            "rebalancing_pictures": 8,
            "optimization": STANDSTILL,
        }
        return Segmentation(**{**settings, **changes}).eval()

    return make


class MaskedPictures(PictureSet):
    """Pictures of one size with random masks of classes 0 to 2, a quarter of whose pixels carry no label."""

    def __init__(self, count: int, height: int, width: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.rgb = colourful_pictures(count, max(height, width), seed)[:, :, :height, :width]
        self.mask = torch.tensor([0, 1, 2, 255])[torch.randint(4, (count, height, width), generator=generator)]
        self.keys = [str(number) for number in range(count)]

    def __len__(self) -> int:
        return len(self.rgb)

    def __getitem__(self, visit: Visit) -> dict[str, Any]:
        return {"rgb": self.rgb[visit.picture], "key": str(visit.picture), "mask": self.mask[visit.picture]}

    def batch(self) -> dict[str, Any]:
        """All of them."""
        return {"rgb": self.rgb, "mask": self.mask}


class MaskedPictureData(PictureDataModule):
    """Squares of 64 to train on."""

    def __init__(self) -> None:
        super().__init__(batch_size=4, evaluation_batch_size=4, workers=0, seed=0)
        self.training = self.validation = self.test = MaskedPictures(8, 64, 64)


def varied(task: Segmentation) -> Segmentation:
    """Bring its outputs to mean 0 and deviation 1 over some pictures, so that every class is found somewhere."""
    head = task.network.head
    with torch.no_grad():
        deviation, mean = torch.std_mean(task.network.dense(task.seen(to_float(colourful_pictures(2, 64)))), (0, 2, 3))
        head.weight.div_(deviation[:, None])
        head.bias.copy_(-mean / deviation)
    return task


def lightness_of(rgb: Tensor) -> Tensor:
    """(R + G + B) / 3 of eight-bit pictures, in [0, 1], `(B, 1, H, W)`."""
    return rgb.double().mean(dim=1, keepdim=True).float() / 255


def enlarged(coarse: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float64]:
    """A map whose cells stand in the middle of 4 x 4 pixels, `(C, h, w)`, read linearly at every pixel."""
    for axis, side in ((1, height), (2, width)):
        centres = 4 * np.arange(coarse.shape[axis]) + 1.5
        coarse = np.apply_along_axis(partial(np.interp, np.arange(side), centres), axis, coarse)
    return coarse


@pytest.mark.parametrize("size", [(37, 50), (64, 32), (5, 3)])
def test_each_pixel_gets_its_likeliest_class(size: tuple[int, int], make_segmentation: Make) -> None:
    task, (height, width) = varied(make_segmentation()), size
    rgb = MaskedPictures(2, height, width).rgb
    segmented = task.segment(to_float(rgb))
    assert segmented.shape == (2, height, width)
    assert segmented.dtype == torch.int64
    for picture, found in zip(rgb, segmented.numpy(), strict=True):
        with torch.no_grad():
            outputs = task.network.dense(lightness_of(picture[None]))[0].double().numpy()
        probabilities = enlarged(softmax(outputs, axis=0), height, width)
        second, first = np.sort(probabilities, axis=0)[-2:]
        clear = first - second > 1e-5
        assert clear.mean() > 0.9
        assert np.array_equal(found[clear], probabilities.argmax(axis=0)[clear])
        assert len(np.unique(found)) > 1 or min(size) < 8, "one class everywhere shows nothing"


def test_scores_are_scikit_learns_over_pictures_of_several_sizes(make_segmentation: Make) -> None:
    task = varied(make_segmentation(classes=6))
    with torch.no_grad():
        task.network.head.bias[5] = -1e4  # nowhere, neither found nor wanted, so that it has no part in the mean
    parts = [MaskedPictures(2, 37, 50), MaskedPictures(1, 64, 32, seed=1)]
    parts[1].mask[parts[1].mask == 2] = 255
    found = np.concatenate([task.segment(to_float(part.rgb)).flatten().numpy() for part in parts])
    wanted = np.concatenate([part.mask.flatten().numpy() for part in parts])
    labelled = wanted != 255
    found, wanted = found[labelled], wanted[labelled]
    assert set(found) - set(wanted), "a class is found that is nowhere"
    scores = {
        "mean_iou": pytest.approx(jaccard_score(wanted, found, average="macro", zero_division=0)),
        "pixel_accuracy": pytest.approx(accuracy_score(wanted, found)),
    }
    batches: Any = DataLoader([part.batch() for part in parts], batch_size=None)  # type: ignore[arg-type]
    trainer = quiet_trainer()
    (validated,) = trainer.validate(task, batches, verbose=False)
    (tested,) = trainer.test(task, batches, verbose=False)
    assert validated == {f"validation/{name}": value for name, value in scores.items()}
    assert tested == {f"test/{name}": value for name, value in scores.items()}


@pytest.mark.filterwarnings(UNTRACKED)
def test_the_loss_is_the_mean_over_labelled_pixels_that_are_drawn(make_segmentation: Make) -> None:
    task, pictures = varied(make_segmentation(locations=9)), MaskedPictures(3, 40, 33)
    torch.manual_seed(7)
    loss = task.training_step(pictures.batch(), 0)
    torch.manual_seed(7)
    rows, columns = torch.randint(40, (3, 9)), torch.randint(33, (3, 9))
    lightness, losses = lightness_of(pictures.rgb), []
    for picture, draw in np.ndindex(3, 9):
        row, column = rows[picture, draw], columns[picture, draw]
        label = int(pictures.mask[picture, row, column])
        if label == 255:
            continue
        with torch.no_grad():
            outputs = task.network.sparse(lightness[picture : picture + 1], torch.stack([row, column]).view(1, 1, 2))
        losses.append(-log_softmax(outputs.flatten().double().numpy())[label])
    assert 0 < len(losses) < 27
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.filterwarnings(UNTRACKED)
def test_pictures_without_a_label_teach_nothing(make_segmentation: Make) -> None:
    task, pictures = make_segmentation(), MaskedPictures(2, 32, 32)
    loss = task.training_step({"rgb": pictures.rgb, "mask": torch.full_like(pictures.mask, 255)}, 0)
    loss.backward()
    assert loss.item() == 0
    for name, value in task.named_parameters():
        assert value.grad is not None, name
        assert (value.grad == 0).all(), name


@pytest.mark.parametrize("color", [False, True])
def test_colour_is_seen_where_it_is_wanted(color: bool, make_segmentation: Make) -> None:
    task = varied(make_segmentation(color=color))
    grey = 0.2 + 0.6 * to_float(colourful_pictures(1, 32)).mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    coloured = grey + torch.tensor([0.15, -0.05, -0.1]).view(3, 1, 1)
    with torch.no_grad():
        plain, changed = (task.network.dense(task.seen(rgb)) for rgb in (grey, coloured))
    difference = ((plain - changed).abs().max() / plain.abs().max()).item()
    assert difference > 0.01 if color else difference < 1e-5


@pytest.mark.parametrize("step", ["training_step", "validation_step", "test_step"])
@pytest.mark.filterwarnings(UNTRACKED)
def test_pictures_without_usable_masks_are_refused_in_words(step: str, make_segmentation: Make) -> None:
    task, pictures = make_segmentation(classes=3), MaskedPictures(1, 32, 32)
    getattr(task, step)(pictures.batch(), 0)
    with pytest.raises(ValueError, match="these pictures have no masks; segmentation wants VOC 2012") as caught:
        getattr(task, step)({"rgb": pictures.rgb}, 0)
    assert "\n" not in str(caught.value)
    pictures.mask[0, 0, 0] = 3
    with pytest.raises(ValueError, match=r"holds class 3, counted from 0; give model\.classes=4 or more") as caught:
        getattr(task, step)(pictures.batch(), 0)
    assert "\n" not in str(caught.value)


def test_it_learns_what_is_light_and_what_is_dark(make_segmentation: Make) -> None:
    optimization = {"learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.0, "milestones": [], "decay": 1.0}
    network = {**NETWORK, "batch_norm": True, "mean_lightness": 0.5}
    task = make_segmentation(classes=2, network=network, locations=64, optimization=optimization)
    data = MaskedPictureData()
    pictures = cast(MaskedPictures, data.training)
    pictures.mask = (lightness_of(pictures.rgb)[:, 0] > 0.5).long()
    (before,) = quiet_trainer().validate(task, data, verbose=False)
    quiet_trainer(max_steps=40, limit_val_batches=0).fit(task.train(), data)
    (after,) = quiet_trainer().validate(task, data, verbose=False)
    assert before["validation/mean_iou"] < 0.5
    assert after["validation/mean_iou"] > 0.8


def fit_a_step(task: Task) -> None:
    """One step, of rate 0 in these tests: all that changes is how the network starts."""
    quiet_trainer(max_steps=1, limit_val_batches=0).fit(task.train(), MaskedPictureData())


def test_it_starts_with_the_hypercolumn_of_a_method_and_a_head_of_its_own(
    tmp_path: Path, make_segmentation: Make
) -> None:
    sizes = [f"model.network.{name}={value}" for name, value in {**NETWORK, "batch_norm": False}.items()]
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("train", ["model=lrac_tiny", *sizes])
    method = instantiate(config.model, _convert_="all")
    assert isinstance(method, LRAC)
    task = make_segmentation(pretrained=str(save(method, tmp_path / "lrac.ckpt")))
    head = {name: value.clone() for name, value in task.network.head.state_dict().items()}
    fit_a_step(task)
    theirs = method.network.state_dict()
    for name, value in task.network.state_dict().items():
        wanted = head[name.removeprefix("head.")] if name.startswith("head.") else theirs[name]
        assert torch.equal(value, wanted), name


@pytest.mark.parametrize("color", [False, True])
def test_a_new_hypercolumn_gets_layers_of_one_scale(color: bool, tmp_path: Path, make_segmentation: Make) -> None:
    classifier = GreyClassification(
        resolution=64, classes=3, network=TRUNK, pretrained=None, optimization=cast(Any, STANDSTILL)
    )
    with torch.no_grad():
        for value in classifier.parameters():
            value.copy_(0.3 * torch.randn(value.shape).abs())
    task = make_segmentation(color=color, pretrained=str(save(classifier, tmp_path / "classifier.ckpt")))
    fit_a_step(task)
    rgb = MaskedPictureData().first_pictures(8)
    seen = to_float(rgb) if color else lightness_of(rgb)
    with torch.no_grad():
        maps = task.eval().network.trunk(seen)
    for name, features in maps.items():
        if name != "data":
            assert features.square().mean() == pytest.approx(1, rel=1e-3), name
