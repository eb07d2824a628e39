"""A loss that is not finite must stop the run with the state before it, without the host waiting for each loss.

The flag "some loss so far was not finite" stays on the device. Before each update it is handed to the fused optimizer
as `found_inf`, which then leaves weights and moments as they are; so does every later update, as the flag is never
taken back. The host reads the flag of a step when the next one has been queued, and finds the weights as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """An update that may turn out not to have been one.

    Attributes:
        number: updates before it; epoch: the Trainer's.
        keys: items of its batches.
        schedule: state of the learning-rate schedule before it.
        flag: 1 if a loss was not finite, on the host once `ready` has happened.
    """

    number: int
    epoch: float
    keys: tuple[str, ...]
    schedule: dict[str, Any]
    flag: Tensor
    ready: torch.cuda.Event | None

    def failed(self) -> bool:
        """Whether the update was left out; waits until that is known."""
        if self.ready is not None:
            self.ready.synchronize()
        return bool(self.flag)


class FiniteGuard:
    """Flags of the losses, and the steps whose flag has not been read.

    Args:
        device: of the losses.
        delay: steps that may be queued before the flag of one is read. With 0 it is read before the update, which then
            does not happen, whatever the optimizer.
    """

    def __init__(self, device: torch.device, delay: int) -> None:
        self.delay = delay
        self.bad = torch.zeros((), device=device)
        self.open: list[Step] = []

    def note(self, loss: Tensor) -> None:
        """Look at a loss of the step that is being made."""
        self.bad = torch.maximum(self.bad, (~torch.isfinite(loss.detach())).to(self.bad.dtype))

    def protect(self, optimizer: Any, number: int, epoch: float, keys: tuple[str, ...], schedule: Any) -> Step | None:
        """Before an update: hand the flag to the optimizer. Returns the step that is known to have failed, if any."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.bad, op=torch.distributed.ReduceOp.MAX)
        if self.delay:
            getattr(optimizer, "optimizer", optimizer).found_inf = self.bad
        self.open.append(Step(number, epoch, keys, schedule.state_dict(), *_to_host(self.bad)))
        return self.failed(self.delay)

    def failed(self, unread: int = 0) -> Step | None:
        """Read the flags of all steps but the last `unread`; the first that failed."""
        while len(self.open) > unread:
            step = self.open.pop(0)
            if step.failed():
                self.open.clear()
                return step
        return None


def _to_host(flag: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    if flag.device.type != "cuda":
        return flag.clone(), None
    copy = torch.empty((), dtype=flag.dtype, pin_memory=True)
    copy.copy_(flag, non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return copy, ready
