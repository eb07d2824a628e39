"""Inputs of any size for every step that reads files: captions, objects, samples, questions, answers, results."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from evaluate.chair.counting import COLUMNS

OBJECTS = ("dog", "cat", "bench", "bus", "chair", "bird", "horse", "car", "person", "bottle")
SCORES = ((20.0, 34.0, 35.0, 28.0), (33.0, 34.0, 35.0, 30.0))  # of captions in turn: with a hallucination, without
PLACES = ("near the tree", "beside the wall", "on the grass", "under the sky", "in the corner", "by the window")


def caption(chance: random.Random) -> tuple[str, list[str]]:
    """A caption of four sub-sentences, and the objects it names."""
    named = chance.sample(OBJECTS, 4)
    parts = [f"a {name} stands {chance.choice(PLACES)} {chance.randrange(1000)}" for name in named]
    return f"In the picture {parts[0]}, {parts[1]}. There is {parts[2]}, and {parts[3]}.", named


def write_json(path: Path, value: Any) -> None:
    """One JSON value."""
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """One row a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def image_name(number: int) -> str:
    """Of an image of the made-up set."""
    return f"COCO_val2014_{number + 1:012d}.png"


def write_images(folder: Path, number: int) -> None:
    """Small pictures."""
    folder.mkdir()
    for at in range(number):
        Image.new("RGB", (56, 56), (at * 37 % 256, 90, 120)).save(folder / image_name(at))


def object_rows(number: int, images: int) -> list[dict[str, Any]]:
    """Captions with scored objects, spread over so many images."""
    chance = random.Random(0)
    rows = []
    for at in range(number):
        text, named = caption(chance)
        found = [
            {
                "text": name,
                "start": text.index(f"a {name}") + 2,
                "end": text.index(f"a {name}") + 2 + len(name),
                "score": score,
            }
            for name, score in zip(named, SCORES[at % 2], strict=True)
        ]
        found.sort(key=lambda mention: mention["start"])
        image = at % images
        row = {"image": image_name(image), "image_id": image + 1, "caption": text, "objects": found}
        rows.append(row | ({"sample": at // images} if at >= images else {}))
    return rows


def sample_rows(number: int, images: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The two published sets of so many captions: three spans and a sentence each."""
    spans, sentences = [], []
    for row in object_rows(number, images):
        text, image = row["caption"], row["image"]
        cuts = [at for at, letter in enumerate(text) if letter in ",."]
        for start, end, score in ((0, cuts[0], 20.0), (cuts[0] + 1, cuts[1], 34.0), (cuts[2] + 1, cuts[3], 35.0)):
            spans.append({"image": image, "sentence": text[:end], "position": start, "score": score})
        sentences.append({"image": image, "sentence": text, "mean": 30.0, "min": 25.0})
    return spans, sentences


def write_coco(folder: Path, images: int) -> None:
    """Instances and captions of the images."""
    folder.mkdir()
    chance = random.Random(1)
    listed = [{"id": at + 1, "file_name": image_name(at)} for at in range(images)]
    names = [{"id": at + 1, "name": name} for at, name in enumerate(OBJECTS)]
    instances = [
        {"id": 4 * at + k, "image_id": at + 1, "category_id": chance.randrange(len(OBJECTS)) + 1}
        for at in range(images)
        for k in range(4)
    ]
    captions = [{"id": at, "image_id": at + 1, "caption": caption(chance)[0]} for at in range(images)]
    write_json(folder / "instances.json", {"images": listed, "annotations": instances, "categories": names})
    write_json(folder / "captions.json", {"images": listed, "annotations": captions})


def yes_no(number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Questions in POPE's layout and answers to them."""
    questions = [
        {
            "question_id": at,
            "image": image_name(at // 6),
            "text": f"Is there a {OBJECTS[at % 10]} in the image?",
            "label": ("yes", "no")[at % 2],
        }
        for at in range(number)
    ]
    answers = [
        {"question_id": q["question_id"], "question": q["text"], "answer": ("Yes.", "No.")[at % 3 > 0]}
        for at, q in enumerate(questions)
    ]
    return questions, answers


def result(number: int) -> dict[str, Any]:
    """A result of CHAIR with its items."""
    chance = random.Random(2)
    counts = [[1, *(chance.randrange(3) for _ in COLUMNS[1:])] for _ in range(number)]
    items = {"ids": [str(at) for at in range(number)], "columns": list(COLUMNS), "counts": counts}
    about = {"task": "chair", "definition": "standard", "version": "1", "n": number, "scores": {}, "manifest": {}}
    return {**about, "units": items}
