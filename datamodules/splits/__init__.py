"""Published subsets of the ILSVRC 2012 validation set, by the stems of their files.

`cval1k` (1,000) and `ctest10k` (10,000) are those of Larsson, Maire and Shakhnarovich (ECCV 2016, section 5.1).
"""

import hashlib
from importlib.resources import files

SHA256 = {
    "cval1k": "4e7507575bbf355ea63dfc5488ae4e00189c4e264e00bb88fde343df7c6c796a",
    "ctest10k": "f7e33b83d543b3446e0176b9918be5bcb576c285e2b6ded9c0d2556242a508d5",
}
"""Of the sorted stems, one a line."""


def keys_of(split: str) -> list[str]:
    """The sorted stems of a published subset.

    Raises:
        ValueError: If the list that was installed is not the published one.
    """
    keys = files(__name__).joinpath(f"{split}.txt").read_text(encoding="ascii").split()
    if name_of(keys) != split:
        raise ValueError(f"datamodules/splits/{split}.txt is not the published list; install the project again")
    return keys


def name_of(keys: list[str]) -> str | None:
    """The published subset that these stems are, in any order; None if they are none, or only part of one."""
    text = "".join(f"{key}\n" for key in sorted(keys))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return next((name for name, published in SHA256.items() if published == digest), None)
