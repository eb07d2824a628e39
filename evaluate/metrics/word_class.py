"""Noun, verb or adjective, for the few words where CHAIR's outcome depends on it."""

from __future__ import annotations

from collections.abc import Sequence

from evaluate.metrics.inflection import WordClass


def word_class(tokens: Sequence[str], index: int) -> WordClass:
    """The class of `tokens[index]`: past forms are verbs, all else nouns."""
    token = tokens[index]
    return "verb" if token.endswith("ed") and token != "potted" else "noun"
