"""From the published samples to captions with spans.

Every sample of `pos_neg.json` is a prefix of a caption, cut after its target; those of one image that are prefixes of
one another come from one caption and can share its forward pass. The prompt and everything before a span is context in
either case, so the losses are those of the samples taken one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from common.files.records import SentenceSample, SpanSample
from common.thresholds import Thresholds
from finetune.corpus.prefixes import FirstHomes
from finetune.corpus.records import NEG, POS, SENT, SpannedCaption, TextSpan


@dataclass(frozen=True)
class Filtered:
    """Samples that the thresholds let through, and how many they did not.

    Attributes:
        spans: (kind, sample) of positives and negatives.
        sentences: of the sentence set.
        between: spans scored between the two thresholds; conflicts: samples whose span is positive and negative at
            once, which are left out; other_sentences: sentences below their threshold.
    """

    spans: tuple[tuple[str, SpanSample], ...]
    sentences: tuple[SentenceSample, ...]
    between: int
    conflicts: int
    other_sentences: int


def filter_samples(
    spans: Sequence[SpanSample], sentences: Sequence[SentenceSample], thresholds: Thresholds
) -> Filtered:
    """Cut the samples into sets by their scores; a span that would be learnt and unlearnt at once is left out."""
    kinds = [_kind(s.score, thresholds) for s in spans]
    sides = defaultdict(set)
    for kind, sample in zip(kinds, spans, strict=True):
        if kind is not None:
            sides[_place(sample)].add(kind)
    kept = [(k, s) for k, s in zip(kinds, spans, strict=True) if k is not None]
    agreed = tuple((k, s) for k, s in kept if len(sides[_place(s)]) == 1)
    good = tuple(s for s in sentences if thresholds.is_good_sentence(s.mean, s.min))
    return Filtered(agreed, good, len(spans) - len(kept), len(kept) - len(agreed), len(sentences) - len(good))


def _kind(score: float, thresholds: Thresholds) -> str | None:
    if thresholds.is_hallucinated(score):
        return NEG
    return POS if thresholds.is_grounded(score) else None


def _place(sample: SpanSample) -> tuple[str, str, int]:
    return sample.image, sample.sentence, sample.position


def group(filtered: Filtered) -> list[SpannedCaption]:
    """Captions with their spans, in order of first appearance of the image.

    A sentence sample is always a caption of its own (the end symbol follows it); a span joins the first caption of its
    image that begins with its sentence.
    """
    by_image: dict[str, tuple[list[tuple[str, SpanSample]], list[SentenceSample]]] = {}
    for kind, sample in filtered.spans:
        by_image.setdefault(sample.image, ([], []))[0].append((kind, sample))
    for sentence in filtered.sentences:
        by_image.setdefault(sentence.image, ([], []))[1].append(sentence)
    return [c for image, (spans, sentences) in by_image.items() for c in _group_image(image, spans, sentences)]


def _group_image(
    image: str, spans: Sequence[tuple[str, SpanSample]], sentences: Sequence[SentenceSample]
) -> list[SpannedCaption]:
    homes = FirstHomes([*(s.sentence for s in sentences), *(s.sentence for _, s in spans)])
    captions: dict[str, list[TextSpan]] = {}
    texts: list[str] = []

    def add(text: str, target: TextSpan) -> None:
        if text not in captions:
            homes.add(text, len(texts))
            texts.append(text)
        captions.setdefault(text, []).append(target)

    for sentence in sentences:
        add(sentence.sentence, TextSpan(SENT, 0, len(sentence.sentence), sentence.mean))
    for kind, sample in sorted(spans, key=lambda pair: -len(pair[1].sentence)):
        home = homes.first(sample.sentence)
        text = sample.sentence if home is None else texts[home]
        add(text, TextSpan(kind, sample.position, len(sample.sentence), sample.score))
    return [
        SpannedCaption(image, text, tuple(sorted(found, key=lambda s: (s.start, s.end, s.kind, s.score))))
        for text, found in captions.items()
    ]
