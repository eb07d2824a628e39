"""A Llama over a pack: only what the losses need is computed, with gradients equal to those of one row a caption.

The last layer makes keys and values of all positions, but queries, and everything behind the attention, only where a
token is predicted; so does the head. Layers may be compiled, and computed again in the backward pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from common.models.packed.attention import (
    COMPILING,
    Way,
    allow_shapes,
    best_way,
    block_mask,
    dense_attention,
    dense_mask,
    flex_attention,
    hide,
)
from common.models.packed.head_losses import head_losses
from common.models.packed.layout import PackLayout
from common.models.packed.pieces import Pieces, pieces_of, piecewise_attention
from common.models.weights.four_bit import is_quantised


@dataclass(frozen=True)
class PackedSettings:
    """How packs are computed. Nothing of it changes a result beyond rounding.

    Attributes:
        compile: compile the layers one by one; for packs of one static length. Layers of 4-bit weights are not.
        recompute: of how many layers, one after the other, all but one compute their activations again in the backward
            pass. 0: none does; 1: all do; 2: every second does.
        fast_connector: matrix products of a connector with float32 masters in the dtype of the decoder, where that is
            16 bits wide. (TF32, which is a setting of the whole process, would spoil the rotary angles.)
        prune: only predicting positions in the last layer.
        attention: how at most: "flex", where it runs, and on the CPU piece by piece; else "dense".
    """

    compile: bool = False
    recompute: int = 0
    fast_connector: bool = False
    prune: bool = True
    attention: Way = "flex"


class View(NamedTuple):
    """What a layer is told beside its input: rotations of its queries and keys, mask, and which positions ask."""

    query_rope: tuple[Tensor, Tensor]
    key_rope: tuple[Tensor, Tensor]
    mask: Any
    queries: Tensor | None


def layer_forward(layer: Any, hidden: Tensor, view: View) -> Tensor:
    """A Llama layer: [1, t, d] -> [1, t, d], or [1, q, d] where only the positions `view.queries` are asked for."""
    attention = layer.self_attn
    inputs = layer.input_layernorm(hidden)
    asking = inputs if view.queries is None else inputs.index_select(1, view.queries)
    residual = hidden if view.queries is None else hidden.index_select(1, view.queries)
    shape = (-1, attention.head_dim)
    query = _rotated(attention.q_proj(asking).unflatten(-1, shape), *view.query_rope)
    key = _rotated(attention.k_proj(inputs).unflatten(-1, shape), *view.key_rope)
    value = attention.v_proj(inputs).unflatten(-1, shape)
    hidden = residual + attention.o_proj(_attend(query, key, value, attention.scaling, view.mask).flatten(2))
    out: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return out


def _attend(query: Tensor, key: Tensor, value: Tensor, scaling: float, mask: Any) -> Tensor:
    """By what the mask is."""
    if isinstance(mask, Pieces):
        return piecewise_attention(query, key, value, scaling, mask)
    return (dense_attention if isinstance(mask, Tensor) else flex_attention)(query, key, value, scaling, mask)


@functools.cache
def _compiled_layer() -> Any:
    """One for the whole process, so that what has been compiled is found again."""
    allow_shapes()
    return torch.compile(layer_forward, dynamic=False, options=COMPILING)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: [1, t, h, c], and [1, t, c] twice."""
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, :, None] + torch.cat((-second, first), dim=-1) * sin[:, :, None]


@dataclass
class PackedDecoder:
    """Runs a Llama over packs.

    Args:
        lm: a LlamaForCausalLM; adapters inside, or 4-bit layers, are used as they are.
    """

    lm: Any
    hidden_ids: frozenset[int] = frozenset()
    settings: PackedSettings = PackedSettings()
    run_layer: Callable[..., Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.run_layer = layer_forward
        if self.settings.compile and not is_quantised(self.lm):
            self.run_layer = _compiled_layer()

    def losses(self, features: Tensor, layout: PackLayout) -> Tensor:
        """[m, k, d] features, a layout on their device -> float32 losses [rows, longest target], 0 past each end."""
        hidden = self.hidden_states(self.embed(features, layout), layout)
        return layout.table(head_losses(self.lm.get_output_embeddings(), hidden[layout.asked], layout.targets))

    def embed(self, features: Tensor, layout: PackLayout) -> Tensor:
        """Input embeddings [t, d]: words, and image features where images are."""
        words = self.lm.get_input_embeddings()(layout.ids.clamp_min(0))
        images = features.index_select(0, layout.feature).flatten(0, 1)
        embeds: Tensor = words.index_copy(0, layout.image_at, images.to(words.dtype))
        return embeds

    def hidden_states(self, embeds: Tensor, layout: PackLayout) -> Tensor:
        """Embeddings [t, d] -> normalised hidden states [q, d] of the queries."""
        trunk = self.lm.model
        every, last = self.views(embeds, layout)
        hidden = embeds[None]
        layers = trunk.layers
        for place, layer in enumerate(layers):
            hidden = self._layer(place, layer, hidden, last if place == len(layers) - 1 else every)
        if last.queries is None:
            hidden = hidden.index_select(1, layout.queries)
        normed: Tensor = trunk.norm(hidden)[0]
        return normed

    def views(self, embeds: Tensor, layout: PackLayout) -> tuple[View, View]:
        """What all layers of a pack [t, d] are told, and what the last is, which has fewer queries."""
        until = hide(layout.until, layout.ids, self.hidden_ids)
        head: int = self.lm.model.layers[0].self_attn.head_dim
        way = best_way(self.settings.attention, embeds.device, embeds.dtype, head)
        make: Callable[[Tensor, Tensor], Any] = block_mask if way == "flex" else dense_mask
        if embeds.device.type == "cpu" and self.settings.attention != "dense" and not self.hidden_ids:
            make = pieces_of
        cos, sin = self.lm.model.rotary_emb(embeds[None], position_ids=layout.positions[None])
        mask = make(until, torch.arange(layout.length, device=embeds.device))
        every = View((cos, sin), (cos, sin), mask, None)
        if not self.settings.prune:
            return every, every
        asking = (cos[:, layout.queries], sin[:, layout.queries])
        return every, View(asking, (cos, sin), make(until, layout.queries), layout.queries)

    def _layer(self, place: int, layer: nn.Module, hidden: Tensor, view: View) -> Tensor:
        if not self._recomputes(place) or not torch.is_grad_enabled():
            return self.run_layer(layer, hidden, view)
        again: Tensor = checkpoint(self.run_layer, layer, hidden, view, use_reentrant=False, preserve_rng_state=False)
        return again

    def _recomputes(self, place: int) -> bool:
        every = self.settings.recompute
        return every == 1 or (every > 1 and place % every != 0)
