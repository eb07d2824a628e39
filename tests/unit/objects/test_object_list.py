"""The list that a language model wrote: strict reading, whole words, order of appearance."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.objects.object_list import locate_all, parse_object_list


def found(caption: str, answer: str) -> list[str]:
    """Texts of the mentions that an answer gives."""
    return [mention.text for mention in locate_all(caption, parse_object_list(answer))]


@pytest.mark.parametrize(
    ("answer", "items"),
    [
        ("dog, cat, bus", ["dog", "cat", "bus"]),
        ("dog\ncat\n", ["dog", "cat"]),
        ("1. a dog\n2. the cat\n10) two buses", ["dog", "cat", "buses"]),
        ("- dog\n* cat\n• bus", ["dog", "cat", "bus"]),
        ("\"dog\", 'cat', bus.", ["dog", "cat", "bus"]),
        ("Objects: dog, cat", ["Objects", "dog", "cat"]),
        ("dog, Dog, DOG, cat", ["dog", "cat"]),
        ("dog; cat, and a bus", ["dog", "cat", "bus"]),
        ("10 dogs", ["10 dogs"]),
    ],
)
def test_lists_as_models_write_them(answer: str, items: list[str]) -> None:
    assert parse_object_list(answer) == items


@pytest.mark.parametrize("answer", ["", " ", ",,", ", ,\n;", "dog,,cat", "a, the", "...", "- \n- "])
def test_d6_empty_items_are_dropped(answer: str) -> None:
    assert all(any(letter.isalnum() for letter in item) for item in parse_object_list(answer))
    assert "" not in found("A dog and a cat. ...", answer)


def test_d7_items_are_text_not_patterns() -> None:
    assert found("He opens the tap.", "t.p") == []
    assert found("A sign says t.p here.", "t.p") == ["t.p"]
    assert found("A C++ book (old) lies there.", "C++, [a-z]+, (, book") == ["C++", "book"]


def test_d7_nothing_before_a_colon_or_after_a_bracket_is_lost() -> None:
    caption = "A clock shows 10:30 beside a man with a racket, a bat and a ball."
    assert found(caption, "clock 10:30, man") == ["man"]
    assert found(caption, "a clock, 10:30, a man") == ["clock", "10:30", "man"]
    assert found(caption, "racket (bat, ball), man") == ["man", "racket", "bat", "ball"]
    assert found(caption, "Here is the list: clock, man") == ["clock", "man"]


def test_d8_order_is_that_of_the_caption_every_time() -> None:
    caption = "A bus, a dog, a cat and a tree."
    assert (
        found(caption, "tree, cat, dog, bus") == found(caption, "cat, bus, tree, dog") == ["bus", "dog", "cat", "tree"]
    )


def test_d2_every_mention_is_found() -> None:
    mentions = locate_all("A dog. The Dog and a dogma.", ["dog"])
    assert [(m.text, m.start) for m in mentions] == [("dog", 2), ("Dog", 11)]


def test_the_longer_item_stands_where_two_overlap() -> None:
    assert found("A traffic light and a light.", "light, traffic light") == ["traffic light", "light"]


def test_line_breaks_in_the_caption_do_not_hide_an_object() -> None:
    assert found("A traffic\nlight.", "traffic light") == ["traffic\nlight"]


def test_special_tokens_of_a_caption_are_no_objects() -> None:
    caption = "A dog</s> and a fire</s>hydrant.<|im_end|>"
    assert found(caption, "dog</s>, s, /s, im_end, fire hydrant, fire, hydrant") == ["dog", "fire", "hydrant"]


@given(st.text(alphabet='ab ,.;:()\n"-1', max_size=40), st.text(alphabet="ab ,.\n1", max_size=40))
def test_mentions_are_whole_words_in_order_at_their_offsets(answer: str, caption: str) -> None:
    mentions = locate_all(caption, parse_object_list(answer))
    for mention in mentions:
        assert mention.text and caption[mention.start : mention.end] == mention.text
        assert not caption[: mention.start][-1:].isalnum() and not caption[mention.end :][:1].isalnum()
    assert all(a.end <= b.start for a, b in pairwise(mentions))
