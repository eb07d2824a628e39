"""Captions with spans -> token ranges."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.models.text.ids import CaptionIds, PromptIds
from finetune.corpus.items import encode_items, token_range
from finetune.corpus.records import NEG, POS, SENT, SpannedCaption, TextSpan, count_spans, one_by_one, only_kinds

PROMPT = PromptIds((1, 5), (6,))


class Words:
    """A tokeniser whose tokens are a blank with the word behind it, or a mark."""

    eos_id = 2

    def format_prompt(self, prompt: str, context: str = "") -> str:
        """Not used."""
        return prompt + context

    def encode_prompt(self, text: str, for_generation: bool = False) -> PromptIds:  # noqa: ARG002
        """Always the same."""
        return PROMPT

    def encode_caption(self, caption: str) -> CaptionIds:
        """One id a token, from 10 on."""
        found = list(re.finditer(r" ?\w+|[^\w]", caption))
        return CaptionIds(tuple(range(10, 10 + len(found))), tuple((m.start(), m.end()) for m in found))


TEXT = "a dog, and a cat."


def items_of(*spans: TextSpan) -> list:  # type: ignore[type-arg]
    """Items of one caption."""
    return encode_items([SpannedCaption("1.jpg", TEXT, spans)], Words(), PROMPT)[0]


def test_d5_spans_are_ranges_of_the_running_text() -> None:
    """The target starts with the token that the running text has, not with one made for it."""
    (item,) = items_of(TextSpan(POS, 0, 6, 35.0), TextSpan(NEG, 6, 17, 20.0))
    assert [(s.start, s.end) for s in item.spans] == [(0, 3), (3, 7)]
    assert item.ids == tuple(range(10, 17))


def test_t2_a_sentence_ends_with_exactly_one_end_symbol() -> None:
    """The published code appended as many as the target has tokens."""
    (item,) = items_of(TextSpan(SENT, 0, len(TEXT), 30.0), TextSpan(POS, 0, 6, 35.0))
    assert item.ids.count(Words.eos_id) == 1 and item.ids[-1] == Words.eos_id
    assert (item.spans[0].start, item.spans[0].end) == (0, len(item.ids))


def test_spans_carry_no_end_symbol_and_nothing_behind_them_is_run() -> None:
    """Tokens after the last span are cut off."""
    (item,) = items_of(TextSpan(NEG, 0, 6, 20.0))
    assert item.ids == (10, 11, 12)


def test_one_by_one_has_the_same_spans_over_shorter_rows() -> None:
    """As published: an item a sample."""
    items = items_of(TextSpan(POS, 0, 6, 35.0), TextSpan(NEG, 6, 17, 20.0))
    single = one_by_one(items)
    assert [len(item.ids) for item in single] == [3, 7]
    assert count_spans(single) == count_spans(items)
    assert [item.spans[0].kind for item in only_kinds(items, (NEG,))] == [NEG]


def test_a_span_without_tokens_is_counted() -> None:
    """A blank at the end belongs to no token's last character."""
    items, empty = encode_items([SpannedCaption("1.jpg", TEXT, (TextSpan(POS, 5, 5, 35.0),))], Words(), PROMPT)
    assert (items, empty) == ([], 1)


def test_a_token_across_the_border_belongs_to_the_span_of_its_last_character() -> None:
    """Tokens "ab", "cd" and a border inside "cd"."""
    assert token_range([(0, 2), (2, 4)], 0, 3) == (0, 1)
    assert token_range([(0, 2), (2, 4)], 3, 4) == (1, 2)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.data())
def test_cuts_of_a_text_cut_its_tokens_without_loss(lengths: list[int], data: st.DataObject) -> None:
    """Spans that tile the characters tile the tokens, wherever they are cut."""
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    offsets = list(zip([0, *ends], ends, strict=False))
    cuts = sorted({0, ends[-1], *data.draw(st.lists(st.integers(0, ends[-1]), max_size=4))})
    ranges = [token_range(offsets, a, b) for a, b in itertools.pairwise(cuts)]
    assert [i for a, b in ranges for i in range(a, b)] == list(range(len(lengths)))


@pytest.mark.parametrize("kinds", [(POS,), (POS, NEG, SENT)])
def test_only_kinds_leaves_no_empty_item(kinds: tuple[str, ...]) -> None:
    """Items without a wanted span go."""
    items = only_kinds(items_of(TextSpan(NEG, 0, 6, 20.0)), kinds)
    assert len(items) == (NEG in kinds)
