"""Reading the tensors of a checkpoint one after another, whatever it is stored in, with little memory.

Sharded or single, safetensors or PyTorch zip files. A `.bin` is mapped into memory and mapped anew every few tensors,
because the pages of a long-lived mapping would be held beside the finished model. Nothing is ever unpickled beyond
plain tensors and containers.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from common.errors import CheckpointError, first_line
from common.paths import display
from common.files.json_text import shown
from common.files.storage import read_record

# In transformers' order: the first that is there is taken, whatever else lies beside it.
NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
MAPPED_BYTES = 64 << 20  # of tensors, before a mapping is renewed
WRAPPERS = ("model", "state_dict")


@dataclass(frozen=True)
class TensorFiles:
    """The tensor files of one checkpoint.

    Args:
        path: folder or file as the user gave it, for messages.
        files: in order of reading.
    """

    path: Path
    files: tuple[Path, ...]
    _shapes: dict[str, torch.Size] = field(default_factory=dict, compare=False, repr=False)

    def shapes(self) -> dict[str, torch.Size]:
        """Name -> shape of every tensor, without reading the contents."""
        if not self._shapes:
            for file in self.files:
                self._shapes.update(_shapes(file))
        return self._shapes

    def size(self) -> int:
        """Bytes of the files together."""
        return sum(file.stat().st_size for file in self.files)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, tensor on the CPU as stored). Use and drop each before taking the next."""
        for file in self.files:
            yield from _safetensors(file) if file.suffix == ".safetensors" else _zipped(file)


def open_folder(folder: Path, what: str, flag: str) -> TensorFiles:
    """The tensor files of a checkpoint folder: one file, or an index with its shards, chosen as transformers does.

    Raises CheckpointError if the folder, the tensors or a shard is missing; `what` and `flag` go into the message.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no folder {display(folder)} for the {what}; give it with {flag}")
    found = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if found is None:
        raise CheckpointError(
            f"no weights of the {what} in {display(folder)} (from {flag}): looked for {', '.join(NAMES)}; "
            "copy them from the release"
        )
    return TensorFiles(folder, _shards(found) if found.suffix == ".json" else (found,))


def open_file(path: Path, what: str, flag: str) -> TensorFiles:
    """One tensor file. Raises CheckpointError if it is not there."""
    if not path.is_file():
        raise CheckpointError(f"no file {display(path)} for the {what}; give it with {flag}")
    return TensorFiles(path, (path,))


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str] = {}


def _shards(index: Path) -> tuple[Path, ...]:
    weight_map = read_record(index, _Index).weight_map
    if not weight_map:
        raise CheckpointError(f"{display(index)} has no weight_map; copy it again")
    shards = [index.parent / name for name in dict.fromkeys(weight_map.values())]
    for shard in shards:
        if shard.parent != index.parent or shard.suffix not in (".safetensors", ".bin"):
            raise CheckpointError(f"{display(index)} names {shown(shard.name)}, which is no file of weights beside it")
        if not shard.is_file():
            raise CheckpointError(f"shard {shard.name} named in {display(index)} is missing; copy it beside the index")
    return tuple(shards)


def _safetensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    # Opened anew every few tensors, as in _zipped.
    names = list(_shapes(file))
    while names:
        read = 0
        with _open_safetensors(file) as source:
            while names and read < MAPPED_BYTES:
                name = names.pop(0)
                tensor = _contents(source, name, file)
                read += tensor.nbytes
                yield name, tensor
                del tensor


def _contents(source: Any, name: str, file: Path) -> Tensor:
    try:
        tensor: Tensor = source.get_tensor(name)
    except Exception as error:  # the library raises whatever torch says to a dtype or a size that it does not know
        raise CheckpointError(f"{display(file)}: {name} cannot be read: {first_line(error)}") from None
    return tensor


def _open_safetensors(file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(str(file), framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{display(file)} cannot be read: {error}; copy it again") from None


def _zipped(file: Path) -> Iterator[tuple[str, Tensor]]:
    state = load_tensors(file)
    if not zipfile.is_zipfile(file):  # the oldest format cannot be mapped: it was read whole
        while state:
            name = next(iter(state))
            yield name, state.pop(name)
        return
    names = list(state)
    while names:
        state = load_tensors(file)
        read = 0
        while names and read < MAPPED_BYTES:
            name = names.pop(0)
            read += state[name].numel() * state[name].element_size()
            yield name, state.pop(name)
        del state


def _shapes(file: Path) -> dict[str, torch.Size]:
    if file.suffix == ".safetensors":
        with _open_safetensors(file) as source:
            return {name: torch.Size(source.get_slice(name).get_shape()) for name in source.keys()}  # noqa: SIM118
    return {name: tensor.shape for name, tensor in load_tensors(file).items()}


def load_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch file, mapped into memory where its format allows; bare or under "model".

    Raises CheckpointError for a damaged file, for one that holds more than tensors and plain containers, and for a
    tensor whose name is no text.
    """
    try:
        state = _weights_only(file)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(file, str(error))) from None
    except Exception as error:  # a damaged file makes torch stumble over anything
        raise CheckpointError(f"{display(file)} cannot be read: {first_line(error)}; copy it again") from None
    state = _unwrapped(state)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for name in tensors:
        if not isinstance(name, str):
            raise CheckpointError(f"{display(file)} holds a tensor under the key {shown(name)}, which is no name")
    if not tensors:
        raise CheckpointError(f"{display(file)} holds no tensors")
    return tensors


def _weights_only(file: Path) -> Any:
    import argparse

    # A Namespace is the one non-tensor object that published training scripts put beside the weights.
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))


def _unwrapped(state: Any) -> Mapping[str, Any]:
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            return state[key]
    return state if isinstance(state, Mapping) else {}


REFUSED = (r"GLOBAL (\S+)", r"unrecognized function (\S+)", r"but got <class '(\S+)'>")


def _refusal(file: Path, message: str) -> str:
    found = next((hit.group(1) for hit in (re.search(pattern, message) for pattern in REFUSED) if hit), None)
    if found is None:
        return f"{display(file)} is not a PyTorch file (is it a download that failed?); copy it again"
    return (
        f"{display(file)} holds {found}, which is refused because unpickling it could run code; "
        "get the weights as safetensors, or convert them in a sandbox that you can throw away"
    )
