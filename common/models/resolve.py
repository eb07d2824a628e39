"""What `--device` and `--dtype` mean on this machine."""

from __future__ import annotations

import torch

from common.errors import ArgumentError, suggestion
from common.processes import Process, this_process

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU without one; of several processes on a machine each has a GPU of its own.

    Raises ArgumentError for a device that is not there, or for more processes than GPUs.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    me = this_process()
    if name == "cuda" and me.local_count > 1 and torch.cuda.is_available():
        return _own_gpu(me)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ArgumentError(f"unknown device {name} (from --device); use cpu, cuda, cuda:1 ... or auto") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ArgumentError(f"no device {name} (from --device): {torch.cuda.device_count()} GPUs are visible; use auto")
    return device


def _own_gpu(me: Process) -> torch.device:
    """The GPU of this process, made the current one. Raises ArgumentError if there are too few."""
    if me.local_count > torch.cuda.device_count():
        raise ArgumentError(
            f"{me.local_count} processes on this machine, but {torch.cuda.device_count()} visible GPUs: launch as many "
            "processes as there are GPUs, or add --device cpu"
        )
    torch.cuda.set_device(me.local_rank)
    return torch.device("cuda", me.local_rank)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU and float32 on the CPU. Raises ArgumentError for an unknown name."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ArgumentError(f"unknown dtype {name} (from --dtype){suggestion(name, ['auto', *DTYPES])}")
    return DTYPES[name]
