"""Studies without pictures, small and made up."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation.vtt.answers import Answer
from evaluation.vtt.study import CATCH, TRUTH, Block, Study, Trial, write_study


def turing_study(
    pictures: int = 20,
    samples: Mapping[str, int] | None = None,
    raters: int = 4,
    catch: int = 2,
    practice: int = 0,
    seed: int = 0,
    names: Sequence[str] = (),
    **changes: object,
) -> Study:
    """A Visual Turing Test whose blocks each show all pictures, by a Latin square, true ones first every other time."""
    samples = samples or {"PixColor": 2, "LRAC": 1}
    conditions = [f"{method}#{number}" for method, count in samples.items() for number in range(count)]
    names = names or [f"picture_{number:03d}" for number in range(pictures)]
    trials: dict[str, Trial] = {}
    blocks: dict[str, Block] = {}
    for layer in range(len(conditions) * raters):
        own = []
        for number, picture in enumerate(names):
            pair = (TRUTH, conditions[(number + layer) % len(conditions)])
            own.append(f"t{layer}_{number}")
            trials[own[-1]] = in_order("study", picture, pair, (layer // len(conditions) + number) % 2 == 1)
        for number in range(practice):
            own.insert(0, f"e{layer}_{number}")
            trials[own[0]] = in_order("practice", f"practice_{number}", (TRUTH, CATCH), False)
        for number in range(catch):
            own.append(f"c{layer}_{number}")
            trials[own[-1]] = in_order("catch", f"catch_{number}", (TRUTH, CATCH), number % 2 == 1)
        blocks[f"b{layer}"] = Block(0, tuple(own))
    given = {"question": "Which one is real?", "exposure_ms": 1000, "sources": {"short_side": 256}, **changes}
    return Study("study", "turing", seed, raters=raters, samples=samples, trials=trials, blocks=blocks, **given)  # type: ignore[arg-type]


def in_order(role: str, picture: str, meaning: tuple[str, ...], turned: bool) -> Trial:
    """A trial whose pictures are shown in this order, or in the other."""
    meaning = meaning[::-1] if turned else meaning
    return Trial(role, picture, tuple(f"{picture}_{each}" for each in meaning), meaning)  # type: ignore[arg-type]


def preference_study(pictures: int = 15, methods: Sequence[str] = ("A", "B", "C"), raters: int = 50) -> Study:
    """A preference study: each rater sees all pictures, the results in random order."""
    generator = np.random.default_rng(0)
    trials: dict[str, Trial] = {}
    blocks: dict[str, Block] = {}
    for rater in range(raters):
        own = []
        for number in range(pictures):
            meaning = tuple(f"{methods[place]}#0" for place in generator.permutation(len(methods)))
            own.append(f"t{rater}_{number}")
            trials[own[-1]] = Trial("study", f"pair_{number:02d}", meaning, meaning, ("target", "reference"))
        blocks[f"b{rater}"] = Block(0, tuple(own))
    samples = dict.fromkeys(methods, 1)
    return Study("liked", "preference", 0, "Which matches best?", 0, raters, samples, {}, trials, blocks)


def answer(study: Study, trial: str, chosen: str | None, rater: str = "anna", **changes: object) -> Answer:
    """A rater's answer: the chosen meaning, or None for a dropped trial."""
    block = next(name for name, block in study.blocks.items() if trial in block.trials)
    choice = None if chosen is None else study.trials[trial].meaning.index(chosen)
    shown = (study.exposure_ms,) * len(study.trials[trial].shown) if study.exposure_ms else ()
    given = {"response_ms": 1000.0, "shown_ms": shown, "dropped": None if chosen else "timing", **changes}
    return Answer(study.name, rater, block, trial, choice, **given)  # type: ignore[arg-type]


def write_kit(study: Study, folder: Path) -> Path:
    """Write a kit that has no pictures."""
    folder.mkdir(parents=True)
    write_study(study, folder)
    return folder
