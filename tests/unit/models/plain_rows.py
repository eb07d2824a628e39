"""Attention of rows in plain arithmetic, as fused kernels define it."""

from __future__ import annotations

import torch
from torch import Tensor

from common.models.packed_flash import Three


class PlainKernels:
    """Forward, and backward from any output and log-sum-exp; on any device, in any dtype."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []  # rows, queries and keys of each forward call

    def forward(self, query: Tensor, key: Tensor, value: Tensor, causal: bool, scaling: float) -> tuple[Tensor, Tensor]:
        self.calls.append((len(query), query.shape[1], key.shape[1]))
        keys, values = (x.repeat_interleave(query.shape[2] // x.shape[2], 2) for x in (key, value))
        scores = torch.einsum("bqhc,bkhc->bhqk", query, keys) * scaling
        scores = scores.masked_fill(hidden(scores, causal), -torch.inf)
        return torch.einsum("bhqk,bkhc->bqhc", scores.softmax(3), values), scores.logsumexp(3)

    def backward(
        self, gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], causal: bool, scaling: float
    ) -> Three:
        query, key, value = inputs
        out, scale = outputs
        groups = query.shape[2] // key.shape[2]
        keys, values = (x.repeat_interleave(groups, 2) for x in (key, value))
        scores = torch.einsum("bqhc,bkhc->bhqk", query, keys) * scaling
        chances = (scores - scale[..., None]).exp().masked_fill(hidden(scores, causal), 0)
        inner = torch.einsum("bqhc,bkhc->bhqk", gradient, values)
        errors = chances * (inner - (gradient * out).sum(3).transpose(1, 2)[..., None]) * scaling
        each = [
            torch.einsum("bhqk,bqhc->bkhc", of, by).unflatten(2, (-1, groups)).sum(3)
            for of, by in ((errors, query), (chances, gradient))
        ]
        return torch.einsum("bhqk,bkhc->bqhc", errors, keys), each[0], each[1]


def hidden(scores: Tensor, causal: bool) -> Tensor:
    """Which pairs are: only where as many ask as are asked."""
    assert not causal or scores.shape[2] == scores.shape[3]
    return torch.ones_like(scores, dtype=torch.bool).triu(1) & causal
