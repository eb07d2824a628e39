"""Golden cases of every yes/no rule, from the definitions of the benchmarks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.metrics.yes_no import (
    exactly_capitalised,
    lmms_exact,
    mme_lmms,
    mme_official,
    pope_official,
    strict,
)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes", "yes"),
        ("No", "no"),
        ("No, there is no dog.", "no"),  # commas go first
        ("There is not a dog", "no"),
        ("Yes. There is no cat.", "yes"),  # only up to the first full stop
        ("NO", "yes"),  # upper case is not recognised
        ("no\n", "yes"),  # nor is a word that is not set off by spaces
        ("Nothing here", "yes"),  # only whole words
        ("", "yes"),
        ("maybe", "yes"),
    ],
)
def test_pope_official(answer: str, expected: str) -> None:
    assert pope_official(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("Yes.", "yes"), ("NO!", "no"), ("yes and no", None), ("maybe", None), ("", None), ("Nothing", None)],
)
def test_strict(answer: str, expected: str | None) -> None:
    assert strict(answer) == expected


@pytest.mark.parametrize(("answer", "expected"), [(" Yes ", "yes"), ("no\n", "no"), ("Yes.", None), ("", None)])
def test_lmms_exact(answer: str, expected: str | None) -> None:
    assert lmms_exact(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("YES", "yes"),
        ("yes, there is", "yes"),
        ("no", "no"),
        ("None of them", "no"),  # the first four characters hold "no"
        ("the answer is yes", None),  # too late in the text
        (" yes", "yes"),
        ("", None),
        ("y", None),
    ],
)
def test_mme_official(answer: str, expected: str | None) -> None:
    assert mme_official(answer) == expected


@pytest.mark.parametrize(("answer", "expected"), [("y", "yes"), (" N. ", "no"), ("Yes.", "yes"), ("maybe", None)])
def test_mme_lmms(answer: str, expected: str | None) -> None:
    assert mme_lmms(answer) == expected


@pytest.mark.parametrize(("answer", "expected"), [("Yes", "yes"), ("No", "no"), ("no", None), ("Yes.", None)])
def test_amber_reads_exact_words_only(answer: str, expected: str | None) -> None:
    assert exactly_capitalised(answer) == expected


@given(st.text(max_size=60))
def test_where_the_strict_rule_reads_a_lone_word_all_rules_agree(text: str) -> None:
    for rule in (pope_official, strict, lmms_exact, mme_official, mme_lmms):
        assert rule(text) in ("yes", "no", None)
