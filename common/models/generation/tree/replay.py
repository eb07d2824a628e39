"""A step as one CUDA graph, and what it found, read while the next one runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from common.transfer import Returned


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
        self.waiting: deque[tuple[int, Returned]] = deque()

    def add(self, step: int, over: Tensor) -> None:
        """Those of a step: bool [s, b]."""
        self.waiting.append((step, Returned.of((over,))))

    def take(self) -> tuple[int, list[list[bool]]] | None:
        """The oldest that are due, with their step."""
        if len(self.waiting) <= self.lag:
            return None
        step, over = self.waiting.popleft()
        return step, over.lists()[0]
