"""AMBER's annotations, queries and word lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError
from common.files.storage import read_json, read_text
from common.paths import display
from evaluate.benchmarks.questions import Question
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
    found = []
    for number, entry in enumerate(value, start=1):
        try:
            key, kind, truth = str(entry["id"]), str(entry["type"]), entry["truth"]
            traps = tuple(entry["hallu"]) if kind == GENERATIVE else ()
        except (KeyError, TypeError):
            raise DataError(f"{display(path)}: entry {number}: expected id, type, truth (and hallu)") from None
        found.append(Annotation(key, kind, tuple(truth) if isinstance(truth, list) else (str(truth),), traps))
    return found


def read_vocabulary(relation: Path | str, safe_words: Path | str) -> Vocabulary:
    """relation.json and safe_words.txt. Raises DataError."""
    association = read_json(relation)
    if not isinstance(association, Mapping):
        raise DataError(f"{display(relation)}: expected a JSON object 'word': [associated words]")
    return Vocabulary(association, frozenset(read_text(safe_words).split("\n")) - {""})


def read_queries(path: Path | str) -> list[Question]:
    """What a model is asked: id, image, query. Raises DataError naming the entry."""
    try:
        return [Question(str(e["id"]), str(e["query"]), "", str(e["image"])) for e in read_json(path)]
    except (KeyError, TypeError):
        raise DataError(f"{display(path)}: expected a JSON list of items with id, image and query") from None
