"""Word classes as the tagger of CHAIR's field code gives them, for the words whose count depends on it.

"seated" names a seat if it is a verb, "skiing" a pair of skis. The field's code asks NLTK's averaged perceptron
tagger, whose model comes with no package. `dataset/tagger.tsv.gz` holds a perceptron of our own with the same kind of
features, trained to give the tags that NLTK's gives on captions (`evaluate/README.md` says how well it does).
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from common.paths import DATASET
from evaluate.tagger.inflection import WordClass

MODEL = DATASET / "tagger.tsv.gz"
_CLASSES: dict[str, WordClass] = {"V": "verb", "J": "adjective", "R": "adjective"}  # adverbs keep their form too
Weights = dict[str, tuple[tuple[str, int], ...]]


class TagSource(Protocol):
    """Anything that gives each token a tag of the Penn Treebank."""

    def tags(self, tokens: Sequence[str]) -> list[str]:
        """The tag of each token."""
        ...


def shape(token: str) -> str:
    """The token as a context word: numbers and hyphenated words are one word each."""
    if "-" in token and token[0] != "-":
        return "!HYPHEN"
    if token[:1].isdigit():
        return "!YEAR" if token.isdigit() and len(token) == 4 else "!DIGITS"
    return token.lower()


def features(token: str, context: Sequence[str], last: str, before: str) -> tuple[str, ...]:
    """What the tag is decided from.

    Args:
        token: as it stands in the text.
        context: shapes of the two tokens before, the token, and the two after it.
        last, before: tags of the token before and of the one before that.
    """
    back2, back1, here, next1, next2 = context
    values = (
        "",
        token[-3:],
        token[:1],
        last,
        before,
        f"{last} {before}",
        here,
        f"{last} {here}",
        back1,
        back1[-3:],
        back2,
        next1,
        next1[-3:],
        next2,
    )
    return tuple(f"{number}:{value}" for number, value in enumerate(values))


class Tagger:
    """A perceptron over :func:`features`; tags of the Penn Treebank.

    Args:
        weights: feature -> (tag, weight) pairs.
        fixed: words that always have one tag.
    """

    def __init__(self, weights: Weights, fixed: dict[str, str]) -> None:
        self._weights = weights
        self._fixed = fixed

    def tags(self, tokens: Sequence[str]) -> list[str]:
        """The tag of each token, decided from left to right."""
        padded = ["-START2-", "-START-", *map(shape, tokens), "-END-", "-END2-"]
        before, last = "-START2-", "-START-"
        out: list[str] = []
        for i, token in enumerate(tokens):
            tag = self._fixed.get(token) or self._best(features(token, padded[i : i + 5], last, before))
            out.append(tag)
            before, last = last, tag
        return out

    def _best(self, found: tuple[str, ...]) -> str:
        scores: dict[str, int] = {}
        for feature in found:
            for tag, weight in self._weights.get(feature, ()):
                scores[tag] = scores.get(tag, 0) + weight
        return max(scores, key=lambda tag: (scores[tag], tag), default="NN")


def read_model(path: Path) -> Tagger:
    """Read lines `feature TAB tag:weight tag:weight` and `=word TAB tag`."""
    weights: Weights = {}
    fixed: dict[str, str] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.rstrip("\n").partition("\t")
            if name.startswith("="):
                fixed[name[1:]] = value
            else:
                pairs = (pair.rpartition(":") for pair in value.split(" "))
                weights[name] = tuple((tag, int(weight)) for tag, _, weight in pairs)
    return Tagger(weights, fixed)


@cache
def bundled_tagger() -> Tagger:
    """The tagger of the bundled model, read once."""
    return read_model(MODEL)


def class_of(tag: str) -> WordClass:
    """The class that a tag belongs to: verb, adjective (adverbs with them), else noun."""
    return _CLASSES.get(tag[:1], "noun")


def word_classes(tokens: Sequence[str], tagger: TagSource | None = None) -> list[WordClass]:
    """The class of each token, by the bundled tagger or another one."""
    return [class_of(tag) for tag in (tagger or bundled_tagger()).tags(tokens)]
