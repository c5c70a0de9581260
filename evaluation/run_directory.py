"""Where a run keeps what it makes: `runs/<name>/<run id>`, found again by the same command."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

RANK_VARIABLE = "CHROMALAB_RUN_DIRECTORY"
LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"
CHOICES_OF_PLACE = ("resume", "runs", "run", "name")


def choose_run_directory(config: dict[str, Any]) -> Path:
    """The directory for a run of this config; it is made when something is first written there.

    The id is the config's own hash, and `-2`, `-3`, ... behind it for further runs of the same config, so that
    neither the time nor a requeue changes it. Ranks that this process launches for the same config inherit its choice.

    Args:
        config: As composed; of it `name`, `runs` and `resume` say where to look: `never` starts anew, `auto` goes on
            in the latest directory of this config that holds a checkpoint, anything else is the directory to go on in.

    Raises:
        FileNotFoundError: If `resume` names a directory without `checkpoints/last.ckpt`.
    """
    identity = config_hash(config)
    chosen_for, _, directory = os.environ.get(RANK_VARIABLE, "").partition(" ")
    if chosen_for == identity:
        return Path(directory)
    chosen = find_or_number(config, identity)
    os.environ[RANK_VARIABLE] = f"{identity} {chosen}"
    return chosen


def find_or_number(config: dict[str, Any], identity: str) -> Path:
    """What `choose_run_directory` chooses."""
    if config["resume"] not in ("never", "auto"):
        directory = Path(config["resume"])
        if not (directory / LAST_CHECKPOINT).is_file():
            raise FileNotFoundError(
                f"there is no {LAST_CHECKPOINT} in {directory}; resume takes never, auto or a run's directory"
            )
        return directory
    parent = Path(config["runs"]) / str(config["name"])
    to_go_on, directory, number = None, parent / identity, 1
    while directory.is_dir():
        if (directory / LAST_CHECKPOINT).is_file():
            to_go_on = directory
        number += 1
        directory = parent / f"{identity}-{number}"
    return to_go_on if to_go_on and config["resume"] == "auto" else directory


def config_hash(config: dict[str, Any]) -> str:
    """Eight hexadecimal digits that change with anything in the config but where and whether to go on."""
    what = {key: value for key, value in config.items() if key not in CHOICES_OF_PLACE}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
