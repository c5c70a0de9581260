"""Score a checkpoint, a folder of predictions or a standing row under a named protocol.

python evaluate.py checkpoint=runs/pic_cifar10/RUN data=cifar10 data.root=FOLDER protocol=pic_cifar10
python evaluate.py predictions=FOLDER truth=FOLDER protocol=lrac_ctest10k
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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
    import torch
    from hydra.utils import instantiate

    from evaluation.networks import network_statistics
    from evaluation.report.table import print_scores
    from evaluation.runner import evaluate, process_of_how_many
    from lightning_modules.device import choose_device

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
    output = output_of(config, rules, truth)
    if config.truth is not None and Path(str(config.truth)).resolve() in output.resolve().parents:
        raise ValueError(f"{output} lies in the folder of true pictures; name another output_dir")
    workers = whole_number(config.workers, "workers")
    if workers is None:
        workers = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if entry.colorizer is None and not networks:
        torch.set_num_threads(1)  # as in a worker: pictures gain nothing from more, and sums stay the same
    scores = evaluate(
        entry,
        pictures,
        rules,
        output,
        data=data,
        whole=truth.keys,
        networks=networks,
        left_out=left_out,
        limit=whole_number(config.pictures, "pictures"),
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

    checkpoint = find_checkpoint(str(config.checkpoint))
    overrides = as_dictionary(config.overrides)
    colorizer = Colorizer.load(checkpoint, **overrides).to(device)
    with open_dict(config):
        config.model = dict(colorizer.hparams)
    changes = ", ".join(f"{name} {value}" for name, value in settings_of(overrides))
    return Entry.of_checkpoint(
        checkpoint, colorizer, rules, text(config.method), text(config.variant) or changes or None
    )


def true_pictures(config: DictConfig, rules: ScoringProtocol) -> tuple[PictureSet, dict[str, Any]]:
    """The pictures to score on, and where they come from: those of the protocol's set, where the folder has more."""
    from hydra.utils import instantiate

    from datamodules.folders import Folder
    from datamodules.splits import SHA256, keys_of

    if config.truth is not None:
        folder = Folder(Path(str(config.truth)))
        if rules.set in SHA256 and set(keys_of(rules.set)) < set(folder.keys):
            folder = Folder(Path(str(config.truth)), keys_of(rules.set))
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

    folder = Path(str(config.predictions))
    if config.truth is not None and Path(str(config.truth)).resolve() in folder.resolve().parents:
        raise ValueError(f"{folder} lies in the folder of true pictures, and would be taken for truth; move it out")
    chosen = {truth.keys[place] for place in rules.chosen(truth.keys)}
    try:
        predicted = Predicted(truth, folder, unmatched=config.unmatched, restrict_to=chosen)
    except UnmatchedError as error:
        path = output_of(config, rules, truth) / "unmatched.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in [*error.missing, *error.strangers]), encoding="utf-8")
        raise ValueError(f"{error}; all of them: {path}") from error
    source = {"path": str(folder), "sha256": predicted.sha256}
    return Entry(
        text(config.method) or folder.resolve().name,
        "predictions",
        source,
        None,
        len(predicted.files[0]),
        text(config.variant),
    ), predicted


def standing_entry(config: DictConfig, rules: ScoringProtocol, truth: PictureSet) -> tuple[Entry, Pictures]:
    """One of the rows that every leaderboard has."""
    from evaluation.scorer import Entry
    from evaluation.standing_rows import StandingRow

    row = StandingRow(truth, rules, str(config.baseline))
    return Entry(row.name, "baseline", variant=text(config.variant)), row


def output_of(config: DictConfig, rules: ScoringProtocol, truth: PictureSet) -> Path:
    """Where scores go: apart for each method, variant, protocol, set and number of pictures, unless it is named."""
    from evaluation.protocols import keys_sha256

    if config.output_dir is not None:
        return Path(str(config.output_dir))
    changes = [f"{name}={value}" for name, value in settings_of(as_dictionary(config.overrides))]
    limit = [] if config.pictures is None else [f"first{config.pictures}"]
    variant = [text(config.variant)] if config.variant is not None else changes
    name = "_".join([rules.name, rules.hash, keys_sha256(truth.keys)[:6], *map(str, variant), *limit]).replace("/", "_")
    if config.checkpoint is not None:
        from lightning_modules.checkpoint import find_checkpoint

        checkpoint: Path = find_checkpoint(str(config.checkpoint))
        return checkpoint.parent / "evaluations" / name
    who = config.method or config.baseline or Path(str(config.predictions)).resolve().name
    return Path("scores") / str(who).replace("/", "_") / name


def settings_of(overrides: dict[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """The changed hyper-parameters, those inside another by their dotted names."""
    for name, value in overrides.items():
        if isinstance(value, dict):
            yield from settings_of(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value


def text(value: Any) -> str | None:
    """What somebody typed for words, which YAML may take for a number."""
    return None if value is None else str(value)


def whole_number(value: Any, name: str) -> int | None:
    """A number of the command line, or null."""
    if value is not None and not isinstance(value, int):
        raise ValueError(f"{name}={value} should be a whole number, or null")
    return value


def main() -> None:
    """The command line."""
    command("evaluate", score)


if __name__ == "__main__":
    main()
