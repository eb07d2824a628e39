"""Attention over a pack, from one number a token: the key at i is seen by queries at i .. until[i] - 1.

Two equal ways: a FlexAttention block mask, which skips the blocks that no query looks at, on a GPU; a dense mask,
anywhere. Masks are made on the device without reading anything back from it.
Sizes: t positions of keys, q queries, h heads, c head size.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

Blocks = tuple[int, int]  # tokens of a block of queries, and of keys
BLOCK = 128
PLAIN: Blocks = (BLOCK, BLOCK)
# Of the backward pass on a Hopper card: 5 % less time for attention in packs than torch's own (tests/bench/NOTES.md).
TILES = {"bwd_BLOCK_M1": 32, "bwd_BLOCK_N1": 64, "bwd_BLOCK_M2": 64, "bwd_BLOCK_N2": 32, "bwd_num_warps": 4,
         "bwd_num_stages": 3}  # fmt: skip
# Rows of up to 16384 are read once where a kernel wants their norm, or largest number, first.
COMPILING: dict[str, Any] = {"triton.multi_kernel": 2}
SHAPES = 64  # lengths, numbers of queries, with and without gradients
Way = Literal["flex", "dense"]


def best_way(wanted: Way, device: torch.device, dtype: torch.dtype, head: int) -> Way:
    """The way that is asked for, or the next one that runs there, backward pass included; `head`: size of one."""
    return "flex" if wanted != "dense" and runs_flex(device, dtype, head) else "dense"


def runs_flex(device: torch.device, dtype: torch.dtype, head: int) -> bool:
    """Whether FlexAttention does; its kernels take no heads below 16."""
    return device.type == "cuda" and dtype != torch.float64 and head >= 16


def hide(until: Tensor, ids: Tensor, hidden_ids: frozenset[int]) -> Tensor:
    """`until` with those tokens seen by nobody whose id is hidden: int32 [t], int64 [t] -> int32 [t]."""
    places = torch.arange(len(until), dtype=until.dtype, device=until.device)
    for hidden in sorted(hidden_ids):
        until = torch.where(ids == hidden, places, until)
    return until


def dense_mask(until: Tensor, queries: Tensor) -> Tensor:
    """Whether a query sees a key: int32 [t], positions of the queries [q] -> bool [1, 1, q, t]."""
    keys = torch.arange(len(until), device=until.device)
    return ((keys <= queries[:, None]) & (queries[:, None] < until))[None, None]


def block_mask(until: Tensor, queries: Tensor, blocks: Blocks = PLAIN) -> BlockMask:
    """The same for FlexAttention. `queries`: ascending positions [q].

    A block of keys is left out if no query of a block can see it, and taken without a look at single tokens if all
    queries see all of it. Both are read from the smallest and largest of each block.
    """
    from torch.nn.attention.flex_attention import BlockMask

    of_queries, of_keys = blocks
    first, last = _bounds(queries, of_queries)
    keys = torch.arange(len(until), device=until.device)
    key_first, key_last = _bounds(keys, of_keys)
    until_first, until_last = _bounds(until, of_keys)
    some = (key_first <= last[:, None]) & (first[:, None] < until_last)
    whole = _complete(queries, of_queries)[:, None] & _complete(keys, of_keys)
    full = (key_last <= first[:, None]) & (last[:, None] < until_first) & whole

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        at = queries[query]
        return (key <= at) & (at < until[key])

    lengths = (len(queries), len(until))
    return BlockMask.from_kv_blocks(
        *ordered(some & ~full), *ordered(full), BLOCK_SIZE=blocks, mask_mod=sees, seq_lengths=lengths
    )


def _bounds(values: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each block."""
    places = torch.arange(-(-len(values) // block) * block, device=values.device).clamp_max(len(values) - 1)
    smallest, largest = values[places].view(-1, block).aminmax(dim=1)
    return smallest, largest


def _complete(values: Tensor, block: int) -> Tensor:
    """Which blocks hold no place past the end."""
    blocks = -(-len(values) // block)
    return torch.arange(1, blocks + 1, device=values.device) * block <= len(values)


def ordered(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Chosen blocks [q, k] as FlexAttention takes them: how many of each row, and their places before the others."""
    order = chosen.int().argsort(dim=1, descending=True, stable=True)
    return chosen.sum(1, dtype=torch.int32)[None, None], order.to(torch.int32)[None, None]


def dense_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float, mask: Tensor) -> Tensor:
    """Attention with a dense mask: query [1, q, h, c], key and value [1, t, key heads, c] -> [1, q, h, c]."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    shared = query.shape[1] != key.shape[1]
    out = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=shared)
    return out.transpose(1, 2)


def flex_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float, mask: BlockMask) -> Tensor:
    """The same with a block mask; compiled here, unless what calls it is."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    shared = query.shape[1] != key.shape[1]
    tiles = TILES if _takes_tiles(query.device.type, query.device.index, query.dtype, query.shape[-1]) else None
    out: Tensor = _flex()(query, key, value, block_mask=mask, scale=scaling, enable_gqa=shared, kernel_options=tiles)
    return out.transpose(1, 2)


@torch.compiler.assume_constant_result
def _takes_tiles(kind: str, index: int | None, dtype: torch.dtype, head: int) -> bool:
    """Whether `TILES` were measured for such a card and such heads."""
    if kind != "cuda" or torch.version.hip or dtype.itemsize != 2 or not 64 < head <= 128:
        return False
    return torch.cuda.get_device_capability(index) == (9, 0)


def _flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention as plain

    return plain if torch.compiler.is_compiling() else _compiled_flex()


@functools.cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention as plain

    allow_shapes()
    return torch.compile(plain, dynamic=False)


def allow_shapes() -> None:
    """Let torch.compile make as many versions of a function as there are shapes of packs, and no more."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SHAPES)
