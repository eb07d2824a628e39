"""Uncertainty of scores: bootstrap intervals over sampling units, seeded.

Every score here is a function of sums over units (captions, images, questions). A bootstrap sample draws units with
replacement, so the resampled score is the same function of re-weighted sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Sums = Mapping[str, Array]
Formula = Callable[[Sums], Array]

SAMPLES = 1000
LEVEL = 0.95
_CHUNK = 2_000_000  # weights drawn at a time, to bound memory


@dataclass(frozen=True)
class Units:
    """Counts of each sampling unit.

    Attributes:
        ids: identity of each unit, for pairing two runs; length n.
        columns: names of the counts; length k.
        counts: [n, k].
        clusters: what is drawn together (questions of one image); length n, or empty if each unit is drawn alone.
    """

    ids: tuple[str, ...]
    columns: tuple[str, ...]
    counts: Array
    clusters: tuple[str, ...] = ()

    def sums(self) -> dict[str, float]:
        """Total of each column."""
        totals = self.counts.sum(axis=0) if self.ids else np.zeros(len(self.columns))
        return {name: float(v) for name, v in zip(self.columns, totals, strict=True)}

    def drawn(self) -> Array:
        """Counts [m, k] of what the bootstrap draws: clusters in order of appearance, or the units themselves."""
        if not self.clusters:
            return self.counts
        number = {name: i for i, name in enumerate(dict.fromkeys(self.clusters))}
        sums = np.zeros((len(number), len(self.columns)))
        np.add.at(sums, [number[name] for name in self.clusters], self.counts)
        return sums

    def beside(self, other: Units) -> Units:
        """The columns of both for the same units. Raises ValueError if the units differ."""
        if self.ids != other.ids:
            raise ValueError("units differ")
        counts = np.concatenate([self.counts, other.counts], axis=1)
        return Units(self.ids, self.columns + other.columns, counts, self.clusters)


def divide(numerator: Array, denominator: Array) -> Array:
    """Elementwise quotient, 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator != 0)


def ratio(numerator: str, denominator: str) -> Formula:
    """The score 'sum of one column over sum of another'; 0 where the latter is 0."""
    return lambda sums: divide(sums[numerator], sums[denominator])


def resampled_sums(units: Units, seed: int, samples: int = SAMPLES) -> dict[str, Array]:
    """Column -> sums [samples] over bootstrap samples of the units. Same seed and size, same draws."""
    counts = units.drawn()
    n = len(counts)
    if n == 0:
        return {name: np.zeros(samples) for name in units.columns}
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // n)
    parts = []
    for first in range(0, samples, step):
        weights = generator.multinomial(n, np.full(n, 1 / n), size=min(step, samples - first))
        parts.append(weights @ counts)
    totals = np.concatenate(parts)
    return {name: totals[:, i] for i, name in enumerate(units.columns)}


def point_scores(units: Units, formulas: Mapping[str, Formula]) -> dict[str, float]:
    """Each score over all units."""
    sums = {name: np.asarray(v) for name, v in units.sums().items()}
    return {name: float(formula(sums)) for name, formula in formulas.items()}


def bounds(values: Array, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def intervals(
    units: Units, formulas: Mapping[str, Formula], seed: int, samples: int = SAMPLES
) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap interval of each score."""
    sums = resampled_sums(units, seed, samples)
    return {name: bounds(formula(sums)) for name, formula in formulas.items()}
