"""AMBER: which words count, and the yes/no part with "no" as the positive class."""

from __future__ import annotations

import pytest

from evaluate.metrics.amber import (
    DISCRIMINATIVE,
    GENERATIVE,
    Vocabulary,
    question_row,
    question_units,
    response_units,
    score_response,
)
from evaluate.metrics.stats import point_scores

VOCABULARY = Vocabulary({"forest": ["tree"], "sky": [], "dog": ["puppy"], "cloud": [], "car": []}, frozenset({"sky"}))


def test_description() -> None:
    """trees stand for the forest, the sky is a common word, the puppy for a likely hallucination, the car for none."""
    text = "Trees under the sky with a puppy, a car and a thought."
    score = score_response(text, ["forest", "cloud"], ["dog"], VOCABULARY, VOCABULARY.forms())
    assert score.mentions == ("tree", "sky", "puppy", "car")
    assert score.hallucinated == ("puppy", "car")
    scores = point_scores(response_units(["1"], [score]), GENERATIVE)
    assert scores == {"chair": 0.5, "cover": 0.5, "hal": 1.0, "cog": 1.0}


def test_a_description_without_vocabulary_words() -> None:
    score = score_response("Calm.", ["forest"], [], VOCABULARY, VOCABULARY.forms())
    assert point_scores(response_units(["1"], [score]), GENERATIVE)["chair"] == 0.0


def test_positive_class_is_no() -> None:
    """Said no three times, two rightly; three labels are no: precision and recall 2/3."""
    rows = [question_row("no", "No")] * 2 + [question_row("no", "yes"), question_row("yes", "No")]
    scores = point_scores(question_units(list("abcd"), rows), DISCRIMINATIVE)
    assert scores["precision"] == scores["recall"] == pytest.approx(2 / 3)
    assert scores["f1"] == pytest.approx(2 * (4 / 9) / (4 / 3 + 1e-4))
    assert scores["unparseable"] == 0.25  # "yes" is not "Yes"
    assert scores["accuracy"] == 0.5
