"""GQA's questions in the official layout, as rows with gold answers, and as conversations (Visual-CoT)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import DataError
from evaluate.answers import values
from evaluate.answers.columns import ROLES
from evaluate.answers.questions import Question
from evaluate.answers.tables import read_rows
from evaluate.metrics.gqa import question_kind

LAYOUTS = "the official 'id': {question, answer, imageId}, rows with question and answer, or conversations"
BOX_REQUEST = " Please provide the bounding box coordinate of the region that can help you answer the question better."


def read_questions(path: Path | str) -> list[Question]:
    """All questions of a file. Raises DataError, naming the entry and the known layouts."""
    return [_row(entry, where) for where, entry in read_rows(path)]


def _official(key: str, entry: Mapping[str, Any], where: str) -> Question:
    text = values.one_of(entry, ("question",), where, values.plain_text)
    label = values.one_of(entry, ("answer",), where, values.free_text)
    if not text or not label:
        raise DataError(f"{where}: known layouts are {LAYOUTS}; found {', '.join(map(str, entry))}")
    image = values.one_of(entry, ("imageId", "image"), where, values.image_text)
    types = entry.get("types")
    structural = types.get("structural") if isinstance(types, Mapping) else None
    kind = question_kind(structural) if isinstance(structural, str) else ""
    return Question(key, text, label, image if "." in image or not image else f"{image}.jpg", kind)


def _row(entry: Mapping[str, Any], where: str) -> Question:
    key = values.one_of(entry, ROLES["id"], where, values.id_text)
    if not key:
        raise DataError(f"{where}: no question id; expected one of {', '.join(ROLES['id'])}")
    if "conversations" in entry:
        return _conversation(key, entry, where)
    return _official(key, entry, where)


def _conversation(key: str, entry: Mapping[str, Any], where: str) -> Question:
    """The first human turn asks, the last turn of the model answers."""
    try:
        turns = [(turn["from"], values.plain_text(turn["value"], where, "value")) for turn in entry["conversations"]]
        asked = next(text for who, text in turns if who == "human")
        answer = next(text for who, text in reversed(turns) if who == "gpt")
    except (KeyError, TypeError, StopIteration):
        raise DataError(f"{where}: conversations need turns with from and value, human first") from None
    if not asked.strip() or not answer.strip():
        raise DataError(f"{where}: the question or its answer is empty")
    images = entry.get("image")
    image = values.image_text(images[0] if isinstance(images, list) and images else images, where, "image")
    text = asked.replace("<image>", "").strip().removesuffix(BOX_REQUEST.strip()).strip()
    return Question(key, text, answer, Path(image).name)
