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
from common.samples.spans import Span, span_index, split_spans
from common.thresholds import Thresholds


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


def build_samples(records: Iterable[CaptionObjects], cut: Thresholds, whole_spans: bool = True) -> Samples:
    """Samples of all captions, in the order of the captions and of the text.

    Args:
        records: captions with scored objects.
        cut: thresholds; they decide conflicts and the score of a span with several objects.
        whole_spans: targets are sub-sentences; otherwise just the objects' own words.
    """
    counts, sentences = Counts(), []
    spans: dict[tuple[str, str, int], SpanSample] = {}
    for record in records:
        counts.captions += 1
        counts.objects += len(record.objects)
        for sample in _span_samples(record, cut, whole_spans, counts):
            if spans.setdefault((sample.image, sample.sentence, sample.position), sample) is not sample:
                counts.repeated_spans += 1
        if record.objects:
            sentences.append(_sentence_sample(record))
    _count_sets(counts, spans.values(), sentences, cut)
    return Samples(tuple(spans.values()), tuple(sentences), counts)


def _span_samples(record: CaptionObjects, cut: Thresholds, whole_spans: bool, counts: Counts) -> Iterator[SpanSample]:
    groups = groups_of(record, whole_spans)
    counts.objects_over_boundaries += len(record.objects) - sum(len(mentions) for _, mentions in groups)
    for span, mentions in groups:
        counts.spans += 1
        score = span_score([score_of(mention) for mention in mentions], cut)
        if score is None:
            counts.conflicts += 1
            continue
        yield SpanSample(record.image, record.caption[: span.end], span.start, score)


def groups_of(record: CaptionObjects, whole_spans: bool) -> list[tuple[Span, list[ObjectMention]]]:
    """Each span that could be a target with its objects, in the order of the text.

    Args:
        whole_spans: of sub-sentences, which a mention that reaches over a boundary is in none of; otherwise each
            mention is its own.
    """
    if not whole_spans:
        ordered = sorted(record.objects, key=lambda mention: (mention.start, mention.end))
        return [(Span(mention.start, mention.end), [mention]) for mention in ordered]
    spans = split_spans(record.caption)
    groups: dict[int, list[ObjectMention]] = {}
    for mention in record.objects:
        index = span_index(spans, mention)
        if index is not None:
            groups.setdefault(index, []).append(mention)
    return [(spans[index], groups[index]) for index in sorted(groups)]


def score_of(mention: ObjectMention) -> float:
    """The score of a scored mention. Raises ValueError for one that has none; files are checked on reading."""
    if mention.score is None:
        raise ValueError(f"object '{mention.text}' has no score")
    return mention.score


def _sentence_sample(record: CaptionObjects) -> SentenceSample:
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
