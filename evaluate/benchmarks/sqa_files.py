"""ScienceQA's questions (problems.json, or LLaVA's conversations) and answers (`results`/`outputs` by id, or rows)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.json_text import RepeatedKeyError
from common.files.storage import read_json, read_text
from common.paths import display
from evaluate.answers.questions import AnswerRow, Question
from evaluate.answers.rows import read_answers
from evaluate.answers.tables import SEPARATORS
from evaluate.answers.values import answer_text, free_text, id_text, image_text, plain_text, shown
from evaluate.metrics.scienceqa import LETTERS

LAYOUTS = "problems.json (id: {question, choices, answer, ...}) and LLaVA's list of conversations"


def read_questions(path: Path | str, split: str = "test") -> list[Question]:
    """Questions of the split (problems.json) or all of the file. Raises DataError naming the entry."""
    value = read_json(path)
    where = display(path)
    if isinstance(value, Mapping):
        entries = [(str(key), entry) for key, entry in value.items() if _in_split(entry, split, where)]
        found = [_problem(key, entry, f"{where}: entry {key}") for key, entry in entries]
    elif isinstance(value, list):
        found = [_conversation(entry, f"{where}: entry {number}") for number, entry in enumerate(value, start=1)]
    else:
        raise DataError(f"{where}: known layouts are {LAYOUTS}")
    if not found:
        raise DataError(f"{where} holds no question of the split '{split}'")
    return found


def _in_split(entry: Any, split: str, where: str) -> bool:
    """Whether a problem is of the split, or of none. Raises DataError for a split that is no text."""
    found = entry.get("split", split) if isinstance(entry, Mapping) else split
    if not isinstance(found, str):
        raise DataError(f"{where}: split is {shown(found)}, expected text such as {split}")
    return found == split


def worded(question: str, hint: str, choices: tuple[str, ...]) -> str:
    """The question as LLaVA's file words it: optional context, question, one line a choice."""
    context = [f"Context: {hint}"] if hint else []
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    return "\n".join([*context, question, *lines])


def _problem(key: str, entry: Any, where: str) -> Question:
    if not isinstance(entry, Mapping):
        raise DataError(f"{where}: expected an object; known: {LAYOUTS}")
    asked, hint, image = (plain_text(entry.get(name), where, name) for name in ("question", "hint", "image"))
    listed, right = entry.get("choices"), entry.get("answer")
    if not asked or not isinstance(listed, list) or isinstance(right, bool) or not isinstance(right, int):
        raise DataError(f"{where}: expected question, choices and answer (a number); known: {LAYOUTS}")
    choices = tuple(free_text(choice, where, "a choice") for choice in listed)
    if not 0 <= right < min(len(choices), len(LETTERS)):
        raise DataError(f"{where}: the answer is choice {right}, but there are {len(choices)} choices")
    image = f"{key}/{image}" if image else ""
    text = worded(asked, hint, choices)
    return Question(key, text, LETTERS[right], image, "image" if image else "", choices, stem=asked)


def _conversation(entry: Any, where: str) -> Question:
    try:
        asked, answer = (turn["value"] for turn in entry["conversations"][:2])
        key, image = id_text(entry["id"], where, "id"), image_text(entry.get("image"), where, "image")
        text = plain_text(asked, where, "the question").replace("<image>\n", "").replace("<image>", "")
        label = plain_text(answer, where, "the answer").strip()[:1]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(f"{where}: expected id and two conversations; known: {LAYOUTS}") from None
    choices = choices_in(text)
    if label not in LETTERS[: len(choices) or None] or not label:
        raise DataError(f"{where}: the right answer is '{label}', expected the letter of one of {len(choices)} choices")
    stem = text[: text.rfind("\nA. ")] if choices else text
    return Question(key, text, label, image, "image" if image else "", choices, stem=stem)


def choices_in(text: str) -> tuple[str, ...]:
    """The lettered choices at the end of a question, in order; a choice may run over several lines."""
    start = text.rfind("\nA. ")
    if start < 0:
        return ()
    found: list[str] = []
    rest = text[start:]
    for letter, following in zip(LETTERS, (*LETTERS[1:], ""), strict=True):
        mark = f"\n{letter}. "
        if not rest.startswith(mark):
            break
        end = rest.find(f"\n{following}. ") if following else -1
        found.append(rest[len(mark) : end if end >= 0 else None].strip())
        rest = rest[end:] if end >= 0 else ""
    return tuple(found)


def read_sqa_answers(path: Path | str, answer_column: str | None = None) -> list[AnswerRow]:
    """Rows, or `outputs` and `results` by id (LLaVA, GPT-3). Raises DataError.

    An output that is empty text beside a choice in `results` means that choice, as in GPT-3's file.
    """
    path = Path(path)
    value = _by_id(path)
    if value is None:
        return read_answers(path, answer_column=answer_column)
    outputs, results = value.get("outputs", {}), value.get("results", {})
    if not isinstance(outputs, Mapping) or not isinstance(results, Mapping) or not (outputs or results):
        raise DataError(f"{display(path)}: known layouts are rows with an answer, and 'outputs' or 'results' by id")
    keys = dict.fromkeys((*outputs, *results))
    return [_answer_of(key, outputs, results, f"{display(path)}: {key}") for key in keys]


def _by_id(path: Path) -> Mapping[str, Any] | None:
    """The file as an object of `outputs` and `results`; None for any other layout."""
    if path.suffix.lower() in (".xlsx", *SEPARATORS) or not read_text(path).lstrip().startswith("{"):
        return None
    try:
        value = read_json(path, constants=True)
    except RepeatedKeyError:
        raise
    except DataError:
        return None  # JSON Lines
    return value if isinstance(value, Mapping) and ("outputs" in value or "results" in value) else None


def _answer_of(key: str, outputs: Mapping[str, Any], results: Mapping[str, Any], where: str) -> AnswerRow:
    if key in outputs:
        text = answer_text(outputs[key], where, "the output", yes_no=False)
        if outputs[key] != "" or key not in results:
            return AnswerRow(text.removeprefix("Assistant: ") if text else text, (key,), where=where)
    chosen = results[key]
    if isinstance(chosen, bool) or not isinstance(chosen, int) or chosen >= len(LETTERS):
        raise DataError(f"{where}: the result is {chosen!r}, expected the number of a choice, or -1 for none")
    return AnswerRow(LETTERS[chosen] if chosen >= 0 else None, (key,), where=where)
