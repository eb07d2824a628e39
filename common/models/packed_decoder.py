"""A Llama over a pack: only what the losses need is computed, with gradients equal to those of one row a caption.

The last layer makes keys and values of all positions, but queries, and everything behind the attention, only where a
token is predicted; so does the head. Layers may be compiled, fused and computed again in the backward pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from common.models.four_bit import is_quantised
from common.models.fused_weights import Fused, fused_weights
from common.models.head_losses import head_losses
from common.models.packed_attention import (
    allow_shapes,
    block_mask,
    dense_attention,
    dense_mask,
    flex_attention,
    hide,
    uses_flex,
)
from common.models.packing import PackLayout


@dataclass(frozen=True)
class PackedSettings:
    """How packs are computed. Nothing of it changes a result beyond rounding.

    Attributes:
        compile: compile the layers one by one; for packs of one static length. Layers of 4-bit weights are not.
        fuse: one matrix product for queries, keys and values, and one for both halves of the MLP, where the decoder
            is frozen; the parameters become views of the fused matrices.
        recompute: of how many layers, one after the other, all but one compute their activations again in the backward
            pass. 0: none does; 1: all do; 2: every second does.
        fast_connector: matrix products of a connector with float32 masters in the dtype of the decoder, where that is
            16 bits wide. (TF32, which is a setting of the whole process, would spoil the rotary angles.)
        prune: only predicting positions in the last layer.
        dense: dense masks also where FlexAttention runs.
    """

    compile: bool = False
    fuse: bool = False
    recompute: int = 0
    fast_connector: bool = False
    prune: bool = True
    dense: bool = False


class View(NamedTuple):
    """What a layer is told beside its input: rotations of its queries and keys, mask, and which positions ask."""

    query_rope: tuple[Tensor, Tensor]
    key_rope: tuple[Tensor, Tensor]
    mask: Any
    queries: Tensor | None


def layer_forward(layer: Any, fused: Fused, hidden: Tensor, view: View) -> Tensor:
    """A Llama layer: [1, t, d] -> [1, t, d], or [1, q, d] where only the positions `view.queries` are asked for."""
    attention = layer.self_attn
    inputs = layer.input_layernorm(hidden)
    asking = inputs if view.queries is None else inputs.index_select(1, view.queries)
    residual = hidden if view.queries is None else hidden.index_select(1, view.queries)
    query, key, value = (_heads(x, attention.head_dim) for x in _projected(attention, fused.qkv, inputs, asking))
    query, key = _rotated(query, *view.query_rope), _rotated(key, *view.key_rope)
    attend = dense_attention if isinstance(view.mask, Tensor) else flex_attention
    attended = attend(query, key, value, attention.scaling, view.mask).transpose(1, 2).flatten(2)
    hidden = residual + attention.o_proj(attended)
    return hidden + _mlp(layer.mlp, fused.gate_up, layer.post_attention_layernorm(hidden))


@functools.cache
def _compiled_layer() -> Any:
    """One for the whole process, so that what has been compiled is found again."""
    allow_shapes()
    return torch.compile(layer_forward, dynamic=False)


def _heads(x: Tensor, size: int) -> Tensor:
    """[1, t, h * c] -> [1, h, t, c]."""
    return x.unflatten(-1, (-1, size)).transpose(1, 2)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: [1, h, t, c], and [1, t, c] twice."""
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]


def _projected(attention: Any, qkv: Tensor | None, inputs: Tensor, asking: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of `asking`, keys and values of `inputs`."""
    if qkv is None:
        return attention.q_proj(asking), attention.k_proj(inputs), attention.v_proj(inputs)
    wide = attention.q_proj.out_features
    if asking is inputs:
        query, key, value = linear(inputs, qkv).split((wide, *[attention.k_proj.out_features] * 2), dim=-1)
        return query, key, value
    key, value = linear(inputs, qkv[wide:]).chunk(2, dim=-1)
    return linear(asking, qkv[:wide]), key, value


def _mlp(mlp: Any, gate_up: Tensor | None, x: Tensor) -> Tensor:
    if gate_up is None:
        out: Tensor = mlp(x)
        return out
    gate, up = linear(x, gate_up).chunk(2, dim=-1)
    down: Tensor = mlp.down_proj(mlp.act_fn(gate) * up)
    return down


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
        flat = head_losses(self.lm.get_output_embeddings(), hidden[layout.asked], layout.targets)
        table = flat.new_zeros(layout.rows * layout.longest)
        return table.index_copy(0, layout.slot, flat).view(layout.rows, layout.longest)

    def embed(self, features: Tensor, layout: PackLayout) -> Tensor:
        """Input embeddings [t, d]: words, and image features where images are."""
        words = self.lm.get_input_embeddings()(layout.ids.clamp_min(0))
        images = features.index_select(0, layout.feature).flatten(0, 1)
        embeds: Tensor = words.index_copy(0, layout.image_at, images.to(words.dtype))
        return embeds

    def hidden_states(self, embeds: Tensor, layout: PackLayout) -> Tensor:
        """Embeddings [t, d] -> normalised hidden states [q, d] of the queries."""
        trunk, prune = self.lm.model, self.settings.prune
        every, last = self.views(embeds, layout)
        hidden = embeds[None]
        layers = trunk.layers
        for place, layer in enumerate(layers):
            view = last if prune and place == len(layers) - 1 else every
            hidden = self._layer(place, layer, hidden, view)
        if not prune:
            hidden = hidden.index_select(1, layout.queries)
        normed: Tensor = trunk.norm(hidden)[0]
        return normed

    def views(self, embeds: Tensor, layout: PackLayout) -> tuple[View, View]:
        """What all layers are told, and what the last is."""
        until = hide(layout.until, layout.ids, self.hidden_ids)
        make = block_mask if uses_flex(embeds.device, embeds.dtype) and not self.settings.dense else dense_mask
        cos, sin = self.lm.model.rotary_emb(embeds[None], position_ids=layout.positions[None])
        everywhere = torch.arange(layout.length, device=embeds.device)
        every = View((cos, sin), (cos, sin), make(until, everywhere), None)
        asking = (cos[:, layout.queries], sin[:, layout.queries])
        return every, View(asking, (cos, sin), make(until, layout.queries), layout.queries)

    def _layer(self, place: int, layer: nn.Module, hidden: Tensor, view: View) -> Tensor:
        fused = fused_weights(layer) if self.settings.fuse else Fused(None, None)
        if not self._recomputes(place) or not torch.is_grad_enabled():
            return self.run_layer(layer, fused, hidden, view)
        again: Tensor = checkpoint(
            self.run_layer, layer, fused, hidden, view, use_reentrant=False, preserve_rng_state=False
        )
        return again

    def _recomputes(self, place: int) -> bool:
        every = self.settings.recompute
        return every == 1 or (every > 1 and place % every != 0)
