"""Writing a kit: the plan, the page, and what each block shows."""

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.progress import track
from torch import Tensor

from evaluation.report.template import template_of
from evaluation.vtt.assignment import Content
from evaluation.vtt.pictures import WRITTEN, name_again, write_plain
from evaluation.vtt.study import PUBLIC, Block, Study, write_study

SECONDS_TO_ANSWER = {"turing": 3.0, "preference": 15.0}
"""What a rater may take for one trial, besides looking for as long as pictures are shown."""
BLANK_SECONDS = 0.3

ReadContents = Callable[[str, Collection[str]], Mapping[str, Tensor]]
"""Reads those of a picture's contents that have these meanings: uint8 `(3, H, W)`."""


def check_output(folder: Path) -> None:
    """Refuse to write over anything.

    Raises:
        FileExistsError: If something is there.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(f"--out {folder} is there already; give a folder that is not, or is empty")


def write_kit(
    study: Study, names: Mapping[Content, Sequence[str]], read: ReadContents, order: Sequence[str], kit: Path
) -> None:
    """Write all of a kit, or nothing of it.

    Args:
        study: Its plan.
        names: Under which each content is written.
        read: Reads contents.
        order: In which pictures are written, at random. A picture's contents are written in the order of their names,
            and then all their other names in the order of these: so it tells nothing what follows on what.
        kit: The folder.

    Raises:
        ValueError: If a picture cannot be read, or is of a wrong shape.
        OSError: If something cannot be written.
    """
    kit.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=kit.parent, prefix=f".{kit.name}-") as temporary:
        made = Path(temporary) / kit.name
        pictures = made / PUBLIC / "pictures"
        pictures.mkdir(parents=True)
        of_picture: dict[str, list[tuple[list[str], Content]]] = {}
        for content, several in names.items():
            of_picture.setdefault(content.picture, []).append((sorted(several), content))
        for picture in track(order, "writing pictures", disable=len(order) < 50):
            contents = read(picture, {content.meaning for _, content in of_picture[picture]})
            for several, content in sorted(of_picture[picture]):
                write_plain(contents[content.meaning], pictures / f"{several[0]}.png")
        for other, name in sorted((other, min(several)) for several in names.values() for other in several):
            if other != name:
                name_again(pictures / f"{name}.png", pictures / f"{other}.png")
        write_page(study, made / PUBLIC)
        write_study(study, made)
        made.replace(kit)


def write_page(study: Study, public: Path) -> None:
    """Write `index.html` and the blocks."""
    files = {"index.html": page_of(study)}
    for name in sorted(study.blocks):
        files[f"blocks/{name}.js"] = f"window.block = {json.dumps(study.public_block(name))};\n"
    listed = sorted((block.group, name) for name, block in study.blocks.items())
    groups = [[name for _, name in several] for _, several in groupby(listed, key=lambda each: each[0])]
    files["blocks/index.js"] = f"window.blocks = {json.dumps(groups)};\n"
    (public / "blocks").mkdir()
    for name, text in files.items():
        (public / name).write_text(text, encoding="utf-8")
        os.utime(public / name, (WRITTEN, WRITTEN))


def page_of(study: Study) -> str:
    """The page, which stands alone but for blocks and pictures."""
    return template_of("evaluation.vtt", "page.html").render(
        study=study,
        trials=max(len(block.trials) for block in study.blocks.values()),
        practice=max(count_practice(study, block) for block in study.blocks.values()),
        minutes=minutes_of(study),
        seconds=f"{study.exposure_ms / 1000:g} second{'s' * (study.exposure_ms != 1000)}",
        options=max(len(trial.shown) for trial in study.trials.values()),
    )


def count_practice(study: Study, block: Block) -> int:
    """How many of a block's trials are for practice."""
    return sum(study.trials[name].role == "practice" for name in block.trials)


def minutes_of(study: Study) -> int:
    """How long a block takes, about."""
    shown = 2 * (study.exposure_ms / 1000 + BLANK_SECONDS) if study.kind == "turing" else 0
    trials = max(len(block.trials) for block in study.blocks.values())
    return 1 + round(trials * (shown + SECONDS_TO_ANSWER[study.kind]) / 60)


def size_of(folder: Path) -> int:
    """Bytes that a folder's files take; what several names share counts once."""
    files: Iterable[Any] = (path.stat() for path in folder.rglob("*") if path.is_file())
    return sum({file.st_ino: file.st_size for file in files}.values())
