"""Answer files as other tools write them that once gave a wrong score without a word (`cases/`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluate import eval_pope, eval_qbench
from tests.unit.evaluate.scripts import CASES, Scripts, write_lines

BESIDE, UNUSABLE, SPLITS = (
    CASES / n for n in ("gold_beside_prediction", "unusable_answers", "pope_splits_without_ids")
)
NUMBERED = CASES / "llava_pope_numbering"


@pytest.mark.parametrize("name", ["pred.json", "pred_id.json"])
@pytest.mark.parametrize("questions", [(), ("--question_path", BESIDE / "q.json")])
def test_the_prediction_is_judged_and_not_the_gold_beside_it(
    scripts: Scripts, name: str, questions: tuple[object, ...]
) -> None:
    """Three of the six predictions are right; all six golds are."""
    argv = ("--answers_path", BESIDE / name, "--parser", "strict", *questions)
    assert scripts.run(eval_pope, *argv)["scores"]["accuracy"] == 0.5
    assert "prediction read as answer, answer as gold" in scripts.said


def test_ids_of_another_numbering_are_refused(scripts: Scripts) -> None:
    argv = ("--answers_path", NUMBERED / "small.jsonl", "--question_path", NUMBERED / "small_random_questions.json")
    error = scripts.refused(eval_pope, *argv)
    assert "small.jsonl:2: 2 is the id of the question 'Is there a car in the image?'" in error
    assert "backpack" in error and "6 such answers" in error


def test_a_question_of_several_splits_counts_in_each(scripts: Scripts) -> None:
    found = scripts.run(eval_pope, "--answers_path", SPLITS / "small.jsonl", "--question_path", SPLITS / "q")
    assert {split: scores["accuracy"] for split, scores in found["splits"].items()} == {
        "adversarial": 1.0,
        "popular": 1.0,
        "random": 1.0,
    }
    assert (found["n"], found["counts"]["missing"]) == (18, 0)


@pytest.mark.parametrize(
    ("name", "right", "missing"),
    [("ans.jsonl", 3, 2), ("nan.jsonl", 3, 2), ("bool.jsonl", 6, 0)],
)
def test_values_that_are_no_text_never_let_another_column_in(
    scripts: Scripts, name: str, right: int, missing: int
) -> None:
    """null and NaN are no answers, true is yes and false no, a list of one text is that text."""
    found = scripts.run(eval_pope, "--answers_path", UNUSABLE / name)
    assert (found["counts"]["tp"] + found["counts"]["tn"], found["counts"]["missing"]) == (right, missing)


@pytest.mark.parametrize("value", [{"text": "Yes"}, ["Yes", "No"], [], 1, 0.0])
def test_what_cannot_be_an_answer_is_refused_by_name(scripts: Scripts, tmp_path: Path, value: object) -> None:
    rows = [{"question_id": 1, "text": "Is there a dog?", "label": "yes", "answer": value}]
    error = scripts.refused(eval_pope, "--answers_path", write_lines(tmp_path / "a.jsonl", rows))
    assert "a.jsonl:1: answer is " in error and "expected text, true or false" in error


@pytest.mark.parametrize("labels", [("yes", "no"), ("no", "yes")])
def test_two_right_answers_are_never_settled_by_the_order_of_rows(
    scripts: Scripts, tmp_path: Path, labels: tuple[str, str]
) -> None:
    """Under one id they are refused, under two they are said."""
    row = {"question": "Is there a dog?", "image": "a.jpg", "answer": "yes"}
    alike = [{**row, "question_id": 1, "label": label} for label in labels]
    error = scripts.refused(eval_pope, "--answers_path", write_lines(tmp_path / "a.jsonl", alike))
    assert f"a.jsonl:2: the right answer is '{labels[1]}', but '{labels[0]}' in row 1, which is the same" in error
    apart = [{**one, "question_id": number} for number, one in enumerate(alike)]
    assert scripts.run(eval_pope, "--answers_path", write_lines(tmp_path / "b.jsonl", apart))["n"] == 2
    assert "1 questions are to be answered yes and no, first 'Is there a dog?' on a.jpg" in scripts.said


def test_a_row_that_stands_twice_counts_once(scripts: Scripts, tmp_path: Path) -> None:
    """However its label is spelled; other answers to it contradict each other, and none besides is not missing."""
    rows = [{"question_id": n, "question": "Is there a dog?", "label": "yes", "answer": "yes"} for n in (1, 2, 3)]
    rows += [{**rows[0], "label": "Yes"}, {**rows[1], "answer": "no"}, {**rows[1], "answer": None}]
    rows.append({**rows[2], "question_id": 4, "answer": None})
    found = scripts.run(eval_pope, "--answers_path", write_lines(tmp_path / "a.jsonl", rows))
    assert (found["n"], found["counts"]["tp"]) == (4, 2)
    assert (found["counts"]["contradicted"], found["counts"]["missing"]) == (1, 1)
    assert "3 rows stand there twice; each question counts once" in scripts.said


def test_choices_in_another_order_are_another_question(scripts: Scripts, tmp_path: Path) -> None:
    """Its letters mean something else: here A is right once."""
    row = {"question_id": 1, "question": "Which?", "image": "a.jpg", "answer": "A", "label": "sharp"}
    rows = [{**row, "choices": ["sharp", "blurred"]}, {**row, "choices": ["blurred", "sharp"]}]
    found = scripts.run(eval_qbench, "--answers_path", write_lines(tmp_path / "a.jsonl", rows))
    assert (found["n"], found["counts"]["right"]) == (2, 1)


def test_two_columns_that_could_be_the_answer_and_differ_are_refused(scripts: Scripts, tmp_path: Path) -> None:
    row = {"question_id": 1, "question": "Is there a dog?", "label": "yes", "prediction": "Yes", "response": "No"}
    path = write_lines(tmp_path / "a.jsonl", [row])
    assert "response and prediction could both be the model's answer" in scripts.refused(
        eval_pope, "--answers_path", path
    )
    for column, accuracy in (("prediction", 1.0), ("response", 0.0)):
        found = scripts.run(eval_pope, "--answers_path", path, "--answer_column", column)
        assert found["scores"]["accuracy"] == accuracy


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"question": "Is it red?", "prediction": "Yes", "answer": "No", "label": "yes"}, "answer and prediction"),
        ({"question": "Is it red?", "text": "No", "answer": "Yes", "label": "yes"}, "answer and text"),
        ({"question": "Is it red?", "answer": "Yes", "label": "yes", "gt_answer": "no"}, "label and gt_answer"),
        ({"question": "Is it red?", "prompt": "Is it blue?", "answer": "Yes", "label": "yes"}, "question and prompt"),
        ({"image": "1.jpg", "image_path": "2.jpg", "question": "?", "answer": "Yes", "label": "yes"}, "image and"),
    ],
)
def test_columns_that_contradict_each_other_are_named(
    scripts: Scripts, tmp_path: Path, row: dict[str, str], columns: str
) -> None:
    assert columns in scripts.refused(eval_pope, "--answers_path", write_lines(tmp_path / "a.jsonl", [row]))


def test_a_question_file_is_no_answer_file(scripts: Scripts) -> None:
    """POPE's question files have the question in `text`, where LLaVA's answers have the answer."""
    error = scripts.refused(eval_pope, "--answers_path", BESIDE / "q.json", "--question_path", BESIDE / "q.json")
    assert "text holds questions" in error


def test_rows_that_carry_other_ids_or_words_are_not_paired_by_line(scripts: Scripts, tmp_path: Path) -> None:
    questions = ("--question_path", BESIDE / "q.json", "--pairing", "line")
    rows = json.loads((BESIDE / "pred_id.json").read_text())
    assert scripts.run(eval_pope, "--answers_path", BESIDE / "pred_id.json", "--parser", "strict", *questions)["n"] == 6
    for change in ({"id": 9}, {"question": "Is there a cow in the image?"}, {"image": "7.jpg"}, {"answer": "No"}):
        changed = write_lines(tmp_path / "a.jsonl", [*rows[:2], rows[2] | change, *rows[3:]])
        if change == {"answer": "No"}:
            assert "right answer there is 'No'" in scripts.refused(eval_pope, "--answers_path", changed, *questions)
        else:
            error = scripts.refused(eval_pope, "--answers_path", changed, *questions)
            assert "a.jsonl:3: paired by line with" in error


def test_an_answer_without_place_is_refused(scripts: Scripts, tmp_path: Path) -> None:
    """The same question about many images, and no image or id to tell which."""
    questions = [
        {"question_id": i, "image": f"{i}.jpg", "text": "Is there a dog in the image?", "label": "yes"} for i in (1, 2)
    ]
    path = write_lines(tmp_path / "q.jsonl", questions)
    for row, message in (
        ({"question": "Is there a dog in the image?"}, "fits 2 questions"),
        ({}, "no id and no question; use --pairing line"),
    ):
        answers = write_lines(tmp_path / "a.jsonl", [row | {"answer": "Yes"}])
        assert message in scripts.refused(eval_pope, "--answers_path", answers, "--question_path", path)
