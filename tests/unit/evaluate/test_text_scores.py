"""BLEU, distinct and EFUF's own text scores."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu.metrics import BLEU as SacreBleu

from evaluate.metrics.paper import character_bleu, character_distinct
from evaluate.metrics.stats import point_scores
from evaluate.metrics.text import BLEU, bleu_units, distinct

CAPTIONS = [
    "A man rides a brown horse on the beach, near the sea.",
    "Two dogs play with a red ball in the park.",
    "There is a kitchen with a white stove and an oven.",
]
REFERENCES = [
    ["A man is riding a horse on the beach.", "A person on a brown horse near the sea."],
    ["Two dogs are playing with a ball.", "Dogs in the park with a red ball."],
    ["A kitchen with a stove and an oven.", "A white stove in a kitchen."],
]


def scores(captions: list[str], references: list[list[str]]) -> dict[str, float]:
    """BLEU of a corpus."""
    return point_scores(bleu_units(list(map(str, range(len(captions)))), captions, references), BLEU)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_bleu_equals_sacrebleu(order: int) -> None:
    """An independent implementation of the same definition, given the references column by column."""
    columns = [list(column) for column in zip(*REFERENCES, strict=True)]
    judge = SacreBleu(lowercase=True, max_ngram_order=order, smooth_method="none", tokenize="13a")
    expected = judge.corpus_score(CAPTIONS, columns).score / 100
    assert scores(CAPTIONS, REFERENCES)[f"bleu_{order}"] == pytest.approx(expected, abs=1e-9)


def test_e1_bleu_counts_words_not_characters() -> None:
    """Unrelated sentences share most letters and hardly a word."""
    found = scores(["The quick brown fox jumps"], [["A zebra stands in tall grass"]])
    assert found == {"bleu_1": 0.0, "bleu_2": 0.0, "bleu_4": 0.0}


def test_e2_every_reference_counts() -> None:
    """Only the first of two references matches; dropping it must lower the score."""
    caption = ["a cat sleeps on the sofa"]
    both = scores(caption, [["a cat sleeps on the sofa", "an animal indoors"]])
    last = scores(caption, [["an animal indoors"]])
    assert both["bleu_4"] == pytest.approx(1.0)
    assert last["bleu_1"] < 0.2


def test_captions_without_references_do_not_touch_bleu() -> None:
    assert scores([*CAPTIONS, "words"], [*REFERENCES, []]) == scores(CAPTIONS, REFERENCES)
    assert scores(["words"], [[]])["bleu_1"] == 0.0


def test_e3_distinct_is_unique_over_total_word_ngrams() -> None:
    """ "a dog a cat": three of four words differ; "a dog", "dog a", "a cat" all do; over both captions 3 of 6 pairs."""
    assert distinct(["a dog a cat"], 1) == pytest.approx(3 / 4)
    assert distinct(["a dog a cat"], 2) == 1.0
    assert distinct(["a dog a cat"] * 2, 2) == pytest.approx(3 / 6)
    assert distinct([], 1) == distinct([""], 2) == 0.0


def test_paper_scores_count_characters() -> None:
    """ "abab": two characters; pairs ab, ba: two, halved. Equal texts have character BLEU-1 of at least 1."""
    assert character_distinct(["abab"]) == {"paper_distinct_1": 2.0, "paper_distinct_2": 1.0}
    unrelated = character_bleu(["a man on a horse near the sea"], [["ignored", "the zebra stands in tall grass"]])
    assert unrelated["paper_bleu_1"] > 0.5
    assert character_bleu(["a"], [[]]) == {}


def test_units_line_up_with_captions() -> None:
    units = bleu_units(["1/0", "2/0", "3/0"], CAPTIONS, REFERENCES)
    assert units.ids == ("1/0", "2/0", "3/0")
    assert np.all(units.counts[:, 8] > 5)
