"""Where in a caption the tokens and the objects of CHAIR stand: character offsets into the text as it was written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from evaluate.chair.parser import Mention
from evaluate.tagger.tokens import words

QUOTES = {"``": ('"', "''", "``"), "''": ("''", '"')}  # as tokens -> as they may stand in the text
Place = tuple[int, int]  # start and end


def token_places(text: str) -> list[Place]:
    """Start and end of each token that CHAIR sees in a text, in order."""
    lower = text.lower()
    starts = _original_places(text)
    places, at = [], 0
    for token in words(text):
        first, last = _next_place(lower, token, at)
        places.append((starts[first], starts[last - 1] + 1 if last > first else starts[first]))
        at = last
    return places


def mention_places(text: str, mentions: Sequence[Mention]) -> list[Place]:
    """Start and end of each mention of a parsed text."""
    places = token_places(text) if mentions else []
    return [(places[m.position][0], places[m.position + m.tokens - 1][1]) for m in mentions]


def _original_places(text: str) -> list[int]:
    """For each character of the text in lower case, which may be longer, that of the text itself; and the end."""
    lengths = [len(character.lower()) for character in text]
    starts = [0] * (sum(lengths) + 1)
    for number, (end, length) in enumerate(zip(accumulate(lengths), lengths, strict=True)):
        starts[end - length : end] = [number] * length
    starts[-1] = len(text)
    return starts


def _next_place(lower: str, token: str, at: int) -> Place:
    """Where a token stands from `at` on: the tokenizer alters nothing but quotes. An empty place if it is nowhere."""
    found = [(place, spelt) for spelt in QUOTES.get(token, (token,)) if (place := lower.find(spelt, at)) >= 0]
    if not found:
        return at, at
    place, spelt = min(found, key=lambda one: one[0])
    return place, place + len(spelt)
