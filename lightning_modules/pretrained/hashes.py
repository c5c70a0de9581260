"""Whether a file is the one that the table means."""

import hashlib
from pathlib import Path

from lightning_modules.pretrained.table import Model


def sha256_of(file: Path) -> str:
    """A file's SHA-256 in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def difference(file: Path, model: Model) -> str:
    """Say how a file's SHA-256 differs from the one in the table; empty if it does not."""
    found = sha256_of(file)
    return "" if found.startswith(model.sha256) else f"its SHA-256 is {found}, not {model.known_sha256}"


def require_published(file: Path, model: Model) -> None:
    """Refuse a file that is not the one in the table.

    Raises:
        OSError: If its SHA-256 is another.
    """
    if differing := difference(file, model):
        mend = "install the package again" if model.kind == "bundled" else "move it away, and it is fetched again"
        raise OSError(f"{file} is damaged or another file: {differing}; {mend}")
