"""Attention on a GPU in 16 bits: two Triton kernels a layer of a step, one a layer of trunks.

Rotation and storing of keys and values is one kernel; the other reads each slot's trunk once for all its rows, and of
the pool what any of them sees. They are worth it where plain products read all places, seen or not, and plain
operations each number several times; `best_way` says when they run, and `attention.py` is their check. Sizes as in
`tables.py`; u heads share keys.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from common.models.generation.tree.attention import KeysValues, causal
from common.models.generation.tree.fused import triton

if TYPE_CHECKING:
    from common.models.generation.tree.rotations import Rotations
    from common.models.generation.tree.tables import Tables

Way = Literal["kernel", "plain"]
MOST_ROWS = 64  # rows of a slot and heads of a key that one program holds
HEADS = 16  # of one row that one program rotates


def best_way(device: torch.device, dtype: torch.dtype, head_size: int, rows: int) -> Way:
    """How steps attend; `rows`: of a slot, times the heads that share keys."""
    fits = head_size in (16, 32, 64, 128) and rows <= MOST_ROWS
    sixteen = dtype in (torch.bfloat16, torch.float16)
    return "kernel" if device.type == "cuda" and sixteen and fits and _has_triton() else "plain"


def runs_fast(trunk: Any) -> bool:
    """Whether norms and gates of a decoder are kernels of their own: on a GPU in 16 bits."""
    weight = trunk.embed_tokens.weight
    return best_way(weight.device, weight.dtype, 128, 1) == "kernel"


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@dataclass(frozen=True)
class KernelAttention:
    """As :class:`common.models.generation.tree.attention.StepAttention`, for all slots of the tables."""

    tables: Tables
    rotations: Rotations
    scaling: float

    def __call__(self, layer: int, joined: Tensor) -> Tensor:
        """[s * b, h + 2 g, c] queries, keys and values before rotation -> [s * b, h * c]."""
        tables = self.tables
        keys, values = tables.keys[layer], tables.values[layer]
        slots, key_heads, places, size = keys.shape
        branches = tables.shape.branches
        heads = joined.shape[1] - 2 * key_heads
        query = joined.new_empty(len(joined), heads, size)
        out = joined.new_empty(len(joined), heads * size)
        kernels = triton()
        kernels.turn_and_store[(len(joined), -(-joined.shape[1] // HEADS))](
            joined, self.rotations.cos, self.rotations.sin, tables.begin_at, tables.at, query, keys, values,
            places, tables.shape.trunk, branches, heads, key_heads, HEADS, size,
        )  # fmt: skip
        shared = heads // key_heads
        rows = max(16, 1 << (branches * shared - 1).bit_length())
        kernels.tree_attention[(slots * key_heads,)](
            query, keys, values, tables.seen, tables.trunk, tables.at, out,
            self.scaling, places, tables.shape.trunk, tables.seen.shape[-1],
            branches, shared, key_heads, rows, max(2, 1 << (branches - 1).bit_length()), size, 64,
            num_warps=4, num_stages=3,
        )  # fmt: skip
        return out


@dataclass(frozen=True)
class KernelTrunkAttention:
    """As :class:`common.models.generation.tree.attention.TrunkAttention`, for trunks that go into the tables."""

    tables: Tables
    rotations: Rotations
    trees: int
    scaling: float
    slots: Tensor
    root: list[KeysValues] | None

    def __call__(self, layer: int, joined: Tensor) -> Tensor:
        """[n * q, h + 2 g, c] queries, keys and values before rotation -> [n * q, h * c]."""
        keys, values = self.tables.keys[layer], self.tables.values[layer]
        _, key_heads, places, size = keys.shape
        heads, positions = joined.shape[1] - 2 * key_heads, len(joined) // self.trees
        root_keys, root_values = (keys, values) if self.root is None else (x.contiguous() for x in self.root[layer])
        before = 0 if self.root is None else root_keys.shape[2]
        query = joined.new_empty(self.trees, positions, heads, size)
        all_keys, all_values = (joined.new_empty(self.trees, before + positions, key_heads, size) for _ in range(2))
        triton().turn_trunks[(self.trees * (before + positions), -(-joined.shape[1] // HEADS))](
            joined, self.rotations.cos, self.rotations.sin, root_keys, root_values, self.slots, query, all_keys,
            all_values, keys, values, places, positions, before, heads, key_heads, HEADS, size,
        )  # fmt: skip
        query, all_keys, all_values = (x.transpose(1, 2) for x in (query, all_keys, all_values))
        out = causal(query, all_keys, all_values, before, self.scaling)
        return out.transpose(1, 2).flatten(2).flatten(0, 1)
