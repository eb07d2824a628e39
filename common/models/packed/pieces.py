"""Attention over a pack piece by piece, on the CPU: each level of the tree to its ancestors and to itself alone.

Of a pack of 500 tokens with three images a token sees a sixth; a dense mask computes all of it, forward and backward.
Sizes: t positions of keys, q queries, h heads, c head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class Piece:
    """Consecutive tokens that are seen by the same ones, and so see the same ones before them.

    Attributes:
        before: numbers of the pieces that it sees whole.
        queries: how many of the queries are in it.
        mask: bool [queries, tokens that it sees], its own at the end; None where it is not asked.
    """

    before: tuple[int, ...]
    queries: int
    mask: Tensor | None


@dataclass(frozen=True)
class Pieces:
    """All pieces of a pack, in their order; `lengths`: tokens of each."""

    pieces: tuple[Piece, ...]
    lengths: list[int]


def pieces_of(until: Tensor, queries: Tensor) -> Pieces:
    """The pieces of a pack: int32 [t], the token at i is seen by those at i .. until[i] - 1; ascending places [q]."""
    ends = until.tolist()
    lengths = [len(list(some)) for _, some in groupby(ends)]
    starts = [0, *accumulate(lengths)]
    asked = torch.bincount(torch.searchsorted(torch.tensor(starts), queries.cpu(), right=True) - 1).tolist()
    asked += [0] * (len(lengths) - len(asked))
    cuts = queries.split(asked)
    open_ones: list[int] = []
    pieces = []
    for number, (start, length, some) in enumerate(zip(starts, lengths, cuts, strict=False)):
        open_ones = [one for one in open_ones if ends[starts[one]] > start]
        before = sum(lengths[one] for one in open_ones)
        seen = torch.arange(before + length) <= before + (some - start)[:, None] if len(some) else None
        pieces.append(Piece(tuple(open_ones), len(some), seen))
        open_ones.append(number)
    return Pieces(tuple(pieces), lengths)


def piecewise_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float, pieces: Pieces) -> Tensor:
    """As with a dense mask: query [1, q, h, c], key and value [1, t, key heads, c] -> [1, q, h, c]."""
    shared = query.shape[2] != key.shape[2]
    queries = query.transpose(1, 2).split([piece.queries for piece in pieces.pieces], 2)
    keys, values = (x.transpose(1, 2).split(pieces.lengths, 2) for x in (key, value))
    found = []
    for number, (piece, asking) in enumerate(zip(pieces.pieces, queries, strict=True)):
        if piece.mask is None:
            continue
        seen = [*piece.before, number]
        k, v = (torch.cat([x[one] for one in seen], 2) for x in (keys, values))
        found.append(scaled_dot_product_attention(asking, k, v, attn_mask=piece.mask, scale=scaling, enable_gqa=shared))
    return torch.cat(found, 2).transpose(1, 2)
