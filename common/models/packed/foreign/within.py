"""What the layers of a decoder are given for a plain row, whatever its family: noted, not written down.

Sizes: t tokens of the row, d hidden size, c head size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.models.packed.foreign.handing import Handed, Unpackable
from common.models.packed.foreign.layers import attending, dense_of
from common.models.packed.foreign.masks import calls_of, plain_mask


@dataclass(frozen=True)
class Within:
    """A plain row inside a decoder.

    Attributes:
        hidden: [t, d], what the first layer is given.
        cos, sin: [t, c], rotations of all layers.
        added: number of a layer -> [t, d], what the decoder adds to its output.
        positions: int64 [k, t], the k numbers by which each token is placed.
    """

    hidden: Tensor
    cos: Tensor
    sin: Tensor
    added: Mapping[int, Tensor]
    positions: Tensor

    def begins(self, at: int) -> int | None:
        """The position from which on each token from place `at` on has the next one; None if they are not so."""
        behind = self.positions[:, at:]
        begin = int(behind[0, 0])
        expected = torch.arange(begin, begin + behind.shape[1], device=behind.device)
        return begin if torch.equal(behind, expected.expand_as(behind)) else None


@torch.no_grad()
def within(trunk: Any, layers: Sequence[nn.Module], handed: Handed) -> Within:
    """Look into a decoder. Raises Unpackable if its layers attend by other masks than causal, or turn differently."""
    with attending(trunk, dense_of(trunk)):
        calls = calls_of(trunk, layers, handed)
    first = calls[0]
    length = first.hidden.shape[1]
    for mask in {id(call.mask): call.mask for call in calls}.values():
        if plain_mask(mask, length) is not None:
            raise Unpackable("not every token of its rows sees just itself and what stands before it")
    if not isinstance(first.turns, tuple) or any(call.turns is not first.turns for call in calls):
        raise Unpackable("its layers are not all given the same rotations")
    cos, sin = first.turns
    if cos.ndim != 3 or cos.shape[:2] != (1, length):
        raise Unpackable(f"its rotations are of shape {list(cos.shape)}, not one a token")
    added = {
        number: call.hidden[0] for number, call in enumerate(calls[1:]) if call.hidden is not call.given
    }  # zeros went in
    return Within(first.hidden[0], cos[0], sin[0], added, _numbers(handed.get("position_ids"), length, cos.device))


def _numbers(position_ids: Tensor | None, length: int, device: torch.device) -> Tensor:
    """[k, t] of position ids of any form; the first of four are the places in the text, which rotate nothing."""
    if position_ids is None:
        return torch.arange(length, device=device)[None]
    numbers = position_ids.reshape(-1, length)
    return numbers[1:] if len(numbers) == 4 else numbers


def text_rotations(trunk: Any, layers: Sequence[nn.Module], handed: Handed, positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [n, c] of a text's positions from 0 on; `handed`: of any row, for the form of the ids."""
    embeds: Tensor = handed["inputs_embeds"]
    ids = torch.arange(positions, device=embeds.device)
    given = handed.get("position_ids")
    text = {
        "inputs_embeds": embeds.new_zeros(1, positions, embeds.shape[-1]),
        "position_ids": ids[None] if given is None else ids.expand(*given.shape[:-1], positions),
    }
    cos, sin = calls_of(trunk, layers, text)[0].turns
    return cos[0], sin[0]
