"""Where a run keeps what it makes: `runs/<name>/<run id>`, found again by the same command."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

RANK_VARIABLE = "CHROMALAB_RUN_DIRECTORY"
LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"
CHOICES_OF_PLACE = ("resume", "runs", "run", "name")


def open_run_directory(config: dict[str, Any]) -> Path:
    """The directory for a run of this config, made if it is new.

    The id is the config's own hash, and `-2`, `-3`, ... behind it for further runs of the same config, so that
    neither the time nor a requeue changes it. Ranks that the first process launches inherit its choice.

    Args:
        config: As composed, resolved; of it `name`, `runs` and `resume` say where to look: `never` starts anew, `auto`
            goes on in this config's latest directory, anything else is the directory to go on in.

    Raises:
        FileNotFoundError: If `resume` names a directory without `checkpoints/last.ckpt`.
    """
    if RANK_VARIABLE in os.environ:
        return Path(os.environ[RANK_VARIABLE])
    directory = choose(config)
    directory.mkdir(parents=True, exist_ok=True)
    os.environ[RANK_VARIABLE] = str(directory)
    return directory


def choose(config: dict[str, Any]) -> Path:
    """The path that `open_run_directory` makes."""
    if config["resume"] not in ("never", "auto"):
        directory = Path(config["resume"])
        if not (directory / LAST_CHECKPOINT).is_file():
            raise FileNotFoundError(
                f"there is no {LAST_CHECKPOINT} in {directory}; resume takes never, auto or a run's directory"
            )
        return directory
    parent = Path(config["runs"]) / str(config["name"])
    identity = config_hash(config)
    latest, directory, number = None, parent / identity, 1
    while directory.is_dir():
        number += 1
        latest, directory = directory, parent / f"{identity}-{number}"
    return latest if latest and config["resume"] == "auto" else directory


def config_hash(config: dict[str, Any]) -> str:
    """Eight hexadecimal digits that change with anything in the config but where and whether to go on."""
    what = {key: value for key, value in config.items() if key not in CHOICES_OF_PLACE}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
