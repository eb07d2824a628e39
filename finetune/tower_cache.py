"""What the frozen vision tower says of an image, kept in memory across epochs.

Every image goes through the tower alone, kept or not: the last bits of a batched product depend on the batch, and a
continued run, whose memory is empty, must end with the same bytes as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.images import ImageFolder
from finetune.opening import open_all

if TYPE_CHECKING:
    from common.models.base import CaptionModel


@dataclass
class TowerCache:
    """Tower outputs by image name.

    Args:
        model: its tower must be frozen.
        images: where the names are found.
        limit: bytes to keep at most; further images are encoded each time.
    """

    model: CaptionModel
    images: ImageFolder
    limit: int
    kept: dict[str, Tensor] = field(default_factory=dict)
    size: int = 0

    def __call__(self, names: Sequence[str]) -> Tensor:
        """[m, k, hidden size of the tower] for m images."""
        return torch.stack([self._one(name) for name in names])

    @torch.no_grad()
    def _one(self, name: str) -> Tensor:
        if name in self.kept:
            return self.kept[name]
        pixels = self.model.preprocess(open_all(self.images, [name]))
        seen = self.model.see(pixels.to(self.model.device, self.model.compute_dtype))[0]
        used = seen.numel() * seen.element_size()
        if self.size + used <= self.limit:
            self.kept[name] = seen
            self.size += used
        return seen
