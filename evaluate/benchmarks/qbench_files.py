"""Q-Bench's questions (llvisionqa_*.json): the choices lettered below the question."""

from __future__ import annotations

from pathlib import Path

from common.errors import DataError
from evaluate.answers import values
from evaluate.answers.questions import Question
from evaluate.answers.tables import Row, read_rows
from evaluate.metrics.qbench import LETTERS


def read_questions(path: Path | str) -> list[Question]:
    """Questions with their choices lettered below; ids are given, or the entries' numbers. Raises DataError."""
    return [_question(entry, where, number) for number, (where, entry) in enumerate(read_rows(path), start=1)]


def _question(entry: Row, where: str, number: int) -> Question:
    text = values.one_of(entry, ("question",), where, values.plain_text)
    gold = values.one_of(entry, ("correct_ans", "answer"), where, values.free_text)
    candidates = entry.get("candidates")
    if not text or not gold or not isinstance(candidates, list):
        raise DataError(f"{where}: expected question, candidates and correct_ans; found {', '.join(map(str, entry))}")
    choices = tuple(values.free_text(candidate, where, "candidates") for candidate in candidates)
    if choices.count(gold) != 1 or len(choices) > len(LETTERS):
        raise DataError(f"{where}: the right answer '{gold}' is not one of at most four candidates")
    lines = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, choices, strict=False))
    key = values.one_of(entry, ("question_id", "id"), where, values.id_text)
    image = values.one_of(entry, ("img_path", "image"), where, values.image_text)
    label = LETTERS[choices.index(gold)]
    asked = f"{text}\n{lines}"
    return Question(key or str(number), asked, label, image, "", choices, stem=text, numbered=not key)
