"""What a page needs of mined captions to tell, at any thresholds, what `format_data.py` would say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from common.files.records import CaptionObjects, ObjectMention
from common.samples.sets import groups_of, score_of, span_score
from common.samples.spans import Span
from common.thresholds import Thresholds

LOWERED, RAISED, BETWEEN, CONFLICT, REPEATED = "lowered", "raised", "between", "conflict", "repeated"


@dataclass(frozen=True)
class MinedSpan:
    """A sub-sentence with objects.

    Attributes:
        number: among all of the file, in the order of the captions and of the text.
        key: a number for image, text up to its end, and place; a second span of the same key is a repetition.
        least, most: scores of its objects.
    """

    number: int
    span: Span
    mentions: tuple[ObjectMention, ...]
    key: int
    least: float
    most: float


@dataclass(frozen=True)
class MinedCaption:
    """A caption with its spans.

    Attributes:
        mean, least: of its objects' scores; None without objects.
        outside: objects that reach over a boundary, and so lie in no span.
    """

    record: CaptionObjects
    spans: tuple[MinedSpan, ...]
    outside: tuple[ObjectMention, ...]
    mean: float | None
    least: float | None


def mine(records: Sequence[CaptionObjects], target: str) -> list[MinedCaption]:
    """All captions, in their order. Raises ValueError for an object without a score."""
    keys: dict[tuple[str, str, int], int] = {}
    found: list[MinedCaption] = []
    number = 0
    for record in records:
        spans = []
        for span, mentions in groups_of(record, target):
            key = keys.setdefault((record.image, record.caption[: span.end], span.start), len(keys))
            scores = [score_of(mention) for mention in mentions]
            spans.append(MinedSpan(number, span, tuple(mentions), key, min(scores), max(scores)))
            number += 1
        held = {id(mention) for span in spans for mention in span.mentions}
        outside = tuple(mention for mention in record.objects if id(mention) not in held)
        scores = [score_of(mention) for mention in record.objects]
        mean, least = (sum(scores) / len(scores), min(scores)) if scores else (None, None)
        found.append(MinedCaption(record, tuple(spans), outside, mean, least))
    return found


def verdicts(captions: Sequence[MinedCaption], cut: Thresholds) -> list[str]:
    """What becomes of every span, by its number; `browse.js` has the same rule."""
    taken: set[int] = set()
    found = []
    for span in (span for caption in captions for span in caption.spans):
        score = span_score([span.least, span.most], cut)
        if score is None:
            found.append(CONFLICT)
        elif span.key in taken:
            found.append(REPEATED)
        else:
            taken.add(span.key)
            found.append(RAISED if cut.is_grounded(score) else LOWERED if cut.is_hallucinated(score) else BETWEEN)
    return found


def frequent_names(captions: Sequence[MinedCaption], most: int) -> list[tuple[str, list[float]]]:
    """The objects that are named most often, with the scores of all their mentions."""
    scores: dict[str, list[float]] = {}
    for caption in captions:
        for mention in caption.record.objects:
            scores.setdefault(mention.text.lower(), []).append(score_of(mention))
    counts = Counter({name: len(values) for name, values in scores.items()})
    return [(name, sorted(scores[name])) for name, _ in counts.most_common(most)]
