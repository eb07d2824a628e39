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
from finetune.corpus.records import NEG, POS, REPAIR, SENT, SpannedCaption, TextSpan


@dataclass(frozen=True)
class Filtered:
    """Samples that the thresholds let through, and how many they did not.

    Attributes:
        spans: (kind, sample) of positives and negatives.
        sentences: of the sentence set.
        repaired: captions repaired from mined ones.
        between: spans scored between the two thresholds; conflicts: samples whose span is positive and negative at
            once, which are left out; other_sentences: sentences below their threshold.
    """

    spans: tuple[tuple[str, SpanSample], ...]
    sentences: tuple[SentenceSample, ...]
    between: int
    conflicts: int
    other_sentences: int
    repaired: tuple[SentenceSample, ...] = ()
    other_repaired: int = 0


def filter_samples(
    spans: Sequence[SpanSample],
    sentences: Sequence[SentenceSample],
    thresholds: Thresholds,
    repaired: Sequence[SentenceSample] = (),
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
    clean = tuple(s for s in repaired if not thresholds.is_hallucinated(s.min))
    return Filtered(
        spans=agreed,
        sentences=good,
        between=len(spans) - len(kept),
        conflicts=len(kept) - len(agreed),
        other_sentences=len(sentences) - len(good),
        repaired=clean,
        other_repaired=len(repaired) - len(clean),
    )


def _kind(score: float, thresholds: Thresholds) -> str | None:
    if thresholds.is_hallucinated(score):
        return NEG
    return POS if thresholds.is_grounded(score) else None


def _place(sample: SpanSample) -> tuple[str, str, int]:
    return sample.image, sample.sentence, sample.position


def group(filtered: Filtered) -> list[SpannedCaption]:
    """Captions with their spans, in order of first appearance of the image.

    A sentence sample, or a repaired caption, is always a caption of its own (the end symbol follows it); a span joins
    the first caption of its image that begins with its sentence.
    """
    by_image: dict[str, tuple[list[tuple[str, SpanSample]], list[tuple[str, SentenceSample]]]] = {}
    for kind, sample in filtered.spans:
        by_image.setdefault(sample.image, ([], []))[0].append((kind, sample))
    for kind, whole in ((SENT, filtered.sentences), (REPAIR, filtered.repaired)):
        for sentence in whole:
            by_image.setdefault(sentence.image, ([], []))[1].append((kind, sentence))
    return [c for image, (spans, whole) in by_image.items() for c in _group_image(image, spans, whole)]


def _group_image(
    image: str, spans: Sequence[tuple[str, SpanSample]], whole: Sequence[tuple[str, SentenceSample]]
) -> list[SpannedCaption]:
    homes = FirstHomes([*(s.sentence for _, s in whole), *(s.sentence for _, s in spans)])
    captions: dict[str, list[TextSpan]] = {}
    texts: list[str] = []

    def add(text: str, target: TextSpan) -> None:
        if text not in captions:
            homes.add(text, len(texts))
            texts.append(text)
        captions.setdefault(text, []).append(target)

    for kind, sentence in whole:
        add(sentence.sentence, TextSpan(kind, 0, len(sentence.sentence), sentence.mean))
    for kind, sample in sorted(spans, key=lambda pair: -len(pair[1].sentence)):
        home = homes.first(sample.sentence)
        text = sample.sentence if home is None else texts[home]
        add(text, TextSpan(kind, sample.position, len(sample.sentence), sample.score))
    return [
        SpannedCaption(image, text, tuple(sorted(found, key=lambda s: (s.start, s.end, s.kind, s.score))))
        for text, found in captions.items()
    ]
