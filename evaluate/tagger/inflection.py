"""Base forms of the words that CHAIR looks for, as WordNet's morphology gives them.

`dataset/inflections.tsv` lists every inflected form of a word of the bundled synonym lists with its base form as a
noun, verb and adjective (WordNet 3.0, the shortest base form where several exist). Words of other lists get the
regular plural rules. So neither WordNet nor a download is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal, NamedTuple

from common.files.storage import read_text
from common.paths import DATASET

TABLE = DATASET / "inflections.tsv"
WordClass = Literal["noun", "verb", "adjective"]
WORD_CLASSES: tuple[WordClass, ...] = ("noun", "verb", "adjective")


class BaseForms(NamedTuple):
    """Base form of one word form as each word class; the form itself where the class does not know it."""

    noun: str
    verb: str
    adjective: str


@cache
def bundled_forms() -> dict[str, BaseForms]:
    """Word form -> base forms, for the words of the bundled lists."""
    rows = [line.split("\t") for line in read_text(TABLE).splitlines()[1:]]
    return {form: BaseForms(noun, verb, adjective) for form, noun, verb, adjective in rows}


def plurals(word: str) -> set[str]:
    """Regular plural spellings of a noun."""
    forms = {word + "s"}
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        forms.add(word + "es")
    if word.endswith("y"):
        forms.add(word[:-1] + "ies")
    if word.endswith("man"):
        forms.add(word[:-3] + "men")
    if word.endswith("fe"):
        forms.add(word[:-2] + "ves")
    return forms


def with_plurals(words: Iterable[str]) -> Mapping[str, BaseForms]:
    """The bundled table and the regular plurals of further words (and parts of words)."""
    extra: dict[str, BaseForms] = {}
    for word in {part for entry in words for part in entry.split()}:
        extra |= {form: BaseForms(word, form, form) for form in plurals(word)}
    return {**extra, **bundled_forms()}
