"""The memory of the trees: keys and values of each slot's trunk and of the tokens of its branches, and who sees whom.

A slot's table has `trunk` places for root, image and text, and behind them a pool of `branches * depth` places: the
t-th token of branch b lies at t * branches + b of it. A row sees its whole trunk and of the pool its own ancestors;
when beams change their order, only that changes.
Sizes: s slots, b branches, n = trunk + b * depth places, l layers, g key heads, c head size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from common.models.generation.tree.llama import Decoder
    from common.models.generation.tree.shapes import TableShape


class Tables:
    """Keys and values, positions, and what each row sees. Changed in place.

    Attributes:
        keys, values: [l, s, g, n, c].
        trunk: int64 [s], places of the trunk that are filled; begin_at: the position of the first token behind it.
        at: int64 [s, b], tokens of each branch so far, which is the depth that its next one gets.
        seen: bool [s, b, b * depth], which places of the pool each row sees.
        inputs: [s, b, d], embeddings of the tokens that the next step reads.
    """

    def __init__(self, decoder: Decoder, shape: TableShape, dtype: torch.dtype) -> None:
        device = decoder.device
        size = (len(decoder.layers), shape.slots, decoder.key_heads, shape.places, decoder.head_size)
        self.shape = shape
        # Zeros, not whatever lies there: a place that nobody sees is still multiplied by 0.
        self.keys = torch.zeros(size, dtype=dtype, device=device)
        self.values = torch.zeros(size, dtype=dtype, device=device)
        rows = (shape.slots, shape.branches)
        self.trunk = torch.zeros(shape.slots, dtype=torch.long, device=device)
        self.begin_at = torch.zeros(shape.slots, dtype=torch.long, device=device)
        self.at = torch.zeros(rows, dtype=torch.long, device=device)
        self.seen = torch.zeros(*rows, shape.branches * shape.depth, dtype=torch.bool, device=device)
        self.inputs = torch.zeros(*rows, decoder.hidden, dtype=dtype, device=device)
        self.branch = torch.arange(shape.branches, device=device)
        self.slot = torch.arange(shape.slots, device=device)[:, None]
        self.trunk_places = torch.arange(shape.trunk, device=device)

    def move(self, source: int, target: int, filled: int, state: tuple[Tensor, ...]) -> None:
        """Let a slot take the place of another: its memory up to `filled` places, and its rows of `state`."""
        for table in (self.keys, self.values):
            table[:, target, :, :filled] = table[:, source, :, :filled]
        for tensor in (self.trunk, self.begin_at, self.at, self.seen, self.inputs, *state):
            tensor[target] = tensor[source]

    def forget(self, slot: int) -> None:
        """Let a slot's rows see nothing from now on but the token that they write."""
        self.trunk[slot] = 0
        self.at[slot] = 0
        self.seen[slot] = False

    def begin(self, slot: Tensor, branch: Tensor, at: Tensor, inputs: Tensor) -> None:
        """Branches begin: slots, branches and tokens of each in the pool [n], embeddings of the next ones [n, d]."""
        depth = torch.arange(self.shape.branches * self.shape.depth, device=at.device)
        own = (depth % self.shape.branches == branch[:, None]) & (depth // self.shape.branches < at[:, None])
        self.seen[slot, branch] = own
        self.at[slot, branch] = at
        self.inputs[slot, branch] = inputs.to(self.inputs.dtype)

    def enter(self, live: int) -> tuple[Tensor, Tensor]:
        """Places of the rows' new tokens, which they see from now on, and their positions: [live, b]."""
        at = self.at[:live]
        pool = at * self.shape.branches + self.branch
        self.seen[:live].scatter_(2, pool[..., None], True)
        return pool + self.shape.trunk, at + self.begin_at[:live, None]

    def view(self, live: int, depth: int) -> Tensor:
        """What each row sees, of the pool the first `depth` of each branch: bool [live, b, trunk + b * depth]."""
        trunk = (self.trunk_places < self.trunk[:live, None])[:, None].expand(-1, self.shape.branches, -1)
        return torch.cat((trunk, self.seen[:live, :, : self.shape.branches * depth]), -1)

    def leave(self, live: int, inputs: Tensor, parents: Tensor | None, over: Tensor) -> None:
        """After a step: rows go on from `parents` (None: themselves), with these embeddings [live, b, d].

        `over`: bool [s, b] or [s, 1], which rows stay where they are.
        """
        if parents is not None:
            seen = self.seen[:live]
            seen.copy_(seen.gather(1, parents[..., None].expand_as(seen)))
        self.inputs[:live] = inputs
        self.at[:live].add_(~over[:live]).clamp_max_(self.shape.depth - 1)
