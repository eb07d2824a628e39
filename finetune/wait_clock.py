"""The share of the time that training waits for its next batch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


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
