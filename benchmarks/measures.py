"""What the statistics of one prediction cost, beside the same measures each from RGB on its own, in one run.

The naive way calls every measure of `evaluation.functional` on RGB, so that each converts both pictures again. The
statistics convert each picture once, from its eight bits.

    python benchmarks/measures.py
    python benchmarks/measures.py --height 256 --width 341 --threads 1
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from skimage import data
from torch import Tensor

from evaluation.functional.alpha_beta import rmse_alpha_beta
from evaluation.functional.area_under_curve import color_counts, rebalancing_weights, within_thresholds
from evaluation.functional.ciede2000 import ciede2000
from evaluation.functional.colorfulness import colorfulness, colorfulness_abs
from evaluation.functional.error_distribution import cumulative_error
from evaluation.functional.lab_histogram import lab_histogram
from evaluation.functional.psnr import psnr
from evaluation.functional.saturation import saturation
from evaluation.functional.ssim import ssim
from evaluation.record import hardware
from evaluation.runner import keep_memory
from evaluation.statistics import Pairs, statistics_of
from lightning_modules.color import to_float, to_uint8

REPEATS = 30

COLOUR: dict[str, tuple[tuple[str, ...], Callable[[Tensor, Tensor], object]]] = {
    "RMSE alpha-beta": (("alpha_beta_error", "pixels"), rmse_alpha_beta),
    "its distribution": (("alpha_beta_error_counts",), cumulative_error),
    "PSNR": (("psnr", "psnr_counts", "pictures"), psnr),
    "a and b histograms": (
        ("ab_histogram", "ab_histogram_of_truth"),
        lambda prediction, truth: (lab_histogram(prediction), lab_histogram(truth)),
    ),
    "saturation": (
        ("saturation", "saturation_of_truth"),
        lambda prediction, truth: (saturation(prediction), saturation(truth)),
    ),
    "colourfulness": (
        ("colorfulness", "colorfulness_of_truth"),
        lambda prediction, truth: (colorfulness(prediction), colorfulness(truth)),
    ),
    "AuC": (("distance_counts",), within_thresholds),
    "AuC, rebalanced": (
        ("color_areas", "color_counts_of_truth"),
        lambda prediction, truth: within_thresholds(
            prediction, truth, rebalancing_weights(truth, color_counts(truth)[0])
        ),
    ),
}
FURTHER: dict[str, tuple[tuple[str, ...], Callable[[Tensor, Tensor], object]]] = {
    "colourfulness, absolute": (
        ("colorfulness_abs", "colorfulness_abs_of_truth"),
        lambda prediction, truth: (colorfulness_abs(prediction), colorfulness_abs(truth)),
    ),
    "CIEDE2000": (("ciede2000",), ciede2000),
    "SSIM": (("ssim",), ssim),
}


def milliseconds(work: Callable[[], object]) -> float:
    """Median time of `work` after one call to warm up."""
    times = []
    for repeat in range(REPEATS + 1):
        started = time.perf_counter()
        work()
        if repeat:
            times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=256, help="of the picture, at most 512 (default: 256)")
    parser.add_argument("--width", type=int, default=341, help="of the picture, at most 512 (default: 341)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_memory(0)  # as the processes that score do
    truth = torch.from_numpy(data.astronaut()[: arguments.height, : arguments.width].copy()).permute(2, 0, 1)
    noise = 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    samples = to_uint8(to_float(truth) + noise).unsqueeze(0)

    machine = f"{hardware()['processor']}, {arguments.threads} threads"
    table = Table(title=f"One prediction, {truth.shape[1]}x{truth.shape[2]}, on {machine}", title_justify="left")
    for heading in ("measure", "from RGB", "as statistic*", "ratio"):
        table.add_column(heading, justify="left" if heading == "measure" else "right")

    def add_row(title: str, names: tuple[str, ...], *measures: Callable[[Tensor, Tensor], object]) -> None:
        naive = milliseconds(lambda: [measure(to_float(samples), to_float(truth[None])) for measure in measures])
        found = milliseconds(lambda: statistics_of(Pairs(samples, truth), names))
        table.add_row(title, f"{naive:.1f} ms", f"{found:.1f} ms", f"{naive / found:.1f}")

    for title, (names, measure) in COLOUR.items():
        add_row(title, names, measure)
    together = tuple(name for names, _ in COLOUR.values() for name in names)
    add_row("all of these together", together, *(measure for _, measure in COLOUR.values()))
    for title, (names, measure) in FURTHER.items():
        add_row(title, names, measure)
    console = Console(width=110)
    console.print(table)
    console.print(
        f"* One walk over the pixels sums up for all of them; alone, each pays for all of it. Medians of {REPEATS}."
    )


if __name__ == "__main__":
    main()
