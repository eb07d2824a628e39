"""GQA, ScienceQA, Q-Bench: one golden case a rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import DataError
from evaluate.answers.questions import Question
from evaluate.benchmarks.choice_scoring import verdict
from evaluate.benchmarks.gqa_files import read_questions as read_gqa
from evaluate.benchmarks.sqa_files import choices_in, read_questions, read_sqa_answers
from evaluate.eval_qbench import read_questions as read_qbench
from evaluate.metrics import gqa, qbench, scienceqa
from evaluate.metrics.choice import ChoiceVerdict, formulas, question_units
from evaluate.metrics.paper import gqa_substring, letter_substring
from evaluate.metrics.stats import point_scores


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("Yes.", "yes", True),  # a trailing full stop and case go
        ("snow", "no", False),  # E6
        ("woman", "man", False),  # E6
        ("a dog", "dog", False),  # articles stay
        ("dog..", "dog", True),  # LLaVA strips them all
        ("", "no", False),
    ],
)
def test_e6_gqa_is_exact_match(answer: str, gold: str, right: bool) -> None:
    assert gqa.is_right(answer, gold) is right


def test_gqa_lmms_rule_drops_punctuation() -> None:
    assert gqa.is_right("T-shirt!", "tshirt", gqa.lmms)
    assert not gqa.is_right("T-shirt!", "tshirt", gqa.llava)


def test_gqa_official_layout_tells_binary_from_open(tmp_path: Path) -> None:
    value = {
        "a1": {"question": "Is it red?", "answer": "no", "imageId": "n12", "types": {"structural": "verify"}},
        "a2": {"question": "What is it?", "answer": "car", "imageId": "n12", "types": {"structural": "query"}},
    }
    path = tmp_path / "q.json"
    path.write_text(json.dumps(value))
    assert [(q.key, q.group, q.image) for q in read_gqa(path)] == [
        ("a1", "binary", "n12.jpg"),
        ("a2", "open", "n12.jpg"),
    ]


@pytest.mark.parametrize(
    ("answer", "choices", "expected"),
    [
        ("B", 2, 1),
        ("C. a long answer", 3, 2),
        ("Because of this. The answer is A.", 2, 0),
        ("The answer is A. The answer is B.", 2, None),  # twice is once too often
        ("The answer is B, because it is red", 2, 1),  # LLaVA's full stop matches any character,
        ("The answer is Blue", 2, 1),  # really any,
        ("The answer is B", 2, None),  # but one must be there,
        ("The answer is B\n", 2, None),  # and it is no line break
        ("The answer is Z.", 2, None),
        ("The Answer is B", 2, None),  # E5: neither A nor, by this rule, B
        ("E", 2, None),  # no such choice
        ("A.", 2, None),  # no space after the full stop
        ("b", 2, None),
        ("", 2, None),
    ],
)
def test_e5_scienceqa_rules_in_order(answer: str, choices: int, expected: int | None) -> None:
    assert scienceqa.choice(answer, choices) == expected


def test_scienceqa_lmms_rules() -> None:
    assert scienceqa.lmms_choice("A.", 2) == 0
    assert scienceqa.lmms_choice("The answer is A.", 2) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("(B) Low", 1),
        ("B", 1),
        ("B. Low", 1),
        ("low.", 1),  # the text of one choice
        ("A bit of blur", None),  # the article is no letter
        ("(A) or (B)", None),
        ("D", None),  # three candidates
        ("The Answer is B", None),  # E5: not A for gold A, and never guessed
        ("", None),
    ],
)
def test_e5_qbench_rules(answer: str, expected: int | None) -> None:
    assert qbench.choice(answer, ["High", "Low", "Medium"]) == expected


def test_e5_choices_with_full_stops_are_not_cut() -> None:
    text = "Which?\nA. at 3 p.m. Then it ends.\nB. on two\nlines\nC. last"
    assert choices_in(text) == ("at 3 p.m. Then it ends.", "on two\nlines", "last")
    assert choices_in("no choices here") == ()


def test_paper_rules_credit_what_they_credit() -> None:
    assert gqa_substring("There is snow", "no")
    assert letter_substring("The Answer is B", 0, ["x", "y"])
    assert not letter_substring("it is high", 0, ["High. Very", "y"])
    assert letter_substring("it is high", 0, ["High. Very", "y"], content=True)


def test_accuracy_over_all_and_over_groups() -> None:
    """Two of four right; of the two with image one; one unreadable."""
    verdicts = [
        ChoiceVerdict(True, groups=("image",)),
        ChoiceVerdict(False, groups=("image",)),
        ChoiceVerdict(True),
        ChoiceVerdict(False, unparseable=True),
    ]
    scores = point_scores(question_units(list("abcd"), verdicts, ["image"]), formulas(["image"]))
    assert scores == {"accuracy": 0.5, "accuracy_image": 0.5, "unparseable": 0.25}


def test_a_missing_answer_is_wrong() -> None:
    found = verdict(Question("1", "?", "A"), None, lambda _q, _a: (True, False), lambda _: ())
    assert found == ChoiceVerdict(False, missing=True)


def test_scienceqa_reads_both_question_layouts(tmp_path: Path) -> None:
    problem = {"question": "Which?", "choices": ["x", "y"], "answer": 1, "hint": "Look.", "image": "image.png"}
    problems, conversations = tmp_path / "problems.json", tmp_path / "llava.json"
    problems.write_text(json.dumps({"7": problem | {"split": "test"}, "8": problem | {"split": "train"}}))
    said = "<image>\nContext: Look.\nWhich?\nA. x\nB. y"
    turns = [{"from": "human", "value": said}, {"from": "gpt", "value": "B"}]
    conversations.write_text(json.dumps([{"id": "7", "image": "7/image.png", "conversations": turns}]))
    assert read_questions(problems) == read_questions(conversations)


def test_scienceqa_answers_by_id(tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps({"results": {"1": 2, "2": 0}, "outputs": {"1": "", "2": "The answer is A."}}))
    assert [(r.keys, r.answer) for r in read_sqa_answers(path)] == [(("1",), "C"), (("2",), "The answer is A.")]


def test_qbench_shows_all_choices(tmp_path: Path) -> None:
    row = {"question": "How bright?", "img_path": "1.jpg", "candidates": ["High", "Low"], "correct_ans": "Low"}
    path = tmp_path / "q.json"
    path.write_text(json.dumps([row]))
    assert read_qbench(path)[0].text == "How bright?\nA. High\nB. Low\n"
    path.write_text(json.dumps([row | {"correct_ans": "Medium"}]))
    with pytest.raises(DataError, match="'Medium' is not one of"):
        read_qbench(path)
