"""Scores whoever coloured a set's pictures, under a protocol.

The set is scored in parts, each of which ends as a file. A process that is killed loses the part it was at; the same
command goes on with the others. Several processes (torchrun, srun) take every so many parts, and the first of them then
does whatever is still missing, so that none waits for another; the scores are those of one process.
"""

import gc
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from evaluation.measures import CURVES, MEASURES
from evaluation.notes import label_of, notes
from evaluation.parts import Parts
from evaluation.plan import Plan
from evaluation.protocols import ScoringProtocol, keys_sha256
from evaluation.record import SCORES_SCHEMA, git_commit, hardware, package_versions, write_json
from evaluation.report.cases import save_cases
from evaluation.scorer import Entry, Pictures, Scorer
from evaluation.statistics import Statistic
from evaluation.summary import Summary, summarize
from evaluation.terminal import progress
from lightning_modules.abilities import likelihood_of

PARTS, GALLERY_FOLDER = "parts", "gallery"
"""Folders in that of the scores: of what is done so far, and of the few images that every method shows."""
BEST_OF = "psnr_best_of"
"""A curve over samples."""
LARGE_PIECE = 24 * 2**20
"""Bytes; glibc adapts its thresholds to freed pieces up to 32 MiB."""
FROM_SAMPLES = ("ms_ssim", "lpips_diversity")
"""Measures that compare the samples of one picture."""


@dataclass(frozen=True)
class PartReader(Dataset[tuple[int, list[dict[str, Any]] | None, str]]):
    """Reads parts in another process and, where no method has to colour them, scores them there.

    Attributes:
        scorer: Of the parts.
        scores: Whether to score them there.
    """

    scorer: Scorer
    scores: bool

    def __getitem__(self, number: int) -> tuple[int, list[dict[str, Any]] | None, str]:
        """The part's number, its pictures if they are still to be scored, and what went wrong, in words."""
        if self.scorer.parts.done(number):
            return number, None, ""
        try:
            items = self.scorer.read(number)
            if self.scores:
                self.scorer.score(number, items)
        except (ValueError, OSError) as error:
            return number, None, str(error)
        return number, None if self.scores else [without_tensors(item) for item in items], ""


def evaluate(
    entry: Entry,
    pictures: Pictures,
    rules: ScoringProtocol,
    output: Path | Callable[[str], Path],
    *,
    data: Mapping[str, Any],
    whole: Sequence[str] | None = None,
    networks: Mapping[str, Statistic] | None = None,
    left_out: Mapping[str, str] | None = None,
    limit: int | None = None,
    unreadable: Literal["stop", "leave_out"] = "leave_out",
    workers: int = 0,
    process: tuple[int, int] | None = None,
) -> dict[str, Any] | None:
    """Score an entry: write `scores.json`, `pictures.csv`, `gallery/` and `cases.png`.

    Pictures are scored as they would be saved, in eight bits.

    Args:
        entry: Who is scored.
        pictures: The set, with predictions unless the entry colours it.
        rules: What to measure, and how.
        output: Folder to write to, or what chooses it by the identity of what is scored (see `Plan.identity`).
        data: Where the set comes from, for the record.
        whole: Names of all the set's pictures, if `pictures` are only those that have predictions.
        networks: Statistics that need a network, by name.
        left_out: Measures that cannot be had, and why.
        limit: Score only so many pictures; the record then says that the set is not complete.
        unreadable: Whether to stop at a picture that cannot be read, or to leave it out: then the set is not complete.
        workers: Processes that read pictures, and score predictions.
        process: This process's number among those that share the work, and how many they are; None asks the
            environment.

    Returns:
        What `scores.json` holds; None in all but the first of several processes.

    Raises:
        ValueError: If nothing can be scored, a prediction does not fit its picture, or a score is no number.
        OSError: If the set cannot be read any more.
    """
    if workers < 0:
        raise ValueError(f"workers={workers} should be a number from 0 on, or null for one a core")
    started, commit = time.time(), git_commit()
    left_out = {**(left_out or {}), **unavailable(entry, rules)}
    measures = [name for name in rules.measures if name not in left_out]
    plan = Plan.of(entry, pictures, rules, data, whole=whole, likelihoods="bits_per_dim" in measures, limit=limit)
    if not isinstance(output, Path):
        output = output(plan.identity)
    attempt = hashlib.sha256(json.dumps([plan.identity, sorted(left_out), commit]).encode()).hexdigest()[:12]
    parts = Parts(output / PARTS / attempt, len(plan.parts))
    parts.folder.mkdir(parents=True, exist_ok=True)
    scorer = Scorer(
        entry,
        pictures,
        plan.keys,
        rules,
        plan.parts,
        frozenset(plan.guided),
        frozenset(statistics_wanted(measures, entry.samples)),
        networks or {},
        parts,
        (frozenset(plan.gallery), parts.folder / GALLERY_FOLDER),
        unreadable,
        plan.references,
    )
    rank, processes = process or process_of_how_many()
    mine = range(rank, parts.count, processes)
    if rank:
        score_parts(scorer, mine, workers)
        return None
    with claimed(output / PARTS):
        score_parts(scorer, [*mine, *sorted(set(range(parts.count)) - set(mine), reverse=True)], workers)
        return finish(plan, scorer, measures, left_out, output, started, commit)


def finish(
    plan: Plan,
    scorer: Scorer,
    measures: Sequence[str],
    left_out: Mapping[str, str],
    output: Path,
    started: float,
    commit: str | None,
) -> dict[str, Any]:
    """Sum up the parts, write all that is to be kept, and clear the parts away."""
    entry, rules = plan.entry, plan.rules
    summary = summarize(scorer.parts, rules, measures, output / "pictures.csv")
    if (likelihood := likelihood_of(entry.colorizer)) and "bits_per_dim" in summary.metrics:
        summary.metrics["bits_per_dim"]["space"] = likelihood.likelihood_space
    save_cases(scorer, summary, output)
    scores: dict[str, Any] = {
        "schema": SCORES_SCHEMA,
        "method": entry.method,
        "variant": entry.variant,
        "kind": entry.kind,
        "source": entry.source,
        "hyper_parameters": dict(entry.colorizer.hparams) if entry.colorizer else {},
        "protocol": rules.definition,
        "set": set_record(plan, summary),
        "identity": plan.identity,
        "inputs_sha256": plan.inputs_sha256,
        "pictures": {**{"all": summary.counts["read"]}, **summary.picture_counts},
        "unreadable": summary.unreadable,
        "metrics": summary.metrics,
        "left_out": left_out,
        "curves": summary.curves,
        "gallery": [key for key in plan.gallery if key not in summary.unreadable],
        "notes": notes(plan, summary),
        "commit": commit,
        "packages": package_versions(),
        "hardware": hardware(),
        "command": " ".join(sys.argv),
        "scored": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "wall_seconds": round(time.time() - started, 1),
    }
    replace_folder(scorer.gallery[1], output / GALLERY_FOLDER)
    write_json(output / "scores.json", scores)
    shutil.rmtree(output / PARTS, ignore_errors=True)
    return scores


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Work on the parts in a folder as the only command that does.

    Raises:
        OSError: If another command scores there now.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        place = folder.parent
        raise OSError(f"another command is scoring in {place}; wait for it, or give another output_dir") from error
    try:
        yield
    finally:
        lock.release()


def set_record(plan: Plan, summary: Summary) -> dict[str, Any]:
    """What `scores.json` says of the set: under its own name only if all that the protocol wants of it was scored."""
    scored = set(plan.planned) - summary.unreadable.keys()
    complete = plan.is_completed_by(scored)
    named = complete and plan.rules.grants_name(plan.whole)
    keys = plan.whole if complete else scored
    return {
        "data": dict(plan.data),
        "label": label_of(plan, len(keys), named, complete),
        "named": named,
        "complete": complete,
        "keys_sha256": keys_sha256(keys),
        "pictures": len(scored),
        "mean_rgb": summary.mean_rgb,
    }


def replace_folder(new: Path, old: Path) -> None:
    """Put a folder in the place of another, so that nothing of an earlier scoring stays."""
    shutil.rmtree(old, ignore_errors=True)
    if new.is_dir():
        new.rename(old)


def score_parts(scorer: Scorer, all_numbers: Sequence[int], workers: int) -> None:
    """Score these parts, but those that are done already, or that another process has done by then.

    Raises:
        ValueError: If a picture cannot be scored.
        OSError: If the set cannot be read, or a worker dies.
    """
    numbers = [number for number in all_numbers if not scorer.parts.done(number)]
    colorizer = scorer.entry.colorizer
    there = colorizer is None and not scorer.networks
    loader = DataLoader(
        PartReader(scorer, scores=there),
        batch_size=None,
        sampler=numbers,
        num_workers=min(workers, len(numbers)),
        collate_fn=as_it_is,
        worker_init_fn=keep_memory,
        generator=torch.Generator(),
    )
    for number, items, failure in progress(killed_as_error(loader), f"scoring by {scorer.rules.name}", len(numbers)):
        if failure:
            raise ValueError(failure)
        if items is not None and not scorer.parts.done(number):
            scorer.score(number, [with_tensors(item) for item in items])


def killed_as_error(loader: Iterable[Any]) -> Iterator[Any]:
    """What a loader gives; a worker that is killed, for want of memory say, is an error in words."""
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise OSError("a process that reads pictures was killed; if memory ran out, give workers=1 or 0") from error


def unavailable(entry: Entry, rules: ScoringProtocol) -> dict[str, str]:
    """The protocol's measures that this entry cannot have, and why."""
    reasons = {"visual_turing_test": "people judge it: python -m evaluation.vtt"}
    if not likelihood_of(entry.colorizer):
        reasons["bits_per_dim"] = f"{entry.method} has no exact likelihood"
    if entry.samples < 2:
        reasons |= dict.fromkeys(FROM_SAMPLES, "it compares samples of one picture, and there is one of each")
    return {name: reason for name, reason in reasons.items() if name in rules.measures}


def statistics_wanted(measures: Sequence[str], samples: int) -> set[str]:
    """Statistics of coloured pictures that these measures, and the curves beside them, are made from."""
    colour = [name for name in measures if name != "bits_per_dim"]
    curves = [curve for name, curve in CURVES.items() if curve.measure in colour and (samples > 1 or name != BEST_OF)]
    found = [MEASURES[name].statistics for name in colour] + [curve.statistics for curve in curves]
    return {"pictures", "pixels", "exact", "mean_rgb_of_truth"}.union(*found)


def process_of_how_many() -> tuple[int, int]:
    """This process's number among those that torchrun or srun started for one command, and how many they are."""
    for rank, world_size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if rank in os.environ and world_size in os.environ:
            return int(os.environ[rank]), int(os.environ[world_size])
    return 0, 1


def keep_memory(_: int) -> None:
    """Have the C library keep what is freed: after one large piece is, it no longer asks the system for each picture's.

    Half of the time went into such page faults. And what was there before need not be searched for garbage.
    """
    gc.freeze()
    torch.empty(LARGE_PIECE, dtype=torch.uint8)


def as_it_is(part: Any) -> Any:
    """What `PartReader` made needs no conversion."""
    return part


def without_tensors(item: dict[str, Any]) -> dict[str, Any]:
    """As arrays, which travel in a message; tensors would each take a file descriptor."""
    return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in item.items()}


def with_tensors(item: dict[str, Any]) -> dict[str, Any]:
    """As tensors again."""
    return {name: torch.from_numpy(value) if hasattr(value, "dtype") else value for name, value in item.items()}
