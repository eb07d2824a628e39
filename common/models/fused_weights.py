"""Frozen linear layers that read the same input, side by side in one matrix: one product instead of two or three.

The parameters become views of that matrix, so that names, state dicts and memory stay what they were. A parameter that
has been replaced or moved since is noticed, and fused again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Fused(NamedTuple):
    """Weights of a layer: queries, keys and values; both halves of the MLP. None where they cannot be fused."""

    qkv: Tensor | None
    gate_up: Tensor | None


def fused_weights(layer: Any) -> Fused:
    """The fused weights of a Llama layer."""
    attention, mlp = layer.self_attn, layer.mlp
    return Fused(
        _fused([attention.q_proj, attention.k_proj, attention.v_proj]),
        _fused([mlp.gate_proj, mlp.up_proj]),
    )


def _fused(linears: Sequence[nn.Module]) -> Tensor | None:
    if not all(_plain(one) for one in linears):
        return None
    weights: list[Tensor] = [one.weight.data for one in linears]  # type: ignore[misc]
    if not _adjacent(weights):
        joined = torch.cat(weights)
        parts = joined.split([len(weight) for weight in weights])
        for one, part in zip(linears, parts, strict=True):
            one.weight.data = part
        return joined
    rows = sum(len(weight) for weight in weights)
    return weights[0].as_strided((rows, weights[0].shape[1]), weights[0].stride())


def _plain(module: nn.Module) -> bool:
    """Whether it is just a frozen matrix: no adapter, no 4-bit weight, no bias, no hook."""
    return (
        type(module) is nn.Linear
        and module.bias is None
        and not module.weight.requires_grad
        and not module._forward_hooks
        and not module._forward_pre_hooks
    )


def _adjacent(weights: Sequence[Tensor]) -> bool:
    """Whether each begins where the one before it ends, in one storage."""
    storage = weights[0].untyped_storage().data_ptr()
    ends = [weight.data_ptr() + weight.nbytes for weight in weights]
    starts = [weight.data_ptr() for weight in weights[1:]]
    same = all(weight.untyped_storage().data_ptr() == storage and weight.is_contiguous() for weight in weights)
    return same and starts == ends[:-1]
