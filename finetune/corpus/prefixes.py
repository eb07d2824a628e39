"""Which sequences begin which, in n log n: texts or tuples of tokens, as a forest in which a prefix is an ancestor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

S = TypeVar("S", str, tuple[int, ...])


def prefix_parents(sequences: Iterable[S]) -> dict[S, S | None]:
    """Each distinct sequence -> the longest other one that it begins with; None where there is none.

    In sorted order everything that begins with a sequence stands right behind it.
    """
    parents: dict[S, S | None] = {}
    above: list[S] = []
    for sequence in sorted(set(sequences)):
        while above and sequence[: len(above[-1])] != above[-1]:
            above.pop()
        parents[sequence] = above[-1] if above else None
        above.append(sequence)
    return parents


class FirstHomes(Generic[S]):
    """Homes that are added one after the other; for any sequence, the first of those that begin with it.

    Args:
        sequences: everything that will be added or asked for.
    """

    def __init__(self, sequences: Iterable[S]) -> None:
        self._parents: dict[S, S | None] = prefix_parents(sequences)
        self._homes: dict[S, int] = {}

    def add(self, sequence: S, home: int) -> None:
        """`sequence` belongs to a home, numbered in the order of adding. Every sequence is passed once in all."""
        at: S | None = sequence
        while at is not None and at not in self._homes:
            self._homes[at] = home
            at = self._parents[at]

    def first(self, sequence: S) -> int | None:
        """The lowest home of all sequences that begin with this one (itself included)."""
        return self._homes.get(sequence)

    def nearest(self, sequence: S) -> int | None:
        """The lowest home at the longest prefix (or the whole) of this sequence that begins any added one."""
        at: S | None = sequence
        while at is not None and at not in self._homes:
            at = self._parents[at]
        return None if at is None else self._homes[at]
