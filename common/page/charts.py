"""Arithmetic of charts: round ticks, places in percent or pixels, paths. The drawing is the templates' work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """From values to places.

    Attributes:
        low, high: ends of the axis.
        start, end: their places (for a vertical axis start > end).
        ticks: round values on the axis.
    """

    low: float
    high: float
    start: float = 0.0
    end: float = 100.0
    ticks: tuple[float, ...] = ()

    def __call__(self, value: float) -> float:
        """The place of a value, cut at the ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def labels(self, sign: bool = False) -> list[tuple[float, str]]:
        """Place and text of each tick."""
        digits = _digits(self.ticks)
        return [(self(tick), tick_text(tick, digits, sign)) for tick in self.ticks]


def scale_of(
    values: Iterable[float], start: float = 0.0, end: float = 100.0, *, zero: bool = False, most: int = 6
) -> Scale:
    """A scale that holds all values and begins and ends at round numbers.

    Args:
        zero: whether zero must be on it.
        most: ticks at most, about.
    """
    known = [value for value in values if math.isfinite(value)] + ([0.0] if zero else [])
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    step = nice_step((high - low) / max(1, most - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(number * step, 12) for number in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], start, end, ticks)


def nice_step(rough: float) -> float:
    """The round number (1, 2, 2.5 or 5 times a power of ten) from `rough` up."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(nice * power for nice in NICE if nice * power >= rough * (1 - 1e-9))


def tick_text(value: float, digits: int, sign: bool = False) -> str:
    """A number on an axis, with a true minus."""
    text = f"{value:+.{digits}f}" if sign and value else f"{value:.{digits}f}"
    return text.replace("-", "−")


def _digits(ticks: Sequence[float]) -> int:
    """Decimals that tell all ticks apart."""
    return next((d for d in range(9) if all(abs(round(t, d) - t) < 1e-9 for t in ticks)), 9)


def path(points: Iterable[tuple[float, float]]) -> str:
    """An SVG path through points."""
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
