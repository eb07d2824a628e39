"""Which kernels a step runs, and for how long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

STEPS = 2
SHOWN = 40


def kernel_table(step: Callable[[], Any]) -> list[dict[str, Any]]:
    """Name, milliseconds and calls of a step's kernels, the longest first; empty without a GPU."""
    if not torch.cuda.is_available():
        return []
    step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    spent: dict[str, list[float]] = defaultdict(list)
    for event in recorded.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            spent[event.name].append(event.time_range.elapsed_us() / 1e3)
    order = sorted(spent.items(), key=lambda one: -sum(one[1]))
    return [{"kernel": name, "ms": sum(ms) / STEPS, "calls": len(ms) / STEPS} for name, ms in order[:SHOWN]]
