"""Pixels as both mini models take them: CLIP's mean and deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """[n, height, width, 3] uint8 -> [n, 3, height, width] float32 with CLIP's mean and deviation."""
    import torch

    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
