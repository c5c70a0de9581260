"""Who sees what: which pictures a block shows, under which condition, in which order, and under which names.

A study of C conditions (each method's samples) and R raters has C * R layers. In layer k, place i of a group of
pictures is shown under condition (i + k) mod C: a Latin square, so that each block mixes the conditions, and each
picture gets R ratings under each of them, by different raters.

Every shown picture of every trial has a name of its own, so that no name recurs that could be counted. Names are drawn
from the system, not from the seed; everything else is drawn from the seed.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import NamedTuple, TypeVar

from evaluation.vtt.study import CATCH, TRUTH, Block, Role, Trial

TARGET = "target"
"""Meaning of the grey picture beside the results of a preference trial."""
REFERENCE = "reference"
"""Meaning of the picture that gives it its colours."""

Item = TypeVar("Item")


class Content(NamedTuple):
    """What a file shows.

    Attributes:
        picture: Name of the true picture.
        meaning: What it is of it: as in `Trial`, or `target` or `reference`.
        copy: Contents of one copy go under equally many names. Were the truth, which all conditions share, one content
            of many names, whoever sees links in a file system could tell it.
    """

    picture: str
    meaning: str
    copy: int


@dataclass
class Deal:
    """Everything that is dealt.

    Attributes:
        trials: By their names.
        blocks: By their names.
        names: Under which each content is to be written.
    """

    trials: dict[str, Trial] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)
    names: dict[Content, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add_trial(
        self, role: Role, picture: str, meaning: Sequence[str], copy: int, context: Iterable[tuple[str, str]] = ()
    ) -> str:
        """Add a trial and return its name.

        Args:
            role: See `Trial`.
            picture: See `Trial`.
            meaning: See `Trial`.
            copy: See `Content`.
            context: Picture and meaning of what stands beside.
        """
        shown = tuple(self.named(Content(picture, each, copy)) for each in meaning)
        beside = tuple(self.named(Content(*each, copy)) for each in context)
        trial = opaque()
        self.trials[trial] = Trial(role, picture, shown, tuple(meaning), beside)
        return trial

    def add_block(self, group: int, trials: Sequence[str]) -> None:
        """Add a block."""
        self.blocks[opaque()] = Block(group, tuple(trials))

    def named(self, content: Content) -> str:
        """One more name of a content."""
        self.names[content].append(opaque())
        return self.names[content][-1]


def opaque() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def parts(items: Sequence[Item], largest: int) -> list[Sequence[Item]]:
    """Items in as few parts as can be, as equal as can be, of which none is larger than this."""
    count = -(-len(items) // largest)
    size, larger = divmod(len(items), count)
    starts = [place * size + min(place, larger) for place in range(count + 1)]
    return [items[start:stop] for start, stop in pairwise(starts)]


def chequerboard(rows: int, columns: int, offset: int, random: Random) -> list[list[int]]:
    """Noughts and ones, drawn at random, that are equally many, to one, in all, in every row and in every column.

    Args:
        rows: How many.
        columns: How many.
        offset: Where both numbers are odd there is one more nought; of an odd offset, one more one.
        random: Draws.
    """
    over, along = random.sample(range(rows), rows), random.sample(range(columns), columns)
    return [[(row + column + offset) % 2 for column in along] for row in over]


def deal_turing(
    pictures: dict[Role, Sequence[Sequence[str]]],
    conditions: Sequence[str],
    raters: int,
    has_samples: Callable[[str], bool],
    random: Random,
) -> Deal:
    """Deal pairs of the truth and something else.

    Of each role, the truth is first in half of all trials, to one; of each block's, to one; and of each item's, to one.

    Args:
        pictures: Of each role, those of each group.
        conditions: Methods' samples.
        raters: Ratings of each picture under each condition.
        has_samples: Whether there are samples of a picture. If not, practice, as a catch trial, shows wrong colours.
        random: Draws.
    """
    deal = Deal()
    groups = range(len(pictures["study"]))
    boards = {
        role: [chequerboard(len(each), len(conditions), group, random) for group, each in enumerate(pictures[role])]
        for role in pictures
    }
    for group in groups:
        for layer in range(len(conditions) * raters):
            rating, copy = divmod(layer, len(conditions))
            dealt: dict[Role, list[str]] = defaultdict(list)
            for role, of_groups in pictures.items():
                for place, picture in enumerate(of_groups[group]):
                    is_wrong = role == "catch" or not has_samples(picture)
                    other = CATCH if is_wrong else conditions[(place + layer) % len(conditions)]
                    truth_is_second = (boards[role][group][place][copy] + rating) % 2
                    meaning = (other, TRUTH) if truth_is_second else (TRUTH, other)
                    dealt[role].append(deal.add_trial(role, picture, meaning, copy))
            deal.add_block(group, dealt["practice"] + shuffled(dealt["study"] + dealt["catch"], random))
    return deal


def deal_preference(
    groups: Sequence[Sequence[str]], methods: Sequence[str], raters: int, with_truth: bool, random: Random
) -> Deal:
    """Deal all methods' results at once.

    Each method is at each place equally often, to one, for each picture and in all.

    Args:
        groups: Pictures of each group.
        methods: Whose results are chosen from.
        raters: Ratings of each picture.
        with_truth: Add a catch trial at the end of each block: the truth is the reference, and one of the results.
        random: Draws.
    """
    deal, square, turn = Deal(), latin_square(len(methods), random), 0
    for number, group in enumerate(groups):
        orders = {}
        for picture in group:
            rows = [square[(turn + rater) % len(methods)] for rater in range(raters)]
            orders[picture], turn = shuffled(rows, random), turn + raters
        for rater in range(raters):
            trials = [
                deal.add_trial(
                    "study",
                    picture,
                    [methods[place] for place in orders[picture][rater]],
                    copy=0,
                    context=[(picture, TARGET), (picture, REFERENCE)],
                )
                for picture in shuffled(group, random)
            ]
            if with_truth:
                picture = group[rater % len(group)]
                options = [TRUTH, *random.sample(list(methods), len(methods) - 1)]
                context = [(picture, TARGET), (picture, TRUTH)]
                trials.append(deal.add_trial("catch", picture, shuffled(options, random), copy=1, context=context))
            deal.add_block(number, trials)
    return deal


def latin_square(order: int, random: Random) -> list[list[int]]:
    """A square with each number once in every row and every column; its rows, columns and numbers are shuffled."""
    rows, columns, numbers = (random.sample(range(order), order) for _ in range(3))
    return [[numbers[(row + column) % order] for column in columns] for row in rows]


def shuffled(items: Sequence[Item], random: Random) -> list[Item]:
    """The items in random order."""
    return random.sample(list(items), len(items))
