"""Answers of any tool as records: each row's columns read by their declared meaning, contradictions refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.paths import display
from common.progress import announce
from evaluate.answers import values
from evaluate.answers.columns import ROW_NUMBERS, Columns, Role, decide, named_choices
from evaluate.answers.questions import AnswerRow
from evaluate.answers.tables import Row, Rows, read_rows
from evaluate.answers.values import shown
from evaluate.answers.wording import contains, label_key, normal, same_image

Texts = dict[str, str]  # column -> what it says, where it says something


def read_answers(path: Path | str, yes_no: bool = False, answer_column: str | None = None) -> list[AnswerRow]:
    """All answers of a file, in order.

    Args:
        yes_no: the benchmark asks yes or no; see :func:`evaluate.answers.values.answer_text`.
        answer_column: the column of the model's words, where the user names it.

    Raises DataError, naming file, line and columns: nothing that can be the answer, columns that could mean the same
    and differ, values of a wrong type.
    """
    rows = [(where, flat(row, where)) for where, row in read_rows(path)]
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    columns = decide(names, display(path), answer_column)
    _refuse_questions(rows, columns, display(path))
    announce(f"{display(path)}: {columns.line()}")
    letters = named_choices(names)
    return [_row(row, where, columns, letters, yes_no) for where, row in rows]


def flat(row: Row, where: str) -> Row:
    """A row with the question's own record (`doc` of lmms-eval) and the ids in its metrics among the columns.

    Raises DataError where the record and the row have a column of one name that differs.
    """
    out = dict(row)
    doc = row.get("doc")
    nested = [doc] if isinstance(doc, Mapping) else []
    metrics = [value for value in row.values() if isinstance(value, Mapping) and "question_id" in value]
    nested += [{name: value[name] for name in ("question_id", "category") if name in value} for value in metrics]
    for record in nested:
        for name, value in record.items():
            if str(out.setdefault(name, value)) != str(value):
                raise DataError(f"{where}: {name} is {shown(out[name])}, within the row {shown(value)}; remove one")
    return out


def _refuse_questions(rows: Rows, columns: Columns, where: str) -> None:
    """Refuse a file whose `text` would be read as answers and holds questions."""
    if columns.answer == "text" and not columns.roles["question"]:
        texts = [row.get("text") for _, row in rows]
        if all(isinstance(text, str) and text.rstrip().endswith("?") for text in texts):
            raise DataError(f"{where}: text holds questions and no other column holds answers; give the answers' file")


def _row(row: Row, where: str, columns: Columns, letters: Sequence[str], yes_no: bool) -> AnswerRow:
    answer = _answer(row, where, columns, yes_no)
    return AnswerRow(
        answer=answer,
        keys=_keys(row, where, columns),
        question=_question(row, where, columns, answer),
        label=_label(row, where, columns, yes_no),
        image=_image(row, where, columns),
        groups=_groups(row, where, columns),
        choices=_choices(row, where, columns, letters),
        place=next((values.id_text(row[name], where, name) for name in ROW_NUMBERS if name in row), ""),
        where=where,
    )


def _answer(row: Row, where: str, columns: Columns, yes_no: bool) -> str | None:
    if columns.answer not in row:
        raise DataError(f"{where}: no {columns.answer}, which other rows have; null where there is no answer")
    answer = values.answer_text(row[columns.answer], where, columns.answer, yes_no)
    for other in columns.same_answer:
        if other in row and values.answer_text(row[other], where, other, yes_no) != answer:
            raise DataError(
                f"{where}: {columns.answer} and {other} could both be the model's answer and differ "
                f"({shown(row[columns.answer])}, {shown(row[other])}); name one with --answer_column"
            )
    return answer


def _texts(row: Row, where: str, columns: Columns, role: Role, read: Callable[[Any, str, str], str]) -> Texts:
    """What the columns of a role say in this row, those that say nothing left out."""
    found = {name: read(row[name], where, name) for name in columns.roles[role] if name in row}
    return {name: text for name, text in found.items() if text.strip()}


def _agreed(texts: Texts, where: str, same: Callable[[str, str], bool], what: str) -> str:
    """What all columns say. Raises DataError naming the two that differ."""
    names = list(texts)
    for other in names[1:]:
        if not same(texts[names[0]], texts[other]):
            raise DataError(
                f"{where}: {names[0]} and {other} could both be the {what} and differ "
                f"({shown(texts[names[0]])}, {shown(texts[other])}); remove one"
            )
    return texts[names[0]] if names else ""


def _keys(row: Row, where: str, columns: Columns) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_texts(row, where, columns, "id", values.id_text).values()))


def _prompt_text(value: Any, where: str, column: str) -> str:
    """A prompt; lmms-eval's `input` may be the list of a request's arguments, the prompt first."""
    while isinstance(value, list) and value:
        value = value[0]
    return values.plain_text(value, where, column)


def _question(row: Row, where: str, columns: Columns, answer: str | None) -> str:
    """The question, the barest wording of several columns. Raises DataError where they are not the same question."""
    texts = _texts(row, where, columns, "question", _prompt_text)
    if "text" in texts and len(texts) > 1 and answer is not None and normal(texts["text"]) == normal(answer):
        del texts["text"]  # the answer once more, as LLaVA's files name it

    def same(one: str, other: str) -> bool:
        """Whether one is the other with instructions around it."""
        first, second = normal(one), normal(other)
        return contains(first, second) or contains(second, first)

    if "text" in texts and len(texts) > 1:
        question = next(text for name, text in texts.items() if name != "text")
        if not same(texts["text"], question):
            raise DataError(
                f"{where}: {columns.answer} and text could both be the model's answer (text is not the question) and "
                "differ; name one with --answer_column"
            )
    _agreed(texts, where, same, "question")
    return min(texts.values(), key=lambda text: len(normal(text)), default="")


def _label(row: Row, where: str, columns: Columns, yes_no: bool) -> str:
    texts = _texts(row, where, columns, "gold", values.yes_no_text if yes_no else values.free_text)
    if "answer" in texts and len(texts) > 1:
        other = next(name for name in texts if name != "answer")
        if not _same_label(texts["answer"], texts[other]):
            raise DataError(
                f"{where}: answer and {columns.answer} could both be the model's answer (answer is not the {other}: "
                f"{shown(texts['answer'])}, {shown(texts[other])}); name one with --answer_column"
            )
    return _agreed(texts, where, _same_label, "right answer")


def _same_label(one: str, other: str) -> bool:
    """Whether two spellings are one right answer; a choice may be given by letter or by number from 0."""
    first, second = label_key(one), label_key(other)
    return first == second or {first, second} in ({letter.lower(), str(i)} for i, letter in enumerate("ABCDEFGH"))


def _image(row: Row, where: str, columns: Columns) -> str:
    return _agreed(_texts(row, where, columns, "image", values.image_text), where, same_image, "image")


def _groups(row: Row, where: str, columns: Columns) -> tuple[str, ...]:
    texts = _texts(row, where, columns, "group", values.plain_text)
    return tuple(dict.fromkeys(part.strip() for text in texts.values() for part in text.split(",") if part.strip()))


def _choices(row: Row, where: str, columns: Columns, letters: Sequence[str]) -> tuple[str, ...]:
    """Choices of a list, or of the columns A, B, C ... as far as they are filled."""
    for name in columns.roles["choices"]:
        if isinstance(row.get(name), list):
            return tuple(values.free_text(choice, where, name) for choice in row[name])
    filled = [letter for letter in letters if not values.is_missing(row.get(letter))]
    if filled != list(letters[: len(filled)]):
        raise DataError(f"{where}: choice {filled[-1]} is there but not all before it; fill or remove columns")
    return tuple(values.free_text(row[letter], where, letter) for letter in filled)
