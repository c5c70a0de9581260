"""Work done on every photo: a model, its guidance, and the files that are made."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imaging.outputs import OutputFolder, digest

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from lightning_modules.colorizer import Colorizer

AT_ONCE = 2**22
"""Pixels up to which all samples of a photo are drawn together; those of larger photos one by one, to save memory."""
CELL_HEIGHT = 256
"""Height of the images on a sheet, in pixels."""


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
        made_by = [sha256, dict(self.variants[""].hparams)]  # several models may share a file
        self.head = {
            "method": self.method,
            "model": self.model,
            "checkpoint": {"path": str(checkpoint), "sha256": sha256},
            **settings,
            **self.follow.record,
        }
        self.key = digest(made_by, settings, options.hint, [file_sha256(file) for file in self.follow.files])

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
        """Endings that are added to a photo's name to name the files that are made of it."""
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
