"""A step as one CUDA graph, and what it found, read while the next one runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor


def replayed(step: Callable[[], None]) -> Callable[[], None]:
    """A function that does on the GPU what `step` does, launched at once. `step` is run twice before it is recorded."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class Flags:
    """Which rows were over after each step, known `lag` steps later, so that the GPU never waits for who reads them."""

    def __init__(self, lag: int) -> None:
        self.lag = lag
        self.waiting: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()

    def add(self, step: int, over: Tensor) -> None:
        """Those of a step: bool [s, b]."""
        if not self.lag:
            self.waiting.append((step, over, None))
            return
        copy = torch.empty(over.shape, dtype=over.dtype, pin_memory=True)
        copy.copy_(over, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self.waiting.append((step, copy, event))

    def take(self) -> tuple[int, list[list[bool]]] | None:
        """The oldest that are due, with their step."""
        if len(self.waiting) <= self.lag:
            return None
        step, over, event = self.waiting.popleft()
        if event is not None:
            event.synchronize()
        rows: list[list[bool]] = over.tolist()
        return step, rows
