"""Processes, joined by torch.distributed, that share the epochs of a set of shards and write down what each saw.

    python tests/distributed/collect_keys.py FOLDER

FOLDER holds the set, in `set`, and `setups.json`: for each number of processes a list of settings of the data module.
Into `seen.json` goes, for each number and each setting, what each rank saw: `training`, two epochs, and `validation`,
each a list of batches, and each batch its keys and the SHA-256 of its pixels.
"""

import hashlib
import json
import multiprocessing
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from datamodules.images import Images
from datamodules.loader import ResumableLoader
from datamodules.picture_set import PictureSet
from datamodules.transforms import scale_and_crop

Epoch = list[tuple[list[str], str]]


def images(folder: Path, **settings: Any) -> Images:
    """The data module, set up for training, with small numbers for all that is not given."""
    defaults: dict[str, Any] = {
        "training": "train",
        "validation": "val",
        "test": "val",
        "transform": partial(scale_and_crop, short_side=[8, 10], resolution=8),
        "minimum_colourness": 0,
        "minimum_chroma_range": 0,
        "reach": 14,
        "on_error": "stop",
        "cache_gigabytes": 1,
        "batch_size": 4,
        "evaluation_batch_size": 3,
        "workers": 0,
        "seed": 0,
    }
    module = Images(root=str(folder / "set"), cache=str(folder / "cache"), **(defaults | settings))
    module.setup("fit")
    return module


def loader(module: Images, pictures: PictureSet, batch_size: int, shuffle: bool) -> ResumableLoader:
    """What the data module makes under a trainer."""
    return ResumableLoader(
        pictures,
        batch_size,
        shuffle=shuffle,
        seed=module.seed,
        workers=module.workers,
        rank=distributed.get_rank(),
        world_size=distributed.get_world_size(),
        start_method=module.start_method,
    )


def epoch(batches: ResumableLoader) -> Epoch:
    """Keys and pixels of one epoch."""
    return [(batch["key"], hashlib.sha256(batch["rgb"].numpy().tobytes()).hexdigest()) for batch in batches]


def take_part(folder: Path, setups: list[dict[str, Any]], rank: int, world_size: int) -> None:
    """Join the others and go through the epochs; the first rank tells what all saw."""
    rendezvous = f"file://{folder / f'rendezvous_{world_size}'}"
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world_size)
    seen = list[dict[str, list[Any]]]()
    for setup in setups:
        module = images(folder, **{name: value for name, value in setup.items() if name != "validates"})
        training = loader(module, module.training, module.batch_size, shuffle=True)
        mine: dict[str, Any] = {"training": [epoch(training), epoch(training)]}
        if setup.get("validates", True):
            mine["validation"] = epoch(loader(module, module.validation, module.evaluation_batch_size, shuffle=False))
        everybodys: list[Any] = [None] * world_size
        distributed.all_gather_object(everybodys, mine)
        seen.append({part: [each[part] for each in everybodys] for part in mine})
    if rank == 0:
        (folder / f"seen_{world_size}.json").write_text(json.dumps(seen), encoding="utf-8")
    distributed.barrier()
    distributed.destroy_process_group()


def main() -> None:
    """For each number of processes start them and wait for them."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    multiprocessing.set_forkserver_preload(["datamodules.images"])
    everything = json.loads((folder / "setups.json").read_text(encoding="utf-8"))
    for world_size, setups in everything.items():
        # forked, since each would take seconds to import the same again
        processes = [
            multiprocessing.get_context("fork").Process(target=take_part, args=(folder, setups, rank, int(world_size)))
            for rank in range(int(world_size))
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            sys.exit(1)
    seen = {number: json.loads((folder / f"seen_{number}.json").read_text(encoding="utf-8")) for number in everything}
    (folder / "seen.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main()
