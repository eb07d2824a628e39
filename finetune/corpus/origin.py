"""Whether repaired captions are what is left of these captions, by their words: what no manifest is needed for.

Repairing only takes words away, but for what joins a list and a verb that must agree with it. Of repaired captions of
the same captions all fit; of those of other captions of the same images 1 in 50 does (mini world and captions of 11
models for COCO photos, 2026-11-26).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from common.files.records import SentenceSample, SpanSample
from common.samples import determiners

# With these a list's second item begins, which is the first where that one was cut out.
DETERMINERS = frozenset(determiners.DETERMINERS)
WORD = re.compile(r"[^\W_]+")
CHANGED = frozenset(("and", "or", "is", "are", "was", "were", "has", "have"))
FIRST_SENTENCE = re.compile(r".*?[.!?][\"'”’»)\]*]*(?=\s|\Z)|.*", re.DOTALL)


def strange_captions(
    repaired: Iterable[SentenceSample], spans: Iterable[SpanSample], sentences: Iterable[SentenceSample]
) -> list[SentenceSample]:
    """Those that are not what is left of any caption of their image.

    A caption that is in none of the sets as a whole is known by its first sentence, with which its spans begin.
    """
    whole, openings = defaultdict[str, list[list[str]]](list), defaultdict[str, list[list[str]]](list)
    repaired = list(repaired)
    images = {sample.image for sample in repaired}
    for sentence in (s for s in sentences if s.image in images):
        whole[sentence.image].append(words(sentence.sentence))
    for span in (s for s in spans if s.image in images):
        openings[span.image].append(words(span.sentence))
    return [sample for sample in repaired if not _fits(sample, whole[sample.image], openings[sample.image])]


def torn_beginnings(repaired: Iterable[SentenceSample], sentences: Iterable[SentenceSample]) -> list[SentenceSample]:
    """Those that are left of captions of their image, and whose first sentence is left of none of their first ones, or
    begins within it: other than with its first word, or with an item of the list with which it begins."""
    repaired = list(repaired)
    images = {sample.image for sample in repaired}
    whole = defaultdict[str, list[str]](list)
    for sentence in (s for s in sentences if s.image in images):
        whole[sentence.image].append(sentence.sentence)
    return [sample for sample in repaired if _is_torn(sample.sentence, whole[sample.image])]


def _is_torn(left: str, captions: Iterable[str]) -> bool:
    theirs = [caption for caption in captions if is_left_of(words(left), words(caption))]
    return bool(theirs) and not any(_begins_alike(left, caption) for caption in theirs)


def _begins_alike(left: str, caption: str) -> bool:
    if not is_left_of(*(words(FIRST_SENTENCE.match(text).group()) for text in (left, caption))):  # type: ignore[union-attr]
        return False
    one, other = (found.group() if (found := WORD.search(text)) else "" for text in (left, caption))
    if other[:1].isupper() and one[:1].islower():
        return False
    both = {one.lower(), other.lower()}
    return len(both) == 1 or both <= DETERMINERS or both <= CHANGED


def uncut(repaired: Iterable[SentenceSample], sentences: Iterable[SentenceSample]) -> bool:
    """Whether every one of them is a whole caption as it was."""
    whole = {(sample.image, sample.sentence) for sample in sentences}
    return all((sample.image, sample.sentence) in whole for sample in repaired)


def _fits(sample: SentenceSample, whole: Iterable[Sequence[str]], openings: Iterable[Sequence[str]]) -> bool:
    left, first = words(sample.sentence), words(FIRST_SENTENCE.match(sample.sentence).group())  # type: ignore[union-attr]
    return any(is_left_of(left, caption) for caption in whole) or any(
        opening[: len(first)] == first for opening in openings
    )


def words(text: str) -> list[str]:
    """In lower case, without those that repairing changes."""
    return [word for word in WORD.findall(text.lower()) if word not in CHANGED]


def is_left_of(left: Iterable[str], caption: Iterable[str]) -> bool:
    """Whether words stand in a caption in their order, others between them."""
    rest = iter(caption)
    return all(word in rest for word in left)
