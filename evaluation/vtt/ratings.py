"""From raters' answers to what counts: who looked, which answers are scored, and how often each picture was chosen."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.vtt.answers import Answer
from evaluation.vtt.estimate import share_with_interval
from evaluation.vtt.study import CATCH, TRUTH, Study, Trial


@dataclass(frozen=True)
class Rating:
    """An answer that was given, beside the trial that it answers.

    Attributes:
        answer: With a choice.
        trial: To which.
    """

    answer: Answer
    trial: Trial

    @property
    def chosen(self) -> str:
        """What the chosen picture is: `truth`, `catch` or a method's sample."""
        assert self.answer.choice is not None, "a dropped trial is no rating"
        return self.trial.meaning[self.answer.choice]


@dataclass(frozen=True)
class Rater:
    """How attentive a rater was.

    Attributes:
        name: That means nothing.
        ratings: Of the study's own trials.
        dropped: Of these trials, those without a rating.
        catch: Catch trials that were answered.
        right: Those answered rightly.
    """

    name: str
    ratings: int
    dropped: int
    catch: int
    right: int

    def attentive(self, least_caught: float) -> bool:
        """Whether at least this share of catch trials was answered rightly; one who had none is not blamed."""
        return self.right >= least_caught * self.catch - 1e-9


@dataclass(frozen=True)
class Ratings:
    """All of a study's answers, sorted.

    Attributes:
        study: That was answered.
        answers: Each once; those to practice trials count for nothing.
        least_caught: The share of catch trials that a rater must have answered rightly to be kept.
    """

    study: Study
    answers: Sequence[Answer]
    least_caught: float

    @cached_property
    def everyone(self) -> list[Rating]:
        """Ratings of the study's own trials, whoever gave them."""
        return [rating for rating in self._of_role("study") if rating.answer.choice is not None]

    @cached_property
    def kept(self) -> list[Rating]:
        """Those of attentive raters."""
        return [rating for rating in self.everyone if rating.answer.rater not in self.excluded]

    @cached_property
    def raters(self) -> list[Rater]:
        """Everyone who handed anything in, by name."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for answer in self.answers:
            counts[answer.rater]["answers"] += 1
        for rating in self._of_role("study"):
            counts[rating.answer.rater]["dropped" if rating.answer.choice is None else "ratings"] += 1
        for rating in self._of_role("catch"):
            if rating.answer.choice is not None:
                counts[rating.answer.rater]["catch"] += 1
                counts[rating.answer.rater]["right"] += rating.chosen == TRUTH
        return [
            Rater(name, *(found[each] for each in ("ratings", "dropped", "catch", "right")))
            for name, found in sorted(counts.items())
        ]

    @cached_property
    def excluded(self) -> frozenset[str]:
        """Names of those who did not look."""
        return frozenset(rater.name for rater in self.raters if not rater.attentive(self.least_caught))

    @property
    def counts(self) -> dict[str, int]:
        """What became of every answer: those of practice and catch, dropped, excluded and counted ones are all."""
        study = self._of_role("study")
        return {
            "raters": len(self.raters),
            "raters_excluded": len(self.excluded),
            "answers": len(self.answers),
            "practice": len(self._of_role("practice")),
            "catch": len(self._of_role("catch")),
            "dropped": len(study) - len(self.everyone),
            "excluded": len(self.everyone) - len(self.kept),
            "counted": len(self.kept),
        }

    def _of_role(self, role: str) -> list[Rating]:
        pairs = (Rating(answer, self.study.trials[answer.trial]) for answer in self.answers)
        return [rating for rating in pairs if rating.trial.role == role]


@dataclass(frozen=True)
class Tally:
    """How often each method's sample of each picture was chosen.

    Attributes:
        pictures: Names of the true pictures.
        conditions: Methods' samples, `PixColor#0`.
        ratings: How often each could have been chosen, (pictures, conditions).
        chosen: How often it was, (pictures, conditions).
    """

    pictures: Sequence[str]
    conditions: Sequence[str]
    ratings: NDArray[np.int64]
    chosen: NDArray[np.int64]

    @property
    def methods(self) -> dict[str, list[int]]:
        """Places of each method's samples."""
        places: dict[str, list[int]] = defaultdict(list)
        for place, condition in enumerate(self.conditions):
            places[method_of(condition)].append(place)
        return dict(places)

    def shares(self, places: Sequence[int]) -> NDArray[np.float64]:
        """In what percent of its ratings one of these samples of a picture was chosen, (pictures,); NaN without any."""
        ratings, chosen = (counts[:, places].sum(axis=1) for counts in (self.ratings, self.chosen))
        shares = np.full(len(ratings), np.nan)
        shares[ratings > 0] = 100 * chosen[ratings > 0] / ratings[ratings > 0]
        return shares


def method_of(condition: str) -> str:
    """The method of `METHOD#SAMPLE`."""
    return condition.rpartition("#")[0]


def tally(study: Study, ratings: Sequence[Rating]) -> Tally:
    """Count the choices; what nobody rated has counts of 0."""
    trials = [trial for trial in study.trials.values() if trial.role == "study"]
    pictures = sorted({trial.picture for trial in trials})
    order = [f"{method}#{sample}" for method, samples in study.samples.items() for sample in range(samples)]
    row, column = ({name: place for place, name in enumerate(names)} for names in (pictures, order))
    counts = np.zeros((2, len(pictures), len(order)), dtype=np.int64)
    for rating in ratings:
        for meaning in rating.trial.meaning:
            if meaning not in (TRUTH, CATCH):
                counts[0, row[rating.trial.picture], column[meaning]] += 1
                counts[1, row[rating.trial.picture], column[meaning]] += meaning == rating.chosen
    return Tally(pictures, order, counts[0], counts[1])


def comparisons(found: Tally, groups: dict[str, list[int]], seed: int) -> list[dict[str, Any]]:
    """Each pair of methods, picture by picture: the difference in percent, its 95% interval, and p by random signs."""
    from itertools import combinations

    from evaluation.comparison import paired_comparison

    by_picture = {
        name: {
            key: value
            for key, value in zip(found.pictures, found.shares(places).tolist(), strict=True)
            if value == value
        }
        for name, places in groups.items()
    }
    return [
        {"first": first, "second": second, **paired_comparison(by_picture[first], by_picture[second], seed)}
        for first, second in combinations(groups, 2)
        if by_picture[first].keys() & by_picture[second].keys()
    ]


def behaviour(study: Study, ratings: Sequence[Rating], answers: Sequence[Answer]) -> dict[str, Any]:
    """How raters went about it.

    Args:
        study: That they answered.
        ratings: Those that count.
        answers: All answers to the study's own trials, dropped ones among them.

    Returns:
        `response_ms`: quartiles. `order`: in what percent of ratings the picture at each place was chosen, with 95%
        interval; without a habit all are alike, since every picture is at each place equally often. `shown_ms`: median
        and 99th percentile of what was really shown. `dropped`: percent of trials, and how many for which reason.
    """
    places = Counter(rating.answer.choice for rating in ratings)
    shown = [each for rating in ratings for each in rating.answer.shown_ms]
    reasons = Counter(answer.dropped or "no choice" for answer in answers if answer.choice is None)
    options = max(len(rating.trial.shown) for rating in ratings)
    low, median, high = np.quantile([rating.answer.response_ms for rating in ratings], [0.25, 0.5, 0.75]).tolist()
    return {
        "response_ms": {"median": median, "low_quartile": low, "high_quartile": high},
        "order": [share_with_interval(places[place], len(ratings)) for place in range(options)],
        "shown_ms": {
            "wanted": study.exposure_ms,
            "median": float(np.median(shown)) if shown else None,
            "percentile_99": float(np.quantile(shown, 0.99)) if shown else None,
        },
        "dropped": {"value": 100 * reasons.total() / len(answers), "reasons": dict(reasons)},
    }
