"""Getting raters: sheets for Mechanical Turk and Prolific, and copies of single blocks to hand out."""

import argparse
import csv
import json
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from evaluation.vtt.study import PUBLIC, Study, read_study

WRITTEN = (2000, 1, 1, 0, 0, 0)
"""When the files in a copy were written, as it says."""
LAYOUT = """\
<p>{title}. You will judge {trials} {things}, which takes about ${{minutes}} minutes. Please take part only if you see
colours as most people do.</p>
<p><a id="study" href="${{address}}" target="_blank" rel="noopener">Open the study</a>, and come back with the
completion code that it shows at its end.</p>
<p><label>Completion code: <input name="code" required maxlength="8"></label></p>
<script>
  const worker = new URLSearchParams(location.search).get("workerId") || "";
  document.getElementById("study").href += "?workerId=" + encodeURIComponent(worker);
</script>
"""
SHEET = """\
# Study sheet for Prolific

| Field | Value |
|---|---|
| Title | {title} |
| Description | You will judge {trials} {things}. Please take part only if you see colours as most people do. |
| Address | {address}?PROLIFIC_PID={{{{%PROLIFIC_PID%}}}}&STUDY_ID={{{{%STUDY_ID%}}}}&SESSION_ID={{{{%SESSION_ID%}}}} |
| Completion code | {code} |
| Places | {blocks} |
| Minutes | {minutes} |
| Devices | desktop or tablet |
| Screening | normal colour vision |

A participant who goes on after a first block takes another's place: close the study once every block is done, as the
owner's page of `serve` tells.
"""


def add_commands(commands: Any) -> None:
    """Add `crowds`."""
    command = commands.add_parser(
        "crowds",
        help="make sheets for Mechanical Turk and Prolific, or copies to hand out",
        description="Make what it takes to have a study's blocks done, by crowds or by people you know.",
        epilog="""
python -m evaluation.vtt crowds study --address https://example.org/study/ --out sheets
    for a kit that `serve` serves there: mturk.csv, a HIT a row, with mturk.html, its layout; prolific.md
python -m evaluation.vtt crowds study --copies copies
    an archive for each block: a rater unpacks it, opens index.html and sends the results back
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("kit", type=Path, metavar="KIT", help="the folder of a study")
    command.add_argument("--address", metavar="URL", help="where raters find the study")
    command.add_argument("--out", type=Path, metavar="FOLDER", help="where the sheets are written")
    command.add_argument("--copies", type=Path, metavar="FOLDER", help="where an archive of each block is written")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write sheets, or copies, or both.

    Raises:
        ValueError: If nothing is asked for, or the address is none.
        OSError: If something cannot be read or written.
    """
    if (arguments.address is None) != (arguments.out is None) or not (arguments.out or arguments.copies):
        raise ValueError("give --address and --out for sheets, or --copies for archives to hand out")
    study = read_study(arguments.kit)
    if arguments.out:
        write_sheets(study, arguments.address, arguments.out)
        print(f"{arguments.out}: mturk.csv, mturk.html, prolific.md")
    if arguments.copies:
        print(f"{write_copies(study, arguments.kit, arguments.copies)} archives in {arguments.copies}")


def write_sheets(study: Study, address: str, folder: Path) -> None:
    """Write `mturk.csv`, `mturk.html` and `prolific.md`.

    Raises:
        ValueError: If the address is none.
    """
    from evaluation.vtt.kit import minutes_of

    if not address.startswith(("https://", "http://")) or any(letter in address for letter in '?# "<>'):
        raise ValueError(f"--address {address} is no plain address; give one such as https://example.org/study/")
    about = {
        "turing": {"title": "Which picture has its true colours?", "things": "pairs of pictures"},
        "preference": {"title": "Which colouring is best?", "things": "pictures"},
    }[study.kind]
    trials, minutes = max(len(block.trials) for block in study.blocks.values()), minutes_of(study)
    about |= {"trials": str(trials), "minutes": str(minutes), "blocks": str(len(study.blocks))}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "mturk.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["hit", "address", "trials", "minutes"])
        table.writerows([number, address, trials, minutes] for number in range(1, len(study.blocks) + 1))
    (folder / "mturk.html").write_text(LAYOUT.format(**about), encoding="utf-8")
    sheet = SHEET.format(**about, address=address, code=completion_code(study))
    (folder / "prolific.md").write_text(sheet, encoding="utf-8")


def completion_code(study: Study) -> str:
    """What the page shows to a crowd's worker at the end."""
    return study.name[:8].upper()


def write_copies(study: Study, kit: Path, folder: Path) -> int:
    """Write an archive for each block, uncompressed: sizes in it tell no more than those in the kit.

    Returns:
        How many.
    """
    from rich.progress import track

    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted((block.group, name) for name, block in study.blocks.items())
    for group, name in track(ordered, "packing blocks", disable=len(ordered) < 20):
        trials = [study.trials[trial] for trial in study.blocks[name].trials]
        files = ["index.html", f"blocks/{name}.js"]
        files += sorted(f"pictures/{each}.png" for trial in trials for each in (*trial.shown, *trial.context))
        with ZipFile(folder / f"part_{group + 1}_{name[:8]}.zip", "w", ZIP_STORED) as archive:
            archive.writestr(ZipInfo("blocks/index.js", WRITTEN), f"window.blocks = {json.dumps([[name]])};\n")
            for file in files:
                archive.writestr(ZipInfo(file, WRITTEN), (kit / PUBLIC / file).read_bytes())
    return len(ordered)
