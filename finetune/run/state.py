"""State of optimizer, learning-rate schedule and random generators without pickle: safetensors and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from common.errors import CheckpointError
from common.files.json_text import shown
from common.files.storage import read_record, whole_file, write_json
from common.paths import display

TENSORS = "optimizer.safetensors"
VALUES = "optimizer.json"
LARGEST = 2**63 - 1  # of whole numbers, to torch


def save_state(folder: Path, optimizer: Any, scheduler: Any) -> None:
    """Write the state of an optimizer, a schedule and torch's generators into a folder.

    Nothing in training draws from Python's or NumPy's generators, so theirs are not kept.
    """
    from safetensors.torch import save_file

    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {"generator.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["generator.cuda"] = torch.cuda.get_rng_state()
    values: dict[str, dict[str, Any]] = {}
    for number, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"state.{number}.{name}"] = value.detach().cpu().contiguous()
            else:
                values.setdefault(str(number), {})[name] = value
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / TENSORS, in_folder=True) as temporary:
        save_file(tensors, str(temporary))
    write_json(
        folder / VALUES,
        {"groups": state["param_groups"], "values": values, "schedule": scheduler.state_dict()},
    )


def forget(optimizer: Any) -> None:
    """Make an optimizer's state that of a new one: no mean of gradients, no steps; what it holds keeps its place."""
    for entries in optimizer.state.values():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                value.zero_()
            else:
                entries[name] = type(value)()


class _Values(msgspec.Struct, frozen=True):
    """What of a state is no tensor."""

    groups: list[dict[str, Any]]
    values: dict[str, dict[str, float | bool | None]]
    schedule: dict[str, Any]


def load_state(folder: Path, optimizer: Any, scheduler: Any) -> None:
    """Put back what :func:`save_state` wrote. Raises CheckpointError if a file is missing or does not fit."""
    tensors, values = _read(folder)
    where = display(folder / VALUES)
    state: dict[int, dict[str, Any]] = {_number(n, where): dict(v) for n, v in values.values.items()}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "state":
            number, _, entry = rest.partition(".")
            state.setdefault(_number(number, display(folder / TENSORS)), {})[entry] = tensor
    _require_alike(values.groups, optimizer.state_dict()["param_groups"], f"{where}: groups")
    _require_alike(values.schedule, scheduler.state_dict(), f"{where}: schedule")
    groups = [{**g, "betas": tuple(g["betas"])} if "betas" in g else g for g in values.groups]
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except ValueError as error:
        raise CheckpointError(
            f"{display(folder)} belongs to another selection of parameters ({error}); use --restart"
        ) from None
    scheduler.load_state_dict(values.schedule)


def _number(text: str, where: str) -> int:
    """The number of a parameter. Raises CheckpointError for another name."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise CheckpointError(f"{where} names a parameter {shown(text)}, expected its number; use --restart")
    return int(text)


def _require_alike(found: Any, fresh: Any, where: str) -> None:
    """Raise CheckpointError, naming the place, if a value has not a new optimizer's shape and type, or is too large."""
    if isinstance(fresh, Mapping) and isinstance(found, Mapping) and found.keys() == fresh.keys():
        pairs = [(f"{where}.{name}", found[name], fresh[name]) for name in fresh]
    elif isinstance(fresh, list | tuple) and isinstance(found, list | tuple) and len(found) == len(fresh):
        pairs = [(f"{where}.{number}", *both) for number, both in enumerate(zip(found, fresh, strict=True))]
    elif _kind(found) == _kind(fresh) and not isinstance(fresh, Mapping | list | tuple) and _is_held(found):
        pairs = []
    else:
        raise CheckpointError(f"{where} is {shown(found)}, a new optimizer has {shown(fresh)}; use --restart")
    for place, one, other in pairs:
        _require_alike(one, other, place)


def _kind(value: Any) -> type:
    """The type of a value; of numbers, that they are numbers."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _is_held(value: Any) -> bool:
    """Whether what torch reckons with holds a whole number; JSON has them of any length."""
    return not isinstance(value, int) or abs(value) <= LARGEST


def load_generators(folder: Path) -> None:
    """Put torch's random generators back."""
    tensors, _ = _read(folder)
    torch.set_rng_state(tensors["generator.cpu"])
    if torch.cuda.is_available() and "generator.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["generator.cuda"])


def _read(folder: Path) -> tuple[dict[str, Tensor], _Values]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(str(folder / TENSORS))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot continue from {display(folder)}: {TENSORS}: {error}; use --restart") from None
    return tensors, read_record(folder / VALUES, _Values)
