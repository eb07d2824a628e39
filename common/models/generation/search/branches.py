"""Branches that grow by themselves: greedy, or drawn at random.

Sizes: s slots, b branches of each, v ids of the vocabulary. State lies on the device and is changed in place, so that
a step can be one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from common.models.generation.decoding import Decoding

from common.models.generation.search.chance import chances, draw
from common.transfer import sent


class Branches:
    """What each branch has written so far, and how its next id is chosen.

    Args:
        size: slots and branches of each.
        decoding: settings; with `do_sample`, `seed` is set.
        stop_ids: that end a branch.
    """

    def __init__(self, size: tuple[int, int], decoding: Decoding, stop_ids: Collection[int], device: torch.device):
        self.decoding = decoding
        self.stops = torch.tensor(sorted(stop_ids), dtype=torch.long, device=device)
        steps = decoding.max_new_tokens
        self.written = torch.zeros(*size, steps, dtype=torch.long, device=device)
        self.count = torch.zeros(size, dtype=torch.long, device=device)
        self.over = torch.ones(size, dtype=torch.bool, device=device)
        self.chance = torch.zeros(*size, steps if decoding.do_sample else 0, device=device)

    def tensors(self) -> tuple[Tensor, ...]:
        """All state, slots first."""
        return self.written, self.count, self.over, self.chance

    def start(self, at: Tensor, branch: Tensor, keys: Sequence[str]) -> None:
        """Begin anew in these places: slots [n], branches [n], names of the samples [n]."""
        self.count[at, branch] = 0
        self.over[at, branch] = False
        if self.decoding.do_sample:
            assert self.decoding.seed is not None
            drawn = [chances(self.decoding.seed, key, self.decoding.max_new_tokens) for key in keys]
            self.chance[at, branch] = torch.stack(drawn).to(self.chance.device, non_blocking=True)

    def choose(self, logits: Tensor, live: int) -> tuple[Tensor, None]:
        """Next ids of the first `live` slots: [live * b, v] float32 -> [live, b]. No branch changes its place."""
        written, count, over = self.written[:live], self.count[:live], self.over[:live]
        step = count.clamp_max(self.decoding.max_new_tokens - 1)[..., None]
        if self.decoding.do_sample:
            chance = self.chance[:live].gather(2, step).flatten()
            ids = draw(logits, chance, self.decoding.temperature, self.decoding.top_p).view(count.shape)
        else:
            ids = logits.argmax(-1).view(count.shape)
        # What is over keeps what it has: its last id is written once more.
        written.scatter_(2, step, torch.where(over[..., None], written.gather(2, step), ids[..., None]))
        count.add_(~over)
        over.logical_or_((ids[..., None] == self.stops).any(-1)).logical_or_(count >= self.decoding.max_new_tokens)
        return ids, None

    def ended(self, places: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """What the branches (slot, row) have written, and how much of it counts, end symbol included: [n, t], [n]."""
        at = sent(places, self.count.device).unbind(1)
        return self.written[at], self.count[at]
