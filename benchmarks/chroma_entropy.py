"""What bits/dim a model must beat: the entropy of chroma without luminance or context, on the pictures of a folder.

Chroma is taken as the method models it: PIC's a and b, rounded to whole values, or PixColor's bins of Cr and Cb. The
independent entropy is that of the two marginals; the joint one lets the second value of a pixel depend on the first.
Both know the test pictures' own histogram, which flatters them.

    python benchmarks/chroma_entropy.py my/cifar10/test --subsampling 2
    python benchmarks/chroma_entropy.py my/imagenet/val --method pixcolor --subsampling 8
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from datamodules.pictures import find_pictures, read_picture
from lightning_modules.color import to_float
from lightning_modules.pic.chroma import ChromaGrid, denormalize_chroma
from lightning_modules.pixcolor.chroma import bins_of, luminance_and_chroma

LEVELS = 256


def pic_values(rgb: Tensor, subsampling: int) -> Tensor:
    """Whole a and b, shifted to 0..255, int64 (B, 2, h, w), of RGB in [0, 1]."""
    chroma = ChromaGrid(subsampling, round_ab=True).picture(rgb).chroma
    return (denormalize_chroma(chroma).round().long() + LEVELS // 2).clamp(0, LEVELS - 1)


def pixcolor_values(rgb: Tensor, subsampling: int) -> Tensor:
    """Bins of Cr and Cb, int64 (B, 2, h, w), of RGB in [0, 1]."""
    return bins_of(F.avg_pool2d(luminance_and_chroma(rgb)[1], subsampling))


VALUES = {"pic": pic_values, "pixcolor": pixcolor_values}


def entropy(counts: Tensor) -> float:
    """In bits, of a histogram."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum())


def main() -> None:
    """Print both entropies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of pictures, at any depth, all as they will be modelled")
    parser.add_argument("--subsampling", type=int, default=2, help="of chroma (default: 2, as for CIFAR-10)")
    parser.add_argument("--method", choices=VALUES, default="pic", help="whose chroma (default: pic)")
    arguments = parser.parse_args()
    joint = torch.zeros(LEVELS, LEVELS, dtype=torch.float64)
    pictures = find_pictures(arguments.folder)
    for path in track(pictures, "counting chroma"):
        rgb = to_float(read_picture(path))[None]
        first, second = VALUES[arguments.method](rgb, arguments.subsampling).flatten(2)[0]
        joint.view(-1).index_add_(0, first * LEVELS + second, torch.ones(len(first), dtype=torch.float64))
    independent = (entropy(joint.sum(dim=1)) + entropy(joint.sum(dim=0))) / 2
    print(f"{len(pictures)} pictures, {int(joint.sum())} pixels")
    print(f"independent {independent:.3f} bits/dim, joint {entropy(joint.flatten()) / 2:.3f} bits/dim")


if __name__ == "__main__":
    main()
