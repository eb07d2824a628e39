"""Objects named in a text, by CHAIR's rules (`metrics.synonyms` tells the two definitions apart).

Lower-case, tokenise, reduce to base forms, merge known word pairs from left to right, drop every "seat" if a "toilet"
is left too, keep the words of the list. `standard` takes a word as verb or adjective where the original's tagger
does ("seated" names a seat, hence a chair); `paper` takes every word as a noun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.files.vocabulary import name_table, plain_name
from evaluate.chair.synonyms import ChairMode, WordLists, load_word_lists
from evaluate.tagger.inflection import WORD_CLASSES, BaseForms, WordClass, bundled_forms, with_plurals
from evaluate.tagger.tagger import TagSource, word_classes
from evaluate.tagger.tokens import words

PARSER_VERSION = "2"


@dataclass(frozen=True)
class Mention:
    """An object named in a text.

    Attributes:
        word: base form as it stands in the synonym list ("sofa").
        node: COCO object ("couch").
        position: number of the token where it begins.
        tokens: how many it takes.
    """

    word: str
    node: str
    position: int
    tokens: int = field(default=1, compare=False)


@dataclass(frozen=True)
class ParsedText:
    """The objects of a text in order, repeats kept, and its number of tokens after merging."""

    mentions: tuple[Mention, ...]
    tokens: int


class ChairParser:
    """Finds the COCO objects that a text names. Cheap to construct; safe to keep and share.

    Args:
        mode: `standard` or `paper`.
        synonyms_path: a synonym list in place of the bundled one.
        tagger: decides word classes in place of the bundled tagger; `paper` mode asks none.

    Attributes:
        lists: the words that it looks for.
        class_dependent: word forms whose count depends on their word class; none in `paper` mode.
    """

    def __init__(
        self,
        mode: ChairMode = "standard",
        synonyms_path: Path | str | None = None,
        tagger: TagSource | None = None,
    ) -> None:
        self._tagger = tagger
        self.lists: WordLists = load_word_lists(mode, synonyms_path)
        self._names = name_table(self.lists.nodes)
        self._forms: Mapping[str, BaseForms] = bundled_forms()
        if synonyms_path is not None:
            own = load_word_lists(mode)
            self._forms = with_plurals((self.lists.nodes.keys() | self.lists.pairs) - (own.nodes.keys() | own.pairs))
        self._wanted = self.lists.nodes.keys() | {part for pair in self.lists.pairs for part in pair.split()}
        self.class_dependent = self._class_dependent() if mode == "standard" else frozenset()

    def counts_as(self, token: str, word_class: WordClass) -> str | None:
        """The listed word, or part of a listed pair, that a token is in one word class; None if it is none."""
        forms = self._forms.get(token)
        form = getattr(forms, word_class) if forms else token
        return form if form in self._wanted else None

    def _class_dependent(self) -> frozenset[str]:
        """Word forms that name an object, or part of a pair, in one word class and not in another."""
        return frozenset(t for t in self._forms if len({self.counts_as(t, c) for c in WORD_CLASSES}) > 1)

    def node_named(self, name: str) -> str | None:
        """The object that a category or gold name stands for; None for a name that the list does not know."""
        return self._names.get(plain_name(name))

    def nodes_in(self, text: str) -> list[str]:
        """The objects that a text names, in order, repeats kept."""
        return [mention.node for mention in self.objects(text)]

    def objects(self, text: str) -> list[Mention]:
        """The objects named in a text, in order of appearance, repeats kept."""
        return list(self.parse(text).mentions)

    def parse(self, text: str) -> ParsedText:
        """The objects named in a text and its length in tokens."""
        merged = self._merge(self._base_forms(words(text)))
        found = [one for one in merged if one[0] in self.lists.nodes]
        if any(word == "toilet" for word, *_ in found):
            found = [one for one in found if one[0] != "seat"]
        mentions = tuple(Mention(word, self.lists.nodes[word], place, tokens) for word, place, tokens in found)
        return ParsedText(mentions, len(merged))

    def _base_forms(self, tokens: Sequence[str]) -> list[str]:
        """Base form of each token, in the word class that the mode sees in it."""
        forms = [self._forms.get(token) for token in tokens]
        if any(token in self.class_dependent for token in tokens):
            classes = word_classes(tokens, self._tagger)
            return [getattr(f, c) if f else t for t, f, c in zip(tokens, forms, classes, strict=True)]
        return [f.noun if f else t for t, f in zip(tokens, forms, strict=True)]

    def _merge(self, tokens: Sequence[str]) -> list[tuple[str, int, int]]:
        """Words after merging pairs from left to right, each with its first token's number and how many it takes."""
        out: list[tuple[str, int, int]] = []
        i = 0
        while i < len(tokens):
            pair = self.lists.pairs.get(" ".join(tokens[i : i + 2])) if i + 1 < len(tokens) else None
            taken = 2 if pair else 1
            out.append((pair or tokens[i], i, taken))
            i += taken
        return out
