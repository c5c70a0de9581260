"""Colour photographs.

python colorize.py photo.jpg
python colorize.py old_photos/ portrait.jpg --samples 4 --out colorized
"""

from __future__ import annotations

import errno
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.colorize_options import parse
from configs.command import errors_as_sentences, first_line, is_out_of_memory
from imaging.outputs import OutputFolder, digest, gather, place

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from lightning_modules.colorizer import Colorizer

AT_ONCE = 2**22
"""Pixels up to which all samples of a photo are drawn together; those of larger photos one by one, to save memory."""
CELL_HEIGHT = 256
"""Of the images on a sheet, in pixels."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Job:
    """Everything that is the same for all photos: a model, once for each setting that is compared, and its guidance.

    Args:
        options: Of the command line.
        photos: How many photos there are.

    Raises:
        OSError: If the model or a file of the guidance is not there.
        ValueError: If they do not fit together.
    """

    def __init__(self, options: Namespace, photos: int) -> None:
        from datamodules.guidance import GuidanceFiles
        from evaluation.record import file_sha256
        from lightning_modules.checkpoint import find_checkpoint
        from lightning_modules.colorizer import Colorizer
        from lightning_modules.device import choose_device
        from lightning_modules.pretrained import MODELS, default_for, find

        self.options = options
        self.follow = GuidanceFiles(
            options.reference, options.hint, options.hint_picture, options.labels, options.reference_labels
        )
        self.model = options.model or default_for(self.follow.kinds, options.samples)
        device = choose_device(options.device)
        self.variants: dict[str, Colorizer] = {}
        for change in ["", *options.compare]:
            overrides = parse_overrides([*options.set, *filter(None, [change])])
            self.variants[change] = Colorizer.from_pretrained(self.model, **overrides).to(device)
        checkpoint = find(self.model) if self.model in MODELS else find_checkpoint(self.model)
        self.method = type(self.variants[""]).__name__
        self.require_able(self.variants[""], photos)
        self.references = self.follow.read_references()
        settings = {
            "overrides": parse_overrides(options.set),
            "compared": options.compare,
            "stylized": options.stylize,
            "samples": options.samples,
            "seed": options.seed,
        }
        sha256 = file_sha256(checkpoint)
        self.head = {
            "method": self.method,
            "model": self.model,
            "checkpoint": {"path": str(checkpoint), "sha256": sha256},
            **settings,
            **self.follow.record,
        }
        self.key = digest(sha256, settings, options.hint, [file_sha256(file) for file in self.follow.files])

    def require_able(self, colorizer: Colorizer, photos: int) -> None:
        """Refuse, before a photo is coloured, what the model cannot do.

        Raises:
            ValueError: If there is something.
        """
        from lightning_modules.abilities import Stylization

        self.follow.require_accepted(self.method, colorizer.accepts, photos)
        if self.options.stylize and not isinstance(colorizer, Stylization):
            raise ValueError(f"{self.method} cannot restyle photos in colour; leave --stylize out, or take an Exemplar")
        if self.options.stylize and not self.options.reference:
            raise ValueError("--stylize wants a photo whose colours to take; give --reference")
        if self.options.samples > 1 and not colorizer.stochastic:
            raise ValueError(
                f"{self.method} always gives a photo the same colours; leave --samples out, or take a model that draws"
            )

    @property
    def combinations(self) -> list[tuple[str, str]]:
        """A compared setting and a reference for each row of a sheet."""
        return list(product(self.variants, self.references))

    @property
    def endings(self) -> list[str]:
        """What stands behind a photo's name in those of the files that are made of it."""
        samples = 1 if self.options.stylize else self.options.samples
        several = len(self.references) > 1
        heads = [
            "".join(f"_{part}" for part in (change.replace("/", "_"), reference if several else "") if part)
            for change, reference in self.combinations
        ]
        return [f"{head}_{sample}.png" for head in heads for sample in range(samples)] + ["_sheet.png"]

    def colour(self, photo: Path, files: list[Path], key: str, folder: OutputFolder) -> int:
        """Make those files of a photo that are not there yet: every sample, and a sheet of all beside the grey image.

        Returns:
            How many frames or pages the photo has, of which the first was coloured.
        """
        from datamodules.pictures import read_image
        from evaluation.report.sheet import contact_sheet, fit, to_image

        image = read_image(photo)
        whole = to_image(image.rgb)
        begin = fit(whole if self.options.stylize else whole.convert("L").convert("RGB"), CELL_HEIGHT)
        rows, remaining, maker = [], iter(files), f"{self.method}, seed {self.options.seed}"
        del whole
        for change, name in self.combinations:
            reference = self.references[name]
            row = [begin] if reference is None else [begin, fit(to_image(reference[0]), CELL_HEIGHT)]
            for sample, painted in enumerate(self.paint(self.variants[change], image.rgb, reference)):
                folder.write(painted, next(remaining), key, f"{maker}, sample {sample}")
                row.append(fit(painted, CELL_HEIGHT))
            rows.append(row)
        captions = ["photo" if self.options.stylize else "grey", *([] if "" in self.references else ["reference"])]
        captions += [f"sample {sample}" for sample in range(len(rows[0]) - len(captions))]
        labels = [change for change, _ in self.combinations] if self.options.compare else []
        folder.write(contact_sheet(rows, captions, CELL_HEIGHT, labels), next(remaining), key, maker)
        return image.frames

    def paint(self, colorizer: Colorizer, rgb: Tensor, reference: Tensor | None) -> Iterator[Image]:
        """Yield what a model makes of a photo, uint8 RGB `(3, H, W)`."""
        import torch

        from evaluation.report.sheet import to_image
        from lightning_modules.abilities import Stylization
        from lightning_modules.color import to_float

        guidance = self.follow.for_photo((rgb.shape[1], rgb.shape[2]), reference, colorizer.device)
        photo = to_float(rgb)[None].to(colorizer.device)
        if self.options.stylize:
            assert isinstance(colorizer, Stylization)
            yield to_image(colorizer.stylize(photo, guidance)[0])
            return
        luminance = colorizer.luminance(photo)
        del photo
        generator = torch.Generator(colorizer.device).manual_seed(self.options.seed)
        at_once = self.options.samples if luminance.numel() <= AT_ONCE else 1
        for _ in range(0, self.options.samples, at_once):
            drawn = colorizer.colorize(luminance, samples=at_once, guidance=guidance, generator=generator)
            yield from map(to_image, drawn[0])
            del drawn


def colorize(options: Namespace) -> int:
    """Colour every photo, and say what was done; what cannot be coloured is named, and costs only itself.

    Returns:
        The exit status: 1 if something had to be skipped, else 0.

    Raises:
        OSError: If there are no photos, a file that is needed is missing, or the disk is full.
        ValueError: If the options do not fit together.
    """
    begun = time.monotonic()
    photos, met = gather(options.photos, options.out)
    if not photos:
        reasons = [*met.left_out, *counted(met.others)]
        raise FileNotFoundError(f"there are no photos to colour: {'; '.join(reasons)}")
    job = Job(options, len(photos))

    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
    bar = Progress(console=console, transient=True, disable=len(photos) == 1 or not console.is_terminal)
    with OutputFolder(options.out, {**job.head, "passed_over": dict(met.others)}) as folder, bar:
        skipped = folder.skipped
        skipped += met.left_out
        for sentence in skipped:
            console.print(f"skipped: {sentence}")
        files = place(photos, options.out, job.endings)
        for photo in bar.track(photos, description="colouring"):
            try:
                remark = colour(job, photo, files[photo], folder)
            except Exception as error:
                skipped.append(reason_to_skip(error, photo, options.out))
                console.print(f"skipped: {skipped[-1]}")
            else:
                if remark:
                    console.print(f"note: {remark}")
    report(job, folder, len(photos), time.monotonic() - begun)
    for sentence in counted(met.others):
        print(f"passed over: {sentence}")
    return 1 if skipped else 0


def colour(job: Job, photo: Path, files: list[Path], folder: OutputFolder) -> str:
    """Colour a photo, unless an earlier call did so with the same settings, and record it.

    Returns:
        What the user should know of it; mostly nothing.
    """
    from datamodules.pictures import require_regular
    from evaluation.record import file_sha256

    require_regular(photo)
    key = digest(job.key, file_sha256(photo))
    if all(folder.has(file, key) for file in files):
        folder.note(photo, files, kept=True)
        return ""
    frames = job.colour(photo, files, key, folder)
    remark = f"{photo} holds {frames} frames or pages; the first is coloured" if frames > 1 else ""
    folder.note(photo, files, kept=False, remark=remark)
    return remark


def reason_to_skip(error: Exception, photo: Path, out: Path) -> str:
    """Why a photo has to be skipped, in words.

    Raises:
        OSError: If it is that the disk is full, which would be so with other photos, too.
        Exception: The error, if it is no fault of the photo.
    """
    if is_out_of_memory(error):
        return f"{photo} is too large for the memory"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        raise OSError(
            f"the disk that holds {out} is full; make room and repeat the command: what is there is kept"
        ) from error
    if isinstance(error, OSError) and error.strerror:
        return f"{photo} cannot be coloured: {error.filename or out}: {error.strerror}"
    if isinstance(error, ValueError | OSError):
        text = first_line(error)
        return text if str(photo) in text else f"{photo} cannot be coloured: {text}"
    raise error


def counted(others: Counter[str]) -> list[str]:
    """Files that were passed over, in words, by their suffixes."""
    return [f"{number} {'file' if number == 1 else 'files'} {kind}" for kind, number in sorted(others.items())]


def report(job: Job, folder: OutputFolder, photos: int, seconds: float) -> None:
    """Print what was written where, and with which model."""
    made, kept = len(folder.coloured), sum(each["kept"] for each in folder.coloured)
    model = job.method if job.model == job.method else f"{job.method} ({job.model})"
    if photos == made == 1:
        print(f"{folder.coloured[0]['photo']}, coloured by {model} in {seconds:.1f} s:")
        print(" ".join(folder.coloured[0]["files"]) + (" (as an earlier call made them)" if kept else ""))
        return
    print(
        f"{made} of {photos} photos coloured by {model} in {seconds:.1f} s{f', {kept} of them earlier' if kept else ''}"
    )
    print(f"they are in {folder.path}; {folder.path / 'colorize.json'} names the files")


def parse_overrides(settings: list[str]) -> dict[str, Any]:
    """`name=value` settings, dotted names for what lies within, values read as YAML.

    Raises:
        ValueError: If one is no such setting.
    """
    if not settings:
        return {}
    from omegaconf import OmegaConf

    for setting in settings:
        if "=" not in setting:
            raise ValueError(f"--set and --compare take NAME=VALUE, such as temperature=0.8, not {setting}")
    return OmegaConf.to_container(OmegaConf.from_dotlist(settings))  # type: ignore[return-value]


def main(arguments: list[str] | None = None) -> None:
    """The command line: status 1 if a photo was skipped."""
    with errors_as_sentences():
        sys.exit(colorize(parse(arguments)))


if __name__ == "__main__":
    main()
