"""A study: which pictures are shown to whom, in what order, and what each of them is.

A kit is a folder. `plan.json` holds a `Study`, and is for its owner alone: it tells which picture is true. `public/` is
what raters get: `index.html`, `pictures/NAME.png` under names that tell nothing, and `blocks/ID.js`, each of which sets
`window.block` to what `public_block` returns.

A block is what one rater does in one sitting. Blocks of one group show the same pictures, and those of different groups
have none in common: so a rater who is given more than one is given them of different groups, and sees no picture twice.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

SCHEMA = 1
PLAN, PUBLIC = "plan.json", "public"
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
    path = kit / PLAN
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        if plan.pop("schema") != SCHEMA:
            raise ValueError(f"{path} was written by another version of this program; build the kit anew")
        trials = {
            name: Trial(
                trial["role"], trial["picture"], *(tuple(trial[key]) for key in ("shown", "meaning", "context"))
            )
            for name, trial in plan.pop("trials").items()
        }
        blocks = {name: Block(block["group"], tuple(block["trials"])) for name, block in plan.pop("blocks").items()}
        return Study(**plan, trials=trials, blocks=blocks)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{kit} holds no {PLAN}; give a folder that evaluation.vtt build has made") from error
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or no plan of a study; build the kit anew") from error
