"""Score a checkpoint, a folder of predictions or a standing row under a named protocol.

python evaluate.py checkpoint=runs/pic_cifar10/RUN data=cifar10 data.root=FOLDER protocol=pic_cifar10
python evaluate.py predictions=FOLDER truth=FOLDER protocol=lrac_ctest10k
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, MissingMandatoryValue, open_dict

from configs.command import as_dictionary, command

if TYPE_CHECKING:
    from datamodules.picture_set import PictureSet
    from evaluation.protocols import ScoringProtocol
    from evaluation.scorer import Entry, Pictures

SOURCES = ("checkpoint", "predictions", "baseline")


def score(config: DictConfig) -> None:
    """Write the scores and print them."""
    from hydra.utils import instantiate

    from evaluation.networks import network_statistics
    from evaluation.report.table import print_scores
    from evaluation.runner import evaluate, process_of_how_many
    from lightning_modules.colorizer import choose_device

    given = [source for source in SOURCES if config[source] is not None]
    if len(given) != 1:
        found = f"not by {' and '.join(given)} at once" if given else "by one of them"
        raise ValueError(f"name who is scored: checkpoint=RUN, predictions=FOLDER or baseline=grey, {found}")
    rules = instantiate(config.protocol, _convert_="all")
    device = choose_device(own_gpu(config.device))
    entry = checkpoint_entry(config, rules, device) if config.checkpoint is not None else None
    truth, data = true_pictures(config, rules)
    pictures: Pictures = truth
    if config.predictions is not None:
        entry, pictures = predictions_entry(config, rules, truth)
    elif config.baseline is not None:
        entry, pictures = standing_entry(config, rules, truth)
    assert entry is not None
    networks, left_out = network_statistics(config.weights, rules.measures, device)
    output = Path(config.output_dir or default_output(config, rules))
    workers = config.workers
    if workers is None:
        workers = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    scores = evaluate(
        entry,
        pictures,
        rules,
        output,
        data=data,
        whole=truth.keys,
        networks=networks,
        left_out=left_out,
        limit=config.pictures,
        unreadable=config.unmatched if entry.kind == "predictions" else "leave_out",
        workers=workers,
    )
    if scores is not None:
        print_scores(scores)
        print(f"scores and pictures: {output}")
    else:
        print(f"process {process_of_how_many()[0]} has done its share")


def own_gpu(device: str) -> str:
    """The GPU of this process, where a launcher started one for each."""
    import torch

    local_rank = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID"))
    if device in ("auto", "cuda") and local_rank and torch.cuda.is_available():
        return f"cuda:{int(local_rank) % torch.cuda.device_count()}"
    return device


def checkpoint_entry(config: DictConfig, rules: ScoringProtocol, device: Any) -> Entry:
    """A checkpoint, and its hyper-parameters in the config, where data may look for them."""
    from evaluation.scorer import Entry
    from lightning_modules.checkpoint import find_checkpoint
    from lightning_modules.colorizer import Colorizer

    checkpoint = find_checkpoint(config.checkpoint)
    colorizer = Colorizer.load(checkpoint, **config.overrides).to(device)
    with open_dict(config):
        config.model = dict(colorizer.hparams)
    changes = ", ".join(f"{name} {value}" for name, value in config.overrides.items())
    return Entry.of_checkpoint(checkpoint, colorizer, rules, config.method, config.variant or changes or None)


def true_pictures(config: DictConfig, rules: ScoringProtocol) -> tuple[PictureSet, dict[str, Any]]:
    """The pictures to score on, and where they come from: those of the protocol's set, where the folder has more."""
    from hydra.utils import instantiate

    from datamodules.folders import Folder
    from datamodules.splits import SHA256, keys_of

    if config.truth is not None:
        folder = Folder(Path(config.truth))
        if rules.set in SHA256 and set(keys_of(rules.set)) < set(folder.keys):
            folder = Folder(Path(config.truth), keys_of(rules.set))
        return folder, {"truth": str(config.truth)}
    try:
        data = instantiate(config.data, _convert_="all")
    except MissingMandatoryValue as error:
        raise ValueError("name the true pictures: truth=FOLDER, or data=imagenet data.root=FOLDER") from error
    data.prepare_data()
    data.setup("test")
    return data.test.as_stored() if rules.resize else data.test, as_dictionary(config.data)


def predictions_entry(config: DictConfig, rules: ScoringProtocol, truth: PictureSet) -> tuple[Entry, Pictures]:
    """A folder of predictions, each beside its truth; what does not match is listed."""
    from datamodules.folders import Predicted, UnmatchedError
    from evaluation.scorer import Entry

    folder = Path(config.predictions)
    chosen = {truth.keys[place] for place in rules.chosen(truth.keys)}
    try:
        predicted = Predicted(truth, folder, unmatched=config.unmatched, restrict_to=chosen)
    except UnmatchedError as error:
        path = Path(config.output_dir or default_output(config, rules)) / "unmatched.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in [*error.missing, *error.strangers]), encoding="utf-8")
        raise ValueError(f"{error}; all of them: {path}") from error
    source = {"path": str(folder), "sha256": predicted.sha256}
    return Entry(
        config.method or folder.resolve().name, "predictions", source, None, len(predicted.files[0]), config.variant
    ), predicted


def standing_entry(config: DictConfig, rules: ScoringProtocol, truth: PictureSet) -> tuple[Entry, Pictures]:
    """One of the rows that every leaderboard has."""
    from evaluation.scorer import Entry
    from evaluation.standing_rows import StandingRow

    return Entry(config.baseline, "baseline"), StandingRow(truth, rules, config.baseline)


def default_output(config: DictConfig, rules: ScoringProtocol) -> Path:
    """Beside what is scored, under the protocol's name and hash."""
    from lightning_modules.checkpoint import find_checkpoint

    name = f"{rules.name}_{rules.hash}"
    if config.checkpoint is not None:
        checkpoint: Path = find_checkpoint(config.checkpoint)
        return checkpoint.parent / "evaluations" / name
    if config.predictions is not None:
        folder = Path(config.predictions).resolve()
        return folder.with_name(f"{folder.name}_scores") / name
    return Path("scores") / str(config.baseline) / name


def main() -> None:
    """The command line."""
    command("evaluate", score)


if __name__ == "__main__":
    main()
