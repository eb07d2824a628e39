"""Causal attention of rows in plain arithmetic, as fused kernels define it."""

from __future__ import annotations

import torch
from torch import Tensor

from common.models.packed_flash import Three


class PlainKernels:
    """Forward, and backward from output and log-sum-exp; on any device, in any dtype."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []  # shape of the queries of each forward call

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        self.calls.append(tuple(query.shape))
        keys, values = (x.repeat_interleave(query.shape[2] // x.shape[2], 2) for x in (key, value))
        scores = torch.einsum("bqhc,bkhc->bhqk", query, keys) * scaling
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        return torch.einsum("bhqk,bkhc->bqhc", scores.softmax(3), values), scores.logsumexp(3)

    def backward(self, gradient: Tensor, inputs: Three, outputs: tuple[Tensor, Tensor], scaling: float) -> Three:
        query, key, value = inputs
        out, scale = outputs
        groups = query.shape[2] // key.shape[2]
        keys, values = (x.repeat_interleave(groups, 2) for x in (key, value))
        scores = torch.einsum("bqhc,bkhc->bhqk", query, keys) * scaling
        chances = (scores - scale[..., None]).exp().tril()
        inner = torch.einsum("bqhc,bkhc->bhqk", gradient, values)
        errors = chances * (inner - (gradient * out).sum(3).transpose(1, 2)[..., None]) * scaling
        each = [
            torch.einsum("bhqk,bqhc->bkhc", of, by).unflatten(2, (-1, groups)).sum(3)
            for of, by in ((errors, query), (chances, gradient))
        ]
        return torch.einsum("bhqk,bkhc->bqhc", errors, keys), each[0], each[1]
