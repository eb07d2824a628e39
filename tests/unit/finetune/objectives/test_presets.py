"""Presets and single values over them."""

from __future__ import annotations

import pytest

from common.errors import ArgumentError
from common.thresholds import Thresholds
from finetune.corpus.records import GOLD, NEG, POS, REPAIR, SENT
from finetune.objectives.presets import WeightOverrides, loss_weights


def test_paper_states_three_constants() -> None:
    """lambda1 0.3, lambda2 0.2, no weight by score, no instruction data, no repaired captions."""
    weights = loss_weights("paper")
    assert weights.at(0, 9) == weights.at(8, 9) == {POS: 1.0, NEG: 0.3, SENT: 0.2, GOLD: 0.0, REPAIR: 0.0}
    assert weights.active() == (POS, NEG, SENT)
    assert weights.sample_weight(NEG, 20.0, Thresholds()) == 1.0


def test_release_weighs_samples_by_score() -> None:
    """Positive and sentence by the score, negatives by 55 - score, instruction data by 40."""
    weights = loss_weights("release")
    factors = [weights.sample_weight(kind, 20.0, Thresholds()) for kind in (POS, NEG, SENT, GOLD)]
    assert factors == [20.0, 35.0, 20.0, 40.0]
    assert weights.active() == (POS, NEG, GOLD)


def test_single_values_replace_the_presets() -> None:
    """A new start of a constant is a constant; a new end of a schedule keeps the rest."""
    paper = loss_weights("paper", WeightOverrides(neg_w_start=0.1, sent_w=0.0, score_weights=True))
    assert paper.neg.at(0, 9) == paper.neg.at(8, 9) == 0.1
    assert SENT not in paper.active() and paper.by_score
    release = loss_weights("release", WeightOverrides(neg_w_end=0.1, neg_w_sched_type="exp"))
    assert (release.neg.start, release.neg.end, release.neg.begin, release.neg.shape) == (0.3, 0.1, 0.4, "exp")


def test_unknown_preset_suggests() -> None:
    """A typo is answered with the nearest name."""
    with pytest.raises(ArgumentError, match="did you mean release"):
        loss_weights("relase")
