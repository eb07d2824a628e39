"""What `--device` and `--dtype` mean on this machine."""

from __future__ import annotations

import torch

from common.errors import ArgumentError, suggestion

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU without one. Raises ArgumentError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ArgumentError(f"unknown device {name} (from --device); use cpu, cuda, cuda:1 ... or auto") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ArgumentError(f"no device {name} (from --device): {torch.cuda.device_count()} GPUs are visible; use auto")
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU and float32 on the CPU. Raises ArgumentError for an unknown name."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ArgumentError(f"unknown dtype {name} (from --dtype){suggestion(name, ['auto', *DTYPES])}")
    return DTYPES[name]
