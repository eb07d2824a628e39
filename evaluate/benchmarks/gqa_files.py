"""GQA's questions in the official layout, as rows with gold answers, and as conversations (Visual-CoT)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.storage import read_json, read_text
from common.paths import display
from evaluate.benchmarks.answer_files import ID_FIELDS, first_text, read_objects
from evaluate.benchmarks.questions import Question
from evaluate.metrics.gqa import question_kind

LAYOUTS = "the official 'id': {question, answer, imageId}, rows with question and answer, or conversations"
BOX_REQUEST = " Please provide the bounding box coordinate of the region that can help you answer the question better."


def read_questions(path: Path | str) -> list[Question]:
    """All questions of a file. Raises DataError, naming the entry and the known layouts."""
    path = Path(path)
    text = read_text(path)
    if text.lstrip()[:1] == "{" and "\n{" not in text.strip():
        value = read_json(path)
        if isinstance(value, Mapping) and value and all(isinstance(v, Mapping) for v in value.values()):
            return [_official(str(key), entry, f"{display(path)}: entry {key}") for key, entry in value.items()]
    return [_row(entry, where) for where, entry in read_objects(path)]


def _official(key: str, entry: Mapping[str, Any], where: str) -> Question:
    text, label = first_text(entry, ("question",)), first_text(entry, ("answer",))
    if text is None or label is None:
        raise DataError(f"{where}: known layouts are {LAYOUTS}; found {', '.join(entry)}")
    image = first_text(entry, ("imageId", "image")) or ""
    types = entry.get("types")
    structural = types.get("structural") if isinstance(types, Mapping) else None
    kind = question_kind(structural) if isinstance(structural, str) else ""
    return Question(key, text, label, image if "." in image or not image else f"{image}.jpg", kind)


def _row(entry: Mapping[str, Any], where: str) -> Question:
    key = first_text(entry, ID_FIELDS)
    if key is None:
        raise DataError(f"{where}: no question id; expected one of {', '.join(ID_FIELDS)}")
    if "conversations" in entry:
        return _conversation(key, entry, where)
    return _official(key, entry, where)


def _conversation(key: str, entry: Mapping[str, Any], where: str) -> Question:
    """The first human turn asks, the last turn of the model answers."""
    try:
        turns = [(turn["from"], str(turn["value"])) for turn in entry["conversations"]]
        asked = next(text for who, text in turns if who == "human")
        answer = next(text for who, text in reversed(turns) if who == "gpt")
    except (KeyError, TypeError, StopIteration):
        raise DataError(f"{where}: conversations need turns with from and value, human first") from None
    images = entry.get("image", "")
    image = str(images[0] if isinstance(images, list) and images else images or "")
    text = asked.replace("<image>", "").strip().removesuffix(BOX_REQUEST.strip()).strip()
    return Question(key, text, answer, Path(image).name)
