"""How rows attend: those of a trunk to what stands before them, those of a step to their tables.

Sizes: n trees, q positions of each, h heads, g key heads, c head size; tables as in `tables.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from common.models.generation.tree.rotations import Rotations
    from common.models.generation.tree.tables import Tables

KeysValues = tuple[Tensor, Tensor]


def attend(query: Tensor, key: Tensor, value: Tensor, sees: Tensor, scaling: float) -> Tensor:
    """Attention of rows to the table of their slot, in plain operations.

    Args:
        query: [s, b, h, c]; key, value: [s, g, n, c].
        sees: [s, b, n], bool, or float with 0 and -inf.

    Returns [s * b, h * c]. Heads that share keys are rows of one product.
    """
    slots, rows, heads, size = query.shape
    shared = heads // key.shape[1]
    query = query.unflatten(2, (-1, shared)).permute(0, 2, 3, 1, 4).flatten(2, 3)
    mask = sees[:, None].repeat(1, 1, shared, 1) if shared > 1 else sees[:, None]
    out = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    return out.unflatten(2, (shared, rows)).permute(0, 3, 1, 2, 4).reshape(slots * rows, heads * size)


@dataclass(frozen=True)
class StepAttention:
    """One token of each row: its keys and values are put into the tables, and it sees what its row sees.

    Attributes:
        rotations: of the tokens.
        place: int64 [s, b], where the new tokens lie.
        sees: float [s, b, n] with 0 and -inf.
    """

    tables: Tables
    rotations: Rotations
    place: Tensor
    sees: Tensor
    scaling: float

    def __call__(self, layer: int, joined: Tensor) -> Tensor:
        """[s * b, h + 2 g, c] before rotation -> [s * b, h * c]."""
        query, key, value = self.rotations.split(joined, self.tables.keys.shape[2])
        live, rows = self.place.shape
        slot, end = self.tables.slot[:live], self.sees.shape[-1]
        keys, values = self.tables.keys[layer], self.tables.values[layer]
        keys[slot, :, self.place] = key.unflatten(0, (live, rows))
        values[slot, :, self.place] = value.unflatten(0, (live, rows))
        asked = query.unflatten(0, (live, rows))
        return attend(asked, keys[:live, :, :end], values[:live, :, :end], self.sees, self.scaling)


@dataclass
class TrunkAttention:
    """Trunks of n trees, padded at their ends, behind a root that all see: causal, and put into the tables.

    Attributes:
        slots: int64 [n]; None: into no table (the root itself).
        root: of each layer [1, g, r, c] twice; None: there is none.
        made: what was computed, of each layer [n, g, q, c] twice; kept only where there is no table.
    """

    tables: Tables
    rotations: Rotations
    trees: int
    scaling: float
    slots: Tensor | None
    root: list[KeysValues] | None
    made: list[KeysValues]

    def __call__(self, layer: int, joined: Tensor) -> Tensor:
        """[n * q, h + 2 g, c] before rotation -> [n * q, h * c]."""
        query, key, value = self.rotations.split(joined, self.tables.keys.shape[2])
        query, key, value = (x.unflatten(0, (self.trees, -1)).transpose(1, 2) for x in (query, key, value))
        before = 0
        if self.root is not None:
            before = self.root[layer][0].shape[2]
            key, value = (
                torch.cat((root.expand(self.trees, -1, -1, -1), own), 2)
                for root, own in zip(self.root[layer], (key, value), strict=True)
            )
        if self.slots is None:
            self.made.append((key, value))
        else:
            self.tables.keys[layer][self.slots, :, : key.shape[2]] = key
            self.tables.values[layer][self.slots, :, : key.shape[2]] = value
        out = causal(query, key, value, before, self.scaling)
        return out.transpose(1, 2).flatten(2).flatten(0, 1)


def causal(query: Tensor, key: Tensor, value: Tensor, before: int, scaling: float) -> Tensor:
    """Causal attention behind `before` positions that all see: [n, h, q, c], [n, g, before + q, c] -> [n, h, q, c]."""
    shared = query.shape[1] != key.shape[1]
    if not before:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=shared)
    mask: Tensor
    if query.device.type == "cuda":
        from torch.nn.attention.bias import causal_lower_right

        mask = causal_lower_right(query.shape[2], key.shape[2])
    else:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril(before)
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=shared)


@dataclass(frozen=True)
class StartAttention:
    """The ids that only a branch has, padded at their ends: they see the trunk of their slot and each other causally.

    Attributes:
        slots, branches: int64 [n].
    """

    tables: Tables
    rotations: Rotations
    slots: Tensor
    branches: Tensor
    scaling: float

    def __call__(self, layer: int, joined: Tensor) -> Tensor:
        """[n * q, h + 2 g, c] before rotation -> [n * q, h * c]."""
        query, key, value = self.rotations.split(joined, self.tables.keys.shape[2])
        tables, count = self.tables, len(self.slots)
        query, key, value = (x.unflatten(0, (count, -1)) for x in (query, key, value))
        steps = torch.arange(query.shape[1], device=query.device)
        shape = tables.shape
        place = shape.trunk + steps * shape.branches + self.branches[:, None]
        tables.keys[layer][self.slots[:, None], :, place] = key
        tables.values[layer][self.slots[:, None], :, place] = value
        trunk = (tables.trunk_places < tables.trunk[self.slots][:, None])[:, None].expand(-1, len(steps), -1)
        own = (steps <= steps[:, None]).expand(count, -1, -1)
        keys = torch.cat((tables.keys[layer][self.slots, :, : shape.trunk], key.transpose(1, 2)), 2)
        values = torch.cat((tables.values[layer][self.slots, :, : shape.trunk], value.transpose(1, 2)), 2)
        sees = torch.cat((trunk, own), -1)
        return attend(query, keys, values, sees, self.scaling)
