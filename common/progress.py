"""Progress bars, and the word on what a step will cost before it starts."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from common.errors import plain_lines
from common.processes import is_first

Item = TypeVar("Item")


def announce(text: str) -> None:
    """Say on standard error what is about to happen, so that results on standard output stay clean.

    Of several processes that were launched together the first speaks for all. What data bring along of control
    characters is spelled out.
    """
    if is_first():
        print(plain_lines(text), file=sys.stderr, flush=True)


@functools.cache
def announce_once(text: str) -> None:
    """The same, the first time in a process that this is said."""
    announce(text)


def say(text: str) -> None:
    """Print a result on standard output, cleaned and by the first process alone, as :func:`announce` does."""
    if is_first():
        print(plain_lines(text), flush=True)


def bar(items: Iterable[Item], what: str, total: int, done: int = 0, unit: str = "it") -> Iterator[Item]:
    """Iterate with a progress bar that starts at `done` where a run is continued."""
    yield from tqdm(
        items,
        desc=plain_lines(what),
        total=total,
        initial=done,
        unit=unit,
        dynamic_ncols=True,
        leave=True,
        mininterval=1.0,
        disable=not is_first(),
    )


def end_bars() -> None:
    """Close bars that an error has left open: what is printed next would go on in their line."""
    for opened in list(getattr(tqdm, "_instances", ())):
        opened.close()


def batches(items: list[Item], size: int) -> list[list[Item]]:
    """Consecutive groups of `size` (the last may be smaller)."""
    return [items[i : i + size] for i in range(0, len(items), size)]
