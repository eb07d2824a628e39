"""Answers that carry their own question and right answer: judged without a question file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from common.errors import DataError
from common.files.image_ids import plain_number
from common.progress import announce
from evaluate.answers.questions import AnswerRow, Joined, Question
from evaluate.answers.values import shown
from evaluate.answers.wording import label_key

Identity = tuple[object, ...]


@dataclass
class _Asked:
    """A question as rows carry it.

    Attributes:
        number: of its first row in the file, from 1.
        row: its first one.
        label: its right answer.
        said: all that is answered to it; None where a row has no answer.
    """

    number: int
    row: AnswerRow
    label: str
    said: set[str | None] = field(default_factory=set)

    def questions(self, known_groups: Sequence[str], default: str) -> list[Question]:
        """One for each of its splits."""
        groups = _groups(self.row, known_groups, default)
        return [_question(self.number, self.row, group, self.label, len(groups)) for group in groups]


def self_contained(
    rows: Sequence[AnswerRow],
    label: Callable[[AnswerRow], str],
    known_groups: Sequence[str] = (),
    default: str = "all",
) -> Joined:
    """Each row as question and answer, once for each of its splits.

    Args:
        label: the right answer of a row, checked; it has one.
        known_groups: splits or subtasks of the benchmark; other categories of a row are passed over. Where none is
            named, a row's first category is its group.
        default: the group of a row that names none.

    A row that stands twice with its number or id counts once; two with different answers contradict each other.
    Raises DataError for a row without a right answer, or with another than an earlier row of its question.
    """
    pairs: list[tuple[Question, str | None]] = []
    missing: list[str] = []
    contradicted: list[str] = []
    asked = _asked(rows, label)
    for one in asked:
        answer = next(iter(one.said)) if len(one.said) == 1 else None
        questions = one.questions(known_groups, default)
        pairs += [(question, answer) for question in questions]
        if answer is None:
            (missing if len(one.said) == 1 else contradicted).extend(question.key for question in questions)
    if len(asked) < len(rows):
        announce(f"{len(rows) - len(asked)} rows stand there twice; each question counts once")
    return Joined(tuple(pairs), tuple(missing), (), tuple(contradicted))


def _asked(rows: Sequence[AnswerRow], label: Callable[[AnswerRow], str]) -> list[_Asked]:
    """The questions of the rows, in the order of their first ones."""
    found: dict[Identity, _Asked] = {}
    for number, row in enumerate(rows, start=1):
        if not row.label:
            raise DataError(f"{row.where}: the answer has no label; give the questions with --question_path")
        right = label(row)
        asked = found.setdefault(_identity(row) or (number,), _Asked(number, row, right))
        if label_key(right) != label_key(asked.label):
            raise DataError(
                f"{row.where}: the right answer is {shown(row.label)}, but {shown(asked.row.label)} in row "
                f"{asked.number}, which is the same question; remove the one that is wrong, or number them apart"
            )
        asked.said.add(row.answer)
    return list(found.values())


def _identity(row: AnswerRow) -> Identity | None:
    """What makes two rows one; None for rows without number and id, of which each is its own."""
    if not row.keys and not row.place:
        return None
    return row.keys, row.place, row.groups, row.image, row.question, row.choices


def _groups(row: AnswerRow, known: Sequence[str], default: str) -> Sequence[str]:
    if not known:
        return row.groups[:1] or (default,)
    said = {group.casefold() for group in row.groups}
    return [group for group in known if group.casefold() in said] or (default,)


def _question(number: int, row: AnswerRow, group: str, label: str, groups: int) -> Question:
    key = f"{group}/{number}" if groups > 1 else str(number)
    return Question(key, row.question, label, row.image, group, row.choices)


def choice_letter(row: AnswerRow, letters: str) -> str:
    """The letter of a row's right choice, given as letter, number from 0, or text. Raises DataError."""
    if len(row.choices) < 2:
        raise DataError(f"{row.where}: the answer has no choices; give the questions with --question_path")
    known = letters[: len(row.choices)]
    label = row.label.strip()
    texts = [choice.strip() for choice in row.choices]
    spelled = [label] if label and label in known else [known[i] for i, text in enumerate(texts) if text == label]
    place = plain_number(label)
    if not spelled and place is not None and place < len(known):
        spelled = [known[place]]
    if len(spelled) != 1 or len(row.choices) > len(letters):
        raise DataError(f"{row.where}: the right answer '{row.label}' is not one of the {len(row.choices)} choices")
    return spelled[0]
