"""AMBER: which annotated objects a description names, and yes/no questions with "no" as the positive class.

Generative part, per response: CHAIR = mentions of the vocabulary that are neither in the image nor common words;
Cover = annotated objects named; Hal = responses with any such mention; Cog = annotated likely hallucinations named.
A mention matches an object through the word or AMBER's association list. The original also lets words match whose
spaCy vectors (en_core_web_lg) are alike by more than 0.8; that model is no dependency here, so CHAIR and Hal come out
higher and Cover lower than the original's: the definition is named `association` and not compared with published ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.metrics.stats import Array, Formula, Sums, Units, divide, ratio
from evaluate.metrics.yes_no import YesNo, exactly_capitalised
from evaluate.tagger.inflection import plurals
from evaluate.tagger.tokens import words

VERSION = "amber-2"
GENERATIVE_COLUMNS = (
    "responses",
    "mentions",
    "hallucinated",
    "objects",
    "covered",
    "traps",
    "trapped",
    "bad_responses",
)
DISCRIMINATIVE_COLUMNS = ("questions", "right", "label_no", "said_no", "right_no", "unparseable", "missing")
F1_MARGIN = 1e-4  # in the original's denominators, on fractions rounded to 0.1 %


@dataclass(frozen=True)
class Vocabulary:
    """AMBER's word lists: which words count, which stand for which object, which never count as hallucinated."""

    association: Mapping[str, Sequence[str]]
    safe: frozenset[str]

    def forms(self) -> dict[str, str]:
        """Word form -> vocabulary word: the words themselves and their regular plurals."""
        known = set(self.association) | {w for others in self.association.values() for w in others}
        out = {form: word for word in sorted(known) for form in plurals(word)}
        return out | {word: word for word in known}

    def stands_for(self, objects: Collection[str]) -> dict[str, str]:
        """Word -> the annotated object that it names."""
        named = {other: name for name in objects for other in self.association.get(name, ())}
        return named | {name: name for name in objects}


@dataclass(frozen=True)
class ResponseScore:
    """One description: vocabulary words mentioned, the hallucinated ones, annotated objects and traps named."""

    mentions: tuple[str, ...]
    hallucinated: tuple[str, ...]
    objects: int
    covered: int
    traps: int
    trapped: int

    def row(self) -> tuple[int, ...]:
        """The counts of this response, ordered as GENERATIVE_COLUMNS."""
        counts = (len(self.mentions), len(self.hallucinated), self.objects, self.covered, self.traps, self.trapped)
        return (1, *counts, int(bool(self.hallucinated)))


def score_response(
    response: str, truth: Sequence[str], traps: Sequence[str], vocabulary: Vocabulary, forms: Mapping[str, str]
) -> ResponseScore:
    """Score one description. `forms` is `vocabulary.forms()`, computed once."""
    mentions = tuple(forms[word] for word in words(response) if word in forms)
    present, likely = vocabulary.stands_for(truth), vocabulary.stands_for(traps)
    judged = [word for word in mentions if word not in vocabulary.safe]
    return ResponseScore(
        mentions=mentions,
        hallucinated=tuple(word for word in judged if word not in present),
        objects=len(truth),
        covered=len({present[word] for word in judged if word in present}),
        traps=len(traps),
        trapped=len({likely[word] for word in judged if word in likely and word not in present}),
    )


def response_units(ids: Sequence[str], scores: Iterable[ResponseScore]) -> Units:
    """The counts of each response."""
    rows = [score.row() for score in scores]
    counts = np.array(rows, dtype=np.float64).reshape(len(rows), len(GENERATIVE_COLUMNS))
    return Units(tuple(ids), GENERATIVE_COLUMNS, counts)


GENERATIVE: Mapping[str, Formula] = {
    "chair": ratio("hallucinated", "mentions"),
    "cover": ratio("covered", "objects"),
    "hal": ratio("bad_responses", "responses"),
    "cog": ratio("trapped", "traps"),
}


def question_row(label: YesNo, answer: str | None) -> tuple[int, ...]:
    """The counts of one yes/no question, ordered as DISCRIMINATIVE_COLUMNS; only "Yes" and "No" are read."""
    said = None if answer is None else exactly_capitalised(answer)
    no = label == "no"
    unread = said is None and answer is not None
    return (
        1,
        int(said == label),
        int(no),
        int(said == "no"),
        int(no and said == "no"),
        int(unread),
        int(answer is None),
    )


def question_units(ids: Sequence[str], rows: Sequence[tuple[int, ...]]) -> Units:
    """The counts of each yes/no question."""
    counts = np.array(rows, dtype=np.float64).reshape(len(rows), len(DISCRIMINATIVE_COLUMNS))
    return Units(tuple(ids), DISCRIMINATIVE_COLUMNS, counts)


def _f1(sums: Sums) -> Array:
    precision, recall = divide(sums["right_no"], sums["said_no"]), divide(sums["right_no"], sums["label_no"])
    return 2 * precision * recall / (precision + recall + F1_MARGIN)


DISCRIMINATIVE: Mapping[str, Formula] = {
    "accuracy": ratio("right", "questions"),
    "precision": ratio("right_no", "said_no"),
    "recall": ratio("right_no", "label_no"),
    "f1": _f1,
    "unparseable": ratio("unparseable", "questions"),
}
