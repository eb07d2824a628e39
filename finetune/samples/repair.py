"""Captions without what the scorer did not find: low-scored things are cut out of the model's own captions.

A thing in a list goes alone ("a dog, a cat and a frisbee" -> "a dog and a cat"); anything else takes its whole sentence
with it, and so does the sentence behind it where that refers back ("It is red."). What is left is one more caption to
learn. No repaired caption begins with a sentence that was not its first, and none ends within one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from common.files.records import CaptionObjects, ObjectMention, SentenceSample, SpanSample
from common.samples.sets import score_of
from common.samples.spans import Span, split_sentences
from common.thresholds import Thresholds

SINGULAR = ("a", "an", "one", "another", "each", "every")
PLURAL = ("two", "three", "four", "five", "six", "several", "some", "many", "few", "multiple", "various", "numerous")
DETERMINERS = (*SINGULAR, *PLURAL, "the", "its", "their", "his", "her")
# Words that end a noun phrase or begin one; between its determiner and its noun there are others only.
NOT_INSIDE = (
    "a|an|the|its|their|his|her|another|each|every|of|with|and|or|in|on|at|near|by|from|to|for|is|are|was|were|be|can|"
    f"that|which|who|as|there|while|{'|'.join(PLURAL)}"
)
PHRASE = re.compile(
    rf"(?<![\w-])(?:{'|'.join(DETERMINERS)})\s+(?:(?:{'|'.join(PLURAL)})\s+)?"
    rf"(?:(?:\w+\s+)?(?:pairs?|groups?|couple|few|bunch|row|set)\s+(?:of\s+)?)?"
    rf"(?:(?!(?:{NOT_INSIDE})\b)[\w'-]+\s+){{0,4}}\Z",
    re.IGNORECASE,
)
SEPARATOR = re.compile(r"\s*,\s*(?:(?:and|or)\s+)?|\s+(?:and|or)\s+")
VERB_BEFORE = re.compile(r"\b(is|are|was|were)(\s+(?:also\s+)?)\Z", re.IGNORECASE)
VERB_BEHIND = re.compile(r"(\s+)(is|are|was|were)\b", re.IGNORECASE)
NUMBER_OF = {"is": ("is", "are"), "are": ("is", "are"), "was": ("was", "were"), "were": ("was", "were")}
REFERS_BACK = re.compile(
    r"\W*(?:(?:next to|beside|behind|near|around|above|below|under|in front of|on top of)\s+(?:it|them)|it|its|they|"
    r"their|them|this|these|that|those|he|she|his|her|both|each|others?|the others?|another)\b",
    re.IGNORECASE,
)


@dataclass
class RepairCounts:
    """What became of the captions that hold a low-scored thing, and what was cut out of those that were repaired."""

    low_captions: int = 0
    torn_openings: int = 0
    nothing_left: int = 0
    losing: int = 0
    repeated: int = 0
    repaired: int = 0
    cut_items: int = 0
    cut_sentences: int = 0

    def line(self) -> str:
        """All counts in words."""
        return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in vars(self).items())


@dataclass(frozen=True)
class Kept:
    """What is left of a sentence or of a caption.

    Attributes:
        text: without what was cut.
        mentions: the things that it still names.
        lost: things cut although their score was not low.
        items, sentences: number of list items and of sentences that were cut.
    """

    text: str
    mentions: tuple[ObjectMention, ...] = ()
    lost: tuple[ObjectMention, ...] = ()
    items: int = 0
    sentences: int = 0


@dataclass(frozen=True)
class RepairedSet:
    """The content of `repaired.json`, in the order of the captions, each caption of an image once."""

    samples: tuple[SentenceSample, ...]
    counts: RepairCounts = field(default_factory=RepairCounts)


def build_repaired(records: Iterable[CaptionObjects], cut: Thresholds, lossless: bool = False) -> RepairedSet:
    """Repair all captions that name something scored below `cut.hallucinated`.

    Args:
        records: captions with scored objects.
        lossless: leave out captions from which a thing that was not low had to be cut as well.
    """
    counts, found = RepairCounts(), dict[tuple[str, str], SentenceSample]()
    for record in records:
        if not any(_is_low(mention, cut) for mention in record.objects):
            continue
        counts.low_captions += 1
        kept = repair(record, cut)
        if kept is None:
            counts.torn_openings += 1
        elif not kept.mentions:
            counts.nothing_left += 1
        elif lossless and kept.lost:
            counts.losing += 1
        elif (record.image, kept.text) in found:
            counts.repeated += 1
        else:
            counts.repaired += 1
            counts.cut_items += kept.items
            counts.cut_sentences += kept.sentences
            scores = [score_of(mention) for mention in kept.mentions]
            sample = SentenceSample(record.image, kept.text, sum(scores) / len(scores), min(scores))
            found[record.image, kept.text] = sample
    return RepairedSet(tuple(found.values()), counts)


def _is_low(mention: ObjectMention, cut: Thresholds) -> bool:
    return cut.is_hallucinated(score_of(mention))


def repair(record: CaptionObjects, cut: Thresholds) -> Kept | None:
    """The caption without its low-scored things; None if its first sentence would have to go, or is never ended."""
    parts: list[Kept] = []
    torn = False
    for number, sentence in enumerate(split_sentences(record.caption)):
        text = record.caption[sentence.start : sentence.end]
        inside = tuple(m for m in record.objects if m.start < sentence.end and m.end > sentence.start)
        over = any(m.start < sentence.start or m.end > sentence.end for m in inside)
        part = None if over or (torn and REFERS_BACK.match(text)) else keep(text, sentence.start, inside, cut)
        if part is None or not _is_ended(text):
            if number == 0:
                return None
            torn = True
            parts.append(Kept("", (), tuple(m for m in inside if not _is_low(m, cut)), 0, 1))
        else:
            torn = False
            parts.append(part)
    return Kept(
        " ".join(part.text for part in parts if part.text),
        tuple(m for part in parts for m in part.mentions),
        tuple(m for part in parts for m in part.lost),
        sum(part.items for part in parts),
        sum(part.sentences for part in parts),
    )


def _is_ended(sentence: str) -> bool:
    return re.search(r"[.!?][\"'”’»)\]]*\s*\Z", sentence) is not None


def keep(text: str, offset: int, mentions: Sequence[ObjectMention], cut: Thresholds) -> Kept | None:
    """What is left of one sentence; None if that is nothing.

    Args:
        text: the sentence; offset: where it begins in the caption.
        mentions: those in it, at offsets of the caption.
    """
    if not any(_is_low(mention, cut) for mention in mentions):
        return Kept(text.strip(), tuple(mentions))
    ordered = sorted(mentions, key=lambda mention: mention.start)
    lists = _lists(text, offset, ordered)
    listed = {mention for items in lists for _, mention in items}
    if any(_is_low(m, cut) and m not in listed for m in ordered):
        return None
    gone: set[ObjectMention] = set()
    for items in reversed(lists):  # from the end, so that what stands before keeps its place
        low = [mention for _, mention in items if _is_low(mention, cut)]
        if len(low) == len(items):
            return None
        if low:
            shorter = _shortened(text, items, [not _is_low(mention, cut) for _, mention in items])
            if shorter is None:
                return None
            text = shorter
            gone.update(low)
    return Kept(text.strip(), tuple(m for m in mentions if m not in gone), (), len(gone))


Item = tuple[Span, ObjectMention]


def _lists(text: str, offset: int, mentions: Sequence[ObjectMention]) -> list[list[Item]]:
    """Enumerations of at least two noun phrases, each with nothing but a separator before the next."""
    phrases: list[Item] = []
    before = 0
    for mention in mentions:
        start, end = mention.start - offset, mention.end - offset
        found = PHRASE.search(text, before, start)
        if found:
            phrases.append((Span(found.start(), end), mention))
        before = end
    lists: list[list[Item]] = [[phrase] for phrase in phrases[:1]]
    for (one, _), phrase in pairwise(phrases):
        if SEPARATOR.fullmatch(text, one.end, phrase[0].start):
            lists[-1].append(phrase)
        else:
            lists.append([phrase])
    return [items for items in lists if len(items) > 1]


def _shortened(text: str, items: Sequence[Item], kept: Sequence[bool]) -> str | None:
    """The sentence with fewer items in this list; None where a verb must agree with what is left and cannot be told."""
    first, last = items[0][0].start, items[-1][0].end
    left = [text[span.start : span.end] for (span, _), stays in zip(items, kept, strict=True) if stays]
    before, behind = text[:first], text[last:]
    if first == 0 or not before.strip():
        left[0] = left[0][:1].upper() + left[0][1:]
    if not kept[0] or len(left) == 1:
        agreed = _agreeing(before, behind, left)
        if agreed is None:
            return None
        before, behind = agreed
    return before + _joined(left, ", and " in text[first:last] or ", or " in text[first:last]) + behind


def _joined(phrases: Sequence[str], serial_comma: bool) -> str:
    if len(phrases) < 3:
        return " and ".join(phrases)
    return ", ".join(phrases[:-1]) + (", and " if serial_comma else " and ") + phrases[-1]


def _agreeing(before: str, behind: str, left: Sequence[str]) -> tuple[str, str] | None:
    """Text on both sides of a list with its verb in the right number; None if the number cannot be told."""
    ahead, after = VERB_BEFORE.search(before), VERB_BEHIND.match(behind)
    if ahead is None and after is None:
        return before, behind
    word = left[0].split()[0].lower()
    alone = len(left) == 1
    if word not in (*SINGULAR, *PLURAL) and alone:
        return None
    plural = word in PLURAL or (not alone and after is not None)
    if ahead and (alone or word in PLURAL):
        before = before[: ahead.start(1)] + NUMBER_OF[ahead.group(1).lower()][plural] + ahead.group(2)
    if after:
        behind = after.group(1) + NUMBER_OF[after.group(2).lower()][plural] + behind[after.end() :]
    return before, behind


def captions_of_sets(spans: Iterable[SpanSample], sentences: Iterable[SentenceSample]) -> list[CaptionObjects]:
    """Whole captions with their scored sub-sentences in the place of objects: all that a published set tells."""
    scored: dict[str, dict[str, list[SpanSample]]] = {}
    for span in spans:
        scored.setdefault(span.image, {}).setdefault(span.sentence, []).append(span)
    lengths = {image: sorted({len(prefix) for prefix in found}) for image, found in scored.items()}
    records = []
    for sentence in sentences:
        text, found = sentence.sentence, scored.get(sentence.image, {})
        here = [span for length in lengths.get(sentence.image, ()) for span in found.get(text[:length], ())]
        records.append(CaptionObjects(sentence.image, 0, text, tuple(_as_mention(span) for span in here)))
    return records


def _as_mention(span: SpanSample) -> ObjectMention:
    target = span.sentence[span.position :]
    start = span.position + len(target) - len(target.lstrip())
    return ObjectMention(span.sentence[start:], start, len(span.sentence), span.score)
