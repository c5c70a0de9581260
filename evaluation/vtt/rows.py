"""What the leaderboard reads: a folder for each method's sample, with `scores.json` and `pictures.csv`."""

import csv
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.protocols import definition_hash, installed, keys_sha256
from evaluation.record import (
    SCORES_SCHEMA,
    file_sha256,
    git_commit,
    hardware,
    package_versions,
    write_json,
)
from evaluation.vtt.ratings import Tally, method_of
from evaluation.vtt.study import PLAN

MEASURE = "visual_turing_test"
PUBLISHED = "pixcolor_500"
"""Whose pictures Guadarrama et al. 2017 tested, and how, below."""
AS_PUBLISHED = {"exposure_ms": 1000, "raters": 5, "short_side": 256}


def protocol_of(study: Mapping[str, Any], least_caught: float, pictures: list[str]) -> dict[str, Any]:
    """Everything that makes two tests comparable, with its hash.

    Args:
        study: As in `vtt.json`.
        least_caught: The share of catch trials that a rater must have answered rightly.
        pictures: Names of all the study's pictures.
    """
    conditions = {
        "exposure_ms": study["exposure_ms"],
        "raters": study["raters"],
        "short_side": study["sources"].get("short_side"),
    }
    rules, names = installed(PUBLISHED), keys_sha256(pictures)
    named = rules is not None and rules.keys_sha256 == names and conditions == AS_PUBLISHED
    definition = {
        "name": "vtt",
        "description": f"Visual Turing Test: a picture and its colouring, {conditions['exposure_ms']} ms each, "
        f"{conditions['raters']} raters. “{study['question']}”",
        "measures": [MEASURE],
        "keys_sha256": names if named else None,
        "seed": 0,
        "published": PUBLISHED if named else None,
        "question": study["question"],
        "least_caught": least_caught,
        **conditions,
    }
    return {**definition, "hash": definition_hash(definition)}


def write_rows(folder: Path, found: dict[str, Any], counted: Tally, kit: Path) -> list[Path]:
    """Write a row of each method's sample of a Visual Turing Test; of a preference study there are none.

    Args:
        folder: In which each row gets its own.
        found: As in `vtt.json`.
        counted: Ratings by picture.
        kit: Of the study.

    Returns:
        The rows' folders.
    """
    if found["study"]["kind"] != "turing":
        return []
    protocol = protocol_of(found["study"], found["least_caught"], list(counted.pictures))
    shared = {
        "schema": SCORES_SCHEMA,
        "kind": "predictions",
        "source": {"path": str(kit), "sha256": file_sha256(kit / PLAN)},
        "hyper_parameters": {},
        "protocol": protocol,
        "left_out": {},
        "curves": {},
        "gallery": [],
        "commit": git_commit(),
        "packages": package_versions(),
        "hardware": hardware(),
        "command": " ".join(sys.argv),
        "scored": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    written = []
    for condition, score in found["figures"]["samples"].items():
        place = counted.conditions.index(condition)
        shares = counted.shares([place]).tolist()
        rated = {key: share for key, share in zip(counted.pictures, shares, strict=True) if share == share}
        complete = len(rated) == len(counted.pictures)
        named = complete and protocol["keys_sha256"] is not None
        several = found["study"]["samples"][method_of(condition)] > 1
        label = PUBLISHED if named else f"{len(rated)} pictures" if complete else f"subset of {len(rated)} pictures"
        row = folder / f"{place:02d}_{condition.replace('#', '_').replace('/', '_')}"
        record = {
            **shared,
            "method": method_of(condition),
            "variant": f"sample {condition.rpartition('#')[2]}" if several else None,
            "set": {
                "label": label,
                "complete": complete,
                "named": named,
                "keys_sha256": keys_sha256(list(rated)),
                "pictures": len(rated),
                "data": {"study": found["study"]["name"]},
            },
            "pictures": {"all": len(rated), "ratings": int(counted.ratings[:, place].sum())},
            "metrics": {MEASURE: score},
            "notes": [f"± {score['deviation']:.2f} by bootstrap over pictures"] if score["deviation"] else [],
        }
        write_json(row / "scores.json", record)
        with (row / "pictures.csv").open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(["key", MEASURE])
            lines.writerows(rated.items())
        written.append(row)
    return written
