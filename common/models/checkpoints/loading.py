"""Building modules without memory and filling them tensor by tensor, with nothing missing and nothing left over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import CheckpointError
from common.models.checkpoints.files import TensorFiles
from common.models.checkpoints.key_maps import KeyMap
from common.models.checkpoints.tensor_checks import require_finite, require_floats
from common.paths import display
from common.progress import announce, bar

LARGE = 1 << 30  # bytes of weights whose loading is announced


@dataclass(frozen=True)
class Source:
    """One part of a checkpoint: tensors and the map of their names. Later sources overwrite earlier ones."""

    files: TensorFiles
    layout: KeyMap


def without_memory() -> AbstractContextManager[Any]:
    """Modules made inside have parameters without storage; their computed buffers are real."""
    from accelerate import init_empty_weights

    context: AbstractContextManager[Any] = init_empty_weights(include_buffers=False)
    return context


def fill(
    model: nn.Module,
    sources: Sequence[Source],
    device: torch.device,
    dtype: torch.dtype,
    optional: Iterable[str] = (),
) -> None:
    """Give every parameter of `model` its tensor from the sources, cast to `dtype` on `device`, frozen.

    Memory beyond the model itself is that of a few tensors.

    Args:
        optional: names that may be missing from the sources (the caller fills them).

    Raises CheckpointError for tensors that are missing, unexpected, of another shape, not floats or not finite.
    """
    wanted = {name: parameter.shape for name, parameter in model.named_parameters()}
    missing = dict.fromkeys(wanted)
    for source in sources:
        where = display(source.files.path)
        for name, tensor in source.layout.to_modules(_watched(source.files, where, device), where):
            if name not in wanted:
                raise CheckpointError(f"{where} holds a tensor for {name}, which its configuration has no place for")
            if tensor.shape != wanted[name]:
                raise CheckpointError(_shape_message(where, name, tensor.shape, wanted[name]))
            require_floats(tensor, name, where)
            weight = _copied(tensor, device, dtype)
            require_finite(weight, tensor, name, where)
            put(model, name, weight)
            missing.pop(name, None)
    for name in optional:
        missing.pop(name, None)
    if missing:
        where = " and ".join(dict.fromkeys(display(source.files.path) for source in sources))
        raise CheckpointError(
            f"{len(missing)} tensors are missing from {where}, e.g. the one for {next(iter(missing))}"
        )
    for module in model.modules():
        for key, buffer in module.named_buffers(recurse=False):
            setattr(module, key, buffer.to(device))


def _watched(files: TensorFiles, where: str, device: torch.device) -> Iterable[tuple[str, Tensor]]:
    """The tensors; with a word and a bar where reading them takes a while."""
    size = files.size()
    if size < LARGE:
        return files
    announce(f"loading {size / 2**30:.1f} GiB of weights from {where} to {device}")
    return bar(files, "loading", total=len(files.shapes()), unit="tensor")


def _copied(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    # A copy always: the file's pages must not stay mapped for the life of the model.
    moved = tensor.to(device)
    moved = moved.to(dtype)
    return moved.clone() if moved.data_ptr() == tensor.data_ptr() else moved.contiguous()


def _shape_message(where: str, name: str, found: torch.Size, wanted: torch.Size) -> str:
    text = f"{where}: the tensor for {name} has shape {list(found)}, the configuration wants {list(wanted)}"
    if name.endswith(("embed_tokens.weight", "lm_head.weight")) and found[1:] == wanted[1:]:
        text += f": {found[0]} vocabulary rows against vocab_size {wanted[0]} in config.json"
    return text


def put(model: nn.Module, name: str, tensor: Tensor, requires_grad: bool = False) -> None:
    """Replace the parameter `name` by one that holds `tensor`."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    module.register_parameter(leaf, nn.Parameter(tensor, requires_grad=requires_grad))
