"""What a model of transformers consists of, found by looking at it: towers, connector, decoder, head.

No family is named here. A tower is a module that says of itself that it takes pictures; the decoder is what
`get_decoder` gives. The connector is what lies between them: one picture is followed from the last block of a tower to
what the decoder is called with, and the parameters on that way are the connector, wherever the model keeps them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

PICTURE_SIZES = ("patch_size", "image_size", "num_channels", "in_channels")
PICTURES = ("pixel_values", "flattened_patches")  # as models are called with


@dataclass(frozen=True)
class Anatomy:
    """The parts of an image-text-to-text model, as paths in it.

    Args:
        towers: the outermost modules that see pictures.
        connector: modules and parameters between a tower's last block and what the decoder is called with.
        decoder: the text model, without head; "" if the model is not cut so.
        head: what gives logits.
        placeholder: id that stands in the ids for one vector of a picture.
        positions: numbers that are handed to the decoder for each token's position; 0: none, they are its places.
        given: names of the further tensors that depend on the picture and are handed to the decoder.
        tokens: positions of the whole input that it gave logits for.
    """

    towers: tuple[str, ...]
    connector: tuple[str, ...]
    decoder: str
    head: str
    placeholder: int | None
    positions: int
    given: tuple[str, ...]
    tokens: int = 0

    @property
    def cut_out(self) -> bool:
        """Whether the decoder is a module of its own, which is called with embeddings."""
        return bool(self.decoder)


def dissect(lm: Any, inputs: Mapping[str, Any]) -> Anatomy:
    """Follow one picture through a model.

    Args:
        lm: a model of transformers, frozen.
        inputs: what it is called with for one picture and some text.

    Whatever the model raises on these inputs is raised.
    """
    names = {id(module): path for path, module in lm.named_modules()}
    decoder, towers = text_model(lm), picture_towers(lm)
    apart = decoder is not lm and not any(_holds(decoder, tower) for tower in towers)
    seen = _followed(lm, decoder if apart else lm, towers, inputs)
    head = lm.get_output_embeddings()
    return Anatomy(
        tuple(names[id(tower)] for tower in towers),
        tuple(_units(lm, seen.between, [decoder, *towers, lm.get_input_embeddings()])) if apart else (),
        names[id(decoder)] if apart else "",
        "" if head is None else names[id(head)],
        placeholder_id(lm.config),
        seen.positions if apart else 0,
        seen.given if apart else (),
        seen.tokens,
    )


def text_model(lm: Any) -> nn.Module:
    """The text model, without head: what `get_decoder` gives, or what that holds; `lm` itself if there is none."""
    found: Any = lm.get_decoder()
    while hasattr(found, "get_decoder") and (inner := found.get_decoder()) is not found:
        found = inner
    decoder: nn.Module = lm if found is None else found
    head, words = lm.get_output_embeddings(), lm.get_input_embeddings()
    while decoder is not lm and head is not None and _holds(decoder, head):
        below = [child for child in decoder.children() if _holds(child, words) and child is not words]
        if not below:
            break
        decoder = below[0]
    return decoder


def picture_towers(lm: Any) -> tuple[nn.Module, ...]:
    """The outermost modules beside the decoder that take pictures."""
    decoder = text_model(lm)
    found: list[nn.Module] = []
    for module in lm.modules():
        apart = not _holds(module, decoder) and not any(_holds(outer, module) for outer in (*found, decoder))
        if apart and _takes_pictures(module):
            found.append(module)
    return tuple(found)


def _takes_pictures(module: nn.Module) -> bool:
    """Whether it is a model of its own that is called with pixels, or whose config measures pictures.

    Resamplers are not, which take what a tower has seen.
    """
    kinds: Any = getattr(module, "input_modalities", None)
    if kinds is None:
        return False
    measured = any(getattr(module.config, size, None) is not None for size in PICTURE_SIZES)
    return measured or ("image" in kinds and bool(set(PICTURES) & {*inspect.signature(module.forward).parameters}))


def placeholder_id(config: Any) -> int | None:
    """The id that stands for one vector of a picture, as the config of a model names it."""
    for key in ("image_token_id", "image_token_index"):
        found = getattr(config, key, None)
        if isinstance(found, int):
            return found
    return None


def positions_of(config: Any) -> int | None:
    """Positions that a model has for its tokens; None where its config does not say."""
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    return most if isinstance(most, int) else None


def blocks_of(tower: nn.Module) -> list[nn.Module]:
    """The repeated layers of a tower: what its classes declare as such, else its longest list of one kind."""
    kinds = tuple(kind for module in tower.modules() for kind in _declared(module))
    if kinds and (found := [module for module in tower.modules() if isinstance(module, kinds)]):
        return found
    lists = [list(module) for module in tower.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
    alike = [items for items in lists if len({type(item) for item in items}) == 1]
    longest = max(alike, key=len, default=[tower])
    plain = type(longest[0]).__module__.startswith("torch.")
    return longest if plain else [module for module in tower.modules() if type(module) is type(longest[0])]


def _declared(module: nn.Module) -> Iterator[type[nn.Module]]:
    recorded = getattr(module, "_can_record_outputs", None) or {}
    said = recorded.get("hidden_states", ()) if isinstance(recorded, Mapping) else ()
    for one in said if isinstance(said, list | tuple) else [said]:
        kind = getattr(one, "target_class", one)
        if isinstance(kind, type) and issubclass(kind, nn.Module):
            yield kind


@dataclass(frozen=True)
class _Seen:
    """What the decoder was called with: see :class:`Anatomy`; `between`: ids of the connector's parameters."""

    between: set[int]
    positions: int
    given: tuple[str, ...]
    tokens: int = 0


def _followed(lm: Any, decoder: nn.Module, towers: Iterable[nn.Module], inputs: Mapping[str, Any]) -> _Seen:
    """Run the model once, and look at what its decoder is first called with."""
    blocks = [block for tower in towers for block in blocks_of(tower)]
    beyond = {id(p) for p in decoder.parameters()} | {id(p) for p in lm.get_input_embeddings().parameters()}
    beyond |= {id(p) for tower in towers for p in _last_norm(tower)}
    watched = [p for p in lm.parameters() if p.is_floating_point() and id(p) not in beyond]
    calls: list[_Seen] = []

    def look(_module: nn.Module, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if not calls:
            between = {id(p) for p in _reached([args, given])} - beyond
            extra = sorted(key for key, value in given.items() if key != "inputs_embeds" and _grown(value))
            calls.append(_Seen(between, _positions(given.get("position_ids")), tuple(extra)))
        return _cut_off(args), _cut_off(given)

    hook = decoder.register_forward_pre_hook(look, with_kwargs=True)
    with hook, _differentiable(watched), _cut(blocks), torch.enable_grad():
        logits = lm(**inputs, use_cache=False).logits
    return replace(calls[0] if calls else _Seen(set(), 0, ()), tokens=logits.shape[1])


def _last_norm(tower: nn.Module) -> Iterator[nn.Parameter]:
    """Vectors around and beside a tower's blocks: its own normalisation, which is not the connector's."""
    block = blocks_of(tower)[0]
    around = [module for module in tower.modules() if module is not block and _holds(module, block)]
    for module in around:
        yield from module.parameters(recurse=False)
        for beside in module.children():
            if all(p.ndim < 2 for p in beside.parameters()):
                yield from beside.parameters()


@contextmanager
def _differentiable(parameters: list[nn.Parameter]) -> Iterator[None]:
    before = [parameter.requires_grad for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, was in zip(parameters, before, strict=True):
            parameter.requires_grad_(was)


@contextmanager
def _cut(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """What the blocks give no longer remembers where it came from."""
    hooks = [block.register_forward_hook(lambda _m, _a, out: _cut_off(out)) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _cut_off(value: Any) -> Any:
    """A structure of tensors, each without its history."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return type(value)(_cut_off(item) for item in value)
    if isinstance(value, dict):
        parts = {key: _cut_off(item) for key, item in value.items()}
        return parts if type(value) is dict else type(value)(**parts)  # an output of transformers' own, else
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from (found for item in value.values() for found in _tensors(item))
    elif isinstance(value, tuple | list):
        yield from (found for item in value for found in _tensors(item))


def _grown(value: Any) -> bool:
    return any(tensor.requires_grad for tensor in _tensors(value))


def _reached(values: Iterable[Any]) -> Iterator[Tensor]:
    """The leaves that tensors were computed from."""
    todo: list[Any] = [tensor.grad_fn for value in values for tensor in _tensors(value)]
    seen: set[Any] = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        todo.extend(before for before, _ in node.next_functions)


def outermost(module: nn.Module, wanted: set[int]) -> Iterator[str]:
    """Paths of the outermost modules whose parameters are all wanted, and of wanted parameters elsewhere.

    Args:
        wanted: `id` of parameters.
    """
    return _walk(module, wanted, lambda part: {id(parameter) for parameter in part.parameters()} <= wanted)


def _units(lm: nn.Module, wanted: set[int], apart: Iterable[nn.Module]) -> Iterator[str]:
    """The outermost modules with wanted parameters that hold no block of a tower and no other part; else parameters.

    A unit belongs there as a whole, though one picture may not use all of it.
    """
    kept = {id(part) for whole in apart for part in (whole, *blocks_of(whole))}
    return _walk(lm, wanted, lambda part: not any(id(inner) in kept for inner in part.modules()))


def _walk(module: nn.Module, wanted: set[int], is_whole: Callable[[nn.Module], bool], path: str = "") -> Iterator[str]:
    """From the top: modules with wanted parameters that are whole, else what they hold."""
    if not wanted & {id(parameter) for parameter in module.parameters()}:
        return
    if path and is_whole(module):
        yield path
        return
    for name, parameter in module.named_parameters(recurse=False):
        if id(parameter) in wanted:
            yield f"{path}.{name}".lstrip(".")
    for name, child in module.named_children():
        yield from _walk(child, wanted, is_whole, f"{path}.{name}".lstrip("."))


def _positions(given: Any) -> int:
    if not isinstance(given, Tensor):
        return 0
    return given.shape[0] if given.ndim == 3 else 1


def _holds(outer: nn.Module, inner: nn.Module) -> bool:
    return any(module is inner for module in outer.modules())
