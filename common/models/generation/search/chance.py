"""Random numbers that depend on what they are drawn for alone: never on a batch, a slot, a process or an order."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def chances(seed: int, key: str, count: int) -> Tensor:
    """`count` uniform numbers in [0, 1) for the sample named `key`, the first for its first token: float32 [count].

    A counter-based generator (Philox) whose key is a digest of seed and name, so that no two samples share a stream.
    """
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
    return torch.from_numpy(generator.random(count, dtype=np.float32))


def draw(logits: Tensor, chance: Tensor, temperature: float, top_p: float) -> Tensor:
    """One id a row by the inverse of the cumulative distribution: float32 [r, v], [r] -> int64 [r].

    Temperature and top_p as transformers applies them; the sum runs in the order of the ids, in float64.
    """
    logits = logits / temperature
    if top_p < 1.0:
        logits = keep_top(logits, top_p)
    heights = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    target = chance[:, None].to(torch.float64) * heights[:, -1:]
    return (heights <= target).sum(-1).clamp_max(logits.shape[-1] - 1)


def keep_top(logits: Tensor, top_p: float) -> Tensor:
    """All but the most likely ids that make up `top_p` set to -inf, as transformers' TopPLogitsWarper does: [n, v]."""
    ascending, order = torch.sort(logits, descending=False)
    dropped = ascending.softmax(dim=-1).cumsum(dim=-1) <= (1 - top_p)
    dropped[..., -1:] = False
    return logits.masked_fill(dropped.scatter(1, order, dropped), float("-inf"))
