"""Benchmark questions and the answers that belong to them: one record, one way of joining, nothing lost silently."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from common.errors import DataError
from common.progress import announce

_LISTED = 5  # ids that a message names


@dataclass(frozen=True)
class Question:
    """A benchmark question.

    Attributes:
        key: identity, unique in its file.
        text: the question as the benchmark words it, choices included.
        label: the right answer ("" where it is private).
        image: file name ("" for a question without image).
        group: split, subtask or kind of question.
        choices: texts of the choices, in the order of their letters.
    """

    key: str
    text: str
    label: str
    image: str = ""
    group: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Joined:
    """Questions with their answers (None where missing or contradicted), and what did not fit."""

    pairs: tuple[tuple[Question, str | None], ...]
    missing: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    contradicted: tuple[str, ...] = field(default=())

    def counts(self) -> dict[str, int]:
        """How many of each, for `Result.counts`."""
        return {
            "missing": len(self.missing),
            "answers_without_question": len(self.orphans),
            "contradicted": len(self.contradicted),
        }

    def report(self) -> None:
        """Say on standard error what did not fit; silent when all did."""
        for keys, what in (
            (self.missing, "questions without answer count as wrong"),
            (self.orphans, "answers without question are left out"),
            (self.contradicted, "questions with several different answers count as wrong"),
        ):
            if keys:
                more = " ..." if len(keys) > _LISTED else ""
                announce(f"{len(keys)} {what}: {', '.join(keys[:_LISTED])}{more}")


def join_by_key(questions: Sequence[Question], answers: Iterable[tuple[str, str]], where: str) -> Joined:
    """Pair answers (key, text) with questions. Raises DataError for repeated questions or if no answer fits.

    Equal answers to one question count once; different ones contradict each other and the question is wrong.
    """
    known: dict[str, Question] = {}
    for question in questions:
        if question.key in known:
            raise DataError(f"{where}: two questions with id {question.key}; ids must be unique")
        known[question.key] = question
    given: defaultdict[str, list[str]] = defaultdict(list)
    for key, text in answers:
        given[key].append(text)
    orphans = [key for key in given if key not in known]
    if given and len(orphans) == len(given):
        raise DataError(f"{where}: none of the {len(given)} answers belongs to a question; first id {orphans[0]}")
    contradicted = [key for key in known if len(set(given.get(key, ()))) > 1]
    missing = [key for key in known if key not in given]
    lost = {*contradicted, *missing}
    pairs = tuple((q, None if key in lost else given[key][0]) for key, q in known.items())
    return Joined(pairs, tuple(missing), tuple(orphans), tuple(contradicted))


def join_by_line(questions: Sequence[Question], answers: Sequence[str], where: str) -> Joined:
    """Pair by position. Raises DataError unless answers and questions are equally many: a gap would shift the rest."""
    if len(questions) != len(answers):
        raise DataError(
            f"{where}: {len(answers)} answers for {len(questions)} questions; paired by line they must be equally many "
            "(use --pairing id where the answers carry ids)"
        )
    return Joined(tuple(zip(questions, answers, strict=True)))
