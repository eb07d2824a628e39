"""Which token sees which in a pack, learnt from the masks that the model makes for a plain row.

Families slide, or let the tokens of an image see each other; none of that is written down here. The decoder is run over
a plain row with layers that do nothing but note the mask they are given. In a pack, a token sees of its own beginning,
image and caption what it would see in its plain row, and nothing else.
Sizes: r tokens of a plain row, t of a pack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from common.models.packed.attention import BLOCK, block_mask, dense_mask, ordered
from common.models.packed.foreign.handing import Handed, Unpackable

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True)
class RowMasks:
    """The masks of a plain row.

    Attributes:
        kinds: of each layer, which of the masks is its.
        masks: bool [r, r]; None: each token sees itself and all before it.
    """

    kinds: tuple[int, ...]
    masks: tuple[Tensor | None, ...]

    @property
    def are_causal(self) -> bool:
        """Whether all of them are plain."""
        return all(mask is None for mask in self.masks)


@contextmanager
def layers_as(layers: Sequence[nn.Module], forwards: Sequence[Any]) -> Iterator[None]:
    """Let each layer's forward be another function for a while; its hooks stay, as does what stood for it before."""
    before = [layer.__dict__.get("forward") for layer in layers]
    for layer, forward in zip(layers, forwards, strict=True):
        layer.forward = forward
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward


@torch.no_grad()
def masks_of(trunk: Any, layers: Sequence[nn.Module], handed: Handed) -> RowMasks:
    """The masks that the decoder's layers are given for a plain row.

    Raises Unpackable for masks of another kind, and for layers that are given none by keyword.
    """
    noted = [call.mask for call in calls_of(trunk, layers, handed)]
    length = handed["inputs_embeds"].shape[1]
    distinct = list({id(mask): mask for mask in noted}.values())
    places = {id(mask): number for number, mask in enumerate(distinct)}
    kinds = tuple(places[id(mask)] for mask in noted)
    return RowMasks(kinds, tuple(plain_mask(mask, length) for mask in distinct))


@dataclass(frozen=True)
class Call:
    """What a layer was called with.

    Attributes:
        hidden: [1, r, d]; given: what the layer before it gave, None before the first.
        mask, turns: attention mask and rotations, as the decoder makes them.
    """

    hidden: Tensor
    given: Tensor | None
    mask: Any
    turns: Any


@torch.no_grad()
def calls_of(trunk: Any, layers: Sequence[nn.Module], handed: Handed) -> list[Call]:
    """What the decoder calls its layers with for a plain row, while layers that give zeros stand in their place.

    Raises Unpackable if it does not call each once.
    """
    calls: list[Call] = []
    given: list[Tensor] = []

    def note(hidden: Tensor, *_: Any, attention_mask: Any = None, position_embeddings: Any = None, **__: Any) -> Tensor:
        calls.append(Call(hidden, given[-1] if given else None, attention_mask, position_embeddings))
        given.append(torch.zeros_like(hidden))
        return given[-1]

    with layers_as(layers, [note] * len(layers)):
        trunk(**handed, use_cache=False)
    if len(calls) != len(layers):
        raise Unpackable(f"it runs {len(calls)} of its decoder's {len(layers)} layers")
    return calls


def plain_mask(mask: Any, length: int) -> Tensor | None:
    """A mask of any kind that transformers makes, as bool [r, r]; None if it is causal.

    Raises Unpackable if it is not one for all heads.
    """
    if mask is None or (isinstance(mask, Tensor) and mask.ndim == 2):
        return None
    if not isinstance(mask, Tensor) or mask.shape != (1, 1, length, length):
        raise Unpackable(f"its layers attend by a {type(mask).__name__} that differs between heads")
    sees = mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0
    causal = torch.ones_like(sees).tril()
    return None if torch.equal(sees, causal) else sees


def starts_of(until: Tensor) -> Tensor:
    """Where the part of the tree that a token belongs to begins: int32 [t] -> int64 [t]."""
    places = torch.arange(len(until), device=until.device)
    first = torch.ones_like(until, dtype=torch.bool)
    first[1:] = until[1:] != until[:-1]
    return torch.where(first, places, 0).cummax(0).values


@dataclass(frozen=True)
class Stretch:
    """Tokens of a pack that belong to one plain row: a beginning, perhaps shared, and the row's own part."""

    beginning: tuple[int, int]
    own: tuple[int, int]

    def indices(self, device: torch.device) -> Tensor:
        """Their places in the pack."""
        return torch.cat([torch.arange(*part, device=device) for part in (self.beginning, self.own)])


def whole_mask(rows: Sequence[Tensor | None], stretches: Sequence[Stretch], places: Tensor, until: Tensor) -> Tensor:
    """The mask of a pack from those of its rows: bool [t, t].

    Args:
        rows: of each stretch, bool [r, r] or None (causal).
        places, until: of each token; see :class:`common.models.packed.layout.PackLayout`.
    """
    start = starts_of(until)
    whole = torch.eye(len(until), dtype=torch.bool, device=until.device)
    for row, stretch in zip(rows, stretches, strict=True):
        at = stretch.indices(until.device)
        place = places[at]
        tree = (start[at] <= at[:, None]) & (at[:, None] < until[at])
        sees = place[:, None] >= place if row is None else row[place[:, None], place]
        whole[at[:, None], at] = sees & tree
    return whole


def blocks_of(sees: Tensor) -> BlockMask:
    """A mask of any form for FlexAttention: bool [t, t]."""
    from torch.nn.attention.flex_attention import BlockMask

    t = len(sees)
    blocks = -(-t // BLOCK)
    edge = blocks * BLOCK - t
    tiles = torch.nn.functional.pad(sees, (0, edge, 0, edge)).view(blocks, BLOCK, blocks, BLOCK)
    some, every = tiles.any(3).any(1), tiles.all(3).all(1)

    def look(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return sees[query, key]

    return BlockMask.from_kv_blocks(
        *ordered(some & ~every), *ordered(every), BLOCK_SIZE=BLOCK, mask_mod=look, seq_lengths=(t, t)
    )


def causal_mask(until: Tensor, flex: bool) -> Any:
    """The mask of a pack whose rows are causal."""
    queries = torch.arange(len(until), device=until.device)
    return block_mask(until, queries) if flex else dense_mask(until, queries)
