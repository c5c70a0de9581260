"""What commands say while they work: on any terminal, and without one."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track

SECONDS_BETWEEN_LINES = 30.0
"""Where there is no terminal to draw a bar on."""

Item = TypeVar("Item")


def plain_console() -> Console:
    """A console for words of anybody's, in which nothing is taken for markup."""
    return Console(markup=False, emoji=False, highlight=False)


def progress(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Pass items on behind a bar or, without a terminal, with a line on standard error now and then."""
    if Console().is_terminal:
        yield from track(items, escape(description), total)
        return
    told = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        if (now := time.monotonic()) - told >= SECONDS_BETWEEN_LINES:
            told = now
            print(f"{description}: {number:,} of {total:,}", file=sys.stderr, flush=True)
