"""From scored objects to samples: which span is a target, with which score, and what is left out why.

A span's score is that of its most telling object: the lowest if any object of the span is hallucinated, else the
highest. Cut at the thresholds, the span is then a negative exactly if it holds a hallucinated object, and a positive
exactly if it holds a grounded and no hallucinated one. A span that holds both is in conflict and is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from common.files.records import CaptionObjects, ObjectMention, SentenceSample, SpanSample
from common.samples.spans import Span, span_index, split_sentences, split_spans
from common.thresholds import Thresholds

SUBSENTENCE, OPENED, OBJECTS = "subsentence", "opened", "objects"
TARGETS = (SUBSENTENCE, OPENED, OBJECTS)  # of `--unlearn_target`: what is a span


@dataclass
class Counts:
    """What went in, what was left out at each filter, and what came out."""

    captions: int = 0
    objects: int = 0
    objects_over_boundaries: int = 0
    spans: int = 0
    conflicts: int = 0
    repeated_spans: int = 0
    positives: int = 0
    negatives: int = 0
    uncertain: int = 0
    captions_with_objects: int = 0
    sentences: int = 0

    def line(self) -> str:
        """All counts in words, for messages."""
        return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in vars(self).items())


@dataclass(frozen=True)
class Samples:
    """The content of `pos_neg.json` and `sentences.json`, with the counts of how it came about."""

    spans: tuple[SpanSample, ...]
    sentences: tuple[SentenceSample, ...]
    counts: Counts = field(default_factory=Counts)


def span_score(scores: Sequence[float], cut: Thresholds) -> float | None:
    """The score of a span from those of its objects (at least one); None if they are in conflict."""
    least, most = min(scores), max(scores)
    if cut.is_hallucinated(least):
        return None if cut.is_grounded(most) else least
    return most


def build_samples(records: Iterable[CaptionObjects], cut: Thresholds, target: str = SUBSENTENCE) -> Samples:
    """Samples of all captions, in the order of the captions and of the text.

    Args:
        records: captions with scored objects.
        cut: thresholds; they decide conflicts and the score of a span with several objects.
        target: what is a span, see :func:`groups_of`.
    """
    counts, sentences = Counts(), []
    spans: dict[tuple[str, str, int], SpanSample] = {}
    for record in records:
        counts.captions += 1
        counts.objects += len(record.objects)
        for sample in _span_samples(record, cut, target, counts):
            if spans.setdefault((sample.image, sample.sentence, sample.position), sample) is not sample:
                counts.repeated_spans += 1
        if record.objects:
            sentences.append(sentence_sample(record))
    _count_sets(counts, spans.values(), sentences, cut)
    return Samples(tuple(spans.values()), tuple(sentences), counts)


def _span_samples(record: CaptionObjects, cut: Thresholds, target: str, counts: Counts) -> Iterator[SpanSample]:
    groups = groups_of(record, target)
    counts.objects_over_boundaries += len(record.objects) - sum(len(mentions) for _, mentions in groups)
    for span, mentions in groups:
        counts.spans += 1
        score = span_score([score_of(mention) for mention in mentions], cut)
        if score is None:
            counts.conflicts += 1
            continue
        yield SpanSample(record.image, record.caption[: span.end], span.start, score)


def groups_of(record: CaptionObjects, target: str) -> list[tuple[Span, list[ObjectMention]]]:
    """Each span that could be a target with its objects, in the order of the text.

    Args:
        target: one of `TARGETS`: sub-sentences, which a mention that reaches over a boundary is in none of; these from
            the beginning of their sentence, where they are the first in it that name something; or just the objects'
            own words.
    """
    if target == OBJECTS:
        ordered = sorted(record.objects, key=lambda mention: (mention.start, mention.end))
        return [(Span(mention.start, mention.end), [mention]) for mention in ordered]
    spans = split_spans(record.caption)
    groups: dict[int, list[ObjectMention]] = {}
    for mention in record.objects:
        index = span_index(spans, mention)
        if index is not None:
            groups.setdefault(index, []).append(mention)
    found = [(spans[index], groups[index]) for index in sorted(groups)]
    return _opened(record.caption, found) if target == OPENED else found


def _opened(caption: str, groups: list[tuple[Span, list[ObjectMention]]]) -> list[tuple[Span, list[ObjectMention]]]:
    """Spans from the beginning of their sentence, where no other span with an object lies before them in it.

    "Additionally, two dogs can be seen." is decided upon with its first word, which no sub-sentence with an object
    holds.
    """
    openings = [max(0, sentence.start - 1) for sentence in split_sentences(caption)]  # with the blank before
    found, before = [], 0
    for span, mentions in groups:
        opening = max((start for start in openings if start <= span.end), default=span.start)
        start = opening if before <= opening < span.start else span.start
        found.append((Span(start, span.end), mentions))
        before = span.end
    return found


def score_of(mention: ObjectMention) -> float:
    """The score of a scored mention. Raises ValueError for one that has none; files are checked on reading."""
    if mention.score is None:
        raise ValueError(f"object '{mention.text}' has no score")
    return mention.score


def sentence_sample(record: CaptionObjects) -> SentenceSample:
    """A caption that names something, with mean and least of its scores. Raises ValueError as :func:`score_of`."""
    scores = [score_of(mention) for mention in record.objects]
    return SentenceSample(record.image, record.caption, sum(scores) / len(scores), min(scores))


def _count_sets(
    counts: Counts, spans: Iterable[SpanSample], sentences: Sequence[SentenceSample], cut: Thresholds
) -> None:
    kinds = Counter(
        "positives" if cut.is_grounded(s.score) else "negatives" if cut.is_hallucinated(s.score) else "uncertain"
        for s in spans
    )
    counts.positives, counts.negatives, counts.uncertain = kinds["positives"], kinds["negatives"], kinds["uncertain"]
    counts.captions_with_objects = len(sentences)
    counts.sentences = sum(cut.is_good_sentence(s.mean, s.min) for s in sentences)
