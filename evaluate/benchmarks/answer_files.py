"""Reading answer files of other tools: JSON Lines or a JSON list, the usual names for the usual fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.storage import read_json, read_json_lines, read_text
from common.paths import display

ANSWER_FIELDS = ("answer", "response", "text", "output", "prediction", "pred")
ID_FIELDS = ("question_id", "questionId", "id", "qid")
QUESTION_FIELDS = ("question", "prompt", "query")


@dataclass(frozen=True)
class AnswerRow:
    """One answer as a file gives it; fields that the file lacks are empty."""

    answer: str
    key: str = ""
    question: str = ""
    label: str = ""
    image: str = ""
    group: str = ""
    choices: tuple[str, ...] = ()
    where: str = ""


def read_objects(path: Path | str) -> list[tuple[str, Mapping[str, Any]]]:
    """(place, object) for each entry of a JSON Lines file, a JSON list or a list under one key. Raises DataError."""
    path = Path(path)
    start = read_text(path).lstrip()[:1]
    if not start:
        raise DataError(f"{display(path)} is empty")
    if start == "[":
        entries = read_json(path, constants=True)
        for number, entry in enumerate(entries, start=1):
            if not isinstance(entry, Mapping):
                raise DataError(f"{display(path)}: entry {number}: expected an object")
        return [(f"{display(path)}: entry {n}", entry) for n, entry in enumerate(entries, start=1)]
    return [(f"{display(path)}:{number}", value) for number, value in read_json_lines(path, constants=True)]


def first_text(value: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of the fields that is present, as text; numbers are spelled out."""
    for name in names:
        found = value.get(name)
        if isinstance(found, str | int | float) and not isinstance(found, bool):
            return str(found)
    return None


def answer_row(value: Mapping[str, Any], where: str) -> AnswerRow:
    """One answer. POPE's files say `text` for the question, LLaVA's for the answer: `answer` wins where both stand.

    Raises DataError, naming the known layouts, where no field holds an answer.
    """
    answer = first_text(value, ANSWER_FIELDS)
    if answer is None:
        known, found = ", ".join(ANSWER_FIELDS), ", ".join(value) or "none"
        raise DataError(f"{where}: no answer; known layouts have one of {known}, found {found}")
    question = first_text(value, QUESTION_FIELDS)
    if question is None and "answer" in value:
        question = first_text(value, ("text",))
    candidates = value.get("candidates", value.get("choices", ()))
    return AnswerRow(
        answer=answer,
        key=first_text(value, ID_FIELDS) or "",
        question=question or "",
        label=first_text(value, ("label", "gt_answer", "ground_truth", "correct_ans")) or "",
        image=first_text(value, ("image", "image_source", "img_path")) or "",
        group=first_text(value, ("category", "split")) or "",
        choices=tuple(map(str, candidates)) if isinstance(candidates, list) else (),
        where=where,
    )


def read_answers(path: Path | str) -> list[AnswerRow]:
    """All answers of a file, in order. Raises DataError naming file and line."""
    return [answer_row(value, where) for where, value in read_objects(path)]
