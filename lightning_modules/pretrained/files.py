"""The two kinds of files that hold weights, both with checksums that are verified: torch's archives and bundles."""

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

BUNDLE = ".safetensors"
"""The suffix of bundles."""
ROUNDING = 2**-10
"""How much of a tensor's largest absolute value float16 may change; tensors that it changes more stay float32."""


def read_archive(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` wrote, on the CPU, read with `weights_only=True`.

    torch writes a CRC-32 of each tensor and does not look at it again; here it is verified.

    Raises:
        ValueError: If the file is damaged or something else.
    """
    try:
        damaged = None
        if zipfile.is_zipfile(path):  # files from before torch 1.6 have no checksums
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        found = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make it raise anything
        raise ValueError(
            f"{path} is not a whole checkpoint or file of weights: it may be cut short, or something else"
        ) from error
    if damaged:
        raise ValueError(f"{path} is damaged: the checksum of {damaged} is wrong; take another copy of it")
    return found


def write_bundle(checkpoint: Mapping[str, Any], path: Path, provenance: Mapping[str, str]) -> None:
    """Write a checkpoint's method and weights in half the space, and without what only training needs.

    Args:
        checkpoint: As `read_checkpoint` gives it.
        path: Of the bundle; ends in .safetensors.
        provenance: Where the weights come from; added to the file's metadata.

    Raises:
        ValueError: If the path ends otherwise, or the hyper-parameters are more than JSON can hold.
    """
    if path.suffix != BUNDLE:
        raise ValueError(f"{path} is no name for a bundle; let it end in {BUNDLE}")
    settings = json.dumps(checkpoint["hyper_parameters"])
    if json.loads(settings) != checkpoint["hyper_parameters"]:
        raise ValueError("the hyper-parameters do not survive JSON; let them be primitives, lists and mappings by name")
    tensors = {name: compact(value) for name, value in checkpoint["state_dict"].items()}
    notes = {**provenance, "method": checkpoint["method"], "hyper_parameters": settings}
    half = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, half, {**notes, "sha256": digest(tensors, notes)})
    half.replace(path)


def read_bundle(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The checkpoint that a bundle holds: `method`, `hyper_parameters` and `state_dict`, in float32.

    Raises:
        ValueError: If the file is damaged or something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if notes.pop("sha256") != digest(tensors, notes):
            raise ValueError(f"{path} is damaged: its checksum is wrong; take another copy of it")
    except (SafetensorError, OSError, KeyError) as error:
        raise ValueError(f"{path} is not a whole bundle: it may be cut short, or no bundle at all") from error
    return {
        "method": notes["method"],
        "hyper_parameters": json.loads(notes["hyper_parameters"]),
        "state_dict": {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()},
    }


def compact(value: Tensor) -> Tensor:
    """A tensor in float16 if that hardly changes it, else in float32; of integers or truth values, as it is."""
    value = value.detach().contiguous().clone()
    if not value.is_floating_point():
        return value
    change = (value - value.half()).abs()
    fits = bool((change <= ROUNDING * value.abs().amax()).all()) if value.numel() else True
    return value.half() if fits else value.float()


def digest(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """The SHA-256 of everything that a bundle says, in hexadecimal."""
    found = hashlib.sha256(json.dumps(dict(notes), sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
