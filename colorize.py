"""Colour photographs.

python colorize.py old_photos/ portrait.jpg --checkpoint runs/pic_photos/RUN --samples 4 --out colorized
python colorize.py harbour.jpg --checkpoint runs/lrac_imagenet/RUN --reference sunset.jpg
"""

from __future__ import annotations

import argparse
import sys
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.command import errors_as_sentences

if TYPE_CHECKING:
    from lightning_modules.colorizer import Colorizer
    from lightning_modules.guidance import Guidance

EXAMPLE = "example: python colorize.py old_photos/ --checkpoint runs/pic_photos/RUN --samples 4 --out colorized"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Colour photographs.", epilog=EXAMPLE)
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER", help="pictures, or folders of them")
    parser.add_argument("--checkpoint", required=True, metavar="RUN", help="a run's directory, or a .ckpt file")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="PHOTO",
        help="a photo whose colours to follow, where a method can: LRAC",
    )
    parser.add_argument("--samples", type=positive, default=1, help="colourings of each photo (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("colorized"), help="folder to write to (default: colorized)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the draws; the same seed, the same colours (default: 0)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a hyper-parameter: temperature=0.8"
    )
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def colorize(arguments: argparse.Namespace) -> int:
    """Colour every photo; returns how many had to be skipped."""
    import torch
    from rich.progress import track

    from datamodules.pictures import read_picture
    from evaluation.record import file_sha256, write_json
    from lightning_modules.checkpoint import find_checkpoint
    from lightning_modules.colorizer import Colorizer
    from lightning_modules.device import choose_device

    checkpoint = find_checkpoint(arguments.checkpoint)
    overrides = parse_overrides(arguments.set)
    colorizer = Colorizer.load(checkpoint, **overrides).to(choose_device(arguments.device))
    guidance = guidance_by(arguments.reference, colorizer)
    photos = outputs_of(arguments.photos, arguments.out)
    made: list[dict[str, Any]] = []
    skipped: list[str] = []
    for photo, output in track(photos.items(), "colouring", disable=len(photos) == 1):
        try:
            rgb = read_picture(photo)
            files = colorize_photo(colorizer, rgb, output, arguments.samples, arguments.seed, guidance)
        except (ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
            skipped.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
            continue
        made.append({"photo": str(photo), "seed": arguments.seed, "files": [str(file) for file in files]})
    record = {
        "method": type(colorizer).__name__,
        "checkpoint": {"path": str(checkpoint), "sha256": file_sha256(checkpoint)},
        "overrides": overrides,
        "reference": arguments.reference and str(arguments.reference),
        "coloured": made,
        "skipped": skipped,
    }
    write_json(arguments.out / "colorize.json", record)
    print(f"{len(made)} of {len(photos)} photos coloured in {arguments.out}")
    return len(skipped)


def outputs_of(sources: list[Path], out: Path) -> dict[Path, Path]:
    """Each photo and the path, without suffix, of what is made of it; folders keep their inner layout."""
    from datamodules.pictures import find_pictures

    outputs: dict[Path, Path] = {}
    taken: set[Path] = set()
    for source in sources:
        for picture in find_pictures(source) if source.is_dir() else [source]:
            if source.is_dir() and out.resolve() in picture.resolve().parents:
                continue  # made by an earlier call
            relative = picture.relative_to(source) if source.is_dir() else Path(picture.name)
            name = relative.name.replace(".", "_")
            candidates = chain([relative.stem, name], (f"{name}_{number}" for number in count(2)))
            output = next(path for path in (out / relative.with_name(each) for each in candidates) if path not in taken)
            outputs[picture] = output
            taken.add(output)
    return outputs


def guidance_by(reference: Path | None, colorizer: Colorizer) -> Guidance:
    """What the photo whose colours to follow tells the method; nothing without one.

    Raises:
        ValueError: If the method cannot follow a photo, or this one is grey or cannot be read.
    """
    from datamodules.pictures import read_picture
    from lightning_modules.color import is_grey, to_float
    from lightning_modules.guidance import Guidance

    if reference is None:
        return Guidance()
    if "reference" not in colorizer.accepts:
        raise ValueError(
            f"{type(colorizer).__name__} cannot follow a reference; leave --reference out, or give it to LRAC, or to "
            "PixColor with --set chroma=reference"
        )
    rgb = read_picture(reference)
    if is_grey(rgb):
        raise ValueError(f"{reference} is grey, so that there are no colours to follow; give a photo in colour")
    return Guidance(reference=to_float(rgb)[None].to(colorizer.device))


def colorize_photo(
    colorizer: Colorizer, rgb: Any, output: Path, samples: int, seed: int, guidance: Guidance
) -> list[Path]:
    """Write `<output>_<sample>.png` and `<output>_sheet.png`."""
    import torch
    from PIL.PngImagePlugin import PngInfo

    from evaluation.report.sheet import contact_sheet, grey_of, to_image
    from lightning_modules.color import to_float

    rgb = to_float(rgb)[None].to(colorizer.device)
    generator = torch.Generator(colorizer.device).manual_seed(seed)
    drawn = colorizer.colorize(colorizer.luminance(rgb), samples=samples, guidance=guidance, generator=generator)[0]
    output.parent.mkdir(parents=True, exist_ok=True)
    files = []
    for sample, picture in enumerate(drawn):
        notes = PngInfo()
        notes.add_text("Software", f"chromalab {type(colorizer).__name__}, seed {seed}, sample {sample}")
        files.append(output.with_name(f"{output.name}_{sample}.png"))
        to_image(picture).save(files[-1], pnginfo=notes)
    reference = [] if guidance.reference is None else [guidance.reference[0]]
    captions = ["grey", *["reference"] * len(reference), *(f"sample {sample}" for sample in range(samples))]
    files.append(output.with_name(f"{output.name}_sheet.png"))
    contact_sheet([[grey_of(rgb)[0], *reference, *drawn]], captions, cell_height=256).save(files[-1])
    return files


def parse_overrides(settings: list[str]) -> dict[str, Any]:
    """`name=value` settings, the values read as YAML."""
    import yaml

    overrides = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, such as temperature=0.8, not {setting}")
        overrides[name] = yaml.safe_load(value)
    return overrides


def main(arguments: list[str] | None = None) -> None:
    """The command line: status 1 if a photo was skipped."""
    with errors_as_sentences():
        sys.exit(1 if colorize(parse(arguments)) else 0)


if __name__ == "__main__":
    main()
