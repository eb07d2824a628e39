"""Loss weights that change over a run: constant, then from a start to an end value, exactly reached.

A schedule runs over all optimizer steps of a run, however many epochs they make.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.errors import ArgumentError, suggestion


def _linear(progress: float) -> float:
    return progress


def _cosine(progress: float) -> float:
    return (1 - math.cos(math.pi * progress)) / 2


def _exponential(progress: float) -> float:
    """Decay exp(-x), scaled so that it starts at 0 and ends at 1 exactly."""
    return (1 - math.exp(-progress)) / (1 - math.exp(-1))


SHAPES = {"linear": _linear, "cosine": _cosine, "exp": _exponential}


@dataclass(frozen=True)
class Schedule:
    """A weight as a function of the step.

    Attributes:
        start: value until the change begins.
        end: value at the last step.
        begin: share of the steps after which the change begins, from 0 to 1.
        shape: one of `SHAPES`.

    Raises ArgumentError for an unknown shape, a share outside 0..1, or a value that is negative or not finite.
    """

    start: float
    end: float
    begin: float = 0.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ArgumentError(f"unknown schedule {self.shape}{suggestion(self.shape, list(SHAPES))}")
        if not 0 <= self.begin <= 1:
            raise ArgumentError(f"a schedule begins after {self.begin:g} of the steps; give a share from 0 to 1")
        for value in (self.start, self.end):
            if not (math.isfinite(value) and value >= 0):
                raise ArgumentError(f"loss weight {value:g}; give a number from 0")

    def at(self, step: float, steps: int) -> float:
        """The value at `step` (0 ... steps - 1, or between two) of a run of `steps`."""
        if self.start == self.end or steps <= 1:
            return self.start
        first, last = self.begin * steps, steps - 1
        if step >= last:
            return self.end
        progress = max(0.0, step - first) / max(last - first, 1e-9)
        return self.start + (self.end - self.start) * SHAPES[self.shape](min(progress, 1.0))

    @property
    def is_zero(self) -> bool:
        """Whether the weight is 0 at every step."""
        return self.start == 0 and self.end == 0


def constant(value: float) -> Schedule:
    """A weight that does not change."""
    return Schedule(value, value)
