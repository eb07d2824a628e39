"""A pack's attention as attention of whole segments, for kernels that know nothing but where segments begin and end.

Two calls hold everything that a token sees, and nothing else:

1. causal, aligned at the end: the text before the images over itself; each image with its text and its first caption
   over (text before the image, itself); every other caption over itself; padding over itself. Its queries are the pack
   as it stands, its keys the pack with the text before the image repeated at each image.
2. not causal: all other captions of an image together over (text before the image, image and its text). Its keys are
   among those of the first call.

Softmax over both is put together from their log-sum-exps (`packed_flash.py`). Where every image has one caption, as in
the published data, there is no second call.
Sizes: t positions, k keys of the first call, r of them repeated, b positions and l keys of the second call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

STEP = 1024  # numbers of keys and of segments are padded to multiples of it


@dataclass(frozen=True)
class Tree:
    """Positions of one image group: text before it, image and text after it, captions. Any but `level` may be empty."""

    root: range
    level: range
    branches: tuple[range, ...]


class Call(NamedTuple):
    """One call of a kernel: where segments end in its queries and keys (int32, from 0), and the longest of each."""

    query_ends: Tensor
    key_ends: Tensor
    longest_query: int
    longest_key: int


class Segments(NamedTuple):
    """Both calls, as index tensors.

    Attributes:
        keys: [k], the position of each key of the first call; more may follow that belong to no segment.
        own: [t], at which of them each position stands for itself.
        repeated: [r], which of them stand again; into: [r], for which of `roots`; roots: positions that are repeated.
        asking: [b], positions that ask again in the second call; above: [l], its keys among those of the first.
        first, second: the calls; the second may be without segments.
    """

    keys: Tensor
    own: Tensor
    repeated: Tensor
    into: Tensor
    roots: Tensor
    asking: Tensor
    above: Tensor
    first: Call
    second: Call


@dataclass(frozen=True)
class Tables:
    """The same in tensors whose shapes hardly differ between packs, so that compiled layers fit all of them.

    Attributes:
        keys: int64 [k], as there, padded.
        places: int64, the other six index tensors one after the other.
        ends: int32, the ends of both calls.
        sizes: lengths of those six, numbers of segments, and the longest of them (12 numbers).
    """

    keys: Tensor
    places: Tensor
    ends: Tensor
    sizes: tuple[int, ...]


@dataclass
class _Lengths:
    """Segments of a call."""

    query: list[int] = field(default_factory=list)
    key: list[int] = field(default_factory=list)

    def add(self, query: int, key: int) -> None:
        """One segment; kernels get none without queries."""
        if query:
            self.query.append(query)
            self.key.append(key)

    def ends(self) -> list[int]:
        """Of the queries, then of the keys."""
        return [*accumulate(self.query, initial=0), *accumulate(self.key, initial=0)]

    def longest(self) -> tuple[int, int]:
        """Of queries and keys. At least 2: for one query some kernels lay out their results in another way."""
        return max([2, *self.query]), max([2, *self.key])


@dataclass
class _Builder:
    keys: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    into: list[int] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    asking: list[int] = field(default_factory=list)
    above: list[int] = field(default_factory=list)
    first: _Lengths = field(default_factory=_Lengths)
    second: _Lengths = field(default_factory=_Lengths)

    def segment(self, positions: range) -> None:
        """Positions that see themselves in the first call."""
        self.own += range(len(self.keys), len(self.keys) + len(positions))
        self.keys += positions
        self.first.add(len(positions), len(positions))

    def root(self, root: range) -> None:
        """Text before images, which is repeated at each of them."""
        self.segment(root)
        self.roots += root

    def group(self, tree: Tree) -> None:
        """An image and its captions."""
        branches = [branch for branch in tree.branches if branch]
        trunk = range(tree.level.start, branches[0].stop if branches else tree.level.stop)
        start = len(self.keys)
        self.repeated += range(start, start + len(tree.root))
        self.into += range(len(self.roots) - len(tree.root), len(self.roots))
        self.keys += tree.root
        self.own += range(len(self.keys), len(self.keys) + len(trunk))
        self.keys += trunk
        self.first.add(len(trunk), len(tree.root) + len(trunk))
        for branch in branches[1:]:
            self.segment(branch)
            self.asking += branch
        above = len(tree.root) + len(tree.level)
        if branches[1:]:
            self.above += range(start, start + above)
            self.second.add(sum(map(len, branches[1:])), above)

    def tables(self, length: int | None) -> Tables:
        """The lists as tensors; padded if all packs have one length."""
        lists = [self.own, self.repeated, self.into, self.roots, self.asking, self.above]
        keys, places = self.keys, [place for each in lists for place in each]
        ends = self.first.ends() + self.second.ends()
        sizes = tuple(map(len, [*lists, self.first.query, self.second.query]))
        if length is not None:
            keys, ends = (values + [0] * (-len(values) % STEP) for values in (keys, ends))
            places += [0] * (-len(places) % length)
        return Tables(
            keys=torch.tensor(keys),
            places=torch.tensor(places),
            ends=torch.tensor(ends, dtype=torch.int32),
            sizes=(*sizes, *self.first.longest(), *self.second.longest()),
        )


def segment_tables(trees: Iterable[Tree], tokens: int, length: int | None) -> Tables:
    """Both calls of a pack.

    Args:
        trees: in the order of their positions; those of one root stand together, the first right behind it.
        tokens: positions without padding.
        length: positions to which all packs are padded.
    """
    builder = _Builder()
    root: range | None = None
    for tree in trees:
        if tree.root != root:
            builder.root(tree.root)
            root = tree.root
        builder.group(tree)
    builder.segment(range(tokens, max(tokens, length or 0)))
    return builder.tables(length)


def read_segments(keys: Tensor, places: Tensor, ends: Tensor, sizes: Sequence[int]) -> Segments:
    """The calls that tables hold, as views of them."""
    *lengths, first, second = sizes[:8]
    longest = sizes[8:]
    own, repeated, into, roots, asking, above = places[: sum(lengths)].split(lengths)
    bounds = ends[: 2 * (first + second + 2)].split([first + 1, first + 1, second + 1, second + 1])
    calls = (Call(bounds[0], bounds[1], *longest[:2]), Call(bounds[2], bounds[3], *longest[2:]))
    return Segments(keys, own, repeated, into, roots, asking, above, *calls)
