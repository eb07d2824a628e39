"""CHAIR: how often a caption names objects that are not in its image.

CHAIR_i = hallucinated mentions / mentions; CHAIR_s = captions with a hallucinated mention / captions. A caption that
names no object counts in CHAIR_s's denominator only. `standard` counts each mention (LisaAnne/Hallucination and its
ports), `paper` counts each distinct word of a caption once (EFUF). `repetition` is the share of captions that name one
object more than once, by any of its names: where a model unlearns to invent, it may say again what it has said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.chair.parser import ChairParser, Mention
from evaluate.metrics.stats import Formula, Units, ratio

__all__ = ["COLUMNS", "FORMULAS", "CaptionScore", "ChairParser", "Mention", "caption_units", "score_caption"]

COLUMNS = (
    "captions",
    "captions_with_hallucination",
    "hallucinated",
    "mentions",
    "recalled",
    "gold",
    "words",
    "repeating",
)
FORMULAS: Mapping[str, Formula] = {
    "chair_s": ratio("captions_with_hallucination", "captions"),
    "chair_i": ratio("hallucinated", "mentions"),
    "recall": ratio("recalled", "gold"),
    "words": ratio("words", "captions"),
    "mentions_per_caption": ratio("mentions", "captions"),
    "repetition": ratio("repeating", "captions"),
}


@dataclass(frozen=True)
class CaptionScore:
    """CHAIR of one caption.

    Attributes:
        mentions: object mentions that count, in order.
        hallucinated: those whose object is not in the image.
        recalled: objects of the image that the caption names.
        gold: objects of the image.
        words: words between white space.
        tokens: tokens after merging pairs (the `Len` of OPERA's code, times 100).
        repeats: whether some object is named more than once, whatever the mode counts.
    """

    mentions: tuple[Mention, ...]
    hallucinated: tuple[Mention, ...]
    recalled: frozenset[str]
    gold: frozenset[str]
    words: int
    tokens: int
    repeats: bool

    def row(self) -> tuple[int, ...]:
        """The counts of this caption, ordered as COLUMNS."""
        counts = (
            len(self.hallucinated),
            len(self.mentions),
            len(self.recalled),
            len(self.gold),
            self.words,
            int(self.repeats),
        )
        return (1, int(bool(self.hallucinated)), *counts)


def distinct_words(mentions: Iterable[Mention]) -> tuple[Mention, ...]:
    """The first mention of each distinct word."""
    first: dict[str, Mention] = {}
    for mention in mentions:
        first.setdefault(mention.word, mention)
    return tuple(first.values())


def score_caption(parser: ChairParser, caption: str, gold: Iterable[str]) -> CaptionScore:
    """CHAIR of one caption against the objects of its image, counted as the parser's mode counts."""
    parsed = parser.parse(caption)
    present = frozenset(gold)
    mentions = parsed.mentions if parser.lists.mode == "standard" else distinct_words(parsed.mentions)
    return CaptionScore(
        mentions=mentions,
        hallucinated=tuple(m for m in mentions if m.node not in present),
        recalled=present & {m.node for m in mentions},
        gold=present,
        words=len(caption.split()),
        tokens=parsed.tokens,
        repeats=len({m.node for m in parsed.mentions}) < len(parsed.mentions),
    )


def caption_units(ids: Sequence[str], scores: Sequence[CaptionScore]) -> Units:
    """The captions' counts as sampling units of the bootstrap."""
    counts = np.array([s.row() for s in scores], dtype=np.float64).reshape(len(scores), len(COLUMNS))
    return Units(tuple(ids), COLUMNS, counts)
