"""Cards of the galleries: one evaluated image with its captions, or one mined caption of the training."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from common.files.records import CaptionObjects, ObjectMention
from common.page.pictures import Album, Picture
from common.page.visible_text import LONGEST, Mark, MarkedText
from evaluate.report_page.evidence import Reading
from evaluate.report_page.scorer import Scorer
from evaluate.report_page.verdicts import Pair, Verdict

PER_MEANING = {"low": "below the hallucinated threshold", "high": "above the grounded threshold", "mid": "in between"}


@dataclass(frozen=True)
class Score:
    """An object with what the scorer thought of it; `share`: percent of the bar."""

    name: str
    value: float
    share: float
    kind: str
    said: str


@dataclass(frozen=True)
class SideText:
    """One caption of a card."""

    title: str
    text: MarkedText
    words: int
    invented: int
    scores: list[Score] = field(default_factory=list)


@dataclass(frozen=True)
class Card:
    """One card.

    Attributes:
        id: in links.
        name: of the image file.
        picture, shows: the picture, and what is in it, in words.
        sides: captions.
        tags: words for the filters; objects: for the choice of one; sorts: for the order.
        verdict: what became of the caption.
        gone, new: objects with whether they are in the picture (None: unknown).
    """

    id: str
    name: str
    picture: Picture
    shows: str
    sides: list[SideText]
    tags: str
    objects: list[str]
    sorts: dict[str, float]
    verdict: Verdict | None = None
    gone: list[tuple[str, bool | None]] = field(default_factory=list)
    new: list[tuple[str, bool | None]] = field(default_factory=list)


def sample(pairs: Sequence[tuple[Pair, Verdict]], most: int, seed: int) -> list[tuple[Pair, Verdict]]:
    """At most so many, drawn evenly by chance, in their order."""
    if len(pairs) <= most:
        return list(pairs)
    chosen = sorted(random.Random(seed).sample(range(len(pairs)), most))
    return [pairs[number] for number in chosen]


def evaluated_card(
    number: int, pair: Pair, verdict: Verdict, scorer: Scorer, album: Album, longest: int = LONGEST
) -> Card:
    """The card of an evaluated image; of a caption at most so many characters are shown."""
    before, after = pair
    readings = [(title, r) for title, r in (("Before", before), ("After", after)) if r is not None]
    gold = before.score.gold if before.score else None
    image = before.caption.image
    change = abs(after.words - before.words) if after else 0
    tags = ["all", verdict.kind, *_flags(verdict), *(["same-text"] if _same_text(pair) else [])]
    sorts = {
        "order": float(-number),
        "gain": float(before.invented - after.invented) if after else 0.0,
        "invented": float((after or before).invented),
        "change": float(change),
        "words": float((after or before).words),
    }
    return Card(
        f"c-{before.caption.key.replace('/', '-')}",
        image,
        album[image],
        _shows(image, gold),
        [_side(title if after else "Caption", reading, scorer, longest) for title, reading in readings],
        " ".join(filter(None, tags)),
        sorted(before.nodes | (after.nodes if after else frozenset())),
        sorts,
        verdict,
        _with_truth(verdict.gone, gold),
        _with_truth(verdict.new, gold),
    )


def _same_text(pair: Pair) -> bool:
    return pair[1] is not None and pair[0].caption.caption == pair[1].caption.caption


def _flags(verdict: Verdict) -> list[str]:
    names = {"repeats": verdict.repeats, "shorter": verdict.shorter, "lost": bool(verdict.lost)}
    return [name for name, holds in names.items() if holds]


def _with_truth(names: Iterable[str], gold: frozenset[str] | None) -> list[tuple[str, bool | None]]:
    return [(name, None if gold is None else name in gold) for name in names]


def _shows(image: str, gold: frozenset[str] | None) -> str:
    """What is known to be in a picture, for those who do not see it."""
    if gold is None:
        return f"Picture {image}"
    return f"Picture {image}, which shows: {', '.join(sorted(gold))}" if gold else f"Picture {image}, no known object"


def _side(title: str, reading: Reading, scorer: Scorer, longest: int) -> SideText:
    caption = reading.caption
    objects = scorer.of(caption.image, caption.caption)
    marks = [*scorer.trained_spans(caption.image, caption.caption), *mention_marks(reading)]
    text = MarkedText.of(caption.caption, marks, longest)
    return SideText(title, text, reading.words, reading.invented, [_score(m, scorer) for m in objects])


def mention_marks(reading: Reading) -> list[Mark]:
    """A mark for each mention; one that names an object again has a second kind."""
    seen: set[str] = set()
    marks = []
    for mention, (start, end) in zip(reading.mentions, reading.places, strict=True):
        if start == end:
            continue
        kind, said = ("hal", "not in the picture") if reading.is_hallucinated(mention) else ("grd", "in the picture")
        if reading.score is None:
            kind, said = "named", "named"
        marks.append(Mark(start, end, kind, f"{mention.node}: {said}"))
        if mention.node in seen:
            marks.append(Mark(start, end, "again", "named again"))
        seen.add(mention.node)
    return marks


def _score(mention: ObjectMention, scorer: Scorer) -> Score:
    value = float(mention.score or 0.0)
    kind = scorer.kind(value)
    return Score(mention.text, value, scorer.share(value), kind, f"score {value:.1f}, {PER_MEANING[kind]}")


def mined_card(number: int, record: CaptionObjects, scorer: Scorer, album: Album) -> Card:
    """The card of a caption that was mined for training."""
    spans = scorer.trained_spans(record.image, record.caption)
    marks = [
        Mark(m.start, m.end, scorer.kind(m.score), f"score {m.score:.1f}, {PER_MEANING[scorer.kind(m.score)]}")
        for m in record.objects
        if m.score is not None
    ]
    used = Counter(span.kind for span in spans)
    scores = [_score(m, scorer) for m in record.objects if m.score is not None]
    side = SideText("", MarkedText.of(record.caption, [*spans, *marks]), len(record.caption.split()), 0, scores)
    return Card(
        f"m-{record.key.replace('/', '-')}",
        record.image,
        album[record.image],
        f"Picture {record.image}",
        [side],
        " ".join(["all", *used]),
        sorted({m.text.lower() for m in record.objects}),
        {"order": float(-number), "least": -min((s.value for s in scores), default=0.0)},
    )


def tag_counts(cards: Iterable[Card]) -> Counter[str]:
    """How many cards have each tag."""
    return Counter(tag for card in cards for tag in card.tags.split())


def object_counts(cards: Iterable[Card]) -> list[tuple[str, int]]:
    """How many cards have each object, by name."""
    return sorted(Counter(name for card in cards for name in card.objects).items())
