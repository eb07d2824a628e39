"""Generation settings, also as transformers' own, and what comes out of its generate call."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from common.errors import ArgumentError


@dataclass(frozen=True)
class Decoding:
    """Frozen settings of one generate call.

    `seed` makes samples reproducible: with it each depends on what it is named (`keys`, in `generate`) alone.
    """

    num_beams: int = 1
    max_new_tokens: int = 200
    length_penalty: float = 0.0
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None

    def checked(self) -> Decoding:
        """The same, with a seed from torch's own random numbers where samples are drawn and none is given.

        Raises ArgumentError for samples of beams.
        """
        if not self.do_sample:
            return self
        if self.num_beams > 1:
            raise ArgumentError(f"samples are drawn without beams, not with {self.num_beams}; give one beam")
        return self if self.seed is not None else replace(self, seed=int(torch.randint(2**62, ()).item()))

    def config(self, stop_ids: Collection[int], pad_id: int = 0) -> Any:
        """The same as a complete GenerationConfig, so that nothing of the checkpoint's own defaults is left.

        Never sampled: what is drawn is drawn by ourselves (:class:`common.models.generation.plain.Drawn`).
        """
        from transformers import GenerationConfig

        beams = {"length_penalty": self.length_penalty, "early_stopping": False} if self.num_beams > 1 else {}
        return GenerationConfig(
            num_beams=self.num_beams,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            eos_token_id=sorted(stop_ids) or None,
            pad_token_id=pad_id,
            bos_token_id=None,
            **beams,
        )


def cut_at_stop(rows: Tensor, stop_ids: Collection[int]) -> list[list[int]]:
    """New ids row by row of [n, t], up to and including the first stop symbol; what follows it is padding."""
    lists: list[list[int]] = rows.tolist()
    ends = [next((k for k, i in enumerate(row) if i in stop_ids), len(row)) for row in lists]
    return [row[: end + 1] for row, end in zip(lists, ends, strict=True)]
