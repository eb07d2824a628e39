"""Readers of the questions and answers of the benchmarks, in the layouts of other tools, and of results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluate import compare
from evaluate.answers.rows import read_answers
from evaluate.benchmarks import amber_files, gqa_files, mme_files, pope_files, qbench_files, sqa_files
from evaluate.chair.counting import COLUMNS
from evaluate.results.result_files import read_result
from tests.fuzz.reader import Reader
from tests.fuzz.sample_files import NAME, TURNS, json_file, json_lines

IDS = ("image_id", "question_id", "id", "imageId", "index", "doc_id", "image")
# Answers and choices may be numbers, which are spelled out; "1" is an id that stands as a key.
SPELLED = frozenset(
    (
        *(*IDS, "1", "2", "candidates", "correct_ans", "img_path", "answer", "label", "prediction", "response"),
        *("output", "text", "choices", "outputs", "results"),
    )
)
YES_NO = {"question_id": 1, "image": NAME, "text": "Is there a dog in the image?", "label": "yes"}
CHOICE = {
    **{"question": "Which is it?\nContext: none", "choices": ["a", "b"], "answer": 1},
    **{"hint": "", "image": "", "split": "test"},
}
TABLE = b"index\timage\tquestion\tprediction\tanswer\n1\t42.jpg\tIs there a dog?\tYes\tNo\n2\t7.jpg\tIs it?\tno\tNo\n"
LINES = (
    {"question_id": 1, "prompt": "Is it?", "text": "Yes."},
    {"question_id": 2, "prompt": "Is it?", "text": "No."},
)
LOG = {
    "doc_id": 0,
    "doc": {"question_id": "7", "question": "Is it?", "answer": "yes"},
    "target": "yes",
    "filtered_resps": ["Yes"],
}
GQA_OFFICIAL = {
    "05515938": {"question": "Is it red?", "answer": "yes", "imageId": "2405722", "types": {"structural": "verify"}}
}
GQA_ROW = {"question_id": "1", "question": "Is it red?", "answer": "yes", "image": "1.jpg"}
SQA_CONVERSATION = {
    "id": "1",
    "image": "1/image.png",
    "conversations": [{"from": "human", "value": "<image>\nWhich?\nA. a\nB. b"}, {"from": "gpt", "value": "B"}],
}
SQA_ANSWERS = {"outputs": {"1": "The answer is B."}, "results": {"1": 1, "2": -1}}
QBENCH = {"img_path": "1.jpg", "question": "How clear?", "candidates": ["Good", "Bad"], "correct_ans": "Bad"}
AMBER = (
    {"id": 1, "type": "generative", "truth": ["dog"], "hallu": ["cat"]},
    {"id": 2, "type": "discriminative-attribute-state", "truth": "yes"},
)
AMBER_QUERY = {"id": 1, "image": "AMBER_1.jpg", "query": "Describe this image."}
MME = b"1.jpg\tIs there a dog?\tYes\tyes\n1.jpg\tIs there a cat?\tNo\tno\n"
COUNTS = [[1, *((row + 2 * at) % 3 for at in range(1, len(COLUMNS)))] for row in range(3)]


def of_one_file(name: str, file: str, data: bytes, read: Callable[[Path], object], share: float = 1.0) -> Reader:
    """A reader of one file of a benchmark."""
    return Reader(name, {file: data}, lambda p: read(p / file), share, SPELLED, infinite=True)


def answer_readers() -> list[Reader]:
    """Answers, in the layouts of other tools."""

    def answers(name: str, file: str, data: bytes, yes_no: bool = True, share: float = 1.0) -> Reader:
        return of_one_file(name, file, data, lambda path: read_answers(path, yes_no), share)

    rows = [{"question_id": "q1", "answer": "A", "image": NAME}, {"question_id": "q2", "answer": "3"}]
    return [
        answers("answer lines", "a.jsonl", json_lines(*LINES), share=2),
        answers("answer table", "a.tsv", TABLE, share=2),
        answers("answer csv", "a.csv", TABLE.replace(b"\t", b",")),
        answers("answer list", "a.json", json_file(rows), yes_no=False),
        answers("answer log", "a.jsonl", json_lines(LOG)),
        of_one_file("ScienceQA answers", "a.json", json_file(SQA_ANSWERS), sqa_files.read_sqa_answers),
    ]


def question_readers() -> list[Reader]:
    """Questions and truths."""
    no = {**YES_NO, "question_id": 2, "label": "no"}
    problems = {"1": CHOICE, "2": {**CHOICE, "image": "image.png"}}
    gqa_conversation = {"question_id": 1, "image": ["gqa/1.jpg"], "conversations": TURNS[1:]}
    gqa, sqa = gqa_files.read_questions, sqa_files.read_questions
    return [
        of_one_file("POPE", "coco_pope_random.json", json_lines(YES_NO, no), pope_files.read_questions),
        of_one_file("GQA official", "q.json", json_file(GQA_OFFICIAL), gqa),
        of_one_file("GQA rows", "q.jsonl", json_lines(GQA_ROW), gqa),
        of_one_file("GQA conversations", "q.json", json_file([gqa_conversation]), gqa),
        of_one_file("ScienceQA problems", "problems.json", json_file(problems), sqa),
        of_one_file("ScienceQA conversations", "q.json", json_file([SQA_CONVERSATION]), sqa),
        of_one_file("Q-Bench", "q.json", json_file([QBENCH]), qbench_files.read_questions),
        of_one_file("AMBER annotations", "ann.json", json_file(AMBER), amber_files.read_annotations),
        of_one_file("AMBER queries", "q.json", json_file([AMBER_QUERY]), amber_files.read_queries),
        Reader(
            "AMBER words",
            {"relation.json": json_file({"dog": ["puppy"]}), "safe.txt": b"light\nview\n"},
            lambda p: amber_files.read_vocabulary(p / "relation.json", p / "safe.txt"),
        ),
        Reader("MME", {"existence.txt": MME}, lambda p: mme_files.read_folder(p, "--question_path")),
    ]


def result_readers() -> list[Reader]:
    """Results, and what their comparison takes of them."""
    result = json_file(result_json())
    return [Reader("results", {"one.json": result, "two.json": result}, _compared, 3)]


def result_json() -> dict[str, Any]:
    """A small result with its items."""
    return {
        "task": "chair",
        "definition": "standard",
        "version": "1",
        "n": 3,
        "scores": {"chair_s": 0.5},
        "manifest": {"prompt": "Describe.", "captioning": {"num_beams": 1}},
        "units": {"ids": ["7", "8", "42"], "columns": list(COLUMNS), "counts": COUNTS},
    }


def _compared(folder: Path) -> object:
    """Both results, and what their comparison gives."""
    one, two = read_result(folder / "one.json"), read_result(folder / "two.json")
    found, events = compare.compare(one, two, 0)
    return one, two, sorted(found), events is None
