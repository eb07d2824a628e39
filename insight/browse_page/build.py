"""The page from mined captions: everything that its template asks for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from common.files.images import ImageFolder
from common.files.records import CaptionObjects
from common.page.charts import Scale, scale_of
from common.page.pictures import lost_line, make_album
from common.page.render import Page
from common.samples.sets import Counts, build_samples
from common.thresholds import FLAGS, Thresholds
from insight.browse_page.cards import Card, cards_of, kind_of, sample
from insight.browse_page.mined import MinedCaption, frequent_names, mine, verdicts

PAGE = Page("browse.html", "efuf insight/browse.py", Path(__file__).parent / "parts", ("browse.css",), ("browse.js",))
BINS = 80
NAMES = 40  # objects in the table
HEIGHT = 100.0  # of the histogram, in its own units

# What a count says, in the words of format_data.py.
EXPLAINED = {
    "captions": "captions in the file",
    "objects": "objects that they name",
    "objects_over_boundaries": "of these, in no sub-sentence, as they reach over its end: left out",
    "spans": "sub-sentences with objects",
    "conflicts": "hold a hallucinated and a grounded object: left out",
    "repeated_spans": "stand in another caption of the same image already: left out",
    "positives": "all objects fit: raised in training",
    "negatives": "an object does not fit: lowered in training",
    "uncertain": "between the thresholds: left out",
    "captions_with_objects": "captions that name an object",
    "sentences": "of these, learnt whole: their mean and their least score are high enough",
}
LIMITS = {
    "hallucinated": ("Hallucinated below", "sub-sentences with such an object are lowered"),
    "sentence": ("Captions kept above", "by the mean of their objects: learnt whole, if none is hallucinated"),
    "grounded": ("Grounded above", "sub-sentences with such objects alone are raised"),
}
FILTERS = (
    ("all", "All"),
    ("lowered", "Something lowered"),
    ("raised", "Something raised"),
    ("conflict", "Conflict"),
    ("between", "Something between"),
    ("kept", "Learnt whole"),
    ("not-kept", "Not learnt whole"),
    ("outside", "Object over a boundary"),
    ("nothing", "No object"),
)
FIXED = ("outside", "nothing")  # of the filters, those that no threshold fills
SORTS = (
    ("order", "as in the file"),
    ("-least", "lowest object first"),
    ("most", "highest object first"),
    ("-mean", "lowest mean first"),
    ("count", "most objects first"),
)


@dataclass(frozen=True)
class Named:
    """A row of the table of objects: how many of its mentions lie where."""

    name: str
    low: int
    mid: int
    high: int


@dataclass(frozen=True)
class Bar:
    """One bin of the histogram, in percent of the axis and of its height; `said`: for who points at it."""

    x: float
    width: float
    height: float
    said: str


@dataclass(frozen=True)
class Browse:
    """What the page shows.

    Attributes:
        source: name of the score file.
        target: what is a span, one of `common.samples.sets.TARGETS`.
        placed: where the thresholds stood before somebody moves them.
        most: cards.
    """

    source: str
    records: Sequence[CaptionObjects]
    target: str
    placed: Thresholds
    images: ImageFolder | None
    most: int
    seed: int

    def counts(self) -> Counts:
        """At the placed thresholds."""
        return build_samples(self.records, self.placed, self.target).counts


def render(browse: Browse) -> tuple[str, str]:
    """The page, and a line about missing pictures (empty if none is).

    Raises DataError for an image whose name leads out of the folder.
    """
    captions = mine(browse.records, browse.target)
    found = verdicts(captions, browse.placed)
    shown = sample(captions, browse.most, browse.seed)
    album = make_album([caption.record.image for caption in shown], browse.images)
    cards = cards_of(shown, found, browse.placed, album)
    scores = sorted(m.score for r in browse.records for m in r.objects if m.score is not None)
    names = frequent_names(captions, NAMES)
    axis = scale_of([*scores, *vars(browse.placed).values()])
    lost = lost_line(album.lost, len({caption.record.image for caption in shown}))
    html = PAGE.render(
        browse=browse,
        counts=[(f.name, getattr(browse.counts(), f.name), EXPLAINED[f.name]) for f in fields(Counts)],
        limits=[(name, flag, *LIMITS[name]) for name, flag in _in_order()],
        placed=vars(browse.placed),
        axis=axis,
        bars=histogram(scores, axis),
        cards=cards,
        total=len(captions),
        filters=_filters(cards),
        sorts=SORTS,
        names=[_named(name, values, browse.placed) for name, values in names],
        objects=sorted(Counter(name for card in cards for name in card.names.strip("|").split("|") if name).items()),
        lost=lost,
        data=_data(browse, captions, cards, axis, [values for _, values in names]),
    )
    return html, lost


def _in_order() -> Iterable[tuple[str, str]]:
    """Names and flags of the thresholds from the lowest to the highest."""
    return ((name, FLAGS[name]) for name in LIMITS)


def _filters(cards: Sequence[Card]) -> list[tuple[str, str, int]]:
    tags = Counter(tag for card in cards for tag in card.tags.split())
    return [(value, label, tags[value]) for value, label in FILTERS if tags[value] or value not in FIXED]


def _named(name: str, scores: Sequence[float], cut: Thresholds) -> Named:
    kinds = Counter(kind_of(score, cut) for score in scores)
    return Named(name, kinds["low"], kinds["mid"], kinds["high"])


def histogram(scores: Sequence[float], axis: Scale) -> list[Bar]:
    """Equal bins over the axis; the highest fills the height."""
    width = (axis.high - axis.low) / BINS
    bins = Counter(min(BINS - 1, max(0, math.floor((score - axis.low) / width))) for score in scores)
    top = max(bins.values(), default=1)
    return [
        Bar(
            round(100 * number / BINS, 3),
            round(100 / BINS, 3),
            round(HEIGHT * bins[number] / top, 2),
            f"{bins[number]:,} objects from {axis.low + number * width:.2f} to {axis.low + (number + 1) * width:.2f}",
        )
        for number in range(BINS)
        if bins[number]
    ]


def digits_of(axis: Scale) -> int:
    """Decimals of a threshold that is moved by hand: a thousandth of the axis."""
    return max(0, 3 - math.floor(math.log10(axis.high - axis.low)))


def _data(
    browse: Browse, captions: Sequence[MinedCaption], cards: Sequence[Card], axis: Scale, names: list[list[float]]
) -> dict[str, Any]:
    """What the script counts with: all spans and captions of the file, and the objects of the cards."""
    spans = [span for caption in captions for span in caption.spans]
    return {
        "placed": vars(browse.placed),
        "axis": [axis.low, axis.high],
        "digits": digits_of(axis),
        "keys": [span.key for span in spans],
        "least": [span.least for span in spans],
        "most": [span.most for span in spans],
        "means": [caption.mean for caption in captions if caption.mean is not None],
        "leasts": [caption.least for caption in captions if caption.least is not None],
        "objects": [shown.score for card in cards for shown in card.objects],
        "cards": [
            {
                "mean": card.mean,
                "least": card.least,
                "outside": any(shown.outside for shown in card.objects),
                "spans": [[span.number, *span.objects] for span in card.spans],
            }
            for card in cards
        ],
        "names": names,
    }
