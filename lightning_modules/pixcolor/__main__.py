"""Join a trained PixelCNN and a trained refinement in one checkpoint, which colours.

python -m lightning_modules.pixcolor runs/pixcolor_imagenet/RUN runs/pixcolor_refinement_imagenet/RUN --out whole.ckpt
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from lightning_modules.checkpoint import AtomicCheckpointIO
from lightning_modules.pixcolor.module import PARTS, PixColor


def joined(paths: list[str]) -> dict[str, Any]:
    """A checkpoint with both parts, each from a run that has it.

    Raises:
        FileNotFoundError: If one is not there.
        ValueError: If one is no PixColor, or they do not have one part each.
    """
    runs = [PixColor.load(path) for path in paths]
    owners = {part: [run for run in runs if part in run.parts] for part in PARTS}
    for part, having in owners.items():
        if len(having) != 1:
            raise ValueError(f"{len(having)} of {' and '.join(paths)} have a {part}; give one run with each part")
    (pixelcnn,), (refinement,) = owners["pixelcnn"], owners["refinement"]
    if pixelcnn.stride != refinement.stride:
        raise ValueError(f"their chroma has strides {pixelcnn.stride} and {refinement.stride}; join runs of one stride")
    settings = {**pixelcnn.hparams, "parts": list(PARTS), "refinement": refinement.hparams["refinement"]}
    whole = PixColor(**settings)
    weights = pixelcnn.state_dict() | {
        name: value for name, value in refinement.state_dict().items() if name.startswith("refinement.")
    }
    whole.load_state_dict(weights)
    return {"method": "PixColor", "hyper_parameters": settings, "state_dict": whole.state_dict()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, metavar="RUN", help="a run with a PixelCNN and one with a refinement")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint to write")
    arguments = parser.parse_args()
    try:
        AtomicCheckpointIO().save_checkpoint(joined(arguments.runs), arguments.out)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"both parts: {arguments.out}")


if __name__ == "__main__":
    main()
