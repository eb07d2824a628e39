"""The layers of a Llama as plain functions over rows of tokens; how its rows attend is left to whoever runs them.

Sizes: r rows (tokens), d hidden size, h heads, g key heads, c head size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from common.models.generation.tree.fused import fast_norm, gated
from common.models.generation.tree.rotations import Rotations

Product = Callable[[Tensor], Tensor]
# layer number; queries, keys and values before rotation [r, h + 2 g, c] -> [r, h * c]
Attend = Callable[[int, Tensor], Tensor]
Turns = Callable[[int, torch.dtype], Rotations]

SHAPED = ("LlamaModel", "MistralModel", "Qwen2Model")  # same layers; Qwen2's have biases
HEAD_NORMS = ("q_norm", "k_norm")
PARTS: tuple[tuple[str, set[str], set[str]], ...] = (  # path in a layer, what it is made of, what else may be there
    ("", {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}, set()),
    ("self_attn", {"q_proj", "k_proj", "v_proj", "o_proj"}, {*HEAD_NORMS, "rotary_emb"}),
    ("mlp", {"gate_proj", "up_proj", "down_proj"}, {"act_fn"}),
)


@dataclass(frozen=True)
class Layer:
    """One layer: its products and norms; `gated`: [r, 2 f] -> [r, f].

    `heads_normed`: queries, keys and values [r, h + 2 g, c], those normed that the layer norms.
    """

    norm: Product
    query_key_value: Product
    heads_normed: Product
    output: Product
    mlp_norm: Product
    gate_up: Product
    gated: Product
    down: Product


@dataclass(frozen=True)
class Decoder:
    """A Llama-shaped decoder.

    Attributes:
        trunk: the module with `layers`, `norm` and `rotary_emb`; head, embed: of the vocabulary.
        layers: as functions.
        heads, key_heads, head_size, scaling: of the attention.
        turns: rotations of so many positions from 0 on, in a dtype.
    """

    trunk: Any
    head: Any
    embed: Any
    layers: tuple[Layer, ...]
    heads: int
    key_heads: int
    head_size: int
    scaling: float
    turns: Turns | None = None

    @property
    def device(self) -> torch.device:
        """Where it is."""
        device: torch.device = self.embed.weight.device
        return device

    @property
    def hidden(self) -> int:
        """d."""
        size: int = self.trunk.config.hidden_size
        return size

    @property
    def vocabulary(self) -> int:
        """Rows of the head."""
        size: int = self.head.weight.shape[0]
        return size

    def rotations(self, positions: int, dtype: torch.dtype) -> Rotations:
        """Of the positions from 0 on."""
        if self.turns is not None:
            return self.turns(positions, dtype)
        ids = torch.arange(positions, device=self.device)
        cos, sin = self.trunk.rotary_emb(torch.empty(0, device=self.device, dtype=dtype), position_ids=ids[None])
        return Rotations.of(cos[0], sin[0])

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits: [r, d] -> [r, v]."""
        out: Tensor = self.head(self.trunk.norm(hidden))
        return out.float()

    def run(
        self,
        hidden: Tensor,
        attend: Attend,
        keys_only_last: bool = False,
        added: Mapping[int, Tensor] = MappingProxyType({}),
    ) -> Tensor:
        """All layers: [r, d] -> [r, d].

        Args:
            keys_only_last: the last one makes keys and values and nothing else.
            added: number of a layer -> what is added to its output, [r, d].
        """
        for number, layer in enumerate(self.layers):
            joined = layer.query_key_value(layer.norm(hidden)).unflatten(-1, (-1, self.head_size))
            seen = attend(number, layer.heads_normed(joined))
            if keys_only_last and number == len(self.layers) - 1:
                break
            hidden = hidden + layer.output(seen)
            hidden = hidden + layer.down(layer.gated(layer.gate_up(layer.mlp_norm(hidden))))
            if number in added:
                hidden = hidden + added[number]
        return hidden


def why_not(trunk: Any) -> str | None:
    """What keeps a decoder from being run here, in words; None: nothing does."""
    kind = type(trunk).__name__
    if kind not in SHAPED:
        return f"its decoder is a {kind}, not of the shape of a Llama"
    return changing(trunk.config)


def unlike(trunk: Any) -> str | None:
    """The same for a decoder of any name, by the modules that it is made of; what they compute, a trial has to show."""
    layers = getattr(trunk, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not hasattr(trunk, "norm") or not hasattr(trunk, "embed_tokens"):
        return f"its decoder, a {type(trunk).__name__}, is not a list of layers between embeddings and a norm"
    for layer in layers:
        if not all(_made_of(layer, *part) for part in PARTS):
            return f"its decoder's layers, each a {type(layer).__name__}, are not of the shape of a Llama's"
    return changing(trunk.config)


def _made_of(layer: nn.Module, path: str, needed: set[str], allowed: set[str]) -> bool:
    """Whether a part of a layer consists of what is needed, and of nothing but what is allowed."""
    found = {name for name, _ in layer.get_submodule(path).named_children()}
    return needed <= found <= needed | allowed


def changing(config: Any) -> str | None:
    """What of a decoder's settings changes what it computes as a text grows, in words; None: nothing does."""
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope in ("dynamic", "longrope"):
        return f"its rotary embedding ({rope}) changes with the length of the text"
    kinds = set(getattr(config, "layer_types", None) or ())
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if kinds - {"full_attention"} or (slides and not kinds):
        return "its attention slides over the text"
    return None


def decoder_of(trunk: Any, head: Any, join: bool, fast: bool = False, turns: Turns | None = None) -> Decoder:
    """The functions of a trunk, of its weights as they are now.

    Args:
        join: copy the weights of products with the same input into one, where nothing but a plain product stands
            there (no adapter, no 4-bit weight, no hook).
        fast: norms and gates as one kernel each, of a GPU.
        turns: see :class:`Decoder`; None: as the trunk turns positions that are one number each.
    """
    attention = trunk.layers[0].self_attn
    size = attention.head_dim
    return Decoder(
        trunk=trunk,
        head=head,
        embed=trunk.embed_tokens,
        layers=tuple(_layer(layer, join, fast) for layer in trunk.layers),
        heads=trunk.config.num_attention_heads,
        key_heads=trunk.config.num_key_value_heads,
        head_size=size,
        scaling=attention.scaling,
        turns=turns,
    )


def _layer(layer: Any, join: bool, fast: bool) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    one = fast_norm if fast else _as_it_is
    return Layer(
        norm=one(layer.input_layernorm),
        query_key_value=_joined((attention.q_proj, attention.k_proj, attention.v_proj), join),
        heads_normed=_heads_normed(attention, one),
        output=attention.o_proj,
        mlp_norm=one(layer.post_attention_layernorm),
        gate_up=_joined((mlp.gate_proj, mlp.up_proj), join),
        gated=gated if fast and isinstance(mlp.act_fn, nn.SiLU) else partial(_gated, mlp.act_fn),
        down=mlp.down_proj,
    )


def _as_it_is(norm: Any) -> Any:
    return norm


def _heads_normed(attention: Any, one: Callable[[Any], Any]) -> Product:
    """Norms of each query's and each key's head, where the attention has them."""
    query_norm, key_norm = (getattr(attention, name, None) for name in HEAD_NORMS)
    if query_norm is None or key_norm is None:
        return _as_it_is
    query_norm, key_norm = one(query_norm), one(key_norm)
    keys = attention.k_proj.out_features // attention.head_dim

    def normed(joined: Tensor) -> Tensor:
        query, key, value = joined.split((joined.shape[1] - 2 * keys, keys, keys), 1)
        return torch.cat((query_norm(query), key_norm(key), value), 1)

    return normed


def _gated(activation: Product, gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, -1)
    return activation(gate) * up


def _joined(products: Sequence[Any], join: bool) -> Product:
    """Several products of one input, their outputs side by side."""
    if not join or not all(_is_plain(product) for product in products):
        return lambda x: torch.cat([product(x) for product in products], -1)
    weight = torch.cat([product.weight.detach() for product in products])
    if all(product.bias is None for product in products):
        return lambda x: linear(x, weight)
    biases = [p.weight.new_zeros(len(p.weight)) if p.bias is None else p.bias.detach() for p in products]
    bias = torch.cat(biases)
    return lambda x: linear(x, weight, bias)


def _is_plain(product: nn.Module) -> bool:
    return type(product) is nn.Linear and not product._forward_hooks and not product._forward_pre_hooks
