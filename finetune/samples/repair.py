"""Captions without what the scorer did not find: low-scored things are cut out of the model's own captions.

A thing in a list goes alone ("a dog, a cat and a frisbee" -> "a dog and a cat"); anything else takes its whole sentence
with it, and so does the sentence behind it where that refers back ("It is red."). What is left is one more caption to
learn. No repaired caption begins with a sentence that was not its first, and none ends within one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from common.files.records import CaptionObjects, ObjectMention, SentenceSample, SpanSample
from common.samples.sets import score_of
from common.samples.spans import Span, split_sentences
from common.thresholds import Thresholds
from finetune.samples.enumerations import PLACES, enumerations, shortened

# What begins with one of these speaks of what the sentence before has named; behind an adverb ("However, it ...") too.
ADVERB = r"\W*(?:(?:\w+ly|also|and|besides|but|however|meanwhile|moreover|perhaps|so|still|then|while),?\s+)?"
SEVERAL = (
    r"they|their|them|these|those|both|each|all of it|(?:all|one|some|two|three|most|many|several|none) of (?:them|"
    r"these|those)|the (?:two|three|others?|other one|former|latter|rest|pair|duo)|one (?:is|has|of)|in between|"
    r"between them"
)
REFERS_TO_SEVERAL = re.compile(rf"{ADVERB}(?:{SEVERAL})\b", re.IGNORECASE)
REFERS_BACK = re.compile(
    rf"{ADVERB}(?:{SEVERAL}|it|its|this|that|he|she|his|her|others?|another|(?:an?|the) (?:first|second|third)|"
    r"there\s+(?:is|are)\s+(?:also\s+)?another|"
    rf"(?:{PLACES}|with|along|apart|aside|besides|part)(?:\s+[\w'-]+){{0,4}}?\s+(?:its?|them|their|him|his|her)|"
    rf"(?:an?|the|some|two|several)(?:\s+[\w'-]+){{1,3}}?\s+(?:is|are|sits?|stands?|lies?|can\s+be)(?:\s+[\w'-]+)?\s+"
    rf"(?:{PLACES})(?:\s+(?!(?:an?|the)\b)[\w'-]+){{0,3}}?\s+(?:it|them|him|her)(?=[,.;!?])|"
    rf"(?!in addition\b)(?:{PLACES})(?:\s+[\w'-]+){{0,4}}?\s+th(?:at|is|ose|ese)(?=,|\s+(?:there|is|are|an?|the)\b))\b",
    re.IGNORECASE,
)
CONTINUES = re.compile(rf"(?-i:[a-z])|{REFERS_BACK.pattern}", re.IGNORECASE)  # "A dog... and a cat."
# "U.S. Capitol", "J. Smith", "at 5 p.m. Mr. Smith", "No. 5", a line's "2.": what seems to be an end may be none.
UNSURE_END = re.compile(
    r"(?:\b(?:\w\.){2,}|(?<![\w'])[A-HJ-Z]\.|\b(?:[Aa]pprox|[JS]r|[Nn]os?|[Ff]ig|[Vv]ol)\.|^\W*\d+\.)\Z", re.MULTILINE
)
MOST_UNSURE = 20  # characters of it
ROUNDING = 1e-3  # between two files of a published set
PAIRS = (("(", ")"), ("[", "]"), ("\u201c", "\u201d"), ("\xab", "\xbb"), ('"', '"'), ("**", "**"))


@dataclass
class RepairCounts:
    """What became of the captions that hold a low-scored thing, and what was cut out of those that were repaired.

    `unlocated`, of a published set only: the lowest thing of the caption is in no span, so that it cannot be cut out.
    """

    low_captions: int = 0
    unlocated: int = 0
    torn_openings: int = 0
    nothing_left: int = 0
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


def build_repaired(records: Iterable[CaptionObjects], cut: Thresholds) -> RepairedSet:
    """Repair all captions, with scored objects, that name something scored below `cut.hallucinated`."""
    return gathered((record, repair(record, cut)) for record in records if names_low(record, cut))


def gathered(repairs: Iterable[tuple[CaptionObjects, Kept | None]]) -> RepairedSet:
    """Count what became of captions that name something low, and make samples of what is left of them."""
    counts, found = RepairCounts(), dict[tuple[str, str], SentenceSample]()
    for record, kept in repairs:
        counts.low_captions += 1
        if kept is None:
            counts.torn_openings += 1
        elif not kept.mentions:
            counts.nothing_left += 1
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


def names_low(record: CaptionObjects, cut: Thresholds) -> bool:
    """Whether a caption names something scored below `cut.hallucinated`."""
    return any(_is_low(mention, cut) for mention in record.objects)


def _is_low(mention: ObjectMention, cut: Thresholds) -> bool:
    return cut.is_hallucinated(score_of(mention))


def repair(record: CaptionObjects, cut: Thresholds) -> Kept | None:
    """The caption without its low-scored things; None if its first sentence would have to go, or is never ended.

    Nor is there one where a quotation or bracket would lose one of its ends.
    """
    sentences = _sentences(record.caption)
    mentions = sorted(record.objects, key=lambda m: m.start, reverse=True)
    parts: list[Kept] = []
    back: re.Pattern[str] | None = None  # what would refer to something that has just been cut
    behind = REFERS_BACK if record.caption.lstrip()[:1].islower() else CONTINUES
    for sentence in sentences:
        text = record.caption[sentence.start : sentence.end]
        while mentions and mentions[-1].end <= sentence.start:
            mentions.pop()
        overlapping = takewhile(lambda m: m.start < sentence.end, reversed(mentions))  # noqa: B023 (used at once)
        inside = tuple(m for m in overlapping if m.end > sentence.start)
        over = any(m.start < sentence.start or m.end > sentence.end for m in inside)
        part = None if over or (back and back.match(text)) else keep(text, sentence.start, inside, cut)
        if part is None or not _is_ended(text):
            if not parts:
                return None
            part, back = Kept("", (), tuple(m for m in inside if not _is_low(m, cut)), 0, 1), behind
        else:
            back = REFERS_TO_SEVERAL if part.items and len(part.mentions) == 1 else None
        parts.append(part)
    text = _assembled(record.caption, sentences, [part.text for part in parts])
    if any(_is_open(text, *pair) and not _is_open(record.caption, *pair) for pair in PAIRS):
        return None
    return Kept(
        text,
        tuple(m for part in parts for m in part.mentions),
        tuple(m for part in parts for m in part.lost),
        sum(part.items for part in parts),
        sum(part.sentences for part in parts),
    )


def _sentences(caption: str) -> list[Span]:
    """Sentences, the number of a list's line ("2.") with what it numbers, and two as one where it may be one."""
    found: list[Span] = []
    start: int | None = None
    worded = False
    split = split_sentences(caption)
    for number, sentence in enumerate(split, start=1):
        start, worded = (sentence.start, False) if start is None else (start, worded)
        worded = worded or any(c.isalpha() for c in caption[sentence.start : sentence.end])
        unsure = UNSURE_END.search(caption, max(sentence.start, sentence.end - MOST_UNSURE), sentence.end)
        if number == len(split) or (worded and not unsure):
            found.append(Span(start, sentence.end))
            start = None
    return found


def _assembled(caption: str, sentences: Sequence[Span], texts: Sequence[str]) -> str:
    """What is left, one blank between two sentences, or a new line or paragraph where one began between them."""
    out, end = "", 0
    for sentence, text in zip(sentences, texts, strict=True):
        if not text:
            continue
        lines = max((gap.count("\n") for gap in re.findall(r"\s+", caption[end : sentence.start])), default=0)
        out += ("\n" * min(lines, 2) or " ") * bool(out) + text
        end = sentence.end
    return out


def _is_open(text: str, opens: str, closes: str) -> bool:
    count = text.count(opens)
    return count % 2 == 1 if opens == closes else count != text.count(closes)


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
    lists = enumerations(text, offset, ordered)
    listed = {mention for items in lists for _, mention in items}
    if any(_is_low(m, cut) and m not in listed for m in ordered):
        return None
    gone: set[ObjectMention] = set()
    for items in reversed(lists):  # from the end, so that what stands before keeps its place
        low = [mention for _, mention in items if _is_low(mention, cut)]
        if len(low) == len(items):
            return None
        if low:
            shorter = shortened(text, items, [not _is_low(mention, cut) for _, mention in items])
            if shorter is None:
                return None
            text = shorter
            gone.update(low)
    return Kept(text.strip(), tuple(m for m in mentions if m not in gone), (), len(gone))


def repair_sets(spans: Iterable[SpanSample], sentences: Sequence[SentenceSample], cut: Thresholds) -> RepairedSet:
    """Repair the captions of a published set.

    A span that held something low and something grounded is left out of it as in conflict, so a caption whose least
    score is that of no span would keep what is low.
    """
    captions = captions_of_sets(spans, sentences)
    pairs = list(zip(captions, sentences, strict=True))
    known = [caption for caption, sentence in pairs if not _is_unlocated(caption, sentence, cut)]
    found, unlocated = build_repaired(known, cut), len(captions) - len(known)
    counts = replace(found.counts, low_captions=found.counts.low_captions + unlocated, unlocated=unlocated)
    return replace(found, counts=counts)


def _is_unlocated(caption: CaptionObjects, sentence: SentenceSample, cut: Thresholds) -> bool:
    least = min((score_of(mention) for mention in caption.objects), default=float("inf"))
    return cut.is_hallucinated(sentence.min) and least > sentence.min + ROUNDING


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
