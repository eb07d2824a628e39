"""Bootstrap intervals, paired differences and McNemar's test against what theory says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.metrics.paired import differences, mcnemar
from evaluate.metrics.stats import Units, divide, intervals, point_scores, ratio

RATE = {"rate": ratio("hit", "n")}


def coin_units(hits: list[int], clusters: tuple[str, ...] = ()) -> Units:
    """One unit an item, with its outcome and a constant 1."""
    counts = np.array([[hit, 1] for hit in hits], dtype=float).reshape(len(hits), 2)
    return Units(tuple(map(str, range(len(hits)))), ("hit", "n"), counts, clusters)


def test_interval_of_a_rate_is_near_the_normal_one() -> None:
    """200 of 400: standard error sqrt(0.25 / 400) = 0.025, so about 0.45 to 0.55."""
    low, high = intervals(coin_units([0, 1] * 200), RATE, seed=0)["rate"]
    assert low == pytest.approx(0.451, abs=0.006)
    assert high == pytest.approx(0.549, abs=0.006)


def test_intervals_repeat_with_the_seed_and_change_without() -> None:
    units = coin_units([0, 1, 1] * 30)
    assert intervals(units, RATE, 1) == intervals(units, RATE, 1)
    assert intervals(units, RATE, 1) != intervals(units, RATE, 2)


def test_questions_of_one_image_are_drawn_together() -> None:
    """Ten images of ten equal outcomes are as uncertain as ten items, not as a hundred."""
    hits = [int(image < 5) for image in range(10) for _ in range(10)]
    clusters = tuple(str(image) for image in range(10) for _ in range(10))
    alone, together = intervals(coin_units(hits), RATE, 0), intervals(coin_units(hits, clusters), RATE, 0)
    width = together["rate"][1] - together["rate"][0]
    assert width > 2.5 * (alone["rate"][1] - alone["rate"][0])


def test_no_units_and_zero_denominators_give_zero() -> None:
    empty = coin_units([])
    assert point_scores(empty, RATE) == {"rate": 0.0}
    assert intervals(empty, RATE, 0) == {"rate": (0.0, 0.0)}
    assert divide(np.array([1.0, 2.0]), np.array([0.0, 4.0])).tolist() == [0.0, 0.5]


@given(st.lists(st.integers(0, 1), min_size=1, max_size=60), st.integers(0, 5))
def test_interval_stays_in_range(hits: list[int], seed: int) -> None:
    low, high = intervals(coin_units(hits), RATE, seed, samples=50)["rate"]
    assert 0.0 <= low <= high <= 1.0


def test_pairing_removes_the_noise_between_items() -> None:
    """The second run misses exactly the first ten hits: a steady difference, though the rate itself is uncertain."""
    first = [1] * 100 + [0] * 100
    second = [0] * 10 + [1] * 90 + [0] * 100
    found = differences(coin_units(first), coin_units(second), RATE, seed=0)["rate"]
    assert found.difference == pytest.approx(-0.05)
    assert found.low < -0.05 < found.high < 0
    assert found.p < 0.01


def test_equal_runs_differ_by_nothing() -> None:
    units = coin_units([0, 1] * 20)
    found = differences(units, units, RATE, seed=0)["rate"]
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_order_of_items_does_not_matter_for_pairing() -> None:
    first = coin_units([1, 0, 1, 1, 0])
    shuffled = Units(first.ids[::-1], first.columns, first.counts[::-1])
    assert differences(first, shuffled, RATE, seed=0)["rate"].high == 0.0


def test_mcnemar_is_the_exact_binomial_test() -> None:
    """Five discordant items, all on one side: p = 2 / 2**5."""
    found = mcnemar(coin_units([1] * 5 + [0] * 5), coin_units([0] * 10), "hit")
    assert (found.only_first, found.only_second) == (5, 0)
    assert found.p == pytest.approx(2 / 2**5)
    assert mcnemar(coin_units([1, 0]), coin_units([1, 0]), "hit").p == 1.0


def test_runs_over_different_items_are_refused() -> None:
    with pytest.raises(ValueError, match="different items"):
        differences(coin_units([1, 0]), coin_units([1, 0, 1]), RATE, seed=0)
