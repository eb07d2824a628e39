"""Attention over a pack piece by piece, on the CPU: consecutive tokens to what they see, and to little else.

Of a pack of 500 tokens with three images a token sees a sixth; a dense mask computes all of it, forward and backward. A
piece is a stretch of the sequence, its keys are what its first token sees and the stretch itself. Many small pieces
compute less, few large ones lose less time between them: the cheapest parting is found by the costs of both.
Sizes: t positions of keys, q queries, h heads, c head size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

PIECE = 8000  # pairs of query and key that take as long as a piece does beside them (one core, six heads of 32)
MOST_PARTS = 16  # of the tree in a piece, which bounds the search

Stretch = tuple[int, int]  # of the sequence, end exclusive


@dataclass(frozen=True)
class Piece:
    """Consecutive queries and what they are multiplied with.

    Attributes:
        queries: how many.
        keys: numbers of the parts that the keys are cut into.
        mask: float32 [queries, keys], 0 where a query sees a key, -inf elsewhere.
    """

    queries: int
    keys: tuple[int, ...]
    mask: Tensor


@dataclass(frozen=True)
class Pieces:
    """All pieces that are asked, in the order of their queries; `lengths`: of the parts that the keys are cut into."""

    pieces: tuple[Piece, ...]
    lengths: list[int]


def pieces_of(until: Tensor, queries: Tensor) -> Pieces:
    """The pieces of a pack: int32 [t], the token at i is seen by those at i .. until[i] - 1; ascending places [q]."""
    starts, seen = _parts(until.tolist())
    asked = torch.searchsorted(queries, torch.tensor(starts)).tolist()
    cuts = [
        (asked[one], asked[other], _joined([*seen[one], (starts[one], starts[other])]))
        for one, other in pairwise(_cheapest_cuts(starts, seen, asked))
        if asked[other] > asked[one]
    ]
    edges = sorted({0, len(until), *(edge for *_, keys in cuts for stretch in keys for edge in stretch)})
    number = {edge: place for place, edge in enumerate(edges)}
    return Pieces(
        tuple(
            Piece(
                last - first,
                tuple(part for start, end in keys for part in range(number[start], number[end])),
                _mask(until, queries[first:last], keys),
            )
            for first, last, keys in cuts
        ),
        [end - start for start, end in pairwise(edges)],
    )


def _parts(until: Sequence[int]) -> tuple[list[int], list[list[Stretch]]]:
    """Where the parts of the tree begin, whose tokens are seen by the same ones, and the end; what each sees before."""
    starts = [0, *accumulate(len(list(some)) for _, some in groupby(until))]
    seen: list[list[Stretch]] = []
    open_ones: list[Stretch] = []
    for start, end in pairwise(starts):
        open_ones = [one for one in open_ones if until[one[0]] > start]
        seen.append(list(open_ones))
        open_ones.append((start, end))
    return starts, seen


def _cheapest_cuts(starts: Sequence[int], seen: Sequence[Sequence[Stretch]], asked: Sequence[int]) -> list[int]:
    """Which parts begin a piece, and the number of parts.

    Args:
        asked: how many queries stand before each start.
    """
    before = [sum(end - start for start, end in some) for some in seen]
    costs, begun = [0], [0]
    for last in range(1, len(starts)):
        cost, first = min(
            (costs[first] + _cost(asked[last] - asked[first], before[first] + starts[last] - starts[first]), first)
            for first in range(max(0, last - MOST_PARTS), last)
        )
        costs.append(cost)
        begun.append(first)
    cuts = [len(starts) - 1]
    while cuts[-1]:
        cuts.append(begun[cuts[-1]])
    return cuts[::-1]


def _cost(queries: int, keys: int) -> int:
    return PIECE + queries * keys if queries else 0


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """The same, those that touch as one."""
    found = [stretches[0]]
    for start, end in stretches[1:]:
        if start == found[-1][1]:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _mask(until: Tensor, queries: Tensor, keys: Sequence[Stretch]) -> Tensor:
    places = torch.cat([torch.arange(*stretch) for stretch in keys])
    sees = (places <= queries[:, None]) & (queries[:, None] < until[places])
    return torch.zeros(sees.shape).masked_fill_(~sees, -math.inf)


def piecewise_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float, pieces: Pieces) -> Tensor:
    """As with a dense mask: query [1, q, h, c], key and value [1, t, key heads, c] -> [1, q, h, c]."""
    shared = query.shape[2] != key.shape[2]
    queries = query.transpose(1, 2).split([piece.queries for piece in pieces.pieces], 2)
    keys, values = (x.transpose(1, 2).split(pieces.lengths, 2) for x in (key, value))
    found = []
    for piece, asking in zip(pieces.pieces, queries, strict=True):
        k, v = (torch.cat([x[one] for one in piece.keys], 2) for x in (keys, values))
        mask = piece.mask.to(query.dtype)
        found.append(scaled_dot_product_attention(asking, k, v, attn_mask=mask, scale=scaling, enable_gqa=shared))
    return torch.cat(found, 2).transpose(1, 2)
