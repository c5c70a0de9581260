"""What everything that trains here promises, on what does not colour."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.colorizer import Colorizer
from lightning_modules.lrac.classification import GreyClassification
from lightning_modules.lrac.segmentation import Segmentation
from lightning_modules.lrac.training import Optimization
from lightning_modules.task import Task
from tests.conftest import quiet_trainer

TRUNK = {"width": 2, "fc_width": 6}
OPTIMIZATION: Optimization = {
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "milestones": [],
    "decay": 1.0,
}


def classification(width: int = 2) -> GreyClassification:
    """A small one."""
    network = {**TRUNK, "width": width}
    return GreyClassification(
        resolution=32, classes=3, network=network, pretrained=None, optimization=OPTIMIZATION
    ).eval()


def segmentation(**changes: Any) -> Segmentation:
    """A small one; keywords change its hyper-parameters."""
    settings: dict[str, Any] = {
        "resolution": 32,
        "classes": 4,
        "color": True,
        "network": {**TRUNK, "hidden_width": 12, "batch_norm": True},
        "locations": 16,
        "pretrained": None,
        "rebalancing_pictures": 8,
        "optimization": OPTIMIZATION,
    }
    return Segmentation(**{**settings, **changes}).eval()


def save(task: Task, path: Path) -> Path:
    """Write a checkpoint as training does; returns where."""
    trainer = quiet_trainer()
    trainer.strategy.connect(task)
    trainer.save_checkpoint(path)
    return path


def test_a_checkpoint_of_another_kind_is_refused_in_words(tmp_path: Path) -> None:
    path = save(classification(), tmp_path / "classifier.ckpt")
    for kind, wanted in ((Colorizer, "LRAC or PIC"), (Segmentation, "Segmentation")):
        with pytest.raises(ValueError, match=rf"classifier\.ckpt holds GreyClassification; give a run of .*{wanted}"):
            kind.load(path)
    assert isinstance(Task.load(path), GreyClassification)
    assert isinstance(GreyClassification.load(path), GreyClassification)


def test_a_segmentation_is_rebuilt_from_its_checkpoint_alone(tmp_path: Path) -> None:
    task = segmentation()
    for name, buffer in task.named_buffers():
        if name.endswith("running_var"):
            torch.nn.init.uniform_(buffer, 0.01, 0.1)
    (tmp_path / "checkpoints").mkdir()
    save(task, tmp_path / "checkpoints" / "best.ckpt")
    save(segmentation(), tmp_path / "checkpoints" / "last.ckpt")
    loaded = Segmentation.load(tmp_path)
    assert not loaded.training
    assert dict(loaded.hparams) == dict(task.hparams)
    rgb = torch.rand(1, 3, 37, 50)
    with torch.no_grad():
        assert torch.equal(loaded.network.dense(loaded.seen(rgb)), task.network.dense(task.seen(rgb)))


def test_hyper_parameters_can_be_changed_where_there_are_such(tmp_path: Path) -> None:
    path = save(segmentation(), tmp_path / "last.ckpt")
    assert Segmentation.load(path, locations=5).locations == 5
    with pytest.raises(ValueError, match=r"Segmentation has no temperature; it has .*locations"):
        Segmentation.load(path, temperature=0.5)
    with pytest.raises(ValueError, match=r"last\.ckpt does not fit Segmentation as it is now: size mismatch") as caught:
        Segmentation.load(path, classes=5)
    assert "\n" not in str(caught.value)


def test_weights_of_another_kind_start_nothing_they_do_not_fit(tmp_path: Path) -> None:
    source, own = classification(), classification()
    path = save(source, tmp_path / "classifier.ckpt")
    own.initialize_from(path)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in own.state_dict().items())
    with pytest.raises(ValueError, match=r"cannot start this Segmentation: .*weights are absent there"):
        segmentation().initialize_from(path)
    with pytest.raises(ValueError, match=r"cannot start this GreyClassification: .*or of another shape"):
        classification(width=3).initialize_from(path)
