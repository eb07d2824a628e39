"""A pack's attention as that of a batch of rows of equal length, for kernels with a causal mask and no other.

A row an image: the text before it, itself, the text after it and its caption. The text before it stands in every row,
though the pack holds it once. Rows are padded at their ends: padding is seen by padding alone, and nothing is asked of
it. This holds all that a token sees where every image has one caption, as in the published data; packs with several
captions of an image have a mask (`packed_attention.py`).
Sizes: t positions of the pack, f places of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

STEP = 32  # rows are padded to multiples: few lengths, for each of which kernels are chosen anew
MOST_PADDING = 0.25  # of the places; rows that differ more do not pay


@dataclass(frozen=True)
class Tree:
    """Positions of one image group: text before it, image and text after it, captions. Any but `level` may be empty."""

    root: range
    level: range
    branches: tuple[range, ...]

    @property
    def fed(self) -> list[range]:
        """Captions of which anything is fed."""
        return [branch for branch in self.branches if branch]

    @property
    def row(self) -> list[int]:
        """All positions, where there is one caption."""
        return [position for part in (self.root, self.level, *self.fed) for position in part]


class Rows(NamedTuple):
    """The batch, as index tensors.

    Attributes:
        source: [f], the position that stands at each place; at padding any.
        own: [t], the place where each position stands for itself; of the pack's padding, a padded one.
        void: places whose output nothing is asked of: padding, and text before images where it is repeated.
        repeated: [r], places where that text is repeated; into: [r], for which of `roots`; roots: positions of it.
        number: of the rows.
    """

    source: Tensor
    own: Tensor
    void: Tensor
    repeated: Tensor
    into: Tensor
    roots: Tensor
    number: int

    @property
    def width(self) -> int:
        """Length of a row."""
        return len(self.source) // self.number

    def split(self, x: Tensor) -> Tensor:
        """Places [f or more, ...] -> rows [b, n, ...]."""
        return x[: len(self.source)].unflatten(0, (self.number, -1))


@dataclass(frozen=True)
class Tables:
    """The same in tensors whose shapes hardly differ between packs, so that compiled layers fit all of them.

    Attributes:
        source: int64, as there, padded.
        places: int64, the other five index tensors one after the other.
        sizes: number of rows, and lengths of these six; empty where the pack is no such batch.
    """

    source: Tensor
    places: Tensor
    sizes: tuple[int, ...]


@dataclass
class _Builder:
    width: int
    source: list[int] = field(default_factory=list)
    own: dict[int, int] = field(default_factory=dict)  # of a position: where it stands for itself
    void: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    into: list[int] = field(default_factory=list)
    roots: dict[int, int] = field(default_factory=dict)  # of a position of text before images: its number

    def row(self, tree: Tree) -> None:
        """Append the row of an image."""
        start = len(self.source)
        for place, position in enumerate(tree.root, start):
            number = self.roots.setdefault(position, len(self.roots))
            if position in self.own:
                self.repeated.append(place)
                self.into.append(number)
                self.void.append(place)
        positions = tree.row
        for place, position in enumerate(positions, start):
            self.own.setdefault(position, place)
        self.source += [*positions, *[0] * (self.width - len(positions))]
        self.void += range(start + len(positions), start + self.width)

    def tables(self, total: int, static: bool) -> Tables:
        """The lists as tensors."""
        own = [self.own.get(position, self.width - 1) for position in range(total)]  # the first row ends in padding
        lists = [own, self.void, self.repeated, self.into, list(self.roots)]
        source, places = self.source, [place for each in lists for place in each]
        sizes = (len(source) // self.width, len(source), *map(len, lists))
        if static:
            source = source + [0] * (static_size(len(source)) - len(source))
            places += [0] * (-len(places) % total)
        return Tables(torch.tensor(source), torch.tensor(places), sizes)


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step


def static_size(count: int) -> int:
    """The next multiple of 128, and of a quarter of the power of 2 below it: few sizes, as each is compiled apart."""
    return _rounded(count, max(128, 1 << max(0, (count - 1).bit_length() - 3)))


def row_tables(trees: Sequence[Tree], tokens: int, length: int | None) -> Tables:
    """The batch of a pack; empty where an image has several captions, or rows would be padded too much.

    Args:
        trees: at least one; the text before an image is the same range for all that share it.
        tokens: positions without padding.
        length: positions to which all packs are padded.
    """
    lengths = [len(tree.row) for tree in trees]
    width = _rounded(max(lengths) + 1, STEP)  # one place at least is padding
    if any(len(tree.fed) > 1 for tree in trees) or sum(lengths) < (1 - MOST_PADDING) * width * len(trees):
        return Tables(torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long), ())
    builder = _Builder(width)
    for tree in trees:
        builder.row(tree)
    return builder.tables(max(tokens, length or 0), length is not None)


def read_rows(source: Tensor, places: Tensor, sizes: Sequence[int]) -> Rows:
    """What tables hold, as views of them."""
    number, filled, *lengths = sizes
    own, void, repeated, into, roots = places[: sum(lengths)].split(lengths)
    return Rows(source[:filled], own, void, repeated, into, roots, number)
