"""What a full disk, or a damaged checkpoint, does to a run."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.checkpoint import AtomicCheckpointIO, read_checkpoint
from train import full_disk_named


@pytest.mark.parametrize("error", [RuntimeError("unexpected pos 320 vs 214"), OSError(errno.ENOSPC, "no space")])
def test_a_checkpoint_that_does_not_fit_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, checkpoint)

    def fill(_: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(OSError, match=rf"{checkpoint} cannot be written; its disk has .* MB left"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, checkpoint)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["last.ckpt"]
    assert torch.load(checkpoint, weights_only=True) == {"step": 1}


def test_a_full_disk_is_named() -> None:
    with pytest.raises(OSError, match="the disk of runs/a is full"), full_disk_named(Path("runs/a")):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), full_disk_named(Path("runs/a")):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize("missing", ["hyper_parameters", "state_dict"])
def test_a_checkpoint_without_its_parts_is_named(tmp_path: Path, missing: str) -> None:
    whole: dict[str, Any] = {"method": "PIC", "hyper_parameters": {}, "state_dict": {}}
    torch.save({name: value for name, value in whole.items() if name != missing}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=rf"last\.ckpt is damaged: it holds no {missing}"):
        read_checkpoint(tmp_path / "last.ckpt")
