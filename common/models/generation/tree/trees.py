"""What is asked of a model as trees: one root for all, a trunk an image, a branch an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Tree:
    """One image (or text) with everything that is asked of it.

    Attributes:
        number: by which its answers are known.
        trunk: input embeddings [p, d] that all its branches share, behind the root of all trees; may be empty.
        starts: of each branch the ids that only it has before its answer; at least one, unless there is a tip.
        names: of each branch, for the random numbers of a sample.
        tip: embedding [d] of the last position where that is no id: a prompt that ends with its image.
    """

    number: int
    trunk: Tensor
    starts: tuple[Ids, ...]
    names: tuple[str, ...]
    tip: Tensor | None = None


@dataclass(frozen=True)
class Answer:
    """What a branch wrote: new ids, end symbol included where it was produced."""

    tree: int
    branch: int
    ids: list[int]


@dataclass(frozen=True)
class TreeSizes:
    """The longest of what is to come.

    Attributes:
        trunk: most positions of root and trunk together.
        start: longest start of a branch.
        branches: most branches of one tree.
    """

    trunk: int
    start: int
    branches: int


def shared_start(rows: Sequence[Ids]) -> int:
    """How many ids all rows begin with, the last one of the shortest never among them."""
    shortest, longest = min(rows), max(rows)  # in the order of words: all others lie between
    most = min(map(len, rows)) - 1
    same = next((i for i, (a, b) in enumerate(zip(shortest, longest, strict=False)) if a != b), len(shortest))
    return max(0, min(same, most))
