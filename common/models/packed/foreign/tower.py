"""What a frozen tower said of an image, kept, so that only the connector behind it is run again.

The connector's modules are watched while the whole model looks at an image once: what they are called with is what the
tower said. Later the model's own forward runs again with those inputs put in their place. The tower's blocks, whose
outputs nobody then needs, pass on what they are given, and the pixels are ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from common.models.packed.foreign.handing import Handed, Unpackable, handed_over, is_of_tokens, same_keys, with_tail
from common.models.packed.foreign.masks import layers_as

Record = dict[str, Tensor]  # what is kept of an image, on the CPU
CALL, INPUT, SHAPE = "call", "input", "shape"
TAIL = 3  # tokens of a caption behind the row of a trial: what is kept of a tower goes with any text


@dataclass(frozen=True)
class Tower:
    """Where a model's tower ends.

    Args:
        lm, trunk: the model, its decoder.
        connectors: modules that take what the tower gives.
        blocks: of the tower, each of which gives a tensor of the shape that it is given.
        together: whether what is kept of several images may be handed over as of one row.
    """

    lm: Any
    trunk: nn.Module
    connectors: tuple[nn.Module, ...]
    blocks: tuple[nn.Module, ...]
    together: bool = False

    @torch.no_grad()
    def look(self, inputs: Mapping[str, Tensor]) -> Record:
        """What is kept of the image in the inputs of one row. Raises Unpackable if no module takes it."""
        calls: list[list[Tensor]] = []

        def note(_module: nn.Module, args: Any, kwargs: Any) -> None:
            calls.append([leaf.clone() for leaf in tree_flatten((args, kwargs))[0] if _is_seen(leaf)])

        with _watched(self.connectors, note):
            handed_over(self.lm, self.trunk, inputs)
        if not any(calls):
            raise Unpackable("no module takes what its tower gives")
        record = {f"{CALL}.{i}.{j}": leaf.cpu() for i, call in enumerate(calls) for j, leaf in enumerate(call)}
        return record | _image_inputs(inputs)

    def hand(self, record: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Handed:
        """What the model hands to its decoder for a row, its tower left out."""
        device = inputs["input_ids"].device
        calls = iter(_calls(record, device))

        def put(_module: nn.Module, args: Any, kwargs: Any) -> Any:
            leaves, form = tree_flatten((args, kwargs))
            seen = iter(next(calls, ()))  # the last calls may have been given nothing that was kept
            return tree_unflatten([next(seen) if _is_seen(leaf) else leaf for leaf in leaves], form)

        with _watched(self.connectors, put), layers_as(self.blocks, [_pass_on] * len(self.blocks)):
            return handed_over(self.lm, self.trunk, {**inputs, **self.stand_ins(record, device)})

    def stand_ins(self, record: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """The image's inputs; ones in place of pixels, as some models drop pictures of zeros."""
        dtype: torch.dtype = self.lm.get_input_embeddings().weight.dtype
        made = {}
        for key, value in record.items():
            kind, _, name = key.partition(".")
            if kind == INPUT:
                made[name] = value.to(device)
            elif kind == SHAPE:
                made[name] = torch.ones((), dtype=dtype, device=device).expand(*value.tolist())
        return made


def side_by_side(records: Sequence[Mapping[str, Tensor]], device: torch.device) -> Record:
    """What is kept of several images, as of one row with them all. Raises Unpackable if it does not go together."""
    if len(records) == 1:
        return dict(records[0])
    whole = {}
    for key in same_keys(records):
        values = [record[key] for record in records]
        if len({value.shape[1:] for value in values}) > 1:
            raise Unpackable("its tower says things of unequal shapes of its images")
        if key.startswith(SHAPE):
            if any(not torch.equal(value[1:], values[0][1:]) for value in values):
                raise Unpackable("its images are of unequal shapes")
            whole[key] = torch.cat((torch.cat([value[:1] for value in values]).sum(0, keepdim=True), values[0][1:]))
        else:
            whole[key] = torch.cat([value.to(device, non_blocking=True) for value in values])
    return whole


def _is_seen(leaf: Any) -> bool:
    """Whether an argument is what the tower gives: numbers that nothing trained has touched."""
    if not isinstance(leaf, Tensor) or isinstance(leaf, nn.Parameter):
        return False
    return leaf.is_floating_point() and not leaf.requires_grad


def _pass_on(hidden: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden


@contextmanager
def _watched(modules: Sequence[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """With a hook before each module, and before its other hooks."""
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(module.register_forward_pre_hook(hook, with_kwargs=True, prepend=True))
        yield


def _image_inputs(inputs: Mapping[str, Tensor]) -> Record:
    """What the processor made of the image: of pixels the shape, everything else as it is."""
    length = inputs["input_ids"].shape[1]
    record = {}
    for key, value in inputs.items():
        if is_of_tokens(value, length):
            continue
        if value.is_floating_point():
            record[f"{SHAPE}.{key}"] = torch.tensor(value.shape)
        else:
            record[f"{INPUT}.{key}"] = value.cpu()
    return record


def _calls(record: Mapping[str, Tensor], device: torch.device) -> list[list[Tensor]]:
    """The tensors of each call of a connector module, in order."""
    found: dict[int, dict[int, Tensor]] = {}
    for key, value in record.items():
        kind, _, rest = key.partition(".")
        if kind == CALL:
            call, leaf = map(int, rest.split("."))
            found.setdefault(call, {})[leaf] = value.to(device, non_blocking=True)
    return [[found.get(i, {})[j] for j in sorted(found.get(i, {}))] for i in range(max(found, default=-1) + 1)]


def called_modules(lm: nn.Module, paths: Sequence[str]) -> tuple[nn.Module, ...]:
    """The modules at these paths that are called, in place of lists of such; paths of parameters have none."""
    modules = dict(lm.named_modules())
    found: list[nn.Module] = []
    for path in paths:
        if path in modules:
            found += _called(modules[path])
    return tuple(found)


def _called(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        return [inner for child in module.children() for inner in _called(child)]
    return [module]


@torch.no_grad()
def tower_of(
    lm: Any, trunk: nn.Module, connectors: Sequence[str], blocks: Sequence[nn.Module], inputs: Mapping[str, Tensor]
) -> Tower:
    """Where a model's tower ends, tried out with one row.

    Args:
        connectors: paths of what lies between tower and decoder.
        blocks: of the tower.

    Raises Unpackable if what is handed over is not the same without the tower.
    """
    passing: list[nn.Module] = []
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(block.register_forward_hook(_noting(passing)))
        longer = with_tail(inputs, inputs["input_ids"][:, -1:].repeat(1, TAIL))
        expected = handed_over(lm, trunk, longer)
    tower = Tower(lm, trunk, called_modules(lm, connectors), tuple(passing))
    found = tower.hand(tower.look(inputs), longer)
    same = [torch.equal(one, other) for one, other in zip(_tensors(found), _tensors(expected), strict=True)]
    if not all(same):
        raise Unpackable("what its decoder is given depends on its tower by more ways than through its connector")
    return tower


@contextmanager
def narrowly(modules: Sequence[nn.Module], dtype: torch.dtype) -> Iterator[None]:
    """With the products of these modules in a dtype of 16 bits, whatever their weights are in."""
    with layers_as(modules, [partial(_narrow, module.forward, dtype) for module in modules]):
        yield


def _narrow(own: Callable[..., Any], dtype: torch.dtype, *args: Any, **kwargs: Any) -> Any:
    given = next(leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor))
    with torch.autocast(given.device.type, dtype):
        return own(*args, **kwargs)


def _noting(passing: list[nn.Module]) -> Callable[..., None]:
    """A hook that notes each module, once, that gives one tensor of the shape of its input."""

    def note(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        passes = args and isinstance(out, Tensor) and isinstance(args[0], Tensor) and out.shape == args[0].shape
        if passes and not any(module is known for known in passing):
            passing.append(module)

    return note


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(value)[0] if isinstance(leaf, Tensor)]
