"""Norms and gates of a layer as one kernel each, on a GPU; the kernels of the attention are in `kernels.py`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def triton() -> Any:
    """The module of all kernels, imported at its first use: Triton need not be there."""
    from common.models.generation.tree import triton_kernels

    return triton_kernels


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of [r, 2 f] -> [r, f]."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, width)
    block = 1024
    triton().gate[(rows, -(-width // block))](gate_up, out, width, block)
    return out


def fast_norm(norm: Any) -> Any:
    """A Llama's norm as one kernel; any other as it is."""
    if not type(norm).__name__.endswith("RMSNorm") or not hasattr(norm, "variance_epsilon"):
        return norm
    weight: nn.Parameter = norm.weight
    return lambda x: torch.nn.functional.rms_norm(x, weight.shape, weight, norm.variance_epsilon)
