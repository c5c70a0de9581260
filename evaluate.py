"""Score a checkpoint, a folder of predictions or a standing row under a named protocol.

python evaluate.py checkpoint=runs/pic_cifar10/RUN data=cifar10 data.root=FOLDER protocol=pic_cifar10
python evaluate.py predictions=FOLDER truth=FOLDER protocol=lrac_ctest10k
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, MissingMandatoryValue, open_dict

from configs.command import as_dictionary, command

if TYPE_CHECKING:
    from datamodules.picture_set import PictureSet
    from evaluation.protocols import ScoringProtocol
    from evaluation.scorer import Entry, Pictures

SOURCES = ("checkpoint", "predictions", "baseline")
LONGEST_NAME = 60
"""Characters of a name of somebody's that stand in that of a folder."""


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
    place = Place.of(config, rules)
    place.require_apart(config)
    if place.named is not None:
        require_same_entry(place.named, entry, rules)
    workers = whole_number(config.workers, "workers")
    if workers is None:
        workers = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if entry.colorizer is None and not networks:
        torch.set_num_threads(1)  # as in a worker: pictures gain nothing from more, and sums stay the same
    scores = evaluate(
        entry,
        pictures,
        rules,
        place.output,
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
        print(f"scores and pictures: {place.output(str(scores['identity']))}")
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
    from datamodules.colorize_record import require_of_one_call
    from datamodules.folders import Predicted, UnmatchedError
    from evaluation.scorer import Entry

    folder = Path(str(config.predictions))
    if config.truth is not None and Path(str(config.truth)).resolve() in folder.resolve().parents:
        raise ValueError(f"{folder} lies in the folder of true pictures, and would be taken for truth; move it out")
    chosen = {truth.keys[place] for place in rules.chosen(truth.keys)}
    try:
        predicted = Predicted(truth, folder, unmatched=config.unmatched, restrict_to=chosen)
    except UnmatchedError as error:
        path = Place.of(config, rules).output(hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12])
        path = path / "unmatched.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        names = "".join(f"{name}\n" for name in [*error.missing, *error.strangers])
        path.write_bytes(os.fsencode(names))
        raise ValueError(f"{error}; all of them: {path}") from error
    require_of_one_call(folder, [file for files in predicted.files for file in files])
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


@dataclass(frozen=True)
class Place:
    """Where scores go: apart for everything that makes two scorings different, unless it is named.

    Attributes:
        named: The folder that was asked for.
        folder: Holds a folder for each scoring, unless one was asked for.
        name: What the name of that begins with.
    """

    named: Path | None
    folder: Path
    name: str

    @classmethod
    def of(cls, config: DictConfig, rules: ScoringProtocol) -> Place:
        """The place that a command line asks for: beside the checkpoint, or in `scores/`."""
        changes = [f"{name}={value}" for name, value in settings_of(as_dictionary(config.overrides))]
        limit = [] if config.pictures is None else [f"first{config.pictures}"]
        variant = [text(config.variant)] if config.variant is not None else changes
        who = file_name(str(config.method or config.baseline or Path(str(config.predictions)).resolve().name))
        folder = Path("scores") / who
        if config.checkpoint is not None:
            from lightning_modules.checkpoint import find_checkpoint

            folder = find_checkpoint(str(config.checkpoint)).parent / "evaluations"
        named = None if config.output_dir is None else Path(str(config.output_dir))
        return cls(named, folder, file_name("_".join([rules.name, *map(str, variant), *limit])))

    def output(self, identity: str) -> Path:
        """The folder of a scoring by the identity of what is scored."""
        return self.named or self.folder / f"{self.name}_{identity}"

    def require_apart(self, config: DictConfig) -> None:
        """Refuse to write among the pictures, where what is written would be taken for some of them.

        Raises:
            ValueError: If the place lies in a folder of pictures.
        """
        photos = config.data.root if config.truth is None and config.data._target_.endswith(".Photos") else None
        for what, folder in (("true pictures", config.truth or photos), ("predictions", config.predictions)):
            if folder is not None and Path(str(folder)).resolve() in self.output("_").resolve().parents:
                raise ValueError(f"{self.named or self.folder} lies in the folder of {what}; name another output_dir")


def require_same_entry(output: Path, entry: Entry, rules: ScoringProtocol) -> None:
    """Refuse to overwrite the scores of somebody else.

    Raises:
        ValueError: If a folder holds them.
    """
    try:
        there = json.loads((output / "scores.json").read_text(encoding="utf-8"))
        by, source = there["protocol"]["hash"], there["source"].get("path")
        found = [there["method"], there["variant"], there["kind"], source, by]
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise ValueError(f"output_dir={output} is a file; name a folder, which is made if it is not there") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{output}/scores.json is damaged; remove it, or name another output_dir") from None
    if found != [entry.method, entry.variant, entry.kind, entry.source.get("path"), rules.hash]:
        raise ValueError(
            f"{output} holds the scores of {there['method']} by {there['protocol'].get('name')}; name another "
            f"output_dir for {entry.method} by {rules.name}, or remove that one"
        )


def file_name(words: str) -> str:
    """Words as part of a file's name: of `..` or `a/b` no path, and of a length that file systems take."""
    return words.replace("/", "_").replace("\\", "_").lstrip(".")[:LONGEST_NAME] or "_"


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
