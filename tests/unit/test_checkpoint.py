"""Writing checkpoints whole, and averaging what goes into them."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules.checkpoint import AtomicCheckpointIO, find_checkpoint
from lightning_modules.layers.averaging import ParameterAveraging
from tests.conftest import quiet_trainer


def test_a_checkpoint_replaces_the_old_one_in_one_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, path = AtomicCheckpointIO(), tmp_path / "checkpoints" / "last.ckpt"
    writer.save_checkpoint({"step": 1}, path)

    def die(*arguments: object) -> None:
        Path(str(arguments[1])).write_bytes(b"half")
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", die)
        with pytest.raises(OSError, match="full"):
            writer.save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    writer.save_checkpoint({"step": 3}, path)
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]


def test_the_best_checkpoint_stands_for_its_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("last.ckpt", "best.ckpt"):
        (tmp_path / "checkpoints" / name).touch()
        assert find_checkpoint(tmp_path).name == name
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        find_checkpoint(tmp_path.parent)


class Walk(pl.LightningModule):
    """One number that grows by 1 each step."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.validated: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """A loss whose gradient is -1."""
        return -self.place.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Note what validation sees."""
        self.validated.append(self.place.item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Steps of 1."""
        return torch.optim.SGD(self.parameters(), lr=1.0)


def test_validation_sees_the_moving_average() -> None:
    module, batches = Walk(), torch.utils.data.DataLoader(torch.zeros(4, 1))  # type: ignore[arg-type,var-annotated]
    trainer = quiet_trainer(max_epochs=2, limit_val_batches=1, callbacks=[ParameterAveraging(decay=0.75)])
    trainer.fit(module, batches, batches)
    average, wanted = 1.0, []
    for place in range(2, 9):
        average = 0.75 * average + 0.25 * place
        if place % 4 == 0:
            wanted.append(average)
    assert module.validated == pytest.approx(wanted)
