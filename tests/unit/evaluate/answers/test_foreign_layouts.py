"""Results of other tools in the layouts that they publish, judged as those tools would.

Formats as described by VLMEvalKit (`vlmeval/smp/file.py`, `dataset/image_yorn.py`), lmms-eval (`loggers/
evaluation_tracker.py`), LLaVA (`eval/model_vqa_loader.py`, `scripts/convert_gqa_for_eval.py`,
`convert_answer_to_mme.py`), AMBER (`inference.py`) and COCO's result lists. POPE's: `test_foreign_pope.py`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evaluate import eval_amber, eval_auto, eval_gqa, eval_mme, eval_pope, eval_qbench, eval_sqa
from evaluate.answers.rows import read_answers
from tests.unit.evaluate.scripts import SHORT, Scripts, as_table, write_lines

MME = [("existence", "0001.png", "Is there a dog?"), ("existence", "0001.png", "Is there a cat?")]
MME += [("code_reasoning", "0020.png", "Is the output 1?"), ("code_reasoning", "0020.png", "Is the output 2?")]
TAIL = " Please answer yes or no."


def mme_folder(folder: Path) -> Path:
    """MME's question files; of two questions the first is yes."""
    folder.mkdir()
    for subtask in dict.fromkeys(s for s, _, _ in MME):
        own = [(image, text) for s, image, text in MME if s == subtask]
        lines = [f"{image}\t{text}{TAIL}\t{('Yes', 'No')[i]}" for i, (image, text) in enumerate(own)]
        (folder / f"{subtask}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("layout", ["vlmevalkit", "lmms", "llava"])
@pytest.mark.parametrize("with_questions", [False, True])
def test_mme_tables(scripts: Scripts, tmp_path: Path, layout: str, with_questions: bool) -> None:
    """existence: both right, 200; code_reasoning: one of two, 50."""
    said = ["Yes", "No", "Yes", "Yes"]
    rows: list[dict[str, Any]] = []
    for i, (subtask, image, text) in enumerate(MME):
        gold, key = ("Yes", "No")[i % 2], f"{subtask}/{image}"
        if layout == "vlmevalkit":
            rows.append({"index": i, "question": text + TAIL, "answer": gold, "category": subtask, "image_path": key})
            rows[-1]["prediction"] = said[i]
        elif layout == "lmms":
            metric = {"question_id": key, "category": subtask, "score": 1.0}
            rows.append({"doc_id": i, "target": gold, "filtered_resps": [said[i]], "input": text + SHORT})
            rows[-1]["mme_perception_score"] = metric
        else:
            rows.append({"question_id": key, "prompt": text + SHORT, "text": said[i], "model_id": "m"})
    argv: list[object] = ["--answers_path", write_lines(tmp_path / "a.jsonl", rows)]
    if layout == "llava" and not with_questions:
        assert "no label" in scripts.refused(eval_mme, *argv)
        return
    found = scripts.run(eval_mme, *argv, *(["--question_path", mme_folder(tmp_path / "q")] if with_questions else []))
    assert (found["scores"]["existence"], found["scores"]["code_reasoning"]) == (200.0, 50.0)


def test_mme_folders(scripts: Scripts, tmp_path: Path) -> None:
    """The published results name text files; a label that is not the question's, or no answers at all, is refused."""
    questions, results = mme_folder(tmp_path / "q"), mme_folder(tmp_path / "r")
    assert "questions without answers" in scripts.refused(eval_mme, "--answers_path", questions)
    for path in results.iterdir():
        lines = path.read_text().replace(".png", ".txt").splitlines()
        path.write_text("\n".join(f"{line}\t{'yes' if i == 0 else 'no'}, it is" for i, line in enumerate(lines)))
    for more in ([], ["--question_path", questions]):
        assert scripts.run(eval_mme, "--answers_path", results, *more)["scores"]["existence"] == 200.0
    path = results / "existence.txt"
    path.write_text(path.read_text().replace("\tYes\t", "\tNo\t"))
    argv = ("--answers_path", results, "--question_path", questions)
    assert "the right answer there is 'no'" in scripts.refused(eval_mme, *argv)


GQA = {
    "201": {"question": "Is it red?", "answer": "yes", "imageId": "n1", "types": {"structural": "verify"}},
    "202": {"question": "What is it?", "answer": "3", "imageId": "n2", "types": {"structural": "query"}},
}


@pytest.mark.parametrize(
    "rows",
    [
        [{"questionId": "201", "prediction": "yes"}, {"questionId": "202", "prediction": "two"}],
        [
            {"question_id": "202", "prompt": "What is it?" + SHORT, "text": "Two", "model_id": "m"},
            {"question_id": "201", "prompt": "Is it red?" + SHORT, "text": "Yes...", "model_id": "m"},
        ],
        [
            {"index": 0, "question": "Is it red?", "answer": "yes", "prediction": "Yes."},
            {"index": 1, "question": "What is it?", "answer": 3, "prediction": math.nan},
        ],
        [
            {"doc_id": 0, "target": "yes", "filtered_resps": ["Yes"], "input": "Is it red?" + SHORT},
            {"doc_id": 1, "target": "3", "filtered_resps": ["two"], "input": "What is it?" + SHORT},
        ],
    ],
)
def test_gqa(scripts: Scripts, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """The submission, LLaVA's answers, VLMEvalKit's table, lmms-eval's samples: one of two is right."""
    questions = tmp_path / "q.json"
    questions.write_text(json.dumps(GQA))
    answers = as_table(tmp_path / "a.json", rows)
    assert scripts.run(eval_gqa, "--answers_path", answers, "--question_path", questions)["counts"]["right"] == 1
    if "answer" in rows[0] or "target" in rows[0]:
        assert scripts.run(eval_gqa, "--answers_path", answers)["counts"]["right"] == 1


SQA = {
    "7": {"question": "Which?", "choices": ["x", "y"], "answer": 1, "hint": "Look.", "image": None, "split": "test"},
    "9": {"question": "Where?", "choices": ["a", "b", "c"], "answer": 2, "hint": "", "image": "i.png", "split": "test"},
}


@pytest.mark.parametrize(
    "rows",
    [
        [
            {"question_id": "7", "prompt": "Look.\nWhich?\nA. x\nB. y" + SHORT, "text": "B"},
            {"question_id": "9", "prompt": "Where?\nA. a\nB. b\nC. c" + SHORT, "text": "The answer is A."},
        ],
        [
            {"index": 0, "question": "Which?", "hint": "Look.", "A": "x", "B": "y", "C": None, "answer": "B"},
            {"index": 1, "question": "Where?", "hint": None, "A": "a", "B": "b", "C": "c", "answer": "C"},
        ],
        [
            {"doc_id": 0, "target": "B", "filtered_resps": ["B"], "doc": SQA["7"]},
            {"doc_id": 1, "target": "C", "filtered_resps": ["A"], "doc": SQA["9"]},
        ],
    ],
)
@pytest.mark.parametrize("ending", [".json", ".xlsx"])
def test_scienceqa(scripts: Scripts, tmp_path: Path, rows: list[dict[str, Any]], ending: str) -> None:
    """LLaVA's answers, VLMEvalKit's table with choices in columns, lmms-eval's samples: one of two is right."""
    rows = [dict(row) for row in rows]
    if "index" in rows[0]:
        rows[0]["prediction"], rows[1]["prediction"] = "B", "A"
    elif ending == ".xlsx":
        pytest.skip("only VLMEvalKit writes sheets")
    questions = tmp_path / "problems.json"
    questions.write_text(json.dumps(SQA))
    answers = as_table(tmp_path / f"a{ending}", rows)
    assert scripts.run(eval_sqa, "--answers_path", answers, "--question_path", questions)["counts"]["right"] == 1
    if "question_id" not in rows[0]:
        assert scripts.run(eval_sqa, "--answers_path", answers)["counts"]["right"] == 1


def test_qbench_table(scripts: Scripts, tmp_path: Path) -> None:
    """By letter and by text; the gold in the table by letter, in the question file by text."""
    questions = tmp_path / "q.json"
    asked = [{"question": f"How {w}?", "img_path": f"{w}.jpg", "candidates": ["Low", "High"]} for w in ("dark", "big")]
    questions.write_text(json.dumps([row | {"correct_ans": "High"} for row in asked]))
    rows = [
        {"index": i, "question": row["question"], "A": "Low", "B": "High", "answer": "B", "prediction": said}
        for i, (row, said) in enumerate(zip(asked, ("B. High", "Low"), strict=True))
    ]
    answers = as_table(tmp_path / "a.tsv", rows)
    for more in ([], ["--question_path", questions]):
        assert scripts.run(eval_qbench, "--answers_path", answers, *more)["counts"]["right"] == 1


def amber_folder(folder: Path) -> Path:
    """Two descriptions, and questions of three kinds."""
    folder.mkdir()
    items: list[dict[str, Any]] = [{"id": i, "type": "generative", "truth": ["dog"], "hallu": ["cat"]} for i in (1, 2)]
    kinds = ("discriminative-hallucination", "discriminative-attribute-state", "discriminative-relation")
    items += [{"id": 3 + i, "type": kinds[i // 2], "truth": ("no", "yes")[i % 2]} for i in range(6)]
    (folder / "annotations.json").write_text(json.dumps(items))
    (folder / "relation.json").write_text(json.dumps({"dog": ["puppy"], "cat": []}))
    (folder / "safe_words.txt").write_text("thing\n")
    return folder


def test_amber_says_what_it_leaves_out_and_what_is_wrong(scripts: Scripts, tmp_path: Path) -> None:
    """One description of two; of the first kind one question of two, of the second both, of the third none."""
    answers = tmp_path / "amber.json"
    said = [(1, "A puppy and a cat."), (3, "No"), (5, "No"), (6, True)]
    answers.write_text(json.dumps([{"id": key, "response": text} for key, text in said]))
    argv = ("--amber_path", amber_folder(tmp_path / "data"), "--answers_path", answers)
    found = scripts.run(eval_amber, *argv)
    assert (found["scores"]["chair"], found["scores"]["cover"]) == (0.5, 1.0)
    assert found["scores"]["accuracy"] == 0.75
    assert (found["counts"]["missing"], found["counts"]["left_out"]) == (1, 3)
    assert "1 descriptions that are missing, blank or contradicted are left out" in scripts.said
    assert "2 questions of the kind discriminative-relation, of which none was answered, are left out" in scripts.said
    assert "1 yes/no questions without one answer count as wrong" in scripts.said
    assert set(found["splits"]) == {"discriminative-hallucination", "discriminative-attribute-state"}


@pytest.mark.parametrize(
    "rows",
    [
        [{"image_id": 1, "caption": "A dog and a cat."}, {"image_id": 2, "caption": "A dog."}],  # COCO results, OPERA
        [
            {"image_id": f"COCO_val2014_{i:012d}.jpg", "question": "Describe.", "text": t}
            for i, t in ((1, "A dog and a cat."), (2, "A dog."))
        ],
        [
            {"question_id": i, "image_id": i, "prompt": "Describe.", "text": t}
            for i, t in ((1, "A dog and a cat."), (2, "A dog."))
        ],
        [
            {"image": f"val2014/COCO_val2014_{i:012d}.jpg", "caption": t}
            for i, t in ((1, "A dog and a cat."), (2, "A dog."))
        ],
    ],
)
@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_captions(scripts: Scripts, tmp_path: Path, rows: list[dict[str, Any]], ending: str) -> None:
    """COCO's result list, OPERA's and POPE's caption files, file names in either field: the cat is hallucinated."""
    gold = tmp_path / "gold.json"
    gold.write_text(json.dumps({"1": ["dog"], "2": ["dog"]}))
    captions = as_table(tmp_path / f"c{ending}", rows)
    scores = scripts.run(eval_auto, "--caption_eval_path", captions, "--gold_objects_path", gold)["scores"]
    assert (scores["chair_s"], scores["chair_i"]) == (0.5, pytest.approx(1 / 3))


def test_rows_under_a_key_and_by_id(tmp_path: Path) -> None:
    """Logs of older lmms-eval, and objects by id."""
    row = {"filtered_resps": ["Yes"], "target": "Yes", "doc_id": 0, "input": "Is it?"}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"args": {"x": 1}, "logs": [row]}, indent=1))
    assert read_answers(path, yes_no=True)[0].answer == "Yes"
    path.write_text(json.dumps({"17": {"prediction": "a"}, "18": {"prediction": "b"}}))
    assert [(r.keys, r.answer) for r in read_answers(path)] == [(("17",), "a"), (("18",), "b")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "index\tprediction\n1\n", "a.tsv:2: 1 cells under 2 columns"),
        ("a.csv", "answer,answer\nYes,No\n", "two columns are called 'answer'"),
        ("a.csv", "question_id,answer\n", "holds no rows"),
        ("a.json", '{"answer": {"0": "Yes", "1": "No"}, "question": {"0": "a", "1": "b"}}', "object of columns"),
        ("a.json", "[1]", "entry 1: expected an object"),
        ("a.jsonl", "", "is empty"),
        ("a.xlsx", "no archive", "not an Excel table"),
    ],
)
def test_what_is_no_table(scripts: Scripts, tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert message in scripts.refused(eval_pope, "--answers_path", path)
