"""What bits/dim a model must beat: the entropy of chroma without luminance or context, on the pictures of a folder.

Every pixel of PIC's chroma grid is rounded to whole a and b. The independent entropy is that of the marginals of a and
of b; the joint one lets b depend on a. Both know the test pictures' own histogram, which flatters them.

    python benchmarks/chroma_entropy.py my/cifar10/test --subsampling 2
"""

import argparse
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from datamodules.pictures import find_pictures, read_picture
from lightning_modules.color import to_float
from lightning_modules.pic.chroma import ChromaGrid, denormalize_chroma

LEVELS = 256


def entropy(counts: Tensor) -> float:
    """In bits, of a histogram."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum())


def main() -> None:
    """Print both entropies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of pictures, at any depth, all as they will be modelled")
    parser.add_argument("--subsampling", type=int, default=2, help="of chroma (default: 2, as for CIFAR-10)")
    arguments = parser.parse_args()
    grid = ChromaGrid(arguments.subsampling, round_ab=True)
    joint = torch.zeros(LEVELS, LEVELS, dtype=torch.float64)
    pictures = find_pictures(arguments.folder)
    for path in track(pictures, "counting chroma"):
        chroma = grid.picture(to_float(read_picture(path))[None]).chroma
        a, b = (denormalize_chroma(chroma).round().long() + LEVELS // 2).clamp(0, LEVELS - 1).flatten(2)[0]
        joint.view(-1).index_add_(0, a * LEVELS + b, torch.ones(len(a), dtype=torch.float64))
    independent = (entropy(joint.sum(dim=1)) + entropy(joint.sum(dim=0))) / 2
    print(f"{len(pictures)} pictures, {int(joint.sum())} pixels")
    print(f"independent {independent:.3f} bits/dim, joint {entropy(joint.flatten()) / 2:.3f} bits/dim")


if __name__ == "__main__":
    main()
