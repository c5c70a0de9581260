"""Published subsets of the ILSVRC 2012 validation set, by the stems of their files.

`cval1k` (1,000) and `ctest10k` (10,000) are those of Larsson, Maire and Shakhnarovich (ECCV 2016, section 5.1), whose
lists lie here. The others are told by a rule: `ilsvrc2012_val` is all 50,000; `val5k` the first 5,000, on which DDColor
(ICCV 2023) is scored; `pixcolor_500` stands in for PixColor's 500 pictures of ctest10k, which were not published: those
500 whose stem, behind "pixcolor_500 ", has the smallest SHA-256.
"""

import hashlib
from importlib.resources import files

SHA256 = {
    "cval1k": "4e7507575bbf355ea63dfc5488ae4e00189c4e264e00bb88fde343df7c6c796a",
    "ctest10k": "f7e33b83d543b3446e0176b9918be5bcb576c285e2b6ded9c0d2556242a508d5",
    "pixcolor_500": "bd14ffa01db7bcd16c0884a794b363910532293daba8c5acfc7f3ffbdcb1bcd3",
    "val5k": "149b433846abded7ff07174197c2758e93370408175b88281fbd8468808e66d9",
    "ilsvrc2012_val": "3739e4d4e0f2fa1b0275b773923f784a9c91933866d5db2383e04f04448afd5e",
}
"""Of the sorted stems, one a line."""


def keys_of(split: str) -> list[str]:
    """The sorted stems of a published subset.

    Raises:
        ValueError: If there is no such subset, or the list that was installed is not the published one.
    """
    if split not in SHA256:
        raise ValueError(f"there is no published subset {split}; there are {', '.join(SHA256)}")
    if split == "pixcolor_500":
        keys = sorted(sorted(keys_of("ctest10k"), key=lambda key: sha256_of(f"{split} {key}"))[:500])
    elif split in ("val5k", "ilsvrc2012_val"):
        keys = [f"ILSVRC2012_val_{number + 1:08}" for number in range(5_000 if split == "val5k" else 50_000)]
    else:
        keys = files(__name__).joinpath(f"{split}.txt").read_text(encoding="ascii").split()
    if name_of(keys) != split:
        raise ValueError(f"datamodules/splits/{split}.txt is not the published list; install the project again")
    return keys


def name_of(keys: list[str]) -> str | None:
    """The published subset that these stems are, in any order; None if they are none, or only part of one."""
    digest = sha256_of("".join(f"{key}\n" for key in sorted(keys)))
    return next((name for name, published in SHA256.items() if published == digest), None)


def sha256_of(text: str) -> str:
    """Its SHA-256, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
