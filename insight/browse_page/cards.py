"""Cards of mined captions: the picture, the caption with spans and objects marked, and why what becomes of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from common.files.records import ObjectMention
from common.page.pictures import Album, Picture
from common.page.visible_text import Mark, MarkedText
from common.samples.sets import score_of
from common.thresholds import Thresholds
from insight.browse_page.mined import MinedCaption, MinedSpan

LOW, MIDDLE, HIGH = "low", "mid", "high"


@dataclass(frozen=True)
class ShownObject:
    """An object on a card. `number`: among all objects of the page; `outside`: it lies in no span."""

    number: int
    name: str
    score: float
    kind: str
    outside: bool


@dataclass(frozen=True)
class ShownSpan:
    """A span on a card. `objects`: numbers of its objects on the page."""

    number: int
    text: str
    verdict: str
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Card:
    """One card.

    Attributes:
        id: in links.
        kept: whether the whole caption is kept as a sentence sample.
        sorts: numbers for the order.
    """

    id: str
    title: str
    picture: Picture
    text: MarkedText
    objects: tuple[ShownObject, ...]
    spans: tuple[ShownSpan, ...]
    mean: float | None
    least: float | None
    kept: bool
    sorts: dict[str, float]

    @property
    def tags(self) -> str:
        """Words for the filters."""
        whole = ["kept" if self.kept else "not-kept"] if self.mean is not None else ["nothing"]
        outside = ["outside"] if any(shown.outside for shown in self.objects) else []
        return " ".join(dict.fromkeys(["all", *(span.verdict for span in self.spans), *whole, *outside]))

    @property
    def names(self) -> str:
        """Names for the choice of an object, between bars."""
        return "|" + "".join(f"{name}|" for name in sorted({shown.name.lower() for shown in self.objects}))


def sample(captions: Sequence[MinedCaption], most: int, seed: int) -> list[MinedCaption]:
    """At most so many, drawn evenly by chance, in their order."""
    if len(captions) <= most:
        return list(captions)
    return [captions[number] for number in sorted(random.Random(seed).sample(range(len(captions)), most))]


def cards_of(shown: Sequence[MinedCaption], verdicts: Sequence[str], cut: Thresholds, album: Album) -> list[Card]:
    """The cards, with the objects of the page numbered through."""
    found: list[Card] = []
    first = 0
    for place, caption in enumerate(shown):
        objects = _objects(caption, cut, first)
        first += len(objects)
        found.append(_card(place, caption, objects, verdicts, cut, album))
    return found


def _objects(caption: MinedCaption, cut: Thresholds, first: int) -> dict[int, ShownObject]:
    """id of the mention -> what is shown of it, in the order of the text."""
    outside = {id(mention) for mention in caption.outside}
    ordered = sorted(caption.record.objects, key=lambda mention: (mention.start, mention.end))
    return {
        id(m): ShownObject(first + n, m.text, score_of(m), kind_of(score_of(m), cut), id(m) in outside)
        for n, m in enumerate(ordered)
    }


def kind_of(score: float, cut: Thresholds) -> str:
    """On which side of the thresholds a score lies."""
    return LOW if cut.is_hallucinated(score) else HIGH if cut.is_grounded(score) else MIDDLE


def _card(
    place: int,
    caption: MinedCaption,
    objects: dict[int, ShownObject],
    verdicts: Sequence[str],
    cut: Thresholds,
    album: Album,
) -> Card:
    record = caption.record
    spans = tuple(_span(span, record.caption, objects, verdicts) for span in caption.spans)
    title = f"{record.image}, sample {record.sample}" if record.sample else record.image
    least, mean = caption.least, caption.mean
    return Card(
        id=f"c-{place}",
        title=title,
        picture=album[record.image],
        text=MarkedText.of(record.caption, _marks(caption, objects, verdicts)),
        objects=tuple(objects.values()),
        spans=spans,
        mean=mean,
        least=least,
        kept=mean is not None and least is not None and cut.is_good_sentence(mean, least),
        sorts={
            "order": -place,
            "least": _or(least),
            "mean": _or(mean),
            "most": max((shown.score for shown in objects.values()), default=_or(None)),
            "count": len(objects),
        },
    )


def _or(value: float | None) -> float:
    """Captions without objects come last in every order."""
    return -1e9 if value is None else value


def _span(span: MinedSpan, caption: str, objects: dict[int, ShownObject], verdicts: Sequence[str]) -> ShownSpan:
    numbers = tuple(objects[id(mention)].number for mention in span.mentions)
    text = caption[span.span.start : span.span.end].strip()
    return ShownSpan(span.number, text, verdicts[span.number], numbers)


def _marks(caption: MinedCaption, objects: dict[int, ShownObject], verdicts: Sequence[str]) -> list[Mark]:
    """Marks of spans around those of objects; their classes name the numbers that the script finds them by."""
    spans = [
        Mark(s.span.start, s.span.end, f"span s{s.number} {verdicts[s.number]}")
        for s in caption.spans
        if s.span.start < s.span.end
    ]
    return [*spans, *(_mark(mention, objects[id(mention)]) for mention in caption.record.objects if mention.text)]


def _mark(mention: ObjectMention, shown: ShownObject) -> Mark:
    return Mark(mention.start, mention.end, f"object o{shown.number} {shown.kind}", f"score {shown.score:.1f}")
