"""Progress bars, and the word on what a step will cost before it starts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def announce(text: str) -> None:
    """Say on standard error what is about to happen, so that results on standard output stay clean."""
    print(text, file=sys.stderr, flush=True)


def bar(items: Iterable[Item], what: str, total: int, done: int = 0, unit: str = "it") -> Iterator[Item]:
    """Iterate with a progress bar that starts at `done` where a run is continued."""
    yield from tqdm(
        items,
        desc=what,
        total=total,
        initial=done,
        unit=unit,
        dynamic_ncols=True,
        leave=True,
        mininterval=1.0,
    )


def batches(items: list[Item], size: int) -> list[list[Item]]:
    """Consecutive groups of `size` (the last may be smaller)."""
    return [items[i : i + size] for i in range(0, len(items), size)]
