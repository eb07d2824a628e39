"""Readers of the files that travel between the steps."""

from __future__ import annotations

from pathlib import Path

from common.files.record_files import read_captions, read_objects, read_sentence_samples, read_span_samples
from finetune.corpus.gold import read_gold
from tests.fuzz.reader import Reader
from tests.fuzz.sample_files import CAPTION, CAPTIONS, NAME, TURNS, json_file, json_lines

OBJECTS = [
    {
        **CAPTIONS[0],
        "objects": [
            {"text": "dog", "start": 2, "end": 5, "score": 31.5},
            {"text": "red bench", "start": 16, "end": 25, "score": None},
        ],
    },
    {**CAPTIONS[1], "objects": []},
    {
        "image": "7.jpg",
        "image_id": 7,
        "caption": "A cat.",
        "objects": [{"text": "cat", "start": 2, "end": 5, "score": 20}],
    },
]


def record_readers() -> list[Reader]:
    """Files that travel between the steps."""
    spans = [{"image": NAME, "sentence": "A dog", "position": 0, "score": 31.5}]
    wholes = [{"image": NAME, "sentence": CAPTION, "mean": 31.5, "min": 28.25}]
    text = f"{NAME} ### {CAPTION}\n7.jpg ### A cat.\n".encode()
    words = f"{NAME} ### 0 ### dog, cat, bench\n7.jpg ### 1 ### cat\n".encode()
    both = frozenset(("image_id",))
    return [
        Reader(
            "caption lines", {"c.jsonl": json_lines(*CAPTIONS)}, lambda p: read_captions(p / "c.jsonl"), spelled=both
        ),
        Reader(
            "caption list", {"c.json": json_file(CAPTIONS)}, lambda p: read_captions(p / "c.json", True), spelled=both
        ),
        Reader("caption text", {"c.txt": text}, lambda p: read_captions(p / "c.txt")),
        Reader("object lines", {"o.jsonl": json_lines(*OBJECTS)}, lambda p: read_objects(p / "o.jsonl"), spelled=both),
        Reader("object list", {"o.json": json_file(OBJECTS)}, lambda p: read_objects(p / "o.json"), spelled=both),
        Reader(
            "object text",
            {"c.txt": text, "o.txt": words},
            lambda p: read_objects(p / "o.txt", read_captions(p / "c.txt")),
        ),
        Reader("spans", {"pos_neg.json": json_file(spans)}, lambda p: read_span_samples(p / "pos_neg.json")),
        Reader("sentences", {"sent.json": json_file(wholes)}, lambda p: read_sentence_samples(p / "sent.json")),
        Reader(
            "instruction data",
            {
                "gold.json": json_file(
                    [
                        {"id": "a", "image": "1.png", "conversations": TURNS},
                        {"id": "b", "image": ["1.png"], "conversations": TURNS[1:]},
                        {"id": "c", "conversations": []},
                    ]
                ),
                "1.png": Path(__file__),
            },
            lambda p: read_gold(str(p / "gold.json"), p, 10),
        ),
    ]
