"""What is said while training: a line a log beside the progress bar, and the share of the time spent waiting."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm
from transformers import ProgressCallback


class LogLines(ProgressCallback):
    """As the library's, but standard output stays clean for results."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Write one line: step, then name and value."""
        if state.is_world_process_zero and logs:
            values = "  ".join(f"{name} {_short(value)}" for name, value in logs.items() if name != "epoch")
            tqdm.write(f"step {state.global_step}: {values}", file=sys.stderr)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class WaitClock:
    """Seconds waited, of seconds passed.

    It looks at the host. A GPU has work queued while the host waits, so this is the most that a GPU can have idled for
    want of data. Without worker processes it holds all of opening and preprocessing.
    """

    def __init__(self) -> None:
        self.begun: float | None = None  # at the first wait
        self.waited = 0.0
        self.last = (0.0, 0.0)  # waited and passed at the last reading

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a wait."""
        start = time.perf_counter()
        self.begun = start if self.begun is None else self.begun
        yield
        self.waited += time.perf_counter() - start

    def share(self) -> float:
        """Of the whole time so far; 0 before the first wait."""
        return _ratio(self.waited, self._passed())

    def share_since_last(self) -> float:
        """Of the time since the last reading."""
        waited, passed = self.waited, self._passed()
        before, self.last = self.last, (waited, passed)
        return _ratio(waited - before[0], passed - before[1])

    def _passed(self) -> float:
        return 0.0 if self.begun is None else time.perf_counter() - self.begun


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
