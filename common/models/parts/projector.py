"""LLaVA's connector: linear layers with exact GELU between them."""

from __future__ import annotations

import re

from torch import nn

from common.errors import CheckpointError


def build_projector(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    """`depth` linear layers with exact GELU between: [.., inputs] -> [.., outputs]."""
    layers: list[nn.Module] = [nn.Linear(inputs, outputs)]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Linear(outputs, outputs)]
    return nn.Sequential(*layers)


def projector_depth(kind: str, where: str) -> int:
    """Linear layers of the projector that `mm_projector_type` names. Raises CheckpointError for another kind."""
    found = re.fullmatch(r"mlp(\d+)x_gelu", kind)
    if found is None:
        raise CheckpointError(f"{where}: mm_projector_type {kind} is not supported; LLaVA-1.5 has mlp2x_gelu")
    return int(found.group(1))
