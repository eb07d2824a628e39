"""AMBER's annotations, queries and word lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files.storage import read_json, read_text
from common.paths import display
from evaluate.answers.questions import Question
from evaluate.answers.tables import read_rows
from evaluate.answers.values import id_text, image_text, one_of, plain_text, shown
from evaluate.metrics.amber import Vocabulary

GENERATIVE = "generative"


@dataclass(frozen=True)
class Annotation:
    """One item: its kind, and either objects present and likely hallucinations, or the right yes/no answer."""

    key: str
    kind: str
    truth: tuple[str, ...]
    traps: tuple[str, ...] = ()


def read_annotations(path: Path | str) -> list[Annotation]:
    """Items of annotations.json. Raises DataError naming the entry."""
    value = read_json(path)
    if not isinstance(value, list):
        raise DataError(f"{display(path)}: expected a JSON list of items with id, type and truth")
    return [_annotation(entry, f"{display(path)}: entry {number}") for number, entry in enumerate(value, start=1)]


def _annotation(entry: Any, where: str) -> Annotation:
    if not isinstance(entry, Mapping) or not {"id", "type", "truth"} <= entry.keys():
        raise DataError(f"{where}: expected id, type, truth (and hallu)")
    key, kind = id_text(entry["id"], where, "id"), plain_text(entry["type"], where, "type")
    if kind == GENERATIVE:
        return Annotation(key, kind, _names(entry, "truth", where), _names(entry, "hallu", where))
    truth = plain_text(entry["truth"], where, "truth").strip().lower()
    if truth not in ("yes", "no"):
        raise DataError(f"{where}: truth is {shown(entry['truth'])}, expected yes or no for {shown(kind)}")
    return Annotation(key, kind, (truth,))


def _names(entry: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    names = entry.get(field)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: {field} is {shown(names)}, expected a list of words")
    return tuple(names)


def read_vocabulary(relation: Path | str, safe_words: Path | str) -> Vocabulary:
    """relation.json and safe_words.txt. Raises DataError."""
    association = read_json(relation)
    lists = association.values() if isinstance(association, Mapping) else [None]
    if not all(isinstance(words, list) and all(isinstance(word, str) for word in words) for words in lists):
        raise DataError(f"{display(relation)}: expected a JSON object 'word': [associated words]")
    return Vocabulary(association, frozenset(read_text(safe_words).split("\n")) - {""})


def read_queries(path: Path | str) -> list[Question]:
    """What a model is asked: id, image, query. Raises DataError naming the entry."""
    found = []
    for where, entry in read_rows(path):
        key = one_of(entry, ("id",), where, id_text)
        text, image = one_of(entry, ("query",), where, plain_text), one_of(entry, ("image",), where, image_text)
        if not key or not text or not image:
            raise DataError(f"{where}: expected id, image and query; found {', '.join(map(str, entry))}")
        found.append(Question(key, text, "", image))
    return found
