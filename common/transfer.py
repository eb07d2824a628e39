"""Small numbers between host and GPU, neither of which waits for the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def sent(values: Sequence[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor on the device; CUDA has copied what is not pinned when the call returns, and the GPU may work on."""
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)


@dataclass(frozen=True)
class Returned:
    """Tensors on their way to the host, as they are when the GPU comes to the copy."""

    tensors: tuple[Tensor, ...]
    ready: torch.cuda.Event | None

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Returned:
        """Start the copies; on the CPU there is nothing to wait for."""
        if tensors[0].device.type != "cuda":
            return cls(tuple(tensors), None)
        copies = tuple(torch.empty(one.shape, dtype=one.dtype, pin_memory=True) for one in tensors)
        for copy, one in zip(copies, tensors, strict=True):
            copy.copy_(one, non_blocking=True)
        ready = torch.cuda.Event()
        ready.record()
        return cls(copies, ready)

    def lists(self) -> list[list[Any]]:
        """Their numbers, once they are there."""
        if self.ready is not None:
            self.ready.synchronize()
        return [one.tolist() for one in self.tensors]
