"""Any choice and order of columns, rows and values: the score of a plain reference, or one line and exit code 2."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from evaluate import eval_pope
from tests.unit.evaluate.scripts import Scripts, write_lines

OBJECTS = ["dog", "cat", "bus", "cup", "kite", "bed"]
TAILS = ["", "\nAnswer the question using a single word or phrase.", " Please answer yes or no."]
# A value in the answer column and what the model said by it, None where it said nothing.
VALUES: list[tuple[Any, str | None]] = [
    ("Yes", "Yes"),
    ("No.", "No."),
    ("yes, there is", "yes, there is"),
    ("No, I see none.", "No, I see none."),
    (True, "Yes"),
    (False, "No"),
    (["Yes"], "Yes"),
    ([["No"]], "No"),
    (None, None),
    (math.nan, None),
    ("", None),
    (" \n", None),
]
REFUSED = [1, 0.5, {"a": 1}, [], ["Yes", "No"]]


def questions(rng: random.Random) -> list[dict[str, Any]]:
    """Some images with some questions each, in POPE's layout."""
    asked = [(image, name) for image in range(1, rng.randint(2, 4)) for name in rng.sample(OBJECTS, 3)]
    return [
        {
            "question_id": number,
            "image": f"COCO_val2014_{image:012d}.jpg",
            "text": f"Is there a {name} in the image?",
            "label": rng.choice(["yes", "no"]),
        }
        for number, (image, name) in enumerate(asked, start=1)
    ]


def row_of(question: dict[str, Any], value: Any, columns: dict[str, str], tail: str) -> dict[str, Any]:
    """An answer with the columns that the file has, by role -> column name."""
    known = {
        "id": question["question_id"],
        "image": question["image"],
        "question": question["text"] + tail,
        "gold": question["label"],
        "answer": value,
    }
    return {column: known[role] for role, column in columns.items()}


def columns_of(rng: random.Random) -> dict[str, str]:
    """Columns of a file that tells its answers, by role, in any order. `answer` means what the others leave to it."""
    answer = rng.choice(["prediction", "response", "pred", "output", "answer", "text"])
    found = {"answer": answer}
    names = {"id": ["question_id", "questionId", "id"], "image": ["image", "image_path", "image_source"]}
    names["question"] = ["question", "prompt", "query"] + (["text"] if answer != "text" else [])
    names["gold"] = ["label", "gt_answer", "ground_truth"]
    if answer not in ("answer", "text"):
        names["gold"].append("answer")
    told = rng.choice(
        [("id",), ("question", "image"), ("id", "question"), ("id", "image"), ("id", "question", "image")]
    )
    for role in told:
        found[role] = rng.choice(names[role])
    if rng.random() < 0.5:
        found["gold"] = rng.choice(names["gold"])
    order = list(found)
    rng.shuffle(order)
    return {role: found[role] for role in order}


def reads(answer: str | None) -> str | None:
    """The plain reading of an answer of `VALUES`."""
    return None if answer is None else "yes" if answer.lower().startswith("yes") else "no"


def right(asked: list[dict[str, Any]], said: dict[int, list[str | None]]) -> tuple[int, int, int]:
    """(right, missing, contradicted): a question is right if all that is said of it is its label."""
    good = missing = contradicted = 0
    for question in asked:
        answers = set(said.get(question["question_id"], [None]))
        contradicted += len(answers) > 1
        missing += answers == {None}
        good += len(answers) == 1 and reads(next(iter(answers))) == question["label"]
    return good, missing, contradicted


@pytest.mark.parametrize("seed", range(60))
def test_files_that_contradict_nothing_are_judged_rightly(scripts: Scripts, tmp_path: Path, seed: int) -> None:
    """Rows in any order, some left out, some twice, some with another answer the second time."""
    rng = random.Random(seed)
    asked, columns, tail = questions(rng), columns_of(rng), rng.choice(TAILS)
    rows, said = [], dict[int, list[str | None]]()
    for question in asked:
        first, second = rng.choice(VALUES), rng.choice(VALUES)
        for value, meaning in rng.choice([[], [first], [first], [first], [first, first], [first, second]]):
            said.setdefault(question["question_id"], []).append(meaning)
            rows.append(row_of(question, value, columns, tail))
    rng.shuffle(rows)
    if not rows:
        return
    path = tmp_path / ("answers.jsonl" if rng.random() < 0.5 else "answers.json")
    path.write_text("\n".join(map(json.dumps, rows)) if path.suffix == ".jsonl" else json.dumps(rows))
    argv = ("--answers_path", path, "--question_path", write_lines(tmp_path / "q.json", asked), "--parser", "strict")
    counts = scripts.run(eval_pope, *argv)["counts"]
    found = counts["tp"] + counts["tn"], counts["missing"], counts["contradicted"]
    assert found == right(asked, said)


def spoiled(rng: random.Random, rows: list[dict[str, Any]], columns: dict[str, str]) -> list[dict[str, Any]]:
    """The rows with one contradiction, or one value that is no answer."""
    rows = [dict(row) for row in rows]
    row = rng.choice(rows)
    kinds = ["value", "second answer", "row without answer"]
    kinds += [role for role in ("gold", "image") if role in columns]
    kinds += ["question"] if {"question", "id"} <= columns.keys() else []
    kinds += ["ids"] if {"question", "id"} <= columns.keys() else []
    kind = rng.choice(kinds)
    if kind == "value":
        row[columns["answer"]] = rng.choice(REFUSED)
    elif kind == "row without answer":
        del row[columns["answer"]]
    elif kind == "second answer":
        for other in rows:
            other["model_output"] = "No" if other[columns["answer"]] == "Yes" else "Yes"
        if columns["answer"] in ("answer", "text"):  # now the right answer or the question by their names
            row["model_answer"] = "perhaps"
    elif kind == "gold":
        row[columns["gold"]] = "no" if row[columns["gold"]] == "yes" else "yes"
    elif kind == "image":
        row[columns["image"]] = "COCO_val2014_000000000099.jpg"
        if "id" not in columns:  # then it is merely an answer about another picture
            row[columns["answer"]] = 7
    elif kind == "question":
        row[columns["question"]] = "Is there a zebra in the image?"
    else:
        for other, key in zip(rows, [r[columns["id"]] for r in rows[1:] + rows[:1]], strict=True):
            other[columns["id"]] = key
    return rows


@pytest.mark.parametrize("seed", range(60))
def test_files_that_contradict_themselves_are_refused_or_right(scripts: Scripts, tmp_path: Path, seed: int) -> None:
    """The right answers of untouched rows all the same, where ids are another numbering of images and wordings."""
    rng = random.Random(1000 + seed)
    asked, columns, tail = questions(rng), columns_of(rng), rng.choice(TAILS)
    values = {q["question_id"]: rng.choice(["Yes", "No"]) for q in asked}
    rows = [row_of(q, values[q["question_id"]], columns, tail) for q in asked]
    questions_path = write_lines(tmp_path / "q.json", asked)
    argv = ("--question_path", questions_path, "--parser", "strict", "--answers_path")
    said: dict[int, list[str | None]] = {key: [value] for key, value in values.items()}
    answers = write_lines(tmp_path / "a.jsonl", spoiled(rng, rows, columns))
    found = scripts.outcome(eval_pope, *argv, answers)
    if found is None:
        scripts.refused(eval_pope, *argv, answers)
    else:
        assert found["counts"]["tp"] + found["counts"]["tn"] == right(asked, said)[0]
