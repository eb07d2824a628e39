"""Benchmark questions and the answers that belong to them: one record each, and what did not fit."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.errors import plain
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
        stem: the bare question, without context and choices; "" where that is the text.
        numbered: the key is only the question's place in its file, which has no ids.
    """

    key: str
    text: str
    label: str
    image: str = ""
    group: str = ""
    choices: tuple[str, ...] = ()
    stem: str = field(default="", compare=False)
    numbered: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class AnswerRow:
    """One answer as a file gives it; fields that the file lacks are empty.

    Attributes:
        answer: the model's words, None where the row says that there are none.
        keys: what the row gives as id of the question; several where its columns number differently.
        question: the question as the row words it, instructions and all.
        label: the right answer as the row has it.
        image: name of the image.
        groups: split, subtask or category; VLMEvalKit's POPE has several in one row.
        choices: texts of the choices.
        place: the tool's own number of the row (`index`, `doc_id`); never the id of a question.
        where: file and line.
    """

    answer: str | None
    keys: tuple[str, ...] = ()
    question: str = ""
    label: str = ""
    image: str = ""
    groups: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    place: str = ""
    where: str = ""


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
                announce(f"{len(keys)} {what}: {', '.join(plain(key, 80) for key in keys[:_LISTED])}{more}")
