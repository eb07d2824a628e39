"""Sub-sentences of a caption by character offsets: the targets of fine-grained unlearning.

A boundary is one or more of `, . ; ! ? :` before whitespace, a closing quote or bracket, or the end; so "2.5 m",
"10:30" and "1,000" stay whole, and so do abbreviations ("Mr. Smith", "e.g. a dog"). As in the published data a span
begins right after the punctuation that ends the one before it (hence with a space: " and a cat") and ends before the
punctuation that closes it. Only the characters of boundaries, and what holds no letter or digit, lie in no span.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.files.records import ObjectMention

# A run of punctuation is tried once, from its beginning: from within it the end would be the same.
BOUNDARY = re.compile(r"(?<![,.;!?:])[,.;!?:]++(?=[\s\"'”’»)\]}]|\Z)")
WORD_BEFORE = re.compile(r"[^\W_][\w.]*\Z")
# The first never end a sentence, the others only before a capital.
TITLES = frozenset(("mr", "mrs", "ms", "dr", "prof", "st", "mt", "vs", "e.g", "i.e", "cf"))
OPEN_ABBREVIATIONS = frozenset(("etc", "approx", "jr", "sr", "a.m", "p.m", "u.s", "u.k"))
QUOTES = re.compile(r"[\"'”’»)\]}]*")
CLOSERS = re.compile(r"[ \t\n\r\"'”’»)\]}]*")


@dataclass(frozen=True)
class Span:
    """A sub-sentence: `caption[start:end]`, without the punctuation that closes it."""

    start: int
    end: int


def split_spans(caption: str) -> list[Span]:
    """Sub-sentences that hold at least one letter or digit, in order, disjoint."""
    spans, start = [], 0
    for first, last in _boundaries(caption):
        spans.append(Span(start, first))
        start = last
    spans.append(Span(start, len(caption)))
    return [span for span in spans if any(c.isalnum() for c in caption[span.start : span.end])]


def split_sentences(caption: str) -> list[Span]:
    """Whole sentences with the punctuation, quotes and brackets that close them, in order; blanks between in none."""
    spans, start = [], 0
    for first, last in _boundaries(caption):
        if not set(caption[first:last]).isdisjoint(".!?"):
            end = last + len(QUOTES.match(caption, last).group())  # type: ignore[union-attr]
            spans.append(Span(start, end))
            start = end
    spans.append(Span(start, len(caption)))
    trimmed = [_without_blanks(caption, span) for span in spans]
    return [span for span in trimmed if any(c.isalnum() for c in caption[span.start : span.end])]


def _without_blanks(caption: str, span: Span) -> Span:
    text = caption[span.start : span.end]
    return Span(span.start + len(text) - len(text.lstrip()), span.end - len(text) + len(text.rstrip()))


def _boundaries(caption: str) -> Iterator[tuple[int, int]]:
    """Offsets of the punctuation that ends each sub-sentence."""
    for match in BOUNDARY.finditer(caption):
        if match.group() != "." or not _abbreviates(caption, match.start(), match.end()):
            yield match.start(), match.end()


def _abbreviates(caption: str, dot: int, after: int) -> bool:
    """Whether a full stop belongs to an abbreviation rather than to the end of a sentence."""
    closed = CLOSERS.match(caption, after)
    at = closed.end() if closed else after
    following = caption[at : at + 1]
    before = WORD_BEFORE.search(caption, max(0, dot - 12), dot)
    if not following or before is None:
        return False
    word = before.group().lower()
    if word in TITLES:
        return True
    return word in OPEN_ABBREVIATIONS and not following.isupper()


def span_index(spans: Sequence[Span], mention: ObjectMention) -> int | None:
    """Index of the span that holds the whole mention; None if it reaches over a boundary."""
    index = bisect_right(spans, mention.start, key=lambda span: span.start) - 1
    if index < 0 or mention.end > spans[index].end:
        return None
    return index
