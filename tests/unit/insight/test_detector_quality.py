"""AUROC, purity and recall against cases worked out by hand."""

from __future__ import annotations

from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.files.records import CaptionObjects, ObjectMention
from common.files.vocabulary import ObjectVocabulary
from common.thresholds import Thresholds
from insight.scores.detector_quality import LabelledScores, auroc, label_scores, negative_set, positive_set, spread

levels = st.lists(st.integers(0, 5), min_size=1, max_size=12)


def test_auroc_by_hand():
    assert auroc(LabelledScores((3.0, 4.0), (1.0, 2.0))) == 1.0
    assert auroc(LabelledScores((1.0, 2.0), (3.0, 4.0))) == 0.0
    assert auroc(LabelledScores((1.0, 1.0), (1.0,))) == 0.5  # all ties
    # Pairs: 3>2 yes, 3>3 tie, 1>2 no, 1>3 no -> 1.5 of 4.
    assert auroc(LabelledScores((3.0, 1.0), (2.0, 3.0))) == pytest.approx(0.375)


@given(levels, levels)
def test_auroc_is_the_share_of_ordered_pairs(present, hallucinated):
    pairs = [(p > h) + 0.5 * (p == h) for p in present for h in hallucinated]
    found = auroc(LabelledScores(tuple(map(float, present)), tuple(map(float, hallucinated))))
    assert found == pytest.approx(sum(pairs) / len(pairs))


def test_auroc_of_one_side_is_undefined():
    assert isnan(auroc(LabelledScores((1.0,), ())))
    assert isnan(auroc(LabelledScores((), (1.0,))))


def test_purity_and_recall_by_hand():
    scores = LabelledScores(present=(20.0, 25.0, 33.0, 40.0), hallucinated=(10.0, 22.0, 24.0, 35.0))
    thresholds = Thresholds(23, 32, 27.5)
    negative, positive = negative_set(scores, thresholds), positive_set(scores, thresholds)
    assert (negative.n, negative.purity, negative.recall) == (3, pytest.approx(2 / 3), 0.5)
    assert (positive.n, positive.purity, positive.recall) == (3, pytest.approx(2 / 3), 0.5)


def test_empty_sets_are_undefined_and_do_not_divide_by_zero():
    found = negative_set(LabelledScores((30.0,), ()), Thresholds())
    assert found.n == 0
    assert isnan(found.purity)
    assert isnan(found.recall)


def test_spread_by_hand():
    assert spread((2.0, 4.0, 6.0)) == spread([6.0, 4.0, 2.0])
    assert (spread((2.0, 4.0, 6.0)).mean, spread((2.0, 4.0, 6.0)).sd, spread((2.0, 4.0, 6.0)).n) == (4.0, 2.0, 3)
    assert isnan(spread(()).mean)
    assert isnan(spread((1.0,)).sd)


def test_labels_leave_out_what_has_no_category_no_gold_or_no_score():
    vocabulary = ObjectVocabulary({"dog": "dog", "puppy": "dog", "cat": "cat"})

    def record(image_id: int, *mentions: tuple[str, float | None]) -> CaptionObjects:
        return CaptionObjects(f"{image_id}.jpg", image_id, "", tuple(ObjectMention(t, 0, 0, s) for t, s in mentions))

    records = [
        record(1, ("puppies", 30.0), ("a cat", 20.0), ("mood", 10.0), ("dog", None)),
        record(2, ("dog", 40.0)),
    ]
    assert label_scores(records, {1: frozenset({"dog"})}, vocabulary) == LabelledScores((30.0,), (20.0,))
