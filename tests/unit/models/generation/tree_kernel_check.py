"""Random tables with trees in them, attended by the kernels and by plain operations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from common.models.generation.tree.attention import KeysValues, StepAttention, TrunkAttention
from common.models.generation.tree.fused import gated
from common.models.generation.tree.kernels import KernelAttention, KernelTrunkAttention
from common.models.generation.tree.rotations import Rotations
from common.models.generation.tree.shapes import TableShape
from common.models.generation.tree.tables import Tables


def random_tables(slots: int, branches: int, key_heads: int, size: int, dtype: torch.dtype, device: str) -> Tables:
    """Two layers, trunks and depths of unequal length, and rows that go on from other rows."""
    torch.manual_seed(slots)
    decoder: Any = SimpleNamespace(
        device=torch.device(device), layers=(0, 1), key_heads=key_heads, head_size=size, hidden=8
    )
    tables = Tables(decoder, TableShape(slots, branches, 150, 40), dtype)
    tables.keys.normal_()
    tables.values.normal_()
    tables.trunk.copy_(torch.randint(1, 151, (slots,)))
    tables.trunk[0] = 0
    tables.begin_at.copy_(tables.trunk // 2)
    tables.at.copy_(torch.randint(0, 39, (slots, branches)))
    ages = torch.arange(branches * 40) // branches
    seen = torch.rand(slots, branches, branches * 40).to(device) < 0.5
    tables.seen.copy_(seen & (ages.to(device) < tables.at[..., None]))
    return tables


def attention_error(
    slots: int, branches: int, heads: int, key_heads: int, size: int, dtype: torch.dtype, device: str
) -> float:
    """Largest difference of outputs, and of tables, beside the largest value."""
    tables = random_tables(slots, branches, key_heads, size, dtype, device)
    rotations = random_rotations(200, size, dtype, device)
    joined = torch.randn(slots * branches, heads + 2 * key_heads, size, device=device).to(dtype)
    place, positions = tables.enter(slots)
    sees = joined.new_zeros(()).where(tables.view(slots, 40), float("-inf"))
    before = tables.keys.clone(), tables.values.clone()
    plain = StepAttention(tables, rotations.at(positions.flatten()), place, sees, size**-0.5)(1, joined)
    written = tables.keys.clone(), tables.values.clone()
    tables.keys.copy_(before[0])
    tables.values.copy_(before[1])
    fast = KernelAttention(tables, rotations, size**-0.5)(1, joined)
    nobody = torch.cat((tables.seen.new_zeros(slots, tables.shape.trunk), ~tables.seen.any(1)), 1)
    for table in (tables.keys, tables.values):  # a number that was read would be seen
        table[1].transpose(1, 2)[nobody] = float("nan")
    assert torch.equal(KernelAttention(tables, rotations, size**-0.5)(1, joined), fast)
    for table, whole in zip((tables.keys, tables.values), written, strict=True):
        table[1].transpose(1, 2)[nobody] = whole[1].transpose(1, 2)[nobody]
    return max(_apart(a, b) for a, b in ((fast, plain), (tables.keys, written[0]), (tables.values, written[1])))


def trunk_error(shape: tuple[int, int, int], positions: int, before: int, dtype: torch.dtype, device: str) -> float:
    """The same of three trunks behind a root of `before` positions; `shape`: heads, heads of keys, their size."""
    heads, key_heads, size = shape
    tables = random_tables(5, 1, key_heads, size, dtype, device)
    joined = torch.randn(3 * positions, heads + 2 * key_heads, size, device=device).to(dtype)
    rotations = random_rotations(len(joined), size, dtype, device)
    root: list[KeysValues] | None = None
    if before:
        root = [tuple(torch.randn(1, key_heads, before, size, device=device).to(dtype) for _ in "kv")] * 2  # type: ignore[misc]
    slots = torch.tensor([4, 0, 2], device=device)
    tables.keys.zero_()
    plain = TrunkAttention(tables, rotations, 3, size**-0.5, slots, root, [])(1, joined)
    written = tables.keys.clone(), tables.values.clone()
    tables.keys.zero_()
    tables.values[1, slots, :, : before + positions] = 0
    fast = KernelTrunkAttention(tables, rotations, 3, size**-0.5, slots, root)(1, joined)
    return max(_apart(a, b) for a, b in ((fast, plain), (tables.keys, written[0]), (tables.values, written[1])))


def random_rotations(rows: int, size: int, dtype: torch.dtype, device: str) -> Rotations:
    """Of as many positions."""
    angles = torch.rand(rows, 1, size, device=device) * 6
    half = torch.cat((-angles[..., : size // 2].sin(), angles[..., size // 2 :].sin()), -1)
    return Rotations(angles.cos().to(dtype), half.to(dtype))


def gate_error(dtype: torch.dtype, device: str) -> float:
    """Of silu(gate) * up."""
    joined = torch.randn(7, 2 * 1500, device=device).to(dtype)
    gate, up = joined.float().chunk(2, -1)
    return _apart(gated(joined), torch.nn.functional.silu(gate) * up)


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())
