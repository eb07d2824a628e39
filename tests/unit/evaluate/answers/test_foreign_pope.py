"""POPE's results of other tools in the layouts that they publish, judged as those tools would.

Formats as described by VLMEvalKit (`vlmeval/smp/file.py`, `dataset/image_yorn.py`), lmms-eval (`loggers/
evaluation_tracker.py`, `tasks/pope/utils.py`) and LLaVA (`eval/model_vqa_loader.py`).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evaluate import eval_pope
from tests.data_folder import real_data
from tests.unit.evaluate.scripts import SHORT, Scripts, as_table, write_lines

OBJECTS = {
    "adversarial": ["dog", "cat", "dog", "bus"],
    "popular": ["dog", "cup", "dog", "car"],
    "random": ["dog", "kite", "dog", "bed"],
}


def pope_questions(folder: Path) -> list[dict[str, Any]]:
    """Three POPE files of two images, numbered from 1 each; the rows with their split. Odd questions are shared."""
    folder.mkdir(exist_ok=True)
    rows = []
    for split, names in OBJECTS.items():
        own = [
            {
                "question_id": i + 1,
                "image": f"COCO_val2014_{1 + i // 2:012d}.jpg",
                "text": f"Is there a {name} in the image?",
                "label": "no" if i % 2 else "yes",
            }
            for i, name in enumerate(names)
        ]
        write_lines(folder / f"coco_pope_{split}.json", own)
        rows += [row | {"category": split} for row in own]
    return rows


def vlmeval_pope() -> list[dict[str, Any]]:
    """VLMEvalKit's table: shared questions stand once, with all their splits in `category`. Five of six are right."""
    said = ["Yes", "No, there is none.", "No", "no", "Yes", "No"]
    asked = [("dog", 1, "Yes", "adversarial,popular,random"), ("cat", 1, "No", "adversarial")]
    asked += [("dog", 2, "Yes", "adversarial,popular,random"), ("bus", 2, "No", "adversarial")]
    asked += [("cup", 1, "No", "popular"), ("kite", 1, "No", "random")]
    return [
        {
            "index": i,
            "question": f"Is there a {name} in the image? Please answer yes or no.",
            "answer": gold,
            "category": category,
            "image_path": f"COCO_val2014_{image:012d}.jpg",
            "prediction": answer,
        }
        for i, ((name, image, gold, category), answer) in enumerate(zip(asked, said, strict=True))
    ]


TABLES = [".json", ".jsonl", ".tsv", ".csv", ".xlsx"]


@pytest.mark.parametrize("ending", TABLES)
@pytest.mark.parametrize("with_questions", [False, True])
def test_vlmevalkit_pope(scripts: Scripts, tmp_path: Path, ending: str, with_questions: bool) -> None:
    """By split, in order of the rows: adversarial yes no NO no, popular yes NO yes, random yes NO no."""
    pope_questions(tmp_path / "q")
    rows = vlmeval_pope()
    rows[2]["prediction"], rows[4]["prediction"] = math.nan, "Yes"
    argv: list[object] = ["--answers_path", as_table(tmp_path / f"model_POPE{ending}", rows), "--parser", "strict"]
    found = scripts.run(eval_pope, *argv, *(["--question_path", tmp_path / "q"] if with_questions else []))
    wrong = {split: (s["fp"], s["fn"]) for split, s in found["splits"].items()}
    assert wrong == {"adversarial": (0, 1), "popular": (1, 1), "random": (0, 1)}
    assert found["counts"]["tp"] == 3
    assert found["counts"]["missing"] == (5 if with_questions else 3)  # the table holds 6 of the 8 questions


@pytest.mark.parametrize("with_doc", [False, True])
@pytest.mark.parametrize("with_questions", [False, True])
def test_lmms_eval_pope(scripts: Scripts, tmp_path: Path, with_doc: bool, with_questions: bool) -> None:
    """Samples without the record name no image: wording and number within the split tell the question."""
    asked = pope_questions(tmp_path / "q")
    rows = []
    for i, row in enumerate(asked):
        said = "no" if i == 1 else row["label"]
        if i in (3, 5):
            said = "yes"
        sample: dict[str, Any] = {
            "doc_id": i,
            "target": row["label"].capitalize(),
            "filtered_resps": [said.capitalize()],
            "doc_hash": "x",
            "input": row["text"] + SHORT,
            "pope_accuracy": {
                "question_id": str(row["question_id"]),
                "score": 1.0,
                "prediction": said,
                "ground_truth": row["label"],
            },
        }
        if with_doc:
            sample["doc"] = {
                "question_id": str(row["question_id"]),
                "question": row["text"],
                "answer": row["label"],
                "image_source": row["image"].removesuffix(".jpg"),
                "category": row["category"],
            }
        rows.append(sample)
    argv: list[object] = ["--answers_path", write_lines(tmp_path / "x_samples_pope.jsonl", rows), "--parser", "lmms"]
    found = scripts.run(eval_pope, *argv, *(["--question_path", tmp_path / "q"] if with_questions else []))
    assert (found["n"], found["counts"]["fp"], found["counts"]["fn"]) == (12, 2, 0)
    if with_doc or with_questions:
        assert {split: s["fp"] for split, s in found["splits"].items()} == {"adversarial": 1, "popular": 1, "random": 0}


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("one_file", [None, "popular"])
def test_llava_numbers_the_three_pope_files_through(
    scripts: Scripts, tmp_path: Path, shuffled: bool, one_file: str | None
) -> None:
    """No image and no split in the rows: only the shift of each file makes all wordings agree."""
    asked = pope_questions(tmp_path / "q")
    rows = [
        {
            "question_id": i + 1,
            "prompt": row["text"].replace("image", "imange") + SHORT,
            "text": "Yes" if row["label"] == "yes" or (row["category"] == "popular" and i == 5) else "No",
            "answer_id": f"a{i}",
            "model_id": "llava",
            "metadata": {},
        }
        for i, row in enumerate(asked)
    ]
    answers = write_lines(tmp_path / "llava.jsonl", rows[::-1] if shuffled else rows)
    questions = tmp_path / "q" / (f"coco_pope_{one_file}.json" if one_file else "")
    found = scripts.run(eval_pope, "--answers_path", answers, "--question_path", questions)
    accuracy = {"adversarial": 1.0, "popular": 0.75, "random": 1.0}
    assert {s: v["accuracy"] for s, v in found["splits"].items()} == (
        {one_file: accuracy[one_file]} if one_file else accuracy
    )
    assert found["counts"]["answers_without_question"] == (8 if one_file else 0)


def test_llava_numbering_of_the_real_pope_files(scripts: Scripts, tmp_path: Path) -> None:
    """All 9,000 questions; each answer right but every tenth of the popular ones."""
    folder = real_data() / "pope"
    rows = []
    for split in ("adversarial", "popular", "random"):
        for line in (folder / f"coco_pope_{split}.json").read_text().splitlines():
            question, number = json.loads(line), len(rows) + 1
            wrong = split == "popular" and question["question_id"] % 10 == 0
            said = {"yes": "No", "no": "Yes"}[question["label"]] if wrong else question["label"].capitalize()
            rows.append({"question_id": number, "prompt": question["text"] + SHORT, "text": said, "model_id": "m"})
    answers = write_lines(tmp_path / "llava.jsonl", rows)
    found = scripts.run(eval_pope, "--answers_path", answers, "--question_path", folder)
    assert {split: scores["accuracy"] for split, scores in found["splits"].items()} == {
        "adversarial": 1.0,
        "popular": 0.9,
        "random": 1.0,
    }
