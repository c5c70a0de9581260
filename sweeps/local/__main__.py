"""Run a sweep file of Weights & Biases without an account.

python -m sweeps.local sweeps/pic_learning_rate.yaml --count 20 --workers 2
"""

import argparse
import io
import sys
from pathlib import Path

import configs.process  # noqa: F401


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.local",
        description="Run a sweep file of Weights & Biases without an account: trials, early stopping, and sweep.html. "
        "Given again, it goes on where it stopped, however that was.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="such as sweeps/pic_learning_rate.yaml")
    parser.add_argument(
        "--count", type=int, metavar="N", help="trials in all; without it, a grid's own number, or the file's run_cap"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="trials at a time, on GPUs in turn")
    parser.add_argument("--retry-failed", action="store_true", help="try failed trials again, with the same values")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="appended to every run's command: data.root=my/cifar10"
    )
    return parser.parse_intermixed_args(arguments)


def run(arguments: argparse.Namespace) -> bool:
    """Run the sweep, and write its page.

    Returns:
        Whether no trial failed.

    Raises:
        ValueError: If the sweep file, or what was given with it, is not as it should be.
        OSError: If something cannot be read or written, or another driver is at work on this sweep.
        KeyboardInterrupt: If it was stopped; its trials have saved their state.
    """
    from rich.console import Console

    from sweeps.sweep_file import read_sweep_file

    file = read_sweep_file(arguments.file)
    count = next((each for each in (arguments.count, file.combinations, file.run_cap) if each is not None), None)
    if count is None:
        raise ValueError(f"{file.path} has no run_cap; say how many trials there are to be with --count")
    count = min(count, file.combinations or count)
    if arguments.workers < 1 or count < 1:
        raise ValueError("--count and --workers are at least 1")
    if odd := [each for each in arguments.overrides if "=" not in each and not each.startswith("~")]:
        raise ValueError(f"{odd[0]} is no override; they look like data.root=my/cifar10")
    if not Path(file.program).is_file():
        raise FileNotFoundError(f"there is no {file.program} here; start sweeps from the project's folder")
    from sweeps.local.driver import Driver, locked, print_trials
    from sweeps.local.page import write_page
    from sweeps.local.study import counts, open_study, queue_failed

    console = Console()
    runs = file.runs(arguments.overrides)
    with locked(runs, console) as lock:
        study = open_study(file, runs, arguments.overrides)
        if arguments.retry_failed:
            queue_failed(study)
        driver = Driver(file, study, runs, arguments.overrides, workers=arguments.workers, console=console, lock=lock)
        try:
            driver.run(count)
        finally:
            print_trials(file, study, console)
            page = write_page(file, study, runs, arguments.overrides)
            done = ", ".join(f"{number} {state}" for state, number in counts(study).items())
            console.print(f"{done}, of {count}: {page}", highlight=False, soft_wrap=True)
    return "failed" not in counts(study)


def main(arguments: list[str] | None = None) -> None:
    """The command line; a mistake ends in one sentence."""
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)  # a log shows what has happened, even if the process is killed
    try:
        sys.exit(0 if run(parse(arguments)) else 1)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
