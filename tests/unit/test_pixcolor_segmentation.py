"""Grey segmentation for PixColor's trunk: against naive loops, NumPy's interpolation and scikit-learn's scores."""

from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, jaccard_score
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.models.resnet import BasicBlock, ResNet

from lightning_modules.color import to_float
from lightning_modules.pixcolor.segmentation import AtrousPyramid, GreySegmentation
from tests.conftest import quiet_trainer
from tests.unit.test_lrac_segmentation import MaskedPictureData, MaskedPictures
from tests.unit.test_pixcolor_chroma import stretched
from tests.unit.test_pixcolor_module import small_pixcolor
from tests.unit.test_task import save

UNTRACKED = "ignore:You are trying to `self.log"
GREY = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
OPTIMIZATION = {
    "learning_rate": 0.01,
    "classifier_factor": 10.0,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "steps": 10,
    "power": 0.9,
}


def small_segmentation(classes: int = 3, pretrained: str | None = None, **optimization: float) -> GreySegmentation:
    """A small one, whose classifier is bold enough that every class is found somewhere."""
    conditioning = {"block": "basic", "blocks": [1, 1, 1], "stride": 8}
    numbers: Any = {**OPTIMIZATION, **optimization}
    task = GreySegmentation(
        resolution=32, classes=classes, conditioning=conditioning, pretrained=pretrained, optimization=numbers
    )
    for branch in cast(AtrousPyramid, task.network.adaptation).branches:
        torch.nn.init.normal_(cast(Tensor, branch.weight), std=0.2)
    return task.eval()


def luminance_of(rgb: Tensor) -> Tensor:
    """Y of eight-bit pictures, in [0, 1], `(B, 1, H, W)`."""
    return (rgb * GREY).sum(dim=1, keepdim=True) / 255


def small_data(count: int = 8, side: int = 32) -> MaskedPictureData:
    """Squares with random masks."""
    data = MaskedPictureData()
    data.training = data.validation = data.test = MaskedPictures(count, side, side)
    return data


def test_classifier_is_the_sum_of_four_dilated_convolutions() -> None:
    pyramid = AtrousPyramid(3, 2).double()
    features = torch.randn(2, 3, 29, 31, dtype=torch.float64)
    found = pyramid(features)
    assert found.shape == (2, 2, 29, 31)
    branches = list(zip((6, 12, 18, 24), pyramid.branches, strict=True))
    for row, column in ((0, 0), (14, 15), (28, 4), (26, 25)):
        wanted = torch.zeros(2, 2, dtype=torch.float64)
        for dilation, branch in branches:
            wanted += cast(Tensor, branch.bias)
            for i, j in np.ndindex(3, 3):
                y, x = row + dilation * (i - 1), column + dilation * (j - 1)
                if 0 <= y < 29 and 0 <= x < 31:
                    wanted += features[:, :, y, x] @ cast(Tensor, branch.weight)[:, :, i, j].t()
        torch.testing.assert_close(found[:, :, row, column], wanted)


@pytest.mark.parametrize("size", [(32, 40), (21, 50), (5, 3)])
@torch.no_grad()
def test_pixels_of_any_size_get_stretched_logits(size: tuple[int, int]) -> None:
    task, (height, width) = small_segmentation(), size
    rgb = MaskedPictures(2, height, width).rgb
    found = task.logits(to_float(rgb))
    assert found.shape == (2, 3, height, width)
    rows, columns = -(-height // 8), -(-width // 8)
    margins = ((0, 0), (0, 0), (0, 8 * rows - height), (0, 8 * columns - width))
    padded = torch.from_numpy(np.pad(luminance_of(rgb).numpy(), margins, mode="edge"))
    coarse = task.network.adaptation(task.network.trunk_features(padded))
    assert coarse.shape == (2, 3, rows, columns)
    for ours, theirs in zip(found.flatten(0, 1), coarse.flatten(0, 1), strict=True):
        wanted = stretched(theirs.double().numpy(), 8 * rows, 8 * columns)[:height, :width]
        np.testing.assert_allclose(ours.numpy(), wanted, rtol=1e-4, atol=1e-4 * coarse.abs().max().item())


@torch.no_grad()
def test_colour_is_not_seen() -> None:
    task, grey = small_segmentation(), 0.3 + 0.4 * torch.rand(1, 1, 16, 16).expand(-1, 3, -1, -1)
    coloured = grey + torch.tensor([0.114, 0.0, -0.299]).view(3, 1, 1)
    difference = (task.logits(grey) - task.logits(coloured)).abs().max() / task.logits(grey).abs().max()
    assert difference.item() < 1e-4
    assert not torch.allclose(task.logits(grey), task.logits(0.9 * grey), rtol=1e-3)


@pytest.mark.filterwarnings(UNTRACKED)
@torch.no_grad()
def test_the_loss_is_the_mean_over_labelled_pixels() -> None:
    task, pictures = small_segmentation(classes=4), MaskedPictures(2, 16, 13)
    logits, losses = task.logits(to_float(pictures.rgb)).double().numpy(), []
    for picture, row, column in np.ndindex(2, 16, 13):
        label = int(pictures.mask[picture, row, column])
        if label != 255:
            losses.append(-log_softmax(logits[picture, :, row, column])[label])
    assert 0 < len(losses) < 2 * 16 * 13
    assert task.training_step(pictures.batch(), 0).item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.filterwarnings(UNTRACKED)
def test_pictures_without_a_label_teach_nothing() -> None:
    task, pictures = small_segmentation(), MaskedPictures(2, 16, 16)
    loss = task.training_step({"rgb": pictures.rgb, "mask": torch.full_like(pictures.mask, 255)}, 0)
    loss.backward()
    assert loss.item() == 0
    assert all(value.grad is not None and (value.grad == 0).all() for value in task.parameters())


def test_scores_are_scikit_learns_over_pictures_of_several_sizes() -> None:
    task = small_segmentation()
    parts = [MaskedPictures(2, 24, 40), MaskedPictures(1, 37, 16, seed=1)]
    with torch.no_grad():
        found = np.concatenate([task.logits(to_float(part.rgb)).argmax(dim=1).flatten().numpy() for part in parts])
    wanted = np.concatenate([part.mask.flatten().numpy() for part in parts])
    labelled = wanted != 255
    found, wanted = found[labelled], wanted[labelled]
    assert set(found) == {0, 1, 2}
    scores = {
        "mean_iou": pytest.approx(jaccard_score(wanted, found, average="macro")),
        "pixel_accuracy": pytest.approx(accuracy_score(wanted, found)),
    }
    batches: Any = DataLoader([part.batch() for part in parts], batch_size=None)  # type: ignore[arg-type]
    trainer = quiet_trainer()
    (validated,) = trainer.validate(task, batches, verbose=False)
    (tested,) = trainer.test(task, batches, verbose=False)
    assert validated == {f"validation/{name}": value for name, value in scores.items()}
    assert tested == {f"test/{name}": value for name, value in scores.items()}


class Rates(pl.Callback):
    """Notes the rates of both groups at every step."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *arguments: Any) -> None:
        """Before the step."""
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])


def test_rates_fall_as_deeplabs_and_the_classifiers_is_ten_times_as_high() -> None:
    rates = Rates()
    trainer = quiet_trainer(max_steps=5, limit_val_batches=0, callbacks=[rates])
    trainer.fit(small_segmentation(learning_rate=0.02, steps=4, power=0.7).train(), small_data(count=20, side=8))
    wanted = [0.02 * (1 - step / 4) ** 0.7 for step in range(5)]
    assert rates.rates == [pytest.approx([rate, 10 * rate], abs=1e-12) for rate in wanted]
    assert wanted[-1] == 0


def test_a_step_is_that_of_gradient_descent_with_a_faster_classifier() -> None:
    task = small_segmentation(learning_rate=0.001, weight_decay=0.5, momentum=0.3).train()
    data = small_data(count=4, side=16)
    pictures, copy = cast(MaskedPictures, data.training), deepcopy(task)
    losses = torch.nn.functional.cross_entropy(copy.logits(to_float(pictures.rgb)), pictures.mask, ignore_index=255)
    losses.backward()
    trainer = quiet_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(task, data)
    assert [group["momentum"] for group in trainer.optimizers[0].param_groups] == [0.3, 0.3]
    for (name, value), before in zip(task.named_parameters(), copy.parameters(), strict=True):
        assert before.grad is not None, name
        rate = 0.01 if "adaptation" in name else 0.001
        wanted = before - rate * (before.grad + 0.5 * before)
        torch.testing.assert_close(value, wanted, rtol=1e-3, atol=1e-5, msg=name)


def test_it_learns_what_is_light_and_what_is_dark() -> None:
    task, data = small_segmentation(classes=2, learning_rate=0.003, steps=20), small_data(count=16)
    pictures = cast(MaskedPictures, data.training)
    pictures.mask = (luminance_of(pictures.rgb)[:, 0] > 0.5).long()
    (before,) = quiet_trainer().validate(task, data, verbose=False)
    quiet_trainer(max_steps=20, limit_val_batches=0).fit(task.train(), data)
    (after,) = quiet_trainer().validate(task, data, verbose=False)
    assert before["validation/mean_iou"] < 0.5
    assert after["validation/mean_iou"] > 0.7


def test_its_checkpoint_starts_a_pixcolors_trunk(tmp_path: Path) -> None:
    task = small_segmentation()
    path = save(task, tmp_path / "segmentation.ckpt")
    model = small_pixcolor(parts=["pixelcnn"], pretrained=str(path))
    model.on_fit_start()
    theirs = task.network.trunk.state_dict()
    for name, value in model.conditioning.trunk.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def test_it_starts_from_torchvisions_weights_once(tmp_path: Path) -> None:
    path, weights = tmp_path / "resnet.pth", ResNet(BasicBlock, [1, 1, 1, 1]).state_dict()
    torch.save(weights, path)
    task = small_segmentation(pretrained=str(path), learning_rate=0.0)
    classifier = {name: value.clone() for name, value in task.network.adaptation.state_dict().items()}
    quiet_trainer(max_steps=1, limit_val_batches=0).fit(task.train(), small_data(4, 16))
    for name, value in task.network.trunk.named_parameters():
        assert torch.equal(value, weights[name]), name
    for name, value in task.network.adaptation.state_dict().items():
        assert torch.equal(value, classifier[name]), name
    path.unlink()
    with torch.no_grad():
        for value in task.parameters():
            value.fill_(0.25)
    quiet_trainer(max_steps=1, limit_val_batches=0).fit(task, small_data(4, 16))
    assert all((value == 0.25).all() for value in task.parameters())
