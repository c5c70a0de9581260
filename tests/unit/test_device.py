"""Compilation in place, which must change nothing but speed, and what is refused."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch._dynamo.utils import counters

from lightning_modules.device import choose_device, compile_networks, require_synchronizable
from tests.conftest import RandomPictures, quiet_trainer
from tests.distributed.train_methods import method


class Graphs(pl.Callback):
    """How many graphs there were after each step."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Count them."""
        self.counts.append(counters["stats"]["unique_graphs"])


def fit(name: str, compiled: bool) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Weights of a method after some steps, and the graphs that were compiled on the way."""
    torch._dynamo.reset()
    counters.clear()
    model, graphs = method(name), Graphs()
    if compiled:
        compile_networks(model, backend="eager")
    pl.seed_everything(0, verbose=False)
    quiet_trainer(max_steps=6, limit_val_batches=0, callbacks=[graphs]).fit(
        model, RandomPictures(int(model.hparams["resolution"]), count=12)
    )
    return model.state_dict(), graphs.counts


@pytest.mark.parametrize("name", ["Exemplar", "LRAC", "PIC", "PixColor"])
def test_compiled_networks_learn_the_same_and_are_compiled_once(name: str) -> None:
    plain, none = fit(name, compiled=False)
    compiled, graphs = fit(name, compiled=True)
    assert plain.keys() == compiled.keys(), "checkpoints know nothing of it"
    for weight, value in plain.items():
        torch.testing.assert_close(compiled[weight], value)
    assert none[-1] == 0
    assert 0 < graphs[1] == graphs[-1]


def test_batch_normalisation_over_ranks_wants_gpus() -> None:
    with pytest.raises(ValueError, match=r"give trainer\.sync_batchnorm=false"):
        require_synchronizable(method("LRAC"), torch.device("cpu"))
    require_synchronizable(method("PIC"), torch.device("cpu"))
    require_synchronizable(method("LRAC"), torch.device("cuda"))


def test_a_device_that_is_not_there_is_named() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="there is no device nonsense"):
        choose_device("nonsense")
