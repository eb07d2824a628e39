"""Writing a model's tensors as safetensors shards with their index, holding one shard in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from common.files.storage import write_json
from common.models.weights.trained import write_safetensors

SHARD_BYTES = 4 << 30


def write_shards(folder: Path, tensors: Iterable[tuple[str, Tensor]], limit: int = SHARD_BYTES) -> list[Path]:
    """Write (name, tensor) pairs to model-0000i-of-0000n.safetensors and model.safetensors.index.json.

    One file without index if they fit into one shard. Returns the tensor files.
    """
    weight_map: dict[str, int] = {}
    parts: list[Path] = []
    shard: dict[str, Tensor] = {}
    size = total = 0
    for name, tensor in tensors:
        if shard and size + tensor.nbytes > limit:
            parts.append(_write_part(folder, len(parts), shard))
            shard, size = {}, 0
        shard[name] = tensor.detach()
        weight_map[name] = len(parts)
        size += tensor.nbytes
        total += tensor.nbytes
    parts.append(_write_part(folder, len(parts), shard))
    files = [folder / _file_name(i, len(parts)) for i in range(len(parts))]
    for part, file in zip(parts, files, strict=True):
        part.replace(file)
    if len(files) > 1:
        named = {name: files[i].name for name, i in weight_map.items()}
        write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": named})
    return files


def _write_part(folder: Path, number: int, shard: dict[str, Tensor]) -> Path:
    path = folder / f"part{number}.safetensors"
    write_safetensors(path, shard.items())
    return path


def _file_name(i: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{i + 1:05d}-of-{count:05d}.safetensors"
