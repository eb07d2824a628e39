"""Generation settings, and what comes out of a batched generate call."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Decoding:
    """Frozen settings of one generate call. `seed` makes a sampled batch reproducible."""

    num_beams: int = 1
    max_new_tokens: int = 200
    length_penalty: float = 0.0
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None

    def config(self, stop_ids: Collection[int], pad_id: int = 0) -> Any:
        """The same as a complete GenerationConfig, so that nothing of the checkpoint's own defaults is left."""
        from transformers import GenerationConfig

        sampling: dict[str, Any] = {}
        if self.do_sample:
            sampling = {"temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        beams = {"length_penalty": self.length_penalty, "early_stopping": False} if self.num_beams > 1 else {}
        return GenerationConfig(
            num_beams=self.num_beams,
            max_new_tokens=self.max_new_tokens,
            do_sample=self.do_sample,
            eos_token_id=sorted(stop_ids),
            pad_token_id=pad_id,
            bos_token_id=None,
            **sampling,
            **beams,
        )


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Draw from a generator state that depends on `seed` alone, and put the former state back; None: leave it."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def cut_at_stop(rows: Tensor, stop_ids: Collection[int]) -> list[list[int]]:
    """New ids row by row, up to and including the first stop symbol; what follows it is padding."""
    lists: list[list[int]] = rows.tolist()
    ends = [next((k for k, i in enumerate(row) if i in stop_ids), len(row)) for row in lists]
    return [row[: end + 1] for row, end in zip(lists, ends, strict=True)]
