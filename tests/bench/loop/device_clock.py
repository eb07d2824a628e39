"""What a GPU works on, and how long it has nothing to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class DeviceClock:
    """Notes when a GPU begins and ends each piece of work; on the CPU it notes nothing."""

    device: torch.device
    spans: list[tuple[str, Any, Any]] = field(default_factory=list)

    @contextmanager
    def piece(self, what: str) -> Iterator[None]:
        """Everything that is launched inside, on the current stream. Pieces do not overlap."""
        if self.device.type != "cuda":
            yield
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        yield
        end.record()
        self.spans.append((what, begin, end))

    def seconds(self) -> dict[str, float]:
        """Of each kind of work; empty on the CPU."""
        found: Counter[str] = Counter()
        if self.spans:
            torch.cuda.synchronize()
        for what, begin, end in self.spans:
            found[what] += begin.elapsed_time(end) / 1e3
        return dict(found)

    def waited(self) -> float | None:
        """Share of the time from the first piece's beginning to the last one's end in which none was worked on."""
        if not self.spans:
            return None
        worked = sum(self.seconds().values())
        return 1 - worked / (self.spans[0][1].elapsed_time(self.spans[-1][2]) / 1e3)
