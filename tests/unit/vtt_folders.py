"""Folders of small pictures for kits: the truth as JPEGs, generated pictures as PNGs, so that their files differ."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageEnhance

from evaluation.vtt.__main__ import main
from evaluation.vtt.study import Study, read_study
from tests.conftest import colourful_pictures


def write_truth(folder: Path, count: int, side: int = 24) -> list[Image.Image]:
    """`picture_0.jpg` and so on, wider than high."""
    folder.mkdir(parents=True)
    arrays = colourful_pictures(count, side).permute(0, 2, 3, 1).numpy()
    pictures = [Image.fromarray(array).resize((side + side // 3, side)) for array in arrays]
    for number, picture in enumerate(pictures):
        picture.save(folder / f"picture_{number}.jpg", quality=90)
    return pictures


def write_generated(folder: Path, pictures: Sequence[Image.Image], samples: int = 1) -> None:
    """`picture_0.png`, or with several samples `picture_0_0.png`, and so on, in paler colours."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        for sample in range(samples):
            name = f"picture_{number}_{sample}.png" if samples > 1 else f"picture_{number}.png"
            ImageEnhance.Color(picture).enhance(0.6 - 0.2 * sample).save(folder / name)


def build_kit(folder: Path, count: int, *arguments: str) -> tuple[Path, Study]:
    """A Visual Turing Test of two methods, one of which has two samples."""
    pictures = write_truth(folder / "truth", count)
    write_generated(folder / "one", pictures, samples=2)
    write_generated(folder / "two", pictures)
    methods = [f"--method=One={folder / 'one'}", f"--method=Two={folder / 'two'}"]
    kit = folder / "kit"
    command("build", "--truth", str(folder / "truth"), *methods, "--out", str(kit), *arguments)
    return kit, read_study(kit)


def build_preference_kit(folder: Path, *arguments: str) -> tuple[Path, Study]:
    """A preference study of three methods and four targets."""
    pictures = write_truth(folder / "truth", 4)
    write_generated(folder / "references", pictures[::-1])
    for number in range(3):
        write_generated(folder / f"method_{number}", pictures)
    methods = [f"--method=M{number}={folder / f'method_{number}'}" for number in range(3)]
    named = ["--targets", str(folder / "truth"), "--references", str(folder / "references")]
    kit = folder / "kit"
    command("preference", *named, *methods, "--out", str(kit), *arguments)
    return kit, read_study(kit)


def command(*arguments: str) -> None:
    """Run `python -m evaluation.vtt`, in this process."""
    main(list(arguments))
