"""Call colorize.py again and again, each time killed at a random moment, and at last to its end.

python -m tests.integration.colorize_killed MODEL PHOTOS OUT KILLS

The calls are forks of one process, which spares them the imports. Prints, as JSON, how many files each killed call
left, those of them that were broken, those that a later call made again, and the status of the last call.
"""

import json
import os
import random
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

from PIL import Image

import colorize


def call(arguments: list[str]) -> int:
    """Start colorize.py in a process of its own, and return its id."""
    if child := os.fork():
        return child
    try:
        colorize.main(arguments)
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    os._exit(99)


def is_broken(file: Path) -> bool:
    """Whether an image cannot be decoded to its end."""
    try:
        with Image.open(file) as image:
            image.load()
    except OSError:
        return True
    return False


def main(model: str, photos: str, out: str, kills: int) -> dict[str, object]:
    """Call, kill, and look at what is there."""
    arguments = [photos, "--model", model, "--device", "cpu", "--out"]
    warm = call([*arguments, f"{out}-first"])  # a child: this process must not use torch's threads before it forks
    os.waitpid(warm, 0)
    draw = random.Random(0)
    goal = len(list(Path(f"{out}-first").rglob("*.png")))
    moments, broken, states = list[int](), list[str](), dict[str, int]()
    remade = set[str]()

    def look() -> int:
        files = list(Path(out).rglob("[!.]*.png"))
        broken.extend(file.name for file in files if is_broken(file))
        for file in files:
            if states.setdefault(file.name, file.stat().st_ino) != file.stat().st_ino:
                remade.add(file.name)
        return len(files)

    for kill in range(kills):
        child = call([*arguments, out])
        wanted = draw.randrange(goal * kill // kills, goal * (kill + 1) // kills)
        while len(list(Path(out).rglob("[!.]*.png"))) < wanted and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        moments.append(look())
    status = os.waitstatus_to_exitcode(os.waitpid(call([*arguments, out]), 0)[1])
    return {
        "moments": moments,
        "files": look(),
        "goal": goal,
        "broken": broken,
        "remade": sorted(remade),
        "status": status,
    }


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    for module in ("datamodules.guidance", "evaluation.report.sheet", "lightning_modules.lrac.module"):
        import_module(module)

    checkpoint, album, results, times = sys.argv[1:]
    print("\n" + json.dumps(main(checkpoint, album, results, int(times))))
