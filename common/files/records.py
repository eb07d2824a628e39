"""The records that travel between the steps, one frozen dataclass each, with their JSON form.

File formats: captions and objects are JSON Lines, one record a line; `pos_neg.json` and `sentences.json` are JSON
lists in the published layout. Reading and writing is in :mod:`common.files.record_files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Caption:
    """One caption of one image. `sample` tells several captions of an image apart (0, 1, ...)."""

    image: str
    image_id: int
    caption: str
    sample: int = 0

    @property
    def key(self) -> str:
        """Identity for resuming: image and sample number."""
        return f"{self.image_id}/{self.sample}"


@dataclass(frozen=True)
class ObjectMention:
    """An object named in a caption: `caption[start:end] == text`; `score` is None until CLIP has scored it."""

    text: str
    start: int
    end: int
    score: float | None = None


@dataclass(frozen=True)
class CaptionObjects:
    """A caption with the objects that it names, in order of appearance."""

    image: str
    image_id: int
    caption: str
    objects: tuple[ObjectMention, ...]
    sample: int = 0

    @property
    def key(self) -> str:
        """Identity for resuming: image and sample number."""
        return f"{self.image_id}/{self.sample}"


@dataclass(frozen=True)
class SpanSample:
    """An entry of `pos_neg.json`: context `sentence[:position]`, target `sentence[position:]`, CLIP score."""

    image: str
    sentence: str
    position: int
    score: float


@dataclass(frozen=True)
class SentenceSample:
    """An entry of `sentences.json`: a whole caption with the mean and least score of its objects."""

    image: str
    sentence: str
    mean: float
    min: float


@dataclass(frozen=True)
class Answer:
    """A model's answer to a benchmark question, with what is needed to score it without the image."""

    question_id: int | str
    answer: str
    question: str = ""
    label: str = ""
    image: str = ""


@dataclass(frozen=True)
class Result:
    """Scores of one evaluation. Rates are fractions; intervals are 95 % bootstrap bounds, keyed as the scores.

    `units` holds the counts of each caption or question, from which two runs are compared in pairs.
    """

    task: str
    definition: str
    version: str
    n: int
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, float]] | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The layout of `--result_path`; `splits` and `units` only where the result has them."""
        out = asdict(self)
        for name in ("splits", "units"):
            if out[name] is None:
                del out[name]
        return out
