"""What the captions of an image agree on: a thing that is there is named again and again, an invented one by chance.

Two kinds of mentions are told apart without any label. Of a mention two things are known: its score, and how many of
the other captions of its image name the same thing. Each kind has its own bell curve of scores and its own chance of
being named by another caption; expectation and maximisation find both, and what each mention then is, with the
probability that it is there. In agreement with the idea of self-consistency (SelfCheckGPT, arXiv 2303.08896).

The probability goes on as a score in the scorer's own units, by its log-odds: at the hallucinated threshold it is
`UNLIKELY`, at the grounded one `LIKELY`. So every threshold, file and later step stays as it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError
from common.files.records import CaptionObjects
from common.files.vocabulary import ObjectVocabulary
from common.thresholds import Thresholds

UNLIKELY, LIKELY = 0.1, 0.9
ROUNDS = 200
CERTAIN = 1e-6  # no mention is surer than this, either way
LEAST_SPREAD = 0.1  # of a kind's scores, as a share of that of all: no kind shrinks to a point

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Of each mention, in the order of the captions: score, captions of the image beside its own, and how many of
    these name the thing."""

    scores: Floats
    others: Floats
    named: Floats


@dataclass(frozen=True)
class Kinds:
    """Two kinds of mentions, the hallucinated first: share, chance of being named by another caption, scores.

    Attributes:
        share, named, mean, spread: [2] each.
    """

    share: Floats
    named: Floats
    mean: Floats
    spread: Floats

    def odds(self, evidence: Evidence) -> Floats:
        """Log-odds that each mention is there, [mentions]."""
        hallucinated, present = self._log_likelihoods(evidence)
        found: Floats = present - hallucinated
        return found

    def _log_likelihoods(self, evidence: Evidence) -> Floats:
        missed = evidence.others - evidence.named
        bell = (evidence.scores - self.mean[:, None]) / self.spread[:, None]
        found: Floats = (
            np.log(self.share)[:, None]
            + evidence.named * np.log(self.named)[:, None]
            + missed * np.log1p(-self.named)[:, None]
            - np.log(self.spread)[:, None]
            - bell**2 / 2
        )
        return found

    def line(self) -> str:
        """In words."""
        (false, true), (rare, often) = self.share, self.named
        return (
            f"agreement: {true:.0%} of the mentions are there, another caption names such a thing in {often:.0%} of "
            f"all cases; {false:.0%} are not, {rare:.0%}"
        )

    def notes(self) -> dict[str, list[float]]:
        """For the manifest."""
        return {name: np.round(values, 4).tolist() for name, values in vars(self).items()}


def thing(text: str, vocabulary: ObjectVocabulary) -> str:
    """What a mention speaks of, under one name for all words that mean it."""
    return vocabulary.node(text) or " ".join(text.casefold().split())


def evidence_of(records: Sequence[CaptionObjects], vocabulary: ObjectVocabulary) -> Evidence:
    """Score and agreement of every mention. Raises DataError if no image has several captions, or there is none."""
    captions = Counter(record.image for record in records)
    if max(captions.values(), default=0) < 2:
        raise DataError("--agreement needs several captions of an image; mine with --captions_per_image 3 or more")
    names = [[thing(mention.text, vocabulary) for mention in record.objects] for record in records]
    naming: dict[str, Counter[str]] = defaultdict(Counter)
    for record, found in zip(records, names, strict=True):
        naming[record.image].update(set(found))
    rows = [
        (mention.score, captions[record.image] - 1, naming[record.image][name] - 1)
        for record, found in zip(records, names, strict=True)
        for mention, name in zip(record.objects, found, strict=True)
    ]
    if not rows:
        raise DataError(f"--agreement: none of {len(records)} captions names an object")
    scores, others, named = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return Evidence(scores, others, named)


def two_kinds(evidence: Evidence) -> Kinds:
    """Expectation and maximisation, from the half with the better agreement and scores as those that are there.

    Raises DataError if there are not two.
    """
    scores, others, named = evidence.scores, evidence.others, evidence.named
    spread = max(float(scores.std()), 1e-9)
    agreement = np.where(others > 0, named / np.maximum(others, 1), np.nan)
    agreement = np.nan_to_num(agreement, nan=float(np.nanmean(agreement)))
    first = (agreement - agreement.mean()) / max(float(agreement.std()), 1e-9) + (scores - scores.mean()) / spread
    present = 1 / (1 + np.exp(-2 * first))
    for _ in range(ROUNDS):
        if min(present.sum(), (1 - present).sum()) < 1:
            raise DataError("--agreement cannot tell two kinds of mentions apart, all are of one; mine more captions")
        kinds = _fitted(np.stack([1 - present, present]), evidence, spread)
        before, present = present, 1 / (1 + np.exp(-np.clip(kinds.odds(evidence), -50, 50)))
        if float(np.abs(present - before).max()) < CERTAIN:
            break
    return kinds


def _fitted(parts: Floats, evidence: Evidence, spread: float) -> Kinds:
    """The kinds that fit best where each mention belongs to them by `parts` [2, mentions]; one more of each outcome."""
    weight = parts.sum(1)
    named = (parts @ evidence.named + 1) / (parts @ evidence.others + 2)
    mean = parts @ evidence.scores / weight
    variance = np.array([part @ (evidence.scores - m) ** 2 for part, m in zip(parts, mean, strict=True)]) / weight
    return Kinds(weight / weight.sum(), named, mean, np.maximum(np.sqrt(variance), LEAST_SPREAD * spread))


def agreed(
    records: Iterable[CaptionObjects], cut: Thresholds, vocabulary: ObjectVocabulary
) -> tuple[list[CaptionObjects], Kinds]:
    """The captions with scores that say how likely each thing is there, and the two kinds found.

    Raises DataError if no image has several captions, or the two kinds cannot be told apart.
    """
    records = list(records)
    evidence = evidence_of(records, vocabulary)
    kinds = two_kinds(evidence)
    if not (kinds.named[1] > kinds.named[0] and kinds.mean[1] > kinds.mean[0]):
        raise DataError(
            "--agreement cannot tell two kinds of mentions apart: scores do not rise with agreement (named "
            f"again {kinds.named.round(2).tolist()}, mean score {kinds.mean.round(2).tolist()}); mine more captions"
        )
    limit = np.log(1 / CERTAIN - 1)
    low, high = (np.log(p / (1 - p)) for p in (UNLIKELY, LIKELY))
    step = (cut.grounded - cut.hallucinated) / (high - low)
    scores = iter(cut.hallucinated + step * (np.clip(kinds.odds(evidence), -limit, limit) - low))
    moved = [_with_scores(record, scores, cut, vocabulary) for record in records]
    return moved, kinds


def _with_scores(
    record: CaptionObjects, scores: Iterator[float], cut: Thresholds, vocabulary: ObjectVocabulary
) -> CaptionObjects:
    """The caption with the next scores; what it names again is no positive, or it would be learnt to repeat."""
    named: set[str] = set()
    mentions = []
    for mention in record.objects:
        name, score = thing(mention.text, vocabulary), float(next(scores))
        mentions.append(replace(mention, score=min(score, cut.sentence) if name in named else score))
        named.add(name)
    return replace(record, objects=tuple(mentions))
