"""Thresholds: given numbers, published defaults, and the rule of `auto`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.args import ThresholdArguments
from common.errors import ArgumentError, DataError
from common.files.records import CaptionObjects, ObjectMention
from common.thresholds import Thresholds
from insight.scores.auto_thresholds import check_thresholds, resolve_thresholds


def caption(number: int, *scores: float) -> CaptionObjects:
    """A record with objects of these scores."""
    return CaptionObjects(f"{number}.jpg", number, "", tuple(ObjectMention("x", 0, 0, s) for s in scores))


AUTO = ThresholdArguments("auto", "auto", "auto")
HUNDRED = [caption(i, float(i)) for i in range(100)]


def test_defaults_are_the_published_numbers_and_auto_in_the_mini_world():
    assert resolve_thresholds(ThresholdArguments(), HUNDRED, mini=False) == Thresholds(23.0, 32.0, 27.5)
    assert resolve_thresholds(ThresholdArguments(), HUNDRED, mini=True) == resolve_thresholds(AUTO, HUNDRED, mini=False)


def test_auto_takes_the_stated_shares_of_a_hundred_objects():
    found = resolve_thresholds(AUTO, HUNDRED, mini=False)
    assert sum(found.is_hallucinated(float(i)) for i in range(100)) == 12
    assert sum(found.is_grounded(float(i)) for i in range(100)) == 40
    # The sentence set shall be as large as the smaller of the others, 12; the best 12 by mean start above 87, but the
    # threshold may not exceed the grounded one.
    assert found.sentence == found.grounded


def test_auto_sentence_set_is_as_large_as_the_smaller_of_the_others():
    # Twelve captions hold one low and one high object, thirty-eight a middling and a higher one.
    records = [caption(i, 0.0 + i / 1000, 40.0 + i / 1000) for i in range(12)]
    records += [caption(100 + i, 20.0 + 0.4 * i, 41.0) for i in range(38)]
    found = resolve_thresholds(AUTO, records, mini=False)
    sizes = [
        sum(found.is_hallucinated(m.score) for r in records for m in r.objects),
        sum(found.is_grounded(m.score) for r in records for m in r.objects),
        sum(
            found.is_good_sentence(sum(m.score for m in r.objects) / 2, min(m.score for m in r.objects))
            for r in records
        ),
    ]
    assert sizes == [12, 40, 12]  # of 100 mentions and 50 captions


def test_auto_takes_at_most_the_better_half_of_the_captions_without_a_low_object():
    records = [caption(i, *[10.0 + i + k / 10 for k in range(8)]) for i in range(20)]
    found = resolve_thresholds(AUTO, records, mini=False)
    eligible = [r for r in records if min(m.score for m in r.objects) > found.hallucinated]
    taken = [
        r
        for r in eligible
        if found.is_good_sentence(sum(m.score for m in r.objects) / 8, min(m.score for m in r.objects))
    ]
    assert 0 < len(taken) <= len(eligible) / 2


@given(st.lists(st.lists(st.floats(-50, 50), min_size=1, max_size=6), min_size=2, max_size=30))
def test_auto_is_ordered_whatever_the_scores(values):
    records = [caption(i, *scores) for i, scores in enumerate(values)]
    distinct = sorted(s for scores in values for s in scores)
    n = len(distinct)
    if distinct[int(0.12 * n)] == distinct[n - 1 - int(0.4 * n)]:
        with pytest.raises((ArgumentError, DataError)):
            resolve_thresholds(AUTO, records, mini=False)
    else:
        found = resolve_thresholds(AUTO, records, mini=False)
        assert found.hallucinated <= found.sentence <= found.grounded


def test_numbers_and_auto_can_be_mixed():
    found = resolve_thresholds(ThresholdArguments("10", "auto", "30"), HUNDRED, mini=False)
    assert (found.hallucinated, found.sentence) == (10.0, 30.0)
    assert sum(found.is_grounded(float(i)) for i in range(100)) == 40


@pytest.mark.parametrize("value", ["warm", "nan", "inf", ""])
def test_what_is_no_number_is_named_with_its_flag(value):
    with pytest.raises(ArgumentError, match=f"--hal_clip_thres is '{value}'"):
        check_thresholds(ThresholdArguments(hal_clip_thres=value), mini=False)


def test_the_wrong_order_is_refused_before_scoring():
    with pytest.raises(ArgumentError, match="wrong order"):
        check_thresholds(ThresholdArguments("33", "32", "27.5"), mini=False)
    with pytest.raises(ArgumentError, match="wrong order"):
        check_thresholds(ThresholdArguments(sentence_clip_thres="40"), mini=False)
    check_thresholds(AUTO, mini=False)


def test_nothing_to_place_by_is_an_error():
    with pytest.raises(DataError, match="no object has a score"):
        resolve_thresholds(AUTO, [caption(1)], mini=False)
    with pytest.raises(DataError, match="same score"):
        resolve_thresholds(AUTO, [caption(1, 5.0, 5.0)], mini=False)
