"""ScienceQA's questions (problems.json, or LLaVA's conversations) and answers (`results`/`outputs` by id, or rows)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.storage import read_json, read_text
from common.paths import display
from evaluate.benchmarks.answer_files import AnswerRow, read_answers
from evaluate.benchmarks.questions import Question
from evaluate.metrics.scienceqa import LETTERS

LAYOUTS = "problems.json (id: {question, choices, answer, ...}) and LLaVA's list of conversations"


def read_questions(path: Path | str, split: str = "test") -> list[Question]:
    """Questions of the split (problems.json) or all of the file. Raises DataError naming the entry."""
    value = read_json(path)
    where = display(path)
    if isinstance(value, Mapping):
        entries = [(str(key), entry) for key, entry in value.items() if _in_split(entry, split)]
        found = [_problem(key, entry, f"{where}: entry {key}") for key, entry in entries]
    elif isinstance(value, list):
        found = [_conversation(entry, f"{where}: entry {number}") for number, entry in enumerate(value, start=1)]
    else:
        raise DataError(f"{where}: known layouts are {LAYOUTS}")
    if not found:
        raise DataError(f"{where} holds no question of the split '{split}'")
    return found


def _in_split(entry: Any, split: str) -> bool:
    return not isinstance(entry, Mapping) or entry.get("split", split) == split


def worded(question: str, hint: str, choices: tuple[str, ...]) -> str:
    """The question as LLaVA's file words it: optional context, question, one line a choice."""
    context = [f"Context: {hint}"] if hint else []
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    return "\n".join([*context, question, *lines])


def _problem(key: str, entry: Any, where: str) -> Question:
    try:
        choices = tuple(str(choice) for choice in entry["choices"])
        text = worded(str(entry["question"]), str(entry.get("hint") or ""), choices)
        label = LETTERS[int(entry["answer"])]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise DataError(f"{where}: expected question, choices and answer (a number); known: {LAYOUTS}") from None
    if LETTERS.index(label) >= len(choices):
        raise DataError(f"{where}: the answer is {label}, but there are {len(choices)} choices")
    image = f"{key}/{entry['image']}" if entry.get("image") else ""
    return Question(key, text, label, image, "image" if image else "", choices)


def _conversation(entry: Any, where: str) -> Question:
    try:
        key, asked, answer = str(entry["id"]), entry["conversations"][0]["value"], entry["conversations"][1]["value"]
    except (KeyError, TypeError, IndexError):
        raise DataError(f"{where}: expected id and two conversations; known: {LAYOUTS}") from None
    text = str(asked).replace("<image>\n", "").replace("<image>", "")
    image = str(entry.get("image") or "")
    return Question(key, text, str(answer).strip()[:1], image, "image" if image else "", choices_in(text))


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


def read_sqa_answers(path: Path | str) -> list[AnswerRow]:
    """Rows, or `outputs` by id; where an output is empty but `results` holds a choice, that one. Raises DataError."""
    if not read_text(path).lstrip().startswith("{") or Path(path).suffix == ".jsonl":
        return read_answers(path)
    value = read_json(path)
    outputs, results = value.get("outputs", {}), value.get("results", {})
    if not isinstance(outputs, Mapping) or not isinstance(results, Mapping) or not (outputs or results):
        raise DataError(f"{display(path)}: known layouts are rows with an answer, and 'outputs' or 'results' by id")
    rows = []
    for key in dict.fromkeys((*outputs, *results)):
        text, chosen = str(outputs.get(key, "")), results.get(key)
        if not text and isinstance(chosen, int) and 0 <= chosen < len(LETTERS):
            text = LETTERS[chosen]
        rows.append(AnswerRow(text.removeprefix("Assistant: "), str(key), where=f"{display(path)}: {key}"))
    return rows
