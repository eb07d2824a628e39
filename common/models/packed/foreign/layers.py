"""How a foreign decoder's layers are run: with a given mask, compiled, or computed again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from common.models.packed.attention import COMPILING, allow_shapes, flex_attention
from common.models.packed.foreign.handing import Unpackable

FLEX = "flex_in_packs"  # what transformers calls the attention below
DENSE = ("sdpa", "eager")  # its own that take a mask of any form


def layers_of(trunk: Any) -> list[nn.Module]:
    """The layers of a decoder. Raises Unpackable if they are not to be found."""
    layers = getattr(trunk, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        raise Unpackable(f"its decoder, a {type(trunk).__name__}, has no list of layers")
    for kind in getattr(trunk.config, "layer_types", None) or ():
        if "attention" not in kind or "linear" in kind:
            raise Unpackable(f"some layers of its decoder ({kind}) carry what they saw from token to token, by no mask")
    return list(layers)


def dense_of(trunk: Any) -> str:
    """A decoder's own attention, where that takes masks of any form; else one that does."""
    own: str = trunk.config._attn_implementation
    return own if own in DENSE else DENSE[0]


@contextmanager
def attending(trunk: nn.Module, name: str) -> Iterator[None]:
    """Let all attention of a decoder be done by another of transformers' functions for a while."""
    configs = {id(c): c for c in (getattr(module, "config", None) for module in trunk.modules()) if c is not None}
    before = {id(c): getattr(c, "_attn_implementation_internal", None) for c in configs.values()}
    if name == FLEX:
        _register()
    if set(before.values()) == {name}:
        yield
        return
    for config in configs.values():
        config._attn_implementation_internal = name
    try:
        yield
    finally:
        for config in configs.values():
            config._attn_implementation_internal = before[id(config)]


@functools.cache
def _register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(FLEX, _flex)


def _flex(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The layer's attention by a block mask: query [1, h, t, c], key and value [1, key heads, t, c] -> [1, t, h, c].

    What it sees of pictures beside the text is a plain mask, which its usual attention takes; there key and value are
    [1, key heads, image tokens, c].
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if isinstance(attention_mask, Tensor):
        from transformers import AttentionInterface

        looked, _ = AttentionInterface()["sdpa"](module, query, key, value, attention_mask, scaling=scale)
        return looked, None
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return flex_attention(query, key, value, scale, attention_mask), None


def forwards(
    layers: Sequence[nn.Module], masks: Sequence[Any], way: str, compiled: bool, recompute: int
) -> list[Callable[..., Any]]:
    """What stands for each layer's forward: the same with its mask.

    Args:
        masks: of each layer; way: the attention that takes them.
        compiled: by torch.compile, one version for all layers of a kind.
        recompute: see :class:`common.models.packed.decoder.PackedSettings`.
    """
    made: list[Callable[..., Any]] = []
    for place, (layer, mask) in enumerate(zip(layers, masks, strict=True)):
        kind: Any = type(layer)
        own = _compiled(kind) if compiled else kind.forward
        again = recompute == 1 or (recompute > 1 and place % recompute != 0)
        made.append(partial(_run, partial(own, layer), mask, partial(attending, layer, way) if again else None))
    return made


def _run(own: Callable[..., Any], mask: Any, again: Callable[[], Any] | None, *args: Any, **kwargs: Any) -> Any:
    kwargs["attention_mask"] = mask
    if again is None or not torch.is_grad_enabled():
        return own(*args, **kwargs)

    def alike(*args: Any, **kwargs: Any) -> Any:  # the backward pass runs it when the decoder's own attention is back
        with again():
            return own(*args, **kwargs)

    return checkpoint(alike, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def computed_again(layers: Sequence[nn.Module]) -> list[Callable[..., Any]]:
    """What stands for each layer's forward in a plain row: the same, computed again in the backward pass."""
    return [partial(_again, partial(type(layer).forward, layer)) for layer in layers]


def _again(own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return own(*args, **kwargs)
    return checkpoint(own, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


@functools.cache
def _compiled(kind: Any) -> Callable[..., Any]:
    """One for the whole process, so that what has been compiled is found again."""
    allow_shapes()
    return torch.compile(kind.forward, dynamic=False, options=COMPILING)
