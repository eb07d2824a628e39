"""The kernels themselves; they are imported where Triton is there, and launched by `kernels.py` and `fused.py`.

Arguments are pointers and numbers; Triton reads the code and takes no other annotation than its own.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def turn_and_store(
    joined, cos, sin, begin, at, query, keys, values,
    places, trunk_places, branches: tl.constexpr, heads: tl.constexpr, key_heads: tl.constexpr,
    block: tl.constexpr, size: tl.constexpr,
):  # fmt: skip
    """Rotate queries and keys of a row; queries go out, keys and values to their place in the row's table."""
    row = tl.program_id(0)
    slot = (row // branches).to(tl.int64)
    depth = tl.load(at + row)
    position = tl.load(begin + slot) + depth
    place = trunk_places + depth * branches + row % branches
    head = tl.program_id(1) * block + tl.arange(0, block)[:, None]
    d = tl.arange(0, size)[None, :]
    there = head < heads + 2 * key_heads
    base = joined + row * (heads + 2 * key_heads) * size + head * size
    x = tl.load(base + d, mask=there, other=0.0)
    turned = tl.load(base + (d + size // 2) % size, mask=there, other=0.0)
    c = tl.load(cos + position * size + d)
    s = tl.load(sin + position * size + d)
    y = (x.to(tl.float32) * c.to(tl.float32) + turned.to(tl.float32) * s.to(tl.float32)).to(x.dtype)
    tl.store(query + (row * heads + head) * size + d, y, mask=head < heads)
    key_head = head - heads
    target = ((slot * key_heads + key_head) * places + place) * size + d
    tl.store(keys + target, y, mask=(key_head >= 0) & (key_head < key_heads))
    value_head = key_head - key_heads
    target = ((slot * key_heads + value_head) * places + place) * size + d
    tl.store(values + target, x, mask=(value_head >= 0) & (value_head < key_heads))


@triton.jit
def turn_trunks(
    joined, cos, sin, root_keys, root_values, slots, query, all_keys, all_values, keys, values,
    places, positions, before, heads: tl.constexpr, key_heads: tl.constexpr, block: tl.constexpr, size: tl.constexpr,
):  # fmt: skip
    """One position of a tree, root included: its query and key are rotated, key and value go out and into the table."""
    length = before + positions
    tree = (tl.program_id(0) // length).to(tl.int64)
    place = tl.program_id(0) % length
    row = tree * positions + place - before
    head = tl.program_id(1) * block + tl.arange(0, block)[:, None]
    d = tl.arange(0, size)[None, :]
    own = (place >= before) & (d >= 0)
    there = own & (head < heads + 2 * key_heads)
    base = joined + (row * (heads + 2 * key_heads) + head) * size
    x = tl.load(base + d, mask=there, other=0.0)
    turned = tl.load(base + (d + size // 2) % size, mask=there, other=0.0)
    c = tl.load(cos + row * size + d, mask=own, other=0.0)
    s = tl.load(sin + row * size + d, mask=own, other=0.0)
    y = (x.to(tl.float32) * c.to(tl.float32) + turned.to(tl.float32) * s.to(tl.float32)).to(x.dtype)
    tl.store(query + (row * heads + head) * size + d, y, mask=there & (head < heads))
    slot = tl.load(slots + tree)
    key_head = head - heads
    is_key = (key_head >= 0) & (key_head < key_heads) & (d >= 0)
    from_root = tl.load(root_keys + (key_head * before + place) * size + d, mask=is_key & (place < before), other=0.0)
    key = tl.where(own, y, from_root)
    tl.store(all_keys + ((tree * length + place) * key_heads + key_head) * size + d, key, mask=is_key)
    tl.store(keys + ((slot * key_heads + key_head) * places + place) * size + d, key, mask=is_key)
    value_head = key_head - key_heads
    is_value = (value_head >= 0) & (value_head < key_heads) & (d >= 0)
    at_root = root_values + (value_head * before + place) * size + d
    value = tl.where(own, x, tl.load(at_root, mask=is_value & (place < before), other=0.0))
    tl.store(all_values + ((tree * length + place) * key_heads + value_head) * size + d, value, mask=is_value)
    tl.store(values + ((slot * key_heads + value_head) * places + place) * size + d, value, mask=is_value)


@triton.jit
def tree_attention(
    query, keys, values, seen, trunk, at, out,
    scaling, places, trunk_places, pool,
    branches: tl.constexpr, shared: tl.constexpr, key_heads: tl.constexpr,
    rows: tl.constexpr, padded: tl.constexpr, size: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """All rows of one slot, for the heads of one key head: the trunk up to its end, then what is filled of the pool."""
    slot = tl.program_id(0) // key_heads
    key_head = tl.program_id(0) % key_heads
    row = tl.arange(0, rows)
    branch = row // shared
    head = key_head * shared + row % shared
    real = row < branches * shared
    d = tl.arange(0, size)
    n = tl.arange(0, block)
    line = ((slot * branches + branch) * key_heads * shared + head) * size
    q = tl.load(query + line[:, None] + d[None, :], mask=real[:, None], other=0.0)
    table = (slot.to(tl.int64) * key_heads + key_head) * places * size
    highest = tl.full([rows], float("-inf"), tl.float32)
    total = tl.zeros([rows], tl.float32)
    sums = tl.zeros([rows, size], tl.float32)
    end = tl.load(trunk + slot).to(tl.int32)
    for first in range(0, end, block):
        inside = first + n < end
        at_place = table + (first + n)[:, None] * size + d[None, :]
        k = tl.load(keys + at_place, mask=inside[:, None], other=0.0)
        v = tl.load(values + at_place, mask=inside[:, None], other=0.0)
        score = tl.where(inside[None, :], tl.dot(q, tl.trans(k)) * scaling, float("-inf"))
        top = tl.maximum(highest, tl.max(score, 1))
        weight = tl.exp(score - top[:, None])
        old = tl.exp(highest - top)
        total = total * old + tl.sum(weight, 1)
        sums = sums * old[:, None] + tl.dot(weight.to(v.dtype), v)
        highest = top
    b = tl.arange(0, padded)
    depths = tl.load(at + slot * branches + b, mask=b < branches, other=0)
    end = (tl.max(depths, 0).to(tl.int32) + 1) * branches
    table += trunk_places.to(tl.int64) * size
    sees = seen + (slot * branches + branch).to(tl.int64) * pool
    for first in range(0, end, block):
        inside = first + n < end
        at_place = table + (first + n)[:, None] * size + d[None, :]
        looked = tl.load(sees[:, None] + (first + n)[None, :], mask=real[:, None] & inside[None, :], other=0)
        # Of what beams have written most is nobody's ancestor any more: it is not read.
        read = tl.max((looked != 0).to(tl.int32), 0) != 0
        k = tl.load(keys + at_place, mask=read[:, None], other=0.0)
        v = tl.load(values + at_place, mask=read[:, None], other=0.0)
        score = tl.where(looked != 0, tl.dot(q, tl.trans(k)) * scaling, float("-inf"))
        top = tl.maximum(highest, tl.max(score, 1))
        shift = tl.where(top == float("-inf"), 0.0, top)  # a row that has seen nothing yet
        weight = tl.exp(score - shift[:, None])
        old = tl.exp(highest - shift)
        total = total * old + tl.sum(weight, 1)
        sums = sums * old[:, None] + tl.dot(weight.to(v.dtype), v)
        highest = top
    sums = sums / tl.where(total == 0.0, 1.0, total)[:, None]
    tl.store(out + line[:, None] + d[None, :], sums.to(out.dtype.element_ty), mask=real[:, None])


@triton.jit
def gate(gate_up, out, width, block: tl.constexpr):
    """silu(gate) * up of one row."""
    row = tl.program_id(0)
    at = tl.program_id(1) * block + tl.arange(0, block)
    inside = at < width
    x = tl.load(gate_up + row * 2 * width + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + at, mask=inside, other=0.0).to(tl.float32)
    y = x * tl.sigmoid(x) * up
    tl.store(out + row * width + at, y.to(out.dtype.element_ty), mask=inside)
