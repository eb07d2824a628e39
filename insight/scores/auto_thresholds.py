"""`auto` thresholds: placed by the distribution of the scores alone, without any label.

The published numbers (23, 32, 27.5) belong to ViT-B/32 on photos; another scorer has another scale. The rule and the
reasons for its constants are in `insight/README.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.args import ThresholdArguments
from common.errors import DataError
from common.files.records import CaptionObjects
from common.thresholds import Thresholds, asked_for

HALLUCINATED_SHARE = 0.12  # of all mentions, the lowest; must stay below the share of hallucinated mentions
GROUNDED_SHARE = 0.40  # of all mentions, the highest; wide, because most mentions are true anyway
SENTENCE_SHARE = 0.50  # at most this share of the captions without a low object, the best by mean


@dataclass(frozen=True)
class CaptionScores:
    """Mean and least score of the objects of one caption."""

    mean: float
    least: float


def resolve_thresholds(args: ThresholdArguments, records: Sequence[CaptionObjects], mini: bool) -> Thresholds:
    """Thresholds as asked for: each a number or `auto`; where not given, `auto` in the mini world, else published.

    Raises:
        ArgumentError: neither a number nor `auto`, or in the wrong order.
        DataError: no scored object, or all scores alike, so that nothing can be placed automatically.
    """
    low, high, middle = asked_for(args, mini).values()
    if low is None or high is None:
        low, high = _place_outer(all_scores(records), low, high)
    if middle is None:
        middle = _place_sentence(records, low, high)
    return Thresholds(low, high, middle)


def check_thresholds(args: ThresholdArguments, mini: bool) -> None:
    """Raise ArgumentError now, before hours of scoring, for numbers that cannot be right whatever the scores are."""
    low, high, middle = asked_for(args, mini).values()
    if low is not None and high is not None:
        Thresholds(low, high, (low + high) / 2 if middle is None else middle)


def all_scores(records: Sequence[CaptionObjects]) -> list[float]:
    """Scores of all mentions, ascending."""
    return sorted(m.score for record in records for m in record.objects if m.score is not None)


def caption_scores(records: Sequence[CaptionObjects]) -> list[CaptionScores]:
    """Mean and least score of each caption that has a scored object."""
    found = []
    for record in records:
        scores = [m.score for m in record.objects if m.score is not None]
        if scores:
            found.append(CaptionScores(sum(scores) / len(scores), min(scores)))
    return found


def _place_outer(scores: Sequence[float], low: float | None, high: float | None) -> tuple[float, float]:
    """Fill in the hallucinated and grounded threshold by rank; `scores` ascend."""
    if not scores:
        raise DataError("no object has a score, so auto cannot place the thresholds; score the objects first")
    if scores[0] == scores[-1]:
        raise DataError(
            f"all {len(scores)} objects have the same score {scores[0]:g}, so auto cannot place the thresholds; "
            "check the scorer (--clip_model), or give numbers"
        )
    low = scores[int(HALLUCINATED_SHARE * len(scores))] if low is None else low
    if high is None:
        high = scores[max(0, len(scores) - 1 - int(GROUNDED_SHARE * len(scores)))]
    return low, high


def _place_sentence(records: Sequence[CaptionObjects], low: float, high: float) -> float:
    """The mean above which the sentence set is as large as the smaller of the other two, or as far as that goes.

    Only captions whose least object is above `low` can enter; of those at most SENTENCE_SHARE, the best, are taken.
    The result lies between `low` and `high`.
    """
    scores = all_scores(records)
    wanted = min(sum(s < low for s in scores), sum(s > high for s in scores))
    means = sorted((c.mean for c in caption_scores(records) if c.least > low), reverse=True)
    taken = min(wanted, int(SENTENCE_SHARE * len(means)))
    cut = means[taken] if taken < len(means) else low
    return min(max(round(cut, 4), low), high)
