"""Join the parts of a method that were trained in runs of their own in one checkpoint.

python -m lightning_modules.join runs/pixcolor_imagenet/RUN runs/pixcolor_refinement_imagenet/RUN --out pixcolor.ckpt
python -m lightning_modules.join runs/exemplar_imagenet/RUN runs/exemplar_transfer_coco/RUN --out exemplar.ckpt
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

import configs.process  # noqa: F401
from lightning_modules.abilities import Divisible
from lightning_modules.checkpoint import AtomicCheckpointIO
from lightning_modules.colorizer import Colorizer


def joined(paths: Sequence[str]) -> dict[str, Any]:
    """A checkpoint with all parts, each from the run that has it.

    Raises:
        FileNotFoundError: If one is not there.
        ValueError: If they are of different methods, of one without parts, or do not have each part once.
    """
    runs: list[Any] = [Colorizer.load(path) for path in paths]
    kind, *others = {type(run) for run in runs}
    if others or not isinstance(runs[0], Divisible):
        names = " and ".join(sorted({type(run).__name__ for run in runs}))
        raise ValueError(f"{' and '.join(paths)} hold {names}; give runs of one method that has parts")
    owners = {}
    for part in runs[0].PARTS:
        having = [run for run in runs if part in run.parts]
        if len(having) != 1:
            raise ValueError(f"{len(having)} of {' and '.join(paths)} have a {part}; give one run with each part")
        owners[part] = having[0]
    settings = runs[0].joined_settings(owners)
    whole = kind(**settings)
    weights: dict[str, Tensor] = {}
    for part, owner in owners.items():
        own = owner.state_dict()
        weights |= {name: value for name, value in own.items() if not weights or name.startswith(f"{part}.")}
    whole.load_state_dict(weights)
    return {"method": kind.__name__, "hyper_parameters": settings, "state_dict": whole.state_dict()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run with each part")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint to write")
    arguments = parser.parse_args()
    try:
        AtomicCheckpointIO().save_checkpoint(joined(arguments.runs), arguments.out)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"all parts: {arguments.out}")


if __name__ == "__main__":
    main()
