"""A study: which pictures are shown to whom, in what order, and what each of them is.

A kit is a folder. `plan.json` holds a `Study`, and is for its owner alone: it tells which picture is true. `public/` is
what raters get: `index.html`, `pictures/NAME.png` under names that tell nothing, and `blocks/ID.js`, each of which sets
`window.block` to what `public_block` returns.

A block is what one rater does in one sitting. Blocks of one group show the same pictures, and those of different groups
have none in common: so a rater who is given more than one is given them of different groups, and sees no picture twice.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

SCHEMA = 1
PLAN, PUBLIC, RESULTS = "plan.json", "public", "results.sqlite"
NAME = re.compile(r"[^/\\\0]+")
"""Of a shown picture: it leads out of no folder."""
TRUTH, CATCH = "truth", "catch"
"""What a shown picture can be besides a method's sample; of a trial that catches whoever does not look."""

Role = Literal["study", "catch", "practice"]


@dataclass(frozen=True)
class Trial:
    """What is shown at once, or one after the other, and asked about.

    Attributes:
        role: Whether it counts, catches whoever does not look, or is for practice.
        picture: Name of the true picture that it is about.
        shown: Names of the pictures to choose from, in the order in which they are shown.
        meaning: What each of these is: `truth`, `catch`, or a method and the number of its sample, `PixColor#0`.
        context: Names of pictures beside them that cannot be chosen: the target in grey and the reference of a
            preference trial.
    """

    role: Role
    picture: str
    shown: tuple[str, ...]
    meaning: tuple[str, ...]
    context: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """What one rater does in one sitting.

    Attributes:
        group: Of pictures; blocks of different groups have none in common.
        trials: Their names, in order, practice first.
    """

    group: int
    trials: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """All of a study.

    Attributes:
        name: An unguessable name.
        kind: A Visual Turing Test, whose pictures are shown one after the other, or a preference study.
        seed: Of everything that was drawn.
        question: What raters are asked.
        exposure_ms: How long each picture is shown; 0 shows all until a choice is made.
        raters: Ratings of each picture of each method's sample.
        samples: How many samples of each method, by its name.
        sources: Where the pictures came from: for the record.
        trials: By their names, which tell nothing.
        blocks: By their names, which tell nothing.
    """

    name: str
    kind: Literal["turing", "preference"]
    seed: int
    question: str
    exposure_ms: int
    raters: int
    samples: Mapping[str, int]
    sources: Mapping[str, Any]
    trials: Mapping[str, Trial]
    blocks: Mapping[str, Block]

    def public_block(self, name: str) -> dict[str, Any]:
        """What a rater's page is told of a block: no trial but those for practice tells what is what."""
        return {
            "study": self.name,
            "block": name,
            "kind": self.kind,
            "question": self.question,
            "exposure_ms": self.exposure_ms,
            "trials": [
                {"trial": each, "shown": list(trial.shown), "context": list(trial.context)}
                | ({"practice": trial.meaning.index(TRUTH) if TRUTH in trial.meaning else None} if is_practice else {})
                for each in self.blocks[name].trials
                for trial in [self.trials[each]]
                for is_practice in [trial.role == "practice"]
            ],
        }


def write_study(study: Study, kit: Path) -> None:
    """Write `plan.json`."""
    text = json.dumps({"schema": SCHEMA, **asdict(study)}, indent=1, ensure_ascii=False)
    (kit / PLAN).write_text(text + "\n", encoding="utf-8")


def read_study(kit: Path) -> Study:
    """The study of a kit.

    Raises:
        FileNotFoundError: If there is no plan.
        ValueError: If it is damaged, or of another version.
    """
    from pydantic import TypeAdapter, ValidationError

    path = kit / PLAN
    try:
        text = path.read_bytes()
        plan = json.loads(text)
        if isinstance(plan, dict) and plan.get("schema") not in (None, SCHEMA):
            raise ValueError(f"schema is {plan['schema']!r}, of another version of this program")
        study = TypeAdapter(Study).validate_json(text, strict=True)
        check(study)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{kit} holds no {PLAN}; give a folder that evaluation.vtt build has made") from error
    except (ValueError, RecursionError) as error:
        fault = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ValueError(f"{path} is damaged or no plan of a study ({fault}); build the kit anew") from error
    return study


def check(study: Study) -> None:
    """Raise ValueError, with the field's name, if the parts of a study do not fit together."""
    samples = {f"{name}#{number}" for name, several in study.samples.items() for number in range(several)}
    if not study.blocks:
        raise ValueError("blocks is empty")
    for name, block in study.blocks.items():
        if not block.trials or not study.trials.keys() >= {*block.trials}:
            raise ValueError(f"blocks.{name}.trials is empty, or names what is not among trials")
    for name, trial in study.trials.items():
        if not trial.shown or not all(map(NAME.fullmatch, (*trial.shown, *trial.context))):
            raise ValueError(f"trials.{name}.shown or context holds what is no name of a picture, or nothing")
        if len(trial.meaning) != len(trial.shown) or not {TRUTH, CATCH, *samples} >= {*trial.meaning}:
            raise ValueError(f"trials.{name}.meaning is not one of truth, catch or a sample for each picture shown")
