"""What `insight/clip.py` says at the end: the distributions, the detector's quality, and the manifest's share of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from common.thresholds import Thresholds
from insight.scores.auto_thresholds import CaptionScores
from insight.scores.detector_quality import (
    LabelledScores,
    SetQuality,
    Spread,
    auroc,
    negative_set,
    positive_set,
    spread,
)


@dataclass(frozen=True)
class ScoreReport:
    """Scores of all mentions and captions, the labelled ones among them, and the thresholds."""

    scores: Sequence[float]
    captions: Sequence[CaptionScores]
    labelled: LabelledScores
    thresholds: Thresholds

    @property
    def has_labels(self) -> bool:
        """Whether the truth of any mention is known."""
        return bool(self.labelled.present or self.labelled.hallucinated)

    def counts(self) -> dict[str, int]:
        """Sizes of the sets that the thresholds cut, before sub-sentences are formed."""
        return {
            "captions": len(self.captions),
            "mentions": len(self.scores),
            "hallucinated": sum(map(self.thresholds.is_hallucinated, self.scores)),
            "grounded": sum(map(self.thresholds.is_grounded, self.scores)),
            "sentences": sum(self.thresholds.is_good_sentence(c.mean, c.least) for c in self.captions),
        }

    def to_json(self) -> dict[str, Any]:
        """Entries of the manifest; figures that are not defined are null."""
        out: dict[str, Any] = {
            "thresholds": asdict(self.thresholds),
            "counts": self.counts(),
            "scores": _plain(spread(self.scores)),
        }
        if self.has_labels:
            out["quality"] = {
                "auroc": _or_none(auroc(self.labelled)),
                "present": _plain(spread(self.labelled.present)),
                "hallucinated": _plain(spread(self.labelled.hallucinated)),
                "negative_set": _plain(negative_set(self.labelled, self.thresholds)),
                "positive_set": _plain(positive_set(self.labelled, self.thresholds)),
            }
        return out

    def lines(self) -> list[str]:
        """The report as text."""
        counts, cut = self.counts(), self.thresholds
        lines = [
            "scores (100 x cosine)      mean     sd       n",
            _spread_line("all objects", spread(self.scores)),
        ]
        if self.has_labels:
            lines += [
                _spread_line("present", spread(self.labelled.present)),
                _spread_line("hallucinated", spread(self.labelled.hallucinated)),
                f"AUROC {auroc(self.labelled):.3f}",
            ]
        lines += [
            f"thresholds: hallucinated < {cut.hallucinated:g}, grounded > {cut.grounded:g}, "
            f"sentence > {cut.sentence:g}",
            f"sets: {counts['hallucinated']} hallucinated and {counts['grounded']} grounded "
            f"of {counts['mentions']} objects, {counts['sentences']} sentences of {counts['captions']} captions",
        ]
        if self.has_labels:
            lines += [
                _set_line("negative set", negative_set(self.labelled, cut)),
                _set_line("positive set", positive_set(self.labelled, cut)),
            ]
        return lines


def _spread_line(name: str, value: Spread) -> str:
    return f"  {name:<20} {value.mean:8.2f} {value.sd:6.2f} {value.n:7d}"


def _set_line(name: str, value: SetQuality) -> str:
    return (
        f"{name}: purity {_percent(value.purity)}, recall {_percent(value.recall)} (labelled objects in it: {value.n})"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if isfinite(share) else "undefined"


def _or_none(value: float) -> float | None:
    return value if isfinite(value) else None


def _plain(value: Spread | SetQuality) -> dict[str, float | int | None]:
    return {name: number if isfinite(number) else None for name, number in asdict(value).items()}
