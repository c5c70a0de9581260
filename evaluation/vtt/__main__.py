"""Visual Turing Tests and preference studies.

python -m evaluation.vtt build --truth truth/ --method PixColor=pixcolor/ --method LRAC=lrac/ --out study
python -m evaluation.vtt preference --targets targets/ --references references/ --method Exemplar=one/ --out study
python -m evaluation.vtt serve study
python -m evaluation.vtt crowds study --address https://example.org/study/ --out sheets
python -m evaluation.vtt score study --out report
python -m evaluation.vtt simulate --pictures 500 --raters 5 --fooled 0.33
"""

import argparse
import sys
from io import TextIOWrapper

import configs.process  # noqa: F401
from evaluation.vtt import building, crowds, scoring, serving, simulation


def main(arguments: list[str] | None = None) -> None:
    """The command line; each command's own arguments stand with it."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.vtt", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (building, crowds, serving, scoring, simulation):
        module.add_commands(commands)
    parsed = parser.parse_args(arguments)
    if isinstance(sys.stdout, TextIOWrapper):  # what a terminal cannot show must not end a command
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        parsed.run(parsed)
    except KeyboardInterrupt:
        sys.exit("\nstopped by Ctrl-C; what was written is kept")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
