"""Sub-sentence boundaries, and which span an object lies in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.files.records import ObjectMention
from common.samples.spans import Span, span_index, split_spans

TEXTS = st.text(alphabet="ab C1,.;!?: \n\"'()é-", max_size=60)


def pieces(caption: str) -> list[str]:
    """The texts of the spans."""
    return [caption[span.start : span.end] for span in split_spans(caption)]


def test_targets_begin_with_the_space_and_end_before_the_punctuation() -> None:
    assert pieces("A dog, and a cat. It sleeps!") == ["A dog", " and a cat", " It sleeps"]


@pytest.mark.parametrize(
    "caption",
    [
        "A fence 2.5 m high",
        "The clock shows 10:30 now",
        "About 1,000 people stand",
        "Mr. Smith holds a dog",
        "Animals e.g. a dog",
        "Dogs etc. on a bed",
        "At 5 p.m. the sun is low",
        "A U.S. flag hangs",
    ],
)
def test_d4_numbers_times_and_abbreviations_are_not_cut(caption: str) -> None:
    assert pieces(caption) == [caption]


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        ('He says "stop!" and waits', ['He says "stop', '" and waits']),
        ("A bus (red, old.) stands", ["A bus (red", " old", ") stands"]),
        ("Dogs, cats, etc. Then a bed", ["Dogs", " cats", " etc", " Then a bed"]),
        ("What?! A cat... sleeps", ["What", " A cat", " sleeps"]),
        ("It is 5 p.m. The sun is low.", ["It is 5 p.m", " The sun is low"]),
        ("One:\ntwo;\tthree", ["One", "\ntwo", "\tthree"]),
    ],
)
def test_d4_boundaries_need_space_quote_bracket_or_the_end(caption: str, wanted: list[str]) -> None:
    assert pieces(caption) == wanted


def test_nothing_to_split() -> None:
    assert split_spans("") == []
    assert split_spans(" ... !") == []


@given(TEXTS)
def test_spans_partition_the_caption(caption: str) -> None:
    """In order, disjoint, and every letter and digit lies in exactly one."""
    spans = split_spans(caption)
    owners = [sum(span.start <= i < span.end for span in spans) for i in range(len(caption))]
    assert all(count == 1 for count, letter in zip(owners, caption, strict=True) if letter.isalnum())
    assert max(owners, default=0) <= 1
    assert all(a.end < b.start for a, b in pairwise(spans))  # a boundary has a character


@given(TEXTS)
def test_what_lies_outside_is_punctuation_or_holds_no_word(caption: str) -> None:
    spans = split_spans(caption)
    outside = [c for i, c in enumerate(caption) if not any(s.start <= i < s.end for s in spans)]
    assert not any(letter.isalnum() for letter in outside)


@given(TEXTS)
def test_a_span_starts_at_the_beginning_or_right_after_a_boundary(caption: str) -> None:
    for span in split_spans(caption):
        assert span.start == 0 or caption[span.start - 1] in ",.;!?:"
        assert span.end == len(caption) or caption[span.end] in ",.;!?:"


@given(TEXTS, st.data())
def test_span_index_finds_the_span_that_holds_the_mention(caption: str, data: st.DataObject) -> None:
    spans = split_spans(caption)
    start = data.draw(st.integers(0, len(caption)))
    end = data.draw(st.integers(start, len(caption)))
    if end == start:
        return
    found = span_index(spans, ObjectMention(caption[start:end], start, end))
    holding = [i for i, s in enumerate(spans) if s.start <= start and end <= s.end]
    assert ([] if found is None else [found]) == holding


def test_d2_a_repeated_text_is_found_by_its_offsets() -> None:
    caption = "A dog sits, a cat sits, a dog sits."
    spans = split_spans(caption)
    second = caption.rindex("dog")
    assert span_index(spans, ObjectMention("dog", second, second + 3)) == 2


def test_an_object_over_a_boundary_is_in_no_span() -> None:
    assert span_index([Span(0, 5), Span(6, 12)], ObjectMention("x", 3, 8)) is None
    assert span_index([Span(2, 5)], ObjectMention("x", 0, 1)) is None
