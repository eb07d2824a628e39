"""What a probe finds: figures of scored captions, without any label.

Everything is of the captions alone and of how well the image supports what they name. A mention below the hallucinated
threshold counts as invented, a thing above the grounded threshold as seen; the second stands for recall, as mentions
that are neither may be either. Sooner, and with less chance, the loss of positive spans tells what is being lost; the
trainer adds it, of validation images and of as many that are trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import msgspec

from common.errors import DataError
from common.files.json_text import WholeNumber
from common.files.records import CaptionObjects
from common.thresholds import Thresholds

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Mean = Annotated[float, msgspec.Meta(ge=0)]  # a caption
LOGGED = ("share", "mentions", "objects", "grounded", "words", "repetition", "positive_loss", "trained_loss")


@dataclass(frozen=True)
class Measure:
    """The figures of one probe.

    Attributes:
        step: optimizer steps before it.
        captions: that were made.
        low: mentions below the hallucinated threshold; share: of all mentions, None without any.
        mentions, objects, grounded, words: mean a caption; objects are distinct things, grounded those of them that
            are above the grounded threshold.
        repetition: share of the captions that name something twice.
        positive_loss: mean token loss of the validation images' positive spans, trained_loss: of as many training
            images'; None without any.
    """

    step: WholeNumber
    captions: WholeNumber
    low: WholeNumber
    share: Share | None
    mentions: Mean
    objects: Mean
    grounded: Mean
    words: Mean
    repetition: Share
    positive_loss: float | None = None
    trained_loss: float | None = None

    def to_json(self) -> dict[str, Any]:
        """One line of `probe.jsonl`."""
        return asdict(self)

    def logged(self) -> dict[str, float]:
        """For the trackers."""
        values = {f"probe_{name}": getattr(self, name) for name in LOGGED}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def chance(self) -> float:
        """Standard deviation of the share, as a mean of so many mentions; 0 without any."""
        if self.share is None:
            return 0.0
        return (self.share * (1 - self.share) / (self.mentions * self.captions)) ** 0.5


def measure(step: int, records: Sequence[CaptionObjects], cut: Thresholds) -> Measure:
    """The figures of scored captions. Raises DataError if there is none."""
    if not records:
        raise DataError("the probe has no caption; give validation images with --valid_data_split")
    scores = [m.score for r in records for m in r.objects if m.score is not None]
    names = [[_name(m.text) for m in r.objects] for r in records]
    grounded = [{_name(m.text) for m in r.objects if m.score is not None and cut.is_grounded(m.score)} for r in records]
    low, n = sum(map(cut.is_hallucinated, scores)), len(records)
    return Measure(
        step=step,
        captions=n,
        low=low,
        share=low / len(scores) if scores else None,
        mentions=len(scores) / n,
        objects=sum(len(set(some)) for some in names) / n,
        grounded=sum(map(len, grounded)) / n,
        words=sum(len(r.caption.split()) for r in records) / n,
        repetition=sum(len(set(some)) < len(some) for some in names) / n,
    )


def _name(text: str) -> str:
    return " ".join(text.split()).lower()
