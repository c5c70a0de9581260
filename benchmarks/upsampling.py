"""How well chroma of a fraction of the resolution is enlarged: guided by luminance, and by interpolation alone.

Each image is reduced to some megapixels, and its true Lab a and b by area averages to a short side as methods predict
it: 32 (PIC), 64 (LRAC and CIC, which see 256 pixels at stride 4) or 256 (SIGGRAPH17). `predicted` chroma is, besides,
blurred, four fifths as strong, and off by noise of 2 units. Printed are means over images with 95% bootstrap intervals:
PSNR of chroma (peak 255) and of RGB, the gain over bicubic, and the error of chroma within 4 pixels of edges, where
luminance changes by more than 10 of 100 between neighbours, and elsewhere.

    python benchmarks/upsampling.py FOLDER
    python benchmarks/upsampling.py FOLDER --megapixels 12 --images 10
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d, guided_blur
from rich.progress import track
from timing import where
from torch import Tensor

from datamodules.pictures import find_pictures, read_picture
from evaluation.interval import mean_with_interval
from lightning_modules.color import lab_to_rgb, rgb_to_lab, to_float
from lightning_modules.resize import resized, size_by_short_side
from lightning_modules.upsampling import EDGE, WINDOW, enlarge_chroma

REGIMES = ((32, False), (64, False), (256, False), (64, True))
"""Short side of the chroma, and whether it is spoilt as a prediction would be."""
EDGE_CONTRAST, EDGE_REACH = 10.0, 4
RGB_STEP = 4
"""RGB is compared at every fourth pixel of every fourth row, which takes a sixteenth of the time."""


def guided_filter(chroma: Tensor, luminance: Tensor) -> Tensor:
    """Enlarge by kornia's guided filter over bicubic chroma, its window the same share of the image as ours."""
    factor = luminance.shape[2] / chroma.shape[2]
    side = 2 * round(WINDOW * factor / 2) + 1
    enlarged = enlarge_chroma(chroma, luminance, "bicubic")
    return guided_blur(luminance / 100, enlarged, side, EDGE**2, subsample=max(1, round(factor / 2)), separable=True)


WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # bicubic first: the others are compared with it
    "bicubic": lambda chroma, luminance: enlarge_chroma(chroma, luminance, "bicubic"),
    "bilinear": lambda chroma, luminance: enlarge_chroma(chroma, luminance, "bilinear"),
    "guided": enlarge_chroma,
    "guided filter": guided_filter,
}


def spoilt(chroma: Tensor) -> Tensor:
    """Chroma as a network might predict it: blurred by one sample, paler and noisy, `(B, 2, h, w)`."""
    noise = torch.randn(chroma.shape, generator=torch.Generator().manual_seed(0))
    return 0.8 * gaussian_blur2d(chroma, (5, 5), (1.0, 1.0)) + 2 * noise


def near_edges(luminance: Tensor) -> Tensor:
    """Mask of pixels close to a strong edge of L, `(1, 1, H, W)`."""
    steps = torch.zeros_like(luminance)
    steps[..., 1:] = luminance.diff(dim=3).abs()
    steps[..., 1:, :] = steps[..., 1:, :].maximum(luminance.diff(dim=2).abs())
    return F.max_pool2d((steps > EDGE_CONTRAST).float(), 2 * EDGE_REACH + 1, 1, EDGE_REACH) > 0


def psnr(squared_error: Tensor, peak: float) -> float:
    """Peak signal-to-noise ratio in dB; errors under a hundredth of an eight-bit level count as that."""
    return 10 * math.log10(peak**2 / max(float(squared_error.mean()), (peak / 25500) ** 2))


def measured(enlarged: Tensor, lab: Tensor, near: Tensor) -> dict[str, float]:
    """Scores of enlarged chroma, `(1, 2, H, W)`, against the image it was made of, `(1, 3, H, W)`."""
    error = (enlarged - lab[:, 1:]).square()
    few = (..., slice(None, None, RGB_STEP), slice(None, None, RGB_STEP))
    coloured = lab_to_rgb(torch.cat([lab[:, :1], enlarged], dim=1)[few])
    scores = {"chroma PSNR": psnr(error, 255), "RGB PSNR": psnr((coloured - lab_to_rgb(lab[few])).square(), 1)}
    distance = error.sum(dim=1, keepdim=True)
    for place, mask in (("near edges", near), ("elsewhere", ~near)):
        if mask.any():
            scores[place] = float(((distance * mask).sum() / mask.sum()).sqrt())
    return scores


def scores_of(rgb: Tensor) -> dict[tuple[str, str], dict[str, float]]:
    """Scores of one image, `(3, H, W)`, by regime and way."""
    lab = rgb_to_lab(to_float(rgb)[None])
    luminance, near = lab[:, :1], near_edges(lab[:, :1])
    found: dict[tuple[str, str], dict[str, float]] = {}
    for short_side, predicted in REGIMES:
        chroma = F.adaptive_avg_pool2d(lab[:, 1:], size_by_short_side(rgb.shape[1], rgb.shape[2], short_side))
        chroma = spoilt(chroma) if predicted else chroma
        regime = f"{short_side}, predicted" if predicted else str(short_side)
        for name, way in WAYS.items():
            started = time.process_time()
            enlarged = way(chroma, luminance)
            took = time.process_time() - started
            scores = measured(enlarged, lab, near) | {"CPU seconds": took}
            scores["gain"] = scores["RGB PSNR"] - found.get((regime, "bicubic"), scores)["RGB PSNR"]
            found[regime, name] = scores
    return found


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photographs of a megapixel or more")
    parser.add_argument("--megapixels", type=float, default=1.0, help="larger images are reduced to it (default: 1)")
    parser.add_argument("--images", type=int, help="how many, evenly spread (default: all)")
    arguments = parser.parse_args()
    paths = find_pictures(arguments.folder)
    paths = paths[:: max(1, len(paths) // (arguments.images or len(paths)))][: arguments.images]
    columns: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in track(paths, "enlarging"):
        rgb = read_picture(path)
        scale = min(1.0, math.sqrt(arguments.megapixels * 1e6 / (rgb.shape[1] * rgb.shape[2])))
        rgb = resized(rgb, (round(rgb.shape[1] * scale), round(rgb.shape[2] * scale)))
        for key, scores in scores_of(rgb).items():
            for name, value in scores.items():
                columns[key][name].append(value)
    print(f"{len(paths)} images of at most {arguments.megapixels:g} megapixels, on {where(torch.device('cpu'))}")
    names = ["chroma PSNR", "RGB PSNR", "gain", "near edges", "elsewhere", "CPU seconds"]
    print(f"| chroma | enlarged | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}")
    for (regime, way), column in columns.items():
        cells = [mean_with_interval(column[name]) for name in names]
        shown = [f"{cell['value']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]" for cell in cells[:-1]]
        print(f"| {regime} | {way} | {' | '.join(shown)} | {cells[-1]['value']:.3f} |")


if __name__ == "__main__":
    main()
