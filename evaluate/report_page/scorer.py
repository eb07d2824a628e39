"""What the scorer thought of each object, what training made of it, and how the scores spread."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.args import ThresholdArguments
from common.files.record_files import read_objects, read_span_samples
from common.files.records import CaptionObjects, ObjectMention, SpanSample
from common.page.visible_text import Mark
from common.thresholds import Thresholds, resolve

RAISED, LOWERED = "raised", "lowered"


@dataclass
class Scorer:
    """Scored captions and the spans of the training.

    Attributes:
        files: captions with scored objects, by file.
        cut: thresholds of the scores; None without scores.
        spans: image -> its spans.
    """

    files: Sequence[tuple[Path, Sequence[CaptionObjects]]] = ()
    cut: Thresholds | None = None
    spans: Mapping[str, Sequence[SpanSample]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = {(record.image, record.caption): record for record in self.records}
        values = self.values()
        self._low, self._high = (min(values), max(values)) if values else (0.0, 1.0)

    @property
    def records(self) -> list[CaptionObjects]:
        """Captions of all files."""
        return [record for _, records in self.files for record in records]

    def values(self) -> list[float]:
        """All scores."""
        return [m.score for record in self.records for m in record.objects if m.score is not None]

    def of(self, image: str, caption: str) -> list[ObjectMention]:
        """The scored objects of a caption; none if it was not scored."""
        record = self._known.get((image, caption))
        return [m for m in record.objects if m.score is not None] if record else []

    def kind(self, score: float) -> str:
        """low: hallucinated by the thresholds, high: grounded, mid: neither."""
        if self.cut is None:
            return "mid"
        return "low" if self.cut.is_hallucinated(score) else "high" if self.cut.is_grounded(score) else "mid"

    def share(self, score: float) -> float:
        """How far a bar reaches for a score, in percent of the range of all scores."""
        return round(100 * (score - self._low) / ((self._high - self._low) or 1.0), 1)

    @property
    def cuts(self) -> list[float]:
        """Places of the two thresholds on a bar, those that lie on it."""
        ends = (self.cut.hallucinated, self.cut.grounded) if self.cut else ()
        return [self.share(value) for value in ends if self._low <= value <= self._high]

    def span_counts(self) -> tuple[int, int]:
        """How many sub-sentences training lowered, and raised."""
        kinds = [self.kind(span.score) for spans in self.spans.values() for span in spans]
        return kinds.count("low"), kinds.count("high")

    def trained_spans(self, image: str, caption: str) -> list[Mark]:
        """Sub-sentences of a caption that training raised or lowered."""
        found = []
        for span in self.spans.get(image, ()):
            kind = {"low": LOWERED, "high": RAISED}.get(self.kind(span.score))
            if kind and caption.startswith(span.sentence):
                said = f"{kind} in training, score {span.score:.1f}"
                found.append(Mark(span.position, len(span.sentence), kind, said))
        return found


def read_scorer(scores: Sequence[Path], spans: Path | None, cut: ThresholdArguments) -> Scorer:
    """Scored objects and spans. Raises DataError for malformed files, ArgumentError for thresholds that are none."""
    files = [(path, read_objects(path)) for path in scores]
    by_image: dict[str, list[SpanSample]] = {}
    for sample in read_span_samples(spans) if spans else ():
        by_image.setdefault(sample.image, []).append(sample)
    beside = next(iter([*scores, *filter(None, [spans])]), None)
    return Scorer(files, resolve(cut, beside, mini=False) if beside else None, by_image)


def mined_records(scorer: Scorer, evaluated: Collection[str]) -> list[CaptionObjects]:
    """Scored captions that training raised or lowered a part of; without spans, those of no evaluated image."""
    used = [record for record in scorer.records if scorer.trained_spans(record.image, record.caption)]
    return used or [record for record in scorer.records if record.objects and record.image not in evaluated]


def spread_out(records: Sequence[CaptionObjects], most: int) -> list[CaptionObjects]:
    """At most so many, evenly over all."""
    step = max(1.0, len(records) / most) if most else 1.0
    return [records[int(number * step)] for number in range(min(most, len(records)))]
