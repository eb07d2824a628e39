"""Which COCO object a phrase speaks of: the synonym list of CHAIR, looked up by the head words of a phrase.

This labels mined mentions (present or hallucinated) to judge a detector. It is not CHAIR itself, whose parser is in
`evaluate/metrics`: here a mention is already a phrase, and only its head counts ("a horse's saddle" is no horse).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.errors import DataError
from common.files.storage import read_text
from common.paths import DATASET, display

SYNONYMS = DATASET / "synonyms_refined.txt"
LONGEST = 3  # words in the longest entry of the list

# Compounds whose last word means another object, or none (an empty value).
COMPOUNDS = {
    "toilet seat": "toilet",
    "stuffed bear": "teddy bear",
    "bus stop": "",
    "train track": "",
    "home plate": "",
    "flower bed": "",
}
# Before another object these words only describe it: a baby elephant is no person.
DESCRIBING = frozenset(("baby", "adult", "passenger"))
# "a pair of scissors" speaks of scissors, "the leg of a table" does not speak of a table.
GROUPS = frozenset(
    ("pair", "couple", "group", "bunch", "number", "lot", "herd", "flock", "pack", "crowd", "set", "team")
)
PORTIONS = frozenset(("row", "stack", "pile", "piece", "slice", "line", "variety", "collection", "array", "plate"))
MEASURES = GROUPS | PORTIONS
IRREGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "mice": "mouse",
    "geese": "goose",
}


@dataclass(frozen=True)
class ObjectVocabulary:
    """Synonym (lower case, single spaces) -> node word, the name of one of the 80 COCO categories."""

    nodes: Mapping[str, str]

    def node_named(self, name: str) -> str | None:
        """The object that a category or gold name stands for; None for a name that the list does not know."""
        return self._names.get(plain_name(name))

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return name_table(self.nodes)

    def node(self, phrase: str) -> str | None:
        """The COCO object that a noun phrase speaks of; None if it is none of the 80."""
        before, of, after = _words(phrase), False, []
        if "of" in before:
            split = before.index("of")
            before, of, after = before[:split], True, before[split + 1 :]
        if of and before and _singular_forms(before[-1]) & MEASURES:
            return self.node(" ".join(after))
        return self._head(before)

    def _head(self, words: list[str]) -> str | None:
        """Longest entry that ends the phrase."""
        for length in range(min(LONGEST, len(words)), 0, -1):
            found = self._entry(words[-length:])
            if found is not None:
                return found or None
        return None

    def _entry(self, words: list[str]) -> str | None:
        """The node of exactly these words, the last in any number; '' for a compound that is no object."""
        if len(words) == 2 and words[0] in DESCRIBING:
            return self._entry(words[1:])
        for last in _candidates(words[-1]):
            text = " ".join([*words[:-1], last])
            if text in COMPOUNDS:
                return COMPOUNDS[text]
            if text in self.nodes:
                return self.nodes[text]
        return None

    def nodes_in(self, text: str) -> Iterator[str]:
        """Nodes that a running text names, from the left, the longest entry first, repeats kept."""
        for clause in re.split(r"[^\w\s'’-]+", text):
            words = _words(clause)
            at = 0
            while at < len(words):
                for length in range(min(LONGEST, len(words) - at), 0, -1):
                    found = self._entry(words[at : at + length])
                    if found is not None:
                        break
                if found:
                    yield found
                at += length


def plain_name(name: str) -> str:
    """A name of an object as names are compared: case, white space, hyphens and underscores aside."""
    return " ".join(re.sub(r"[_-]", " ", name).casefold().split())


def name_table(nodes: Mapping[str, str]) -> dict[str, str]:
    """Plain name -> object, of a synonym list; the objects' own names come first."""
    own = {plain_name(node): node for node in nodes.values()}
    return {plain_name(word): node for word, node in nodes.items()} | own


def _words(text: str) -> list[str]:
    """Words in lower case, without the endings of possession."""
    return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.sub(r"['’]s?(?!\w)", "", text.lower()))


def _candidates(word: str) -> Iterator[str]:
    """The word itself, then what it may be the plural of; the vocabulary decides which of them exists."""
    yield word
    if word in IRREGULAR:
        yield IRREGULAR[word]
    if word.endswith("ies"):
        yield word[:-3] + "y"
    if word.endswith("ves"):
        yield word[:-3] + "f"
        yield word[:-3] + "fe"
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
        if word.endswith("es"):
            yield word[:-2]


def _singular_forms(word: str) -> frozenset[str]:
    return frozenset(_candidates(word))


def read_vocabulary(path: Path | str = SYNONYMS) -> ObjectVocabulary:
    """Read a synonym list: one object a line, its node word first, synonyms after commas.

    Raises DataError if there is no entry.
    """
    nodes: dict[str, str] = {}
    for line in read_text(path).splitlines():
        words = [" ".join(part.lower().split()) for part in line.split(",")]
        for word in filter(None, words):
            nodes.setdefault(word, words[0])
    if not nodes:
        raise DataError(f"{display(path)} (from --synonyms_path) holds no synonyms")
    return ObjectVocabulary(nodes)
