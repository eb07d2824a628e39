"""Answers that carry their own question and right answer: judged without a question file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.errors import DataError
from common.files.image_ids import plain_number
from common.progress import announce
from evaluate.answers.questions import AnswerRow, Joined, Question

Identity = tuple[object, ...]


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
    Raises DataError for a row without a right answer.
    """
    pairs: list[tuple[Question, str | None]] = []
    seen: dict[Identity, tuple[int, ...]] = {}
    repeated, contradicted = 0, []
    for number, row in enumerate(rows, start=1):
        if not row.label:
            raise DataError(f"{row.where}: the answer has no label; give the questions with --question_path")
        identity = _identity(row)
        if identity in seen:
            repeated += 1
            for at in seen[identity]:
                question, answer = pairs[at]
                if answer != row.answer:
                    pairs[at] = question, None
                    contradicted.append(question.key)
            continue
        groups = _groups(row, known_groups, default)
        made = [_question(number, row, group, label(row), len(groups)) for group in groups]
        if identity is not None:
            seen[identity] = tuple(range(len(pairs), len(pairs) + len(made)))
        pairs += [(question, row.answer) for question in made]
    if repeated:
        announce(f"{repeated} rows stand there twice; each question counts once")
    contradicted_keys = set(contradicted)
    lost = tuple(q.key for q, answer in pairs if answer is None and q.key not in contradicted_keys)
    return Joined(tuple(pairs), lost, (), tuple(dict.fromkeys(contradicted)))


def _identity(row: AnswerRow) -> Identity | None:
    """What makes two rows one; None for rows without number and id, of which each is its own."""
    if not row.keys and not row.place:
        return None
    return row.keys, row.place, row.groups, row.image, row.question


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
