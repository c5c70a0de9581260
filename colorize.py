"""Colour photographs.

python colorize.py old_photos/ portrait.jpg --checkpoint runs/pic_photos/RUN --samples 4 --out colorized
python colorize.py harbour.jpg --checkpoint exemplar.ckpt --reference sunset.jpg --reference noon.jpg
python colorize.py portrait.jpg --checkpoint exemplar.ckpt --hint 120,80,#8a5a3c --hint 200,310,#1f3a6e
python colorize.py harbour.jpg --checkpoint exemplar.ckpt --reference sunset.jpg --stylize
"""

from __future__ import annotations

import argparse
import sys
from itertools import chain, count, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.command import errors_as_sentences

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from datamodules.guidance import GuidanceFiles
    from lightning_modules.colorizer import Colorizer
    from lightning_modules.guidance import Guidance

EXAMPLE = "example: python colorize.py old_photos/ --checkpoint runs/pic_photos/RUN --samples 4 --out colorized"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Colour photographs.", epilog=EXAMPLE)
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER", help="pictures, or folders of them")
    parser.add_argument("--checkpoint", required=True, metavar="RUN", help="a run's directory, or a .ckpt file")
    parser.add_argument("--samples", type=positive, default=1, help="colourings of each photo (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("colorized"), help="folder to write to (default: colorized)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the draws; the same seed, the same colours (default: 0)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a hyper-parameter: temperature=0.8"
    )
    parser.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="colour once more, with this changed too, and show both: transfer.matching=wct; any number of them",
    )
    guided = parser.add_argument_group("what to follow, where a method can")
    guided.add_argument(
        "--reference",
        action="append",
        default=[],
        type=Path,
        metavar="PHOTO",
        help="a photo whose colours to follow, of any size; of several, each in turn (Exemplar, LRAC, Welsh)",
    )
    guided.add_argument(
        "--hint",
        action="append",
        default=[],
        metavar="X,Y,#RRGGBB",
        help="a colour at a place, in pixels from the top left; any number of them (Exemplar)",
    )
    guided.add_argument(
        "--hint-picture",
        type=Path,
        metavar="PNG",
        help="colours drawn on a transparent layer of the photo's size (Exemplar)",
    )
    for name, whose in (("--labels", "the photo"), ("--reference-labels", "the reference")):
        guided.add_argument(
            name,
            type=Path,
            metavar="PNG",
            help=f"a segmentation of {whose}: what has one colour in both follows itself (Exemplar)",
        )
    guided.add_argument(
        "--stylize",
        action="store_true",
        help="keep the photo's own colours as a start, and take the reference's light and shade too (Exemplar)",
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

    from datamodules.guidance import GuidanceFiles
    from datamodules.pictures import read_picture
    from evaluation.record import file_sha256, write_json
    from lightning_modules.abilities import Stylization
    from lightning_modules.checkpoint import find_checkpoint
    from lightning_modules.colorizer import Colorizer
    from lightning_modules.device import choose_device

    checkpoint = find_checkpoint(arguments.checkpoint)
    device = choose_device(arguments.device)
    variants = {
        change: Colorizer.load(checkpoint, **parse_overrides([*arguments.set, *filter(None, [change])])).to(device)
        for change in ["", *arguments.compare]
    }
    colorizer = variants[""]
    photos = outputs_of(arguments.photos, arguments.out)
    follow = GuidanceFiles(
        arguments.reference, arguments.hint, arguments.hint_picture, arguments.labels, arguments.reference_labels
    )
    name = type(colorizer).__name__
    follow.require_accepted(name, colorizer.accepts, len(photos))
    if arguments.stylize and not isinstance(colorizer, Stylization):
        raise ValueError(f"{name} cannot restyle photos in colour; leave --stylize out, or take an Exemplar")
    if arguments.stylize and not arguments.reference:
        raise ValueError("--stylize wants a photo whose colours to take; give --reference")
    references = follow.read_references()
    made: list[dict[str, Any]] = []
    skipped: list[str] = []
    for photo, output in track(photos.items(), "colouring", disable=len(photos) == 1):
        try:
            files = colorize_photo(variants, read_picture(photo), output, follow, references, arguments)
        except (ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
            skipped.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
            continue
        made.append({"photo": str(photo), "seed": arguments.seed, "files": [str(file) for file in files]})
    record = {
        "method": name,
        "checkpoint": {"path": str(checkpoint), "sha256": file_sha256(checkpoint)},
        "overrides": parse_overrides(arguments.set),
        "compared": arguments.compare,
        **follow.record,
        "stylized": arguments.stylize,
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


def colorize_photo(
    variants: dict[str, Colorizer],
    rgb: Tensor,
    output: Path,
    follow: GuidanceFiles,
    references: dict[str, Tensor | None],
    arguments: argparse.Namespace,
) -> list[Path]:
    """Write a PNG of every sample by every reference and variant, and a sheet with a row for each of these.

    They are `<output>_<sample>.png`; of several references or variants the name says which, before the sample.
    """
    import torch

    from evaluation.report.sheet import contact_sheet, grey_of
    from lightning_modules.color import to_float

    files, rows, labels = [], [], []
    output.parent.mkdir(parents=True, exist_ok=True)
    for (change, colorizer), (name, reference) in product(variants.items(), references.items()):
        photo = to_float(rgb)[None].to(colorizer.device)
        guidance = follow.for_photo((photo.shape[2], photo.shape[3]), reference, photo.device)
        generator = torch.Generator(photo.device).manual_seed(arguments.seed)
        drawn = painted(colorizer, photo, guidance, generator, arguments)
        which = [change.replace("/", "_")] if change else []
        which += [name] if len(references) > 1 else []
        files += save(drawn, output.with_name("_".join([output.name, *which])), colorizer, arguments.seed)
        shown = photo if arguments.stylize else grey_of(photo)
        rows.append([shown[0], *([] if reference is None else [reference[0]]), *drawn])
        labels.append(change)
    captions = ["photo" if arguments.stylize else "grey", *([] if "" in references else ["reference"])]
    captions += [f"sample {sample}" for sample in range(len(rows[0]) - len(captions))]
    files.append(output.with_name(f"{output.name}_sheet.png"))
    contact_sheet(rows, captions, cell_height=256, labels=labels if any(labels) else ()).save(files[-1])
    return files


def painted(
    colorizer: Colorizer, photo: Tensor, guidance: Guidance, generator: Generator, arguments: argparse.Namespace
) -> Tensor:
    """What a method makes of a photo, RGB `(1, 3, H, W)`: `(samples, 3, H, W)`."""
    from lightning_modules.abilities import Stylization

    if arguments.stylize:
        assert isinstance(colorizer, Stylization)
        return colorizer.stylize(photo, guidance)
    luminance = colorizer.luminance(photo)
    return colorizer.colorize(luminance, samples=arguments.samples, guidance=guidance, generator=generator)[0]


def save(pictures: Tensor, path: Path, colorizer: Colorizer, seed: int) -> list[Path]:
    """Write `<path>_<sample>.png`, each with a note of what made it."""
    from PIL.PngImagePlugin import PngInfo

    from evaluation.report.sheet import to_image

    files = []
    for sample, picture in enumerate(pictures):
        notes = PngInfo()
        notes.add_text("Software", f"chromalab {type(colorizer).__name__}, seed {seed}, sample {sample}")
        files.append(path.with_name(f"{path.name}_{sample}.png"))
        to_image(picture).save(files[-1], pnginfo=notes)
    return files


def parse_overrides(settings: list[str]) -> dict[str, Any]:
    """`name=value` settings, dotted names for what lies within, values read as YAML."""
    from omegaconf import OmegaConf

    for setting in settings:
        if "=" not in setting:
            raise ValueError(f"--set and --compare take NAME=VALUE, such as temperature=0.8, not {setting}")
    return OmegaConf.to_container(OmegaConf.from_dotlist(settings))  # type: ignore[return-value]


def main(arguments: list[str] | None = None) -> None:
    """The command line: status 1 if a photo was skipped."""
    with errors_as_sentences():
        sys.exit(1 if colorize(parse(arguments)) else 0)


if __name__ == "__main__":
    main()
