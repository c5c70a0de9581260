"""Going on after a stop at any moment: the very batches that an uninterrupted run would have seen, pixel by pixel.

Run as a program, this is the process that is killed:
`python -m tests.integration.test_exact_continuation SET FOLDER SEED`.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from datamodules.images import Images, ShardedPictures
from datamodules.loader import ResumableLoader
from datamodules.picture_set import Visit
from datamodules.shards.sources import Bytes, Source
from datamodules.shards.writer import Encoding, write
from datamodules.transforms import scale_and_crop
from tests.conftest import PROJECT, colourful_pictures, quiet_trainer

TRAINING, VALIDATION, SHARD = 24, 5, 7
BATCH, EPOCHS = 4, 3
PER_EPOCH = TRAINING // BATCH

Keys = list[list[str]]


def images(root: Path, **settings: Any) -> Images:
    """The data module with random scale, crop and mirror, and small numbers for all that is not given."""
    defaults: dict[str, Any] = {
        "training": "train",
        "validation": "val",
        "test": "val",
        "transform": partial(scale_and_crop, short_side=[24, 32], resolution=16),
        "minimum_colourness": 0,
        "minimum_chroma_range": 0,
        "reach": 12,
        "on_error": "stop",
        "cache": str(root / "cache"),
        "cache_gigabytes": 1,
        "batch_size": BATCH,
        "evaluation_batch_size": 2,
        "workers": 0,
        "seed": 0,
    }
    return Images(root=str(root), **(defaults | settings))


def training_loader(root: Path, **settings: Any) -> ResumableLoader:
    """The loader of the training pictures."""
    module = images(root, **settings)
    module.setup("fit")
    return module.train_dataloader()


def next_of(position: dict[str, Any]) -> tuple[int, int]:
    """Epoch and number of the batch that comes after a position."""
    if position["stretches"]:
        return position["epoch"], position["stretches"][-1][2]
    return position["epoch"] + 1, 0


def stream(loader: ResumableLoader, log: Path, state: Path, pause: float) -> None:
    """Go through the epochs from the state that was saved; tell of each batch, then save where the loader stands."""
    position = {"epoch": -1, "stretches": []}
    if state.exists():
        position = json.loads(state.read_text())
        loader.load_state_dict(position)
    with log.open("a", encoding="utf-8") as file:
        while next_of(position) < (EPOCHS, 0):
            epoch, done = next_of(position)
            for number, batch in enumerate(loader, done):
                pixels = hashlib.sha256(batch["rgb"].numpy().tobytes()).hexdigest()
                file.write(json.dumps([epoch, number, batch["key"], pixels]) + "\n")
                file.flush()
                position = loader.state_dict()
                half = state.with_suffix(".part")
                half.write_text(json.dumps(position))
                half.replace(state)
                time.sleep(pause)


def lines_of(log: Path) -> list[Any]:
    """What a stream has told, without a line that is not whole."""
    text = log.read_text() if log.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of shards of seven pictures of random colours."""
    folder = tmp_path_factory.mktemp("set")
    sources: dict[str, list[Source]] = {"train": [], "val": []}
    for number, picture in enumerate(colourful_pictures(TRAINING + VALIDATION, 40)):
        path = folder / f"{number:02}.png"
        Image.fromarray(picture[:, :30].permute(1, 2, 0).numpy()).save(path)
        sources["train" if number < TRAINING else "val"].append(Source(path.name, Bytes(str(path))))
    out = folder / "set"
    write(sources, out, command="test", encoding=Encoding(), pictures_per_shard=SHARD, seed=0, workers=1)
    return out


def training_keys() -> list[str]:
    """Keys of the training split."""
    return [f"{number:02}" for number in range(TRAINING)]


def start(root: Path, folder: Path, seed: int) -> subprocess.Popen[bytes]:
    """Start the process that writes a stream to a folder, or goes on with it."""
    command = [sys.executable, "-m", "tests.integration.test_exact_continuation", str(root), str(folder), str(seed)]
    with (folder / "errors.txt").open("w") as errors:
        return subprocess.Popen(command, cwd=PROJECT, stderr=errors, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of a process and of its workers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_killed_process_goes_on_with_the_very_batches_that_follow(root: Path, tmp_path: Path, seed: int) -> None:
    stream(training_loader(root, seed=seed), tmp_path / "wanted.txt", tmp_path / "wanted.json", pause=0)
    wanted = lines_of(tmp_path / "wanted.txt")
    assert [line[:2] for line in wanted] == [[epoch, batch] for epoch in range(EPOCHS) for batch in range(PER_EPOCH)]

    log, state = tmp_path / "log.txt", tmp_path / "state.json"
    stop = random.Random(seed).randrange(1, len(wanted) - PER_EPOCH)
    process = start(root, tmp_path, seed)
    try:
        while len(lines_of(log)) < stop and process.poll() is None:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (tmp_path / "errors.txt").read_text()
    finally:
        end(process)
    before = lines_of(log)
    assert stop <= len(before) < len(wanted)
    assert before == wanted[: len(before)]

    epoch, batch = next_of(json.loads(state.read_text()))
    done = epoch * PER_EPOCH + batch
    assert len(before) - 1 <= done <= len(before)
    log.rename(tmp_path / "before.txt")
    process = start(root, tmp_path, seed)
    try:
        assert process.wait() == 0, (tmp_path / "errors.txt").read_text()
    finally:
        end(process)
    assert lines_of(log) == wanted[done:]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Visit]:
    """Every visit of a picture, as it happens."""
    visits = list[Visit]()
    show = ShardedPictures.__getitem__

    def noted(pictures: ShardedPictures, visit: Visit) -> dict[str, Any]:
        visits.append(visit)
        return show(pictures, visit)

    monkeypatch.setattr(ShardedPictures, "__getitem__", noted)
    return visits


@pytest.mark.parametrize("batches", [1, PER_EPOCH - 1])
def test_going_on_decodes_nothing_of_what_went_before(root: Path, decoded: list[Visit], batches: int) -> None:
    whole = training_loader(root, batch_size=BATCH)
    epochs = [[batch["key"] for batch in whole] for _ in range(2)]
    visited = decoded[TRAINING:]
    decoded.clear()
    resumed = training_loader(root, batch_size=BATCH)
    resumed.load_state_dict({"epoch": 1, "stretches": [[1, BATCH, batches]]})
    assert next(iter(resumed))["key"] == epochs[1][batches]
    assert decoded == visited[batches * BATCH : (batches + 1) * BATCH]


def test_going_on_after_the_last_batch_decodes_nothing_of_that_epoch(root: Path, decoded: list[Visit]) -> None:
    stopped = training_loader(root)
    for _ in stopped:
        state = stopped.state_dict()
    decoded.clear()
    resumed = training_loader(root)
    resumed.load_state_dict(state)
    next(iter(resumed))
    assert [visit.epoch for visit in decoded] == [1] * BATCH


class Recorder(pl.LightningModule):
    """Learns nothing, and keeps the keys of the batches that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained, self.validated = list[list[str]](), list[str]()

    def training_step(self, batch: dict[str, Any], number: int) -> Tensor:
        """Keep the keys."""
        self.trained.append(batch["key"])
        loss: Tensor = self.weight * batch["rgb"].float().mean()
        return loss

    def validation_step(self, batch: dict[str, Any], number: int) -> None:
        """Keep the keys."""
        self.validated += batch["key"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Any."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Crash(pl.Callback):
    """Saves a checkpoint after a step and dies."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        """Die."""
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise RuntimeError("crash")


def fit(
    root: Path,
    resume: Path | None = None,
    crash: Crash | None = None,
    max_epochs: int = EPOCHS,
    max_steps: int = -1,
    **settings: Any,
) -> Recorder:
    """What a model is given in three epochs, or until a crash."""
    model = Recorder()
    trainer = quiet_trainer(max_epochs=max_epochs, max_steps=max_steps, callbacks=[crash] if crash else [])
    try:
        trainer.fit(model, images(root, **settings), ckpt_path=resume, weights_only=True)
    except RuntimeError as error:
        if str(error) != "crash":
            raise
    return model


@pytest.mark.parametrize(
    ("step", "workers"),
    [(PER_EPOCH - 1, 0), (PER_EPOCH, 0), (PER_EPOCH + 3, 0), (PER_EPOCH + 3, 2), (2 * PER_EPOCH + 1, 0)],
)
def test_lightning_goes_on_exactly_after_a_crash(root: Path, tmp_path: Path, step: int, workers: int) -> None:
    wanted = fit(root)
    assert len(wanted.trained) == EPOCHS * PER_EPOCH
    checkpoint = tmp_path / "half.ckpt"
    assert fit(root, crash=Crash(step, checkpoint), workers=workers).trained == wanted.trained[:step]
    resumed = fit(root, resume=checkpoint, workers=workers)
    assert resumed.trained == wanted.trained[step:]
    # an epoch whose last batch is behind the checkpoint is not validated any more, as ever with Lightning
    validated = [f"{TRAINING + number:02}" for number in range(VALIDATION)] * (EPOCHS - step // PER_EPOCH)
    assert sorted(resumed.validated) == sorted(validated)


@pytest.mark.parametrize("crashes", [False, True])
def test_workers_end_with_the_run(root: Path, tmp_path: Path, crashes: bool) -> None:
    before = set(multiprocessing.active_children())
    fit(root, crash=Crash(3, tmp_path / "half.ckpt") if crashes else None, workers=2)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("step", [PER_EPOCH, PER_EPOCH + 3])
def test_lightning_goes_on_exactly_after_its_last_step(root: Path, tmp_path: Path, step: int) -> None:
    wanted = fit(root)
    stopped, trainer = Recorder(), quiet_trainer(max_steps=step)
    trainer.fit(stopped, images(root))
    assert stopped.trained == wanted.trained[:step]
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = fit(root, resume=tmp_path / "half.ckpt", max_epochs=-1, max_steps=len(wanted.trained))
    assert resumed.trained == wanted.trained[step:]


@pytest.mark.filterwarnings("ignore:epoch 1 began on")
@pytest.mark.parametrize(
    ("first", "second", "batches"), [(4, 2, 2), (4, 2, 5), (2, 4, 2), (2, 4, 10), (2, 4, 0), (4, 3, 3)]
)
def test_another_batch_size_goes_on_with_exactly_what_was_left(
    root: Path, tmp_path: Path, first: int, second: int, batches: int
) -> None:
    checkpoint = tmp_path / "half.ckpt"
    step = TRAINING // first + batches
    before = fit(root, crash=Crash(step, checkpoint), batch_size=first).trained
    assert len(before) == step
    after = fit(root, resume=checkpoint, batch_size=second)
    rest = (TRAINING - first * batches) // second
    seen = flat(before[TRAINING // first :]) + flat(after.trained[:rest])
    assert sorted(seen) == training_keys()
    assert sorted(flat(after.trained[rest:])) == training_keys(), "the epoch after it is whole"
    assert {len(batch) for batch in after.trained} == {second}
    assert after.trained[rest:] == fit(root, batch_size=second).trained[2 * TRAINING // second :], "and as ever"


def test_a_change_of_the_batch_size_is_told(root: Path, tmp_path: Path) -> None:
    fit(root, crash=Crash(PER_EPOCH + 2, tmp_path / "half.ckpt"))
    with pytest.warns(
        UserWarning, match="epoch 1 began on 1 ranks with batches of 4 and goes on on 1 with batches of 2"
    ):
        fit(root, resume=tmp_path / "half.ckpt", batch_size=2)


@pytest.mark.filterwarnings("ignore:epoch 1 began on")
def test_only_the_incomplete_batch_is_lost_to_another_batch_size(root: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "half.ckpt"
    before = fit(root, crash=Crash(TRAINING // 2 + 3, checkpoint), batch_size=2).trained
    after = fit(root, resume=checkpoint, batch_size=4).trained
    seen = flat(before[TRAINING // 2 :]) + flat(after[:4])
    assert len(seen) == len(set(seen)) == 3 * 2 + 4 * 4
    assert sorted(flat(after[4:])) == training_keys()


def flat(batches: Keys) -> list[str]:
    """The keys of some batches."""
    return [key for batch in batches for key in batch]


def main() -> None:
    """Be the process that is killed."""
    root, folder, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    stream(training_loader(root, workers=2, seed=seed), folder / "log.txt", folder / "state.json", pause=0.02)


if __name__ == "__main__":
    main()
