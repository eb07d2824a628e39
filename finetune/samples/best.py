"""Of an image's captions those that are best learnt whole: they name nothing twice, name what is there, and are long.

A caption stands for what would be learnt of it, repaired or as it is. Of those that name nothing twice (of all, where
there is none such) the ones are taken that name the most things above the middle of the two thresholds and the fewest
below it, a thing of the one kind for one of the other; and of these the ones that are as long as their mean, or longer.
What was repaired is shorter by whole sentences, and the model would learn from it to say less.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from common.files.records import CaptionObjects, ObjectMention
from common.files.vocabulary import ObjectVocabulary
from common.samples.sets import score_of, sentence_sample
from common.thresholds import Thresholds
from finetune.samples.agreement import thing
from finetune.samples.repair import Kept, names_low, repair


def learnt_whole(record: CaptionObjects, cut: Thresholds) -> Kept | None:
    """What is learnt of a caption: all of it, or its repair; None if nothing is."""
    if not record.objects:
        return None
    if names_low(record, cut):
        kept = repair(record, cut)
        return kept if kept and kept.mentions else None
    whole = sentence_sample(record)
    return Kept(record.caption, tuple(record.objects)) if cut.is_good_sentence(whole.mean, whole.min) else None


def worth(mentions: Sequence[ObjectMention], cut: Thresholds, vocabulary: ObjectVocabulary) -> tuple[bool, int]:
    """Whether nothing is named twice; things above the middle of the thresholds, less those that are not."""
    middle = (cut.hallucinated + cut.grounded) / 2
    most: dict[str, float] = {}
    for mention in mentions:
        name = thing(mention.text, vocabulary)
        most[name] = max(most.get(name, score_of(mention)), score_of(mention))
    return len(most) == len(mentions), sum(1 if score > middle else -1 for score in most.values())


def best_of_images(
    records: Iterable[CaptionObjects], cut: Thresholds, vocabulary: ObjectVocabulary
) -> list[tuple[CaptionObjects, Kept]]:
    """The best captions of each image, with what is learnt of each; the longer half of those equally good.

    In the order of the captions; none of some images.
    """
    found: dict[str, list[tuple[CaptionObjects, Kept]]] = defaultdict(list)
    for record in records:
        if kept := learnt_whole(record, cut):
            found[record.image].append((record, kept))
    return [pair for of_image in found.values() for pair in _best(of_image, cut, vocabulary)]


def _best(
    found: Sequence[tuple[CaptionObjects, Kept]], cut: Thresholds, vocabulary: ObjectVocabulary
) -> list[tuple[CaptionObjects, Kept]]:
    worths = [worth(kept.mentions, cut, vocabulary) for _, kept in found]
    best = max(worths)
    equal = [pair for pair, value in zip(found, worths, strict=True) if value == best]
    words = [len(kept.text.split()) for _, kept in equal]
    return [pair for pair, many in zip(equal, words, strict=True) if many * len(equal) >= sum(words)]
