"""A pack's attention as attention of batches of rows of equal length, for kernels with a causal mask at most.

Images with as many tokens in front of their captions make a block; most packs are one. Three calls a block hold all
that a token sees, and nothing else:

1. causal: a row an image, of the text before it, itself, the text after it and its first caption. The text before it
   stands in every row, though the pack holds it once.
2. causal: a row for each other caption, over itself.
3. not causal: the other captions of an image, as those rows one after the other, over the front of its row of call 1.

Rows are padded at their ends: padding is seen by padding alone, and nothing is asked of it. Softmax over the calls 2
and 3 is put together from their log-sum-exps (`packed_flash.py`). Where every image has one caption, as in the
published data, call 1 is all.
Sizes: t positions of the pack, f places of all rows, those of call 1 before those of call 2 in each block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

ROW_STEP, SLOT_STEP = 32, 16  # lengths of rows are padded to multiples: few shapes, for which kernels are chosen anew
BLOCKS = 8  # tables hold multiples of so many blocks


@dataclass(frozen=True)
class Tree:
    """Positions of one image group: text before it, image and text after it, captions. Any but `level` may be empty."""

    root: range
    level: range
    branches: tuple[range, ...]

    @property
    def above(self) -> int:
        """Tokens in front of its captions."""
        return len(self.root) + len(self.level)

    @property
    def row(self) -> list[int]:
        """Its positions in call 1."""
        return [*self.root, *self.level, *(self.branches[0] if self.branches else ())]


class Block(NamedTuple):
    """Sizes of the calls of a block.

    Attributes:
        rows, width: of call 1; above: places at the front of each row that call 3 looks at.
        asking: images with other captions, which are its first rows; slots: rows of call 2 for each of them; slot: the
            length of such a row. All 0 where there are none.
    """

    rows: int
    width: int
    above: int
    asking: int
    slots: int
    slot: int

    @property
    def first(self) -> int:
        """Places of call 1."""
        return self.rows * self.width

    @property
    def other(self) -> int:
        """Places of call 2."""
        return self.asking * self.slots * self.slot


class Rows(NamedTuple):
    """All blocks, as index tensors.

    Attributes:
        source: [f], the position that stands at each place; at padding any.
        own: [t], the place where each position stands for itself; of the pack's padding, a padded one.
        void: places whose output nothing is asked of: padding, and text before images where it is repeated.
        repeated: [r], places where that text is repeated; into: [r], for which of `roots`; roots: positions of it.
        blocks: sizes, in the order of their places.
    """

    source: Tensor
    own: Tensor
    void: Tensor
    repeated: Tensor
    into: Tensor
    roots: Tensor
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Tables:
    """The same in tensors whose shapes hardly differ between packs, so that compiled layers fit all of them.

    Attributes:
        source: int64, as there, padded.
        places: int64, the other five index tensors one after the other.
        sizes: lengths of these six, and those of the blocks; zeros follow.
    """

    source: Tensor
    places: Tensor
    sizes: tuple[int, ...]


@dataclass
class _Builder:
    tokens: int
    source: list[int] = field(default_factory=list)
    own: dict[int, int] = field(default_factory=dict)  # of a position: where it stands for itself
    void: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    into: list[int] = field(default_factory=list)
    roots: dict[int, int] = field(default_factory=dict)  # of a position of text before images: its number
    blocks: list[Block] = field(default_factory=list)

    def block(self, trees: Sequence[Tree]) -> None:
        """Image groups with as many tokens in front of their captions."""
        trees = sorted(trees, key=lambda tree: len(tree.branches) < 2)  # stable: first those with other captions
        others = [tree.branches[1:] for tree in trees if len(tree.branches) > 1]
        width = _rounded(max(len(tree.row) for tree in trees) + 1, ROW_STEP)  # one place is padding, whatever comes
        slots = max(map(len, others), default=0)
        slot = _rounded(max(map(len, chain(*others)), default=0), SLOT_STEP)
        for tree in trees:
            self.trunk(tree, width)
        for branches in others:
            for branch in [*branches, *[range(0)] * (slots - len(branches))]:
                self.row(branch, slot)
        self.blocks.append(Block(len(trees), width, trees[0].above, len(others), slots, slot))

    def trunk(self, tree: Tree, width: int) -> None:
        """A row of call 1."""
        start = len(self.source)
        for place, position in enumerate(tree.root, start):
            number = self.roots.setdefault(position, len(self.roots))
            if position in self.own:
                self.repeated.append(place)
                self.into.append(number)
                self.void.append(place)
        self.row(tree.row, width)

    def row(self, positions: Sequence[int], width: int) -> None:
        """Positions, and padding up to the width."""
        start = len(self.source)
        for place, position in enumerate(positions, start):
            self.own.setdefault(position, place)
        self.source += [*positions, *[0] * (width - len(positions))]
        self.void += range(start + len(positions), start + width)

    def tables(self, length: int | None) -> Tables:
        """The lists as tensors; padded if all packs have one length."""
        total = max(self.tokens, length or 0)
        padded = self.blocks[0].width - 1  # the last place of the first row
        own = [self.own.get(position, padded) for position in range(total)]
        lists = [own, self.void, self.repeated, self.into, list(self.roots)]
        source, places = self.source, [place for each in lists for place in each]
        sizes = [len(source), *map(len, lists), *chain(*self.blocks)]
        if length is not None:
            source = source + [0] * (static_size(len(source)) - len(source))
            places += [0] * (-len(places) % length)
            unused = -len(self.blocks) % BLOCKS
            sizes += [0] * (unused * len(Block._fields))
        return Tables(torch.tensor(source), torch.tensor(places), tuple(sizes))


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step


def static_size(count: int) -> int:
    """The next multiple of 128, and of a quarter of the power of 2 below it: few sizes, as each is compiled apart."""
    return _rounded(count, max(128, 1 << max(0, (count - 1).bit_length() - 3)))


def row_tables(trees: Iterable[Tree], tokens: int, length: int | None) -> Tables:
    """All calls of a pack.

    Args:
        trees: at least one; the text before an image is the same range for all that share it.
        tokens: positions without padding.
        length: positions to which all packs are padded.
    """
    groups: dict[int, list[Tree]] = {}
    for tree in trees:
        branches = tuple(branch for branch in tree.branches if branch)
        groups.setdefault(tree.above, []).append(Tree(tree.root, tree.level, branches))
    builder = _Builder(tokens)
    for group in groups.values():
        builder.block(group)
    return builder.tables(length)


def read_rows(source: Tensor, places: Tensor, sizes: Sequence[int]) -> Rows:
    """What tables hold, as views of them."""
    filled, *lengths = sizes[:6]
    own, void, repeated, into, roots = places[: sum(lengths)].split(lengths)
    width = len(Block._fields)
    blocks = [Block(*sizes[start : start + width]) for start in range(6, len(sizes), width)]
    return Rows(source[:filled], own, void, repeated, into, roots, tuple(block for block in blocks if block.rows))
