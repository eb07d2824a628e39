"""Two runs over the same items: paired bootstrap of a score's difference, and McNemar's exact test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluate.metrics.stats import SAMPLES, Formula, Units, bounds, point_scores, resampled_sums

_FIRST, _SECOND = "first/", "second/"


@dataclass(frozen=True)
class Difference:
    """A score in both runs, second minus first, its 95 % interval, and the two-sided p-value of no difference."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemar:
    """Items that only the first, or only the second run has; exact two-sided binomial p-value."""

    only_first: int
    only_second: int
    p: float


def aligned(first: Units, second: Units) -> Units:
    """Both runs' counts side by side, in the order of the first. Raises ValueError if the items differ."""
    if set(first.ids) != set(second.ids) or len(first.ids) != len(second.ids):
        raise ValueError("the runs are over different items")
    place = {name: i for i, name in enumerate(second.ids)}
    order = [place[name] for name in first.ids]
    columns = tuple(_FIRST + c for c in first.columns) + tuple(_SECOND + c for c in second.columns)
    return Units(first.ids, columns, np.concatenate([first.counts, second.counts[order]], axis=1), first.clusters)


def differences(
    first: Units, second: Units, formulas: Mapping[str, Formula], seed: int, samples: int = SAMPLES
) -> dict[str, Difference]:
    """Each score's difference; both runs are resampled with the same draws. Raises ValueError if the items differ."""
    sums = resampled_sums(aligned(first, second), seed, samples)
    one = {name.removeprefix(_FIRST): v for name, v in sums.items() if name.startswith(_FIRST)}
    two = {name.removeprefix(_SECOND): v for name, v in sums.items() if name.startswith(_SECOND)}
    before, after = point_scores(first, formulas), point_scores(second, formulas)
    found = {}
    for name, formula in formulas.items():
        drawn = formula(two) - formula(one)
        low, high = bounds(drawn)
        # at least one draw on either side, so that p is never reported as exactly zero
        tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
        p = min(1.0, 2 * float(tail + 1) / (samples + 1))
        found[name] = Difference(before[name], after[name], after[name] - before[name], low, high, p)
    return found


def mcnemar(first: Units, second: Units, column: str) -> McNemar:
    """Exact McNemar test on whether items have `column` (0 or 1). Raises ValueError if the items differ."""
    from scipy.stats import binomtest

    both = aligned(first, second)
    one = both.counts[:, both.columns.index(_FIRST + column)] > 0
    two = both.counts[:, both.columns.index(_SECOND + column)] > 0
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    discordant = only_first + only_second
    p = float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)
