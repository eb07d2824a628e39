"""Instruction data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import DataError
from finetune.corpus.gold import encode_gold, read_gold
from tests.unit.finetune.test_training_items import PROMPT, Words


def turns(question: str, answer: str) -> list[dict[str, str]]:
    """LLaVA's layout."""
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


RECORDS: list[dict[str, Any]] = [
    {"id": "a", "image": "coco/1.jpg", "conversations": turns("<image>\nWhat is it?", "a dog") + turns("q2", "a2")},
    {"id": "b", "conversations": turns("Write a poem.", "no")},
    {"id": "c", "image": "coco/2.jpg", "conversations": turns("Where?\n<image>", "on a bench")},
    {"id": "d", "image": "coco/3.jpg", "conversations": turns("Why?", "because")},
]


def write(folder: Path, value: Any) -> str:
    """A JSON file."""
    path = folder / "mix.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def test_t21_as_many_records_with_an_image_as_asked_for_and_their_first_turn(tmp_path: Path) -> None:
    """Text-only records are passed over, not counted; a smaller request takes fewer."""
    samples, passed = read_gold(write(tmp_path, RECORDS), tmp_path, 2)
    assert [(s.question, s.answer) for s in samples] == [("What is it?", "a dog"), ("Where?", "on a bench")]
    assert passed == 1
    assert samples[0].image == str((tmp_path / "coco/1.jpg").resolve())
    assert len(read_gold(write(tmp_path, RECORDS), tmp_path, 1)[0]) == 1


def test_answer_and_one_end_symbol_are_learnt_whole(tmp_path: Path) -> None:
    """A span over all tokens."""
    samples, _ = read_gold(write(tmp_path, RECORDS), tmp_path, 1)
    (item,) = encode_gold(samples, Words())
    assert item.ids == (10, 11, Words.eos_id) and item.prompt == PROMPT
    assert [(s.kind, s.start, s.end, s.score) for s in item.spans] == [("gold", 0, 3, 40.0)]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "JSON list"),
        ([RECORDS[1]], "none of 1 records"),
        ([{"image": "1.jpg", "conversations": []}], "entry 1: needs conversations"),
        ([{"image": "1.jpg", "conversations": turns("q", " ")}], "entry 1: the answer is empty"),
        (["text"], "entry 1: expected an object"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, value: Any, words: str) -> None:
    """File and entry."""
    with pytest.raises(DataError, match=words):
        read_gold(write(tmp_path, value), tmp_path, 5)
