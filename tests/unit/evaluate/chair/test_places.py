"""Mentions are marked where they stand, whatever stands around them."""

from __future__ import annotations

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from evaluate.chair.parser import ChairParser
from evaluate.chair.places import mention_places, token_places
from evaluate.tagger.tokens import words

PARSER = ChairParser("standard")
PARTS = st.sampled_from(
    ["dog", "Dogs", "hot dog", "wine glass", "a", '"', "''", "``", "``dog''", "it's", "cannot", "--", "...", ". ", ", ",
     "İstanbul", "ΣΑΣ", "ß", "👩\u200d🚀", "\u202e", "<script>", "</script>", "&amp;", "\n", "(", ")", "“", "”",
     "baby cat"]
)  # fmt: skip
TEXT = st.lists(PARTS | st.text(max_size=4), max_size=14).map(" ".join) | st.lists(PARTS, max_size=8).map("".join)


@settings(max_examples=100, deadline=None)
@given(TEXT)
@example('He said "a dog" and ``a cat\'\' near "a bus".')
def test_tokens_stand_where_they_are_said_to(text: str) -> None:
    places, at = token_places(text), 0
    for token, (start, end) in zip(words(text), places, strict=True):
        assert at <= start <= end <= len(text)
        if token not in ("``", "''"):
            assert token.casefold() in text[start:end].casefold()  # a final sigma depends on what follows
        at = end


@settings(max_examples=100, deadline=None)
@given(TEXT)
def test_mentions_lie_apart_and_begin_with_a_word_of_their_own(text: str) -> None:
    mentions = PARSER.objects(text)
    places = mention_places(text, mentions)
    assert all(one[1] <= two[0] for one, two in itertools.pairwise(places))
    assert all(start < end for start, end in places)


def test_pairs_are_marked_as_a_whole() -> None:
    text = 'A Baby Dog, two "wine glasses" and İa hot dog.'
    found = [text[a:b] for a, b in mention_places(text, PARSER.objects(text))]
    assert found == ["Baby Dog", "wine glasses", "hot dog"]
