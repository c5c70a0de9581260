"""Weights by name: bundled with this package, or published elsewhere, fetched on first use and checked."""

import difflib
import os
from pathlib import Path

from lightning_modules.pretrained.hashes import require_published
from lightning_modules.pretrained.table import MODELS, Model

__all__ = ["DOWNLOAD", "MODELS", "Model", "default_for", "find", "local_file", "model_called", "place"]

DOWNLOAD = "download"
"""Stands in settings, in the place of a path, for the weights that the setting usually takes."""
CACHE = "CHROMALAB_CACHE"
"""The environment variable that names another folder than `~/.cache/chromalab`."""


def find(name: str) -> Path:
    """The local file of a model, checked by its SHA-256; fetched into the user's cache if it is not there yet.

    Raises:
        ValueError: If no model has that name.
        OSError: If the file cannot be fetched, or is not what was published.
    """
    model, file = model_called(name), place(name)
    if file.is_file():
        require_published(file, model)
    elif model.kind == "bundled":
        raise FileNotFoundError(f"{file}, which comes with the package, is missing; install the package again")
    else:
        from lightning_modules.pretrained.fetching import fetch

        fetch(model, file)
    return file


def place(name: str) -> Path:
    """Where the file of a model is, or will be once it is fetched.

    Raises:
        ValueError: If no model has that name.
    """
    model = model_called(name)
    if model.kind == "bundled":
        return Path(__file__).parent / model.file
    return Path(os.environ.get(CACHE) or "~/.cache/chromalab").expanduser() / "weights" / model.file


def model_called(name: str) -> Model:
    """A row of the table.

    Raises:
        ValueError: If there is none of that name.
    """
    if name in MODELS:
        return MODELS[name]
    close = difflib.get_close_matches(name, MODELS, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"no model is called {name}{meant}; the names are {', '.join(MODELS)}")


def local_file(setting: str | os.PathLike[str], usual: str) -> Path:
    """The file that a setting stands for.

    Args:
        setting: `download` for the usual model; the name of another model; or a path, which is not looked at.
        usual: The name of the usual model.

    Raises:
        OSError: If a model cannot be fetched.
    """
    name = usual if str(setting) == DOWNLOAD else str(setting)
    return find(name) if name in MODELS else Path(setting)


def default_for(guidance: frozenset[str], samples: int) -> str:
    """The first bundled model that takes the guidance and, for several samples, draws different colourings.

    Args:
        guidance: Names of fields of `Guidance`.
        samples: How many colourings of one image are wanted.

    Raises:
        ValueError: If none does; the sentence names what does.
    """
    colorizers = [model for model in MODELS.values() if model.method]
    able = [model for model in colorizers if guidance <= model.accepts and (samples == 1 or model.samples)]
    for model in able:
        if model.kind == "bundled":
            return model.name
    wishes = [*([f"takes {listed(guidance)}"] if guidance else []), *(["draws several colourings"] * (samples > 1))]
    wish = " and ".join(wishes) or "colours by itself"
    if able:
        raise ValueError(f"no bundled model {wish}; choose by name: {', '.join(model.name for model in able)}")
    known = ", ".join(
        f"{model.name} ({listed(model.accepts)}, {'several colourings' if model.samples else 'one colouring'})"
        for model in colorizers
    )
    raise ValueError(f"no model of the table {wish}; give a run of a method that does, or choose among {known}")


def listed(guidance: frozenset[str]) -> str:
    """Kinds of guidance in words."""
    return " and ".join(sorted(guidance)).replace("_", " ") or "no guidance"
