"""Of an image's captions those that are best learnt whole: nothing is named twice, and what is named is there.

A caption stands for what would be learnt of it, repaired or as it is. Of those that name nothing twice (of all, where
there is none such) the ones are taken that name the most things above the middle of the two thresholds and the fewest
below it, a thing of the one kind for one of the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from common.files.records import CaptionObjects, ObjectMention
from common.files.vocabulary import ObjectVocabulary
from common.samples.sets import score_of, sentence_sample
from common.thresholds import Thresholds
from finetune.samples.agreement import thing
from finetune.samples.repair import repair


def learnt_whole(record: CaptionObjects, cut: Thresholds) -> Sequence[ObjectMention]:
    """The things that a caption names as it is learnt; none if it is learnt in no form."""
    if not record.objects:
        return ()
    whole = sentence_sample(record)
    if cut.is_hallucinated(whole.min):
        kept = repair(record, cut)
        return kept.mentions if kept else ()
    return record.objects if cut.is_good_sentence(whole.mean, whole.min) else ()


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
) -> list[CaptionObjects]:
    """The best captions of each image, all that are equally good, in their order; none of an image without any."""
    worths: dict[str, list[tuple[tuple[bool, int], CaptionObjects]]] = defaultdict(list)
    for record in records:
        if mentions := learnt_whole(record, cut):
            worths[record.image].append((worth(mentions, cut, vocabulary), record))
    best = {image: max(value for value, _ in found) for image, found in worths.items()}
    return [record for image, found in worths.items() for value, record in found if value == best[image]]
