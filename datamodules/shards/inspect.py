"""Checks sets of shards and shows what they hold."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torchvision.utils import make_grid

from datamodules.pictures import decode_picture
from datamodules.shards.catalogue import Catalogue
from datamodules.shards.files import ShardFiles, is_remote
from datamodules.shards.index import sha256_of
from datamodules.shards.parallel import as_they_come
from datamodules.splits import SHA256 as PUBLISHED_SPLITS
from datamodules.splits import keys_of
from datamodules.transforms import squash

LISTED = 10
SHEET_COLUMNS, SHEET_ROWS, SHEET_SIDE = 12, 8, 96


def check(catalogue: Catalogue, files: ShardFiles, workers: int) -> list[str]:
    """Read every shard and compare it with the manifest; returns what is wrong."""
    wrong: list[tuple[int, str]] = []
    tasks = list(range(len(catalogue.places)))
    with ThreadPoolExecutor(workers) as pool:  # hashing lets other threads run
        results = as_they_come(pool, partial(check_shard, catalogue, files), iter(tasks), 2 * workers)
        wrong += [(shard, error) for shard, error in track(results, "checking shards", total=len(tasks)) if error]
    counted = np.bincount(catalogue.index["shard"], minlength=len(tasks))
    for shard, entry in enumerate(catalogue.manifest.shards):
        if counted[shard] != entry.pictures:
            wrong.append((shard, f"the index has {counted[shard]} pictures of {entry.name}, not {entry.pictures}"))
    messages = [error for _, error in sorted(wrong)]
    folder = Path(catalogue.place).parent
    if not is_remote(catalogue.place):
        known = {Path(place).name for place in catalogue.places}
        messages += [
            f"{path} is not in the manifest" for path in sorted(folder.glob("*.tar")) if path.name not in known
        ]
    return messages


def check_shard(catalogue: Catalogue, files: ShardFiles, shard: int) -> str | None:
    """What is wrong with a shard."""
    if wrong := catalogue.missing_shards([shard]):
        return wrong[shard]
    place = catalogue.places[shard]
    try:
        found = sha256_of(files.path(shard))
    except OSError as error:
        return str(error)
    wanted = catalogue.manifest.shards[shard].sha256
    return None if found == wanted else f"shard {place} has SHA-256 {found[:12]}..., not {wanted[:12]}..."


def describe(catalogue: Catalogue, console: Console) -> None:
    """Print counts."""
    manifest, index = catalogue.manifest, catalogue.index
    table = Table("split", "pictures", "shards", "size", "classes", "masks", "grey", "median size")
    start = 0
    for split, shards in manifest.splits.items():
        rows = index[start : start + manifest.pictures(split)]
        start += len(rows)
        labels = np.unique(rows["label"])
        table.add_row(
            split,
            f"{len(rows):,}",
            f"{len(shards):,}",
            size_of(sum(shard.bytes for shard in shards)),
            f"{int((labels >= 0).sum()):,}",
            f"{int((rows['mask_length'] > 0).sum()):,}",
            f"{int(rows['grey'].sum()):,}",
            f"{np.median(rows['width']):.0f} x {np.median(rows['height']):.0f}" if len(rows) else "",
        )
    console.print(table)
    for name in PUBLISHED_SPLITS:
        held = int(np.isin(np.array([key.encode() for key in keys_of(name)]), index["key"]).sum())
        if held:
            console.print(f"{name}: {held:,} of its {len(keys_of(name)):,} pictures")
    colourness, chroma_range = index["colourness"], index["chroma_range"]
    console.print(
        f"colourness below 0.05: {int((colourness < 0.05).sum()):,} pictures; chroma range below 5: "
        f"{int((chroma_range < 5).sum()):,}"
    )
    listed(console, "grey-encoded", manifest.grey)
    listed(console, "duplicates", [" = ".join(keys) for keys in manifest.duplicates])
    listed(console, "left out as unreadable", manifest.unreadable)
    console.print(f"made by: {manifest.command}", soft_wrap=True, markup=False)
    console.print(f"manifest: {catalogue.place}, SHA-256 {manifest.sha256}", soft_wrap=True, markup=False)


def listed(console: Console, what: str, items: list[str]) -> None:
    """Print how many, and the first of them."""
    shown = ", ".join(items[:LISTED]) + (", ..." if len(items) > LISTED else "")
    console.print(f"{what}: {len(items):,}{f' ({shown})' if items else ''}", soft_wrap=True, markup=False)


def size_of(number: int) -> str:
    """A number of bytes for people."""
    size, units = float(number), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, _ = size / 1000, units.pop(0)
    return f"{size:.3g} {units[0]}"


def contact_sheet(catalogue: Catalogue, files: ShardFiles, seed: int = 0) -> Image.Image:
    """Pictures drawn from the whole set, as squares."""
    index = catalogue.index
    wanted = min(len(index), SHEET_COLUMNS * SHEET_ROWS)
    chosen = np.sort(np.random.default_rng(seed).choice(len(index), wanted, replace=False))
    squares = []
    for row in track(index[chosen], "drawing pictures"):
        data = files.read(int(row["shard"]), int(row["offset"]), int(row["length"]))
        squares += squash([decode_picture(data)], None, resolution=SHEET_SIDE)
    grid = make_grid(torch.stack(squares), nrow=SHEET_COLUMNS, padding=4, pad_value=255)
    return Image.fromarray(grid.permute(1, 2, 0).contiguous().numpy())
