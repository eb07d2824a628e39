"""What the runs of a step cost, and how that grows with its input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FACTORS = (1, 4, 16)
LIMIT = 1.15
FLAT = 0.05
TELLING = {"cpu": 0.5, "mib": 32.0}  # growth from 1x to 4x; what is less, noise decides


@dataclass(frozen=True)
class Cost:
    """Of one run: processor seconds, seconds on the clock, largest memory, function calls (0: not counted)."""

    items: int
    cpu: float
    clock: float
    mib: float
    calls: int = 0


@dataclass(frozen=True)
class Growth:
    """Of one step: the three sizes, and the exponents that they give."""

    step: str
    costs: tuple[Cost, ...]

    def exponent(self, name: str) -> float:
        """k of a + b n^k through the three values of `cpu`, `mib` or `calls`; 0 where they grow by less than a
        twentieth, or are not known.
        """
        one, four, sixteen = (getattr(found, name) for found in self.costs)
        if sixteen - one <= FLAT * one:
            return 0.0
        return math.log(max(sixteen - four, 1e-6) / max(four - one, 1e-6), FACTORS[1] / FACTORS[0])

    def tells(self, name: str) -> bool:
        """Whether the growth is large enough to say anything of its exponent."""
        one, four, _ = (getattr(found, name) for found in self.costs)
        return bool(four - one >= TELLING[name])

    def above(self) -> dict[str, float]:
        """The exponents that tell something, and more than the limit."""
        return {name: k for name, k in self.exponents().items() if k > LIMIT and (name == "calls" or self.tells(name))}

    def exponents(self) -> dict[str, float]:
        """Of time, of memory and of function calls."""
        return {name: round(self.exponent(name), 3) for name in ("cpu", "mib", "calls")}

    def row(self) -> dict[str, Any]:
        """For the record."""
        return {"step": self.step, "costs": [vars(cost) for cost in self.costs], "exponents": self.exponents()}


def least(costs: Sequence[Cost], calls: int) -> Cost:
    """The least of several runs, value by value."""
    best = (min(getattr(one, name) for one in costs) for name in ("cpu", "clock", "mib"))
    return Cost(costs[0].items, *best, calls=calls)
