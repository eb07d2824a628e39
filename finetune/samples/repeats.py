"""What a caption introduces again: "a dog and a train ... In the background, there is a dog."

A model that is told what not to say says again what it has said, unless that is told, too. A thing named before and now
brought in as if it were new ("a", "two", "several") is worth no more than one that is not there; "the dog" and "another
dog" go on about it and are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from common.files.records import CaptionObjects, ObjectMention
from common.files.vocabulary import ObjectVocabulary
from common.samples.determiners import PLURAL
from common.samples.sets import score_of
from common.thresholds import Thresholds
from finetune.samples.agreement import thing
from finetune.samples.enumerations import PHRASE

INTRODUCING = frozenset(("a", "an", "one", *PLURAL))


def introduced_again(record: CaptionObjects, vocabulary: ObjectVocabulary) -> frozenset[ObjectMention]:
    """The mentions that bring in a thing which the caption has named before."""
    named: set[str] = set()
    found = []
    for mention in sorted(record.objects, key=lambda m: m.start):
        name = thing(mention.text, vocabulary)
        if name in named and _introduces(record.caption, mention):
            found.append(mention)
        named.add(name)
    return frozenset(found)


def _introduces(caption: str, mention: ObjectMention) -> bool:
    phrase = PHRASE.search(caption, max(0, caption.rfind(".", 0, mention.start) + 1), mention.start)
    return phrase is not None and phrase.group().split()[0].casefold() in INTRODUCING


def repeats_lowered(
    records: Iterable[CaptionObjects], cut: Thresholds, vocabulary: ObjectVocabulary
) -> tuple[list[CaptionObjects], int]:
    """The captions with what they introduce again scored below the hallucinated threshold, and how many such there are.

    So it is unlearnt, cut out of repaired captions, and no whole caption that holds one is learnt.
    """
    low = 2 * cut.hallucinated - cut.grounded
    changed, count = [], 0
    for record in records:
        again = introduced_again(record, vocabulary)
        count += len(again)
        lowered = (replace(m, score=min(score_of(m), low)) if m in again else m for m in record.objects)
        changed.append(replace(record, objects=tuple(lowered)))
    return changed, count
