"""Rotary embeddings of rows of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rotations:
    """Rotary embeddings of rows. The sines' first half is negated, so that a rotation is one turn of the numbers.

    Shapes [r, 1, c].
    """

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, cos: Tensor, sin: Tensor) -> Rotations:
        """From cosines and sines of rows as a Llama has them: [r, c]."""
        half = sin.shape[-1] // 2
        return cls(cos[:, None].contiguous(), torch.cat((-sin[:, :half], sin[:, half:]), -1)[:, None])

    def at(self, positions: Tensor) -> Rotations:
        """Those of the positions: int64 [r]."""
        return Rotations(self.cos[positions], self.sin[positions])

    def split(self, joined: Tensor, key_heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, rotated, and values: [r, h + 2 g, c] -> [r, h, c], [r, g, c], [r, g, c]."""
        heads = joined.shape[1] - 2 * key_heads
        turned = self.turn(joined[:, : heads + key_heads])
        return turned[:, :heads], turned[:, heads:], joined[:, heads + key_heads :]

    def turn(self, x: Tensor) -> Tensor:
        """Rotate queries or keys: [r, n, c]."""
        return torch.addcmul(x * self.cos, x.roll(x.shape[-1] // 2, -1), self.sin)
