"""How well relevance scores tell present from hallucinated objects: AUROC, purity and recall of the mined sets.

Pure functions of scores and labels; no files, no models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan, sqrt

from common.files.gold import Gold
from common.files.records import CaptionObjects
from common.files.vocabulary import ObjectVocabulary
from common.thresholds import Thresholds


@dataclass(frozen=True)
class LabelledScores:
    """Scores of mentions whose truth is known."""

    present: tuple[float, ...]
    hallucinated: tuple[float, ...]


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation (n - 1) and number of some scores; nan where undefined."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class SetQuality:
    """A mined set against the labels. Fractions; nan where there is nothing to divide by.

    Attributes:
        n: labelled mentions in the set.
        purity: share of them that are what the set claims.
        recall: share of all such mentions that are in the set.
    """

    n: int
    purity: float
    recall: float


def label_scores(records: Iterable[CaptionObjects], gold: Gold, vocabulary: ObjectVocabulary) -> LabelledScores:
    """Sort scored mentions by truth. Left out: mentions of none of the 80 objects, images without gold, no score."""
    present: list[float] = []
    hallucinated: list[float] = []
    for record in records:
        if record.image_id not in gold:
            continue
        for mention in record.objects:
            node = vocabulary.node(mention.text)
            if node is not None and mention.score is not None:
                (present if node in gold[record.image_id] else hallucinated).append(mention.score)
    return LabelledScores(tuple(present), tuple(hallucinated))


def spread(scores: Sequence[float]) -> Spread:
    """Mean, sample standard deviation and number."""
    n = len(scores)
    mean = sum(scores) / n if n else nan
    return Spread(mean, sqrt(sum((s - mean) ** 2 for s in scores) / (n - 1)) if n > 1 else nan, n)


def auroc(scores: LabelledScores) -> float:
    """Probability that a present object scores above a hallucinated one, ties counting half; nan if a side is empty.

    By ranks (Mann and Whitney 1947): (sum of the ranks of the present - n (n + 1) / 2) / (n m).
    """
    from scipy.stats import rankdata

    n, m = len(scores.present), len(scores.hallucinated)
    if not n or not m:
        return nan
    ranks = rankdata([*scores.present, *scores.hallucinated])
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def negative_set(scores: LabelledScores, thresholds: Thresholds) -> SetQuality:
    """The mentions that the thresholds call hallucinated."""
    return _quality(
        sum(map(thresholds.is_hallucinated, scores.hallucinated)),
        sum(map(thresholds.is_hallucinated, scores.present)),
        len(scores.hallucinated),
    )


def positive_set(scores: LabelledScores, thresholds: Thresholds) -> SetQuality:
    """The mentions that the thresholds call grounded."""
    return _quality(
        sum(map(thresholds.is_grounded, scores.present)),
        sum(map(thresholds.is_grounded, scores.hallucinated)),
        len(scores.present),
    )


def _quality(right: int, wrong: int, all_right: int) -> SetQuality:
    n = right + wrong
    return SetQuality(n, right / n if n else nan, right / all_right if all_right else nan)
