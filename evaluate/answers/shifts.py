"""Answers whose ids number several question files through, as LLaVA's do for POPE: the shift of each file is found.

A file's questions must stand in the answers one after another, and every wording must agree: only then is the shift
taken, and only if no other fits as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from common.files.image_ids import plain_number
from evaluate.answers.questions import AnswerRow, Question
from evaluate.answers.wording import same_image

LEAST_COVERED = 0.5  # of a file's questions must have an answer at the shift that is taken
_TRIED = 4  # first questions of a file, of which one must be answered
Asks = Callable[[AnswerRow, Question], bool]


def shifted(
    questions: Sequence[Question], rows: Sequence[AnswerRow], native_key: Callable[[Question], str], asks: Asks
) -> list[tuple[int, ...]] | None:
    """The questions of each row under the shifts; None if a file has no shift, or several, or two files overlap.

    Rows are placed by their ids where all are whole numbers and differ, else by their order if none has one.
    """
    places = _places([row.keys for row in rows])
    if places is None or not all(row.question for row in rows):
        return None
    at = {place: i for i, place in enumerate(places)}
    parts: defaultdict[str, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        parts[question.group].append(number)
    out: list[tuple[int, ...]] = [()] * len(rows)
    solved = 0
    for members in parts.values():
        own = _places([(native_key(questions[n]),) for n in members])
        shift = None if own is None else _shift(dict(zip(own, members, strict=True)), questions, rows, at, asks)
        if own is None or shift is None:
            continue
        solved += 1
        for place, member in zip(own, members, strict=True):
            i = at.get(place + shift)
            if i is not None:
                if out[i]:
                    return None
                out[i] = (member,)
    unplaced = sum(not found for found in out)
    unanswered = len(questions) - (len(rows) - unplaced)
    turned = 0 < unplaced <= unanswered  # rows are left over and would fill the gaps: ids that are merely mixed up
    return out if not turned and (solved == len(parts) or (solved and not unplaced)) else None


def _places(keys: Sequence[Sequence[str]]) -> list[int] | None:
    """Ids as whole numbers, or the order where there are none; None for anything in between."""
    if not any(keys):
        return list(range(len(keys)))
    numbers = [number for own in keys if len(own) == 1 and (number := plain_number(own[0])) is not None]
    return numbers if len(set(numbers)) == len(keys) else None


def _shift(
    members: Mapping[int, int],
    questions: Sequence[Question],
    rows: Sequence[AnswerRow],
    at: Mapping[int, int],
    asks: Asks,
) -> int | None:
    """The one shift under which the answers' wordings are those of the questions; None for none or several."""

    def agrees(place: int, shift: int) -> bool | None:
        """Whether the row there asks the question; None where there is no row."""
        i = at.get(place + shift)
        if i is None:
            return None
        row, question = rows[i], questions[members[place]]
        return asks(row, question) and (not row.image or not question.image or same_image(row.image, question.image))

    candidates = {there - place for place in list(members)[:_TRIED] for there in at}
    fitting = []
    for shift in sorted(candidates):
        covered = 0
        for place in members:
            verdict = agrees(place, shift)
            if verdict is False:
                break
            covered += verdict is not None
        else:
            if covered >= LEAST_COVERED * len(members):
                fitting.append(shift)
    return fitting[0] if len(fitting) == 1 else None
