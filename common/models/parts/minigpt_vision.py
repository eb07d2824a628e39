"""MiniGPT-4's frozen sight: the EVA encoder and what turns its tokens into those that are projected."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from common.models.parts.eva import EvaSizes

PATCHES_JOINED = 4


class MiniGptVision(nn.Module):
    """EVA ViT-g with the Q-Former behind it, or with neighbouring patches joined.

    Args:
        vit: Blip2VisionModel, `ln_vision` being its last norm.
        qformer: Blip2QFormerModel or None.
        sizes: of the encoder.
        queries: number of learned queries (with a Q-Former).
    """

    def __init__(self, vit: Any, qformer: Any | None, sizes: EvaSizes, queries: int = 0) -> None:
        super().__init__()
        self.vit = vit
        self.sizes = sizes
        self.qformer = qformer
        self.query_tokens = None
        if qformer is not None:
            self.query_tokens = nn.Parameter(torch.zeros(1, queries, qformer.config.hidden_size))

    @property
    def out_features(self) -> int:
        """Size of each token that the projection gets."""
        return PATCHES_JOINED * self.sizes.hidden if self.qformer is None else int(self.qformer.config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """[n, 3, s, s] -> [n, 64, 4 * hidden] (four consecutive patches joined) or [n, 32, 768] (Q-Former)."""
        tokens: Tensor = self.vit(pixels).last_hidden_state
        if self.qformer is None or self.query_tokens is None:
            patches = tokens[:, 1:]
            return patches.reshape(len(patches), patches.shape[1] // PATCHES_JOINED, -1)
        queries = self.query_tokens.expand(len(tokens), -1, -1)
        out: Tensor = self.qformer(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state
        return out
