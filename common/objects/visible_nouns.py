"""Whether a noun names a concrete thing that can be seen: word lists, looked up by surface form and lemma.

The lists lie in `dataset/nouns/`: `abstract.txt` holds the nouns whose most frequent sense in WordNet cannot be seen,
`visible.txt` and `not_visible.txt` are read first and correct it for the language of captions. A noun in none of them
can be seen, unless it is a verb form in -ing: what captions name and no dictionary holds is mostly a new thing.
`settings.txt` holds places that fill the picture (a kitchen, a street): no objects, whatever stands before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from common.files.storage import read_text
from common.paths import DATASET

NOUNS = DATASET / "nouns"
VERB_ENDING = "ing"  # a verb used as a noun ("snowboarding"); things with this ending are in `visible.txt`


@dataclass(frozen=True)
class NounLists:
    """The word lists.

    Attributes:
        visible, not_visible: hand-made exceptions, read before `abstract`.
        abstract: nouns whose most frequent sense cannot be seen.
        counting: nouns that before "of" only count or group.
        settings: places that a scene is in, which are no objects in it.
        colours: colour words, which are sometimes tagged as nouns.
        capitalised: things written with a capital, which are no names.
        compounds: objects of several words, each a tuple of lower-case words.
    """

    visible: frozenset[str]
    not_visible: frozenset[str]
    abstract: frozenset[str]
    counting: frozenset[str]
    settings: frozenset[str]
    colours: frozenset[str]
    capitalised: frozenset[str]
    compounds: frozenset[tuple[str, ...]]

    def can_be_seen(self, word: str, lemma: str) -> bool:
        """Whether the noun (as it stands in the text, and its lemma; any case) names something to be seen."""
        forms = (word.lower(), lemma.lower())
        if self.is_setting(word, lemma):
            return False
        for form in forms:
            if form in self.visible or form in self.capitalised:
                return True
            if form in self.not_visible:
                return False
        if forms[1] in self.abstract:
            return False
        return any(letter.isalpha() for letter in word) and not forms[1].endswith(VERB_ENDING)

    def is_setting(self, word: str, lemma: str) -> bool:
        """Whether the noun (any case) says where the scene is."""
        return word.lower() in self.settings or lemma.lower() in self.settings


def _lines(path: Path) -> Iterator[str]:
    for line in read_text(path).splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip().lower()


def _words(path: Path) -> frozenset[str]:
    return frozenset(word for line in _lines(path) for word in line.split())


@lru_cache(maxsize=1)
def noun_lists(folder: Path = NOUNS) -> NounLists:
    """Read the lists of a folder once. Raises DataError if one is missing."""
    return NounLists(
        visible=_words(folder / "visible.txt"),
        not_visible=_words(folder / "not_visible.txt"),
        abstract=_words(folder / "abstract.txt"),
        counting=_words(folder / "counting.txt"),
        settings=_words(folder / "settings.txt"),
        colours=_words(folder / "colours.txt"),
        capitalised=_words(folder / "capitalised.txt"),
        compounds=frozenset(tuple(line.split()) for line in _lines(folder / "compounds.txt")),
    )
