"""Attention of segments in plain arithmetic, as FlashAttention's kernels define it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from common.models.packed_segments import Call


class PlainKernels:
    """Forward, and backward from any output and log-sum-exp; on any device, in any dtype."""

    def __init__(self) -> None:
        self.calls: list[int] = []  # segments of each forward call

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, call: Call, causal: bool, scaling: float
    ) -> tuple[Tensor, Tensor]:
        self.calls.append(len(call.query_ends) - 1)
        out = torch.full_like(query, torch.nan)
        scale = query.new_full((query.shape[1], len(query)), torch.nan, dtype=torch.float32).to(query.dtype)
        for rows, columns, hidden in parts(call, causal):
            wide = (x[columns].repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
            keys, values = wide
            scores = torch.einsum("qhc,khc->hqk", query[rows], keys) * scaling
            scores = scores.masked_fill(hidden, -torch.inf)
            scale[:, rows] = scores.logsumexp(2)
            out[rows] = torch.einsum("hqk,khc->qhc", scores.softmax(2), values)
        return out, scale

    def backward(
        self,
        gradient: Tensor,
        inputs: tuple[Tensor, Tensor, Tensor],
        outputs: tuple[Tensor, Tensor],
        call: Call,
        causal: bool,
        scaling: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = inputs
        out, scale = outputs
        found = tuple(torch.full_like(x, torch.nan) for x in inputs)
        groups = query.shape[1] // key.shape[1]
        for rows, columns, hidden in parts(call, causal):
            keys, values = (x[columns].repeat_interleave(groups, 1) for x in (key, value))
            scores = torch.einsum("qhc,khc->hqk", query[rows], keys) * scaling
            chances = (scores - scale[:, rows, None]).exp().masked_fill(hidden, 0)
            inner = torch.einsum("qhc,khc->hqk", gradient[rows], values)
            errors = chances * (inner - (gradient[rows] * out[rows]).sum(2).T[:, :, None]) * scaling
            found[0][rows] = torch.einsum("hqk,khc->qhc", errors, keys)
            for place, of, by in ((1, errors, query), (2, chances, gradient)):
                each = torch.einsum("hqk,qhc->khc", of, by[rows])
                found[place][columns] = each.unflatten(1, (-1, groups)).sum(2)
        return found[0], found[1], found[2]


def parts(call: Call, causal: bool) -> Iterator[tuple[slice, slice, Tensor]]:
    """Queries and keys of each segment, and which pairs are hidden; the last query sees all keys."""
    assert len(call.query_ends) == len(call.key_ends)
    for (q, q_end), (k, k_end) in zip(
        pairwise(call.query_ends.tolist()), pairwise(call.key_ends.tolist()), strict=True
    ):
        assert 0 < q_end - q <= call.longest_query and 0 < k_end - k <= call.longest_key
        hidden = torch.ones(q_end - q, k_end - k, dtype=torch.bool).triu(1 + (k_end - k) - (q_end - q))
        yield slice(q, q_end), slice(k, k_end), hidden & causal
