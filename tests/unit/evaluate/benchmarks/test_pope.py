"""POPE: counts, files, pairing, and building questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import DataError
from common.files.coco import CocoAnnotations
from evaluate.answers.joining import join
from evaluate.answers.rows import read_answers
from evaluate.benchmarks.pope_files import (
    SPLITS,
    build_questions,
    read_questions,
    self_contained,
    wording,
    write_questions,
)
from evaluate.metrics.pope import FORMULAS, judge, question_units
from evaluate.metrics.stats import point_scores
from evaluate.metrics.yes_no import lmms_exact, pope_official


def test_counts_and_scores() -> None:
    """Labels yes yes no no, answers yes no yes no: one of each; every rate is one half."""
    verdicts = [
        judge(label, answer, pope_official)
        for label, answer in (("yes", "Yes"), ("yes", "No"), ("no", "Yes"), ("no", "No"))
    ]
    scores = point_scores(question_units(list("abcd"), verdicts), FORMULAS)
    assert scores == dict.fromkeys(("accuracy", "precision", "recall", "f1", "yes_rate"), 0.5) | {"unparseable": 0.0}


def test_unreadable_and_missing_answers_are_wrong_and_no_yes() -> None:
    verdicts = [judge("yes", "perhaps", lmms_exact), judge("no", "perhaps", lmms_exact), judge("no", None, lmms_exact)]
    units = question_units(list("abc"), verdicts)
    scores, sums = point_scores(units, FORMULAS), units.sums()
    assert scores["accuracy"] == scores["yes_rate"] == 0.0
    assert (sums["unparseable"], sums["missing"], sums["fn"], sums["fp"]) == (2, 1, 1, 0)


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    """JSON Lines."""
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


@pytest.fixture
def question_file(tmp_path: Path) -> Path:
    """Three questions in POPE's layout."""
    rows = [
        {"question_id": n, "image": f"{n}.jpg", "text": f"Is there a dog {n}?", "label": label}
        for n, label in ((1, "yes"), (2, "no"), (3, "no"))
    ]
    return write_lines(tmp_path / "coco_pope_random.json", list(rows))


def test_answers_join_by_id_in_any_order(question_file: Path, tmp_path: Path) -> None:
    answers = write_lines(tmp_path / "a.jsonl", [{"question_id": n, "prompt": "?", "text": f"a{n}"} for n in (3, 1, 2)])
    joined = join(read_questions(question_file), read_answers(answers), "id", "a.jsonl")
    assert [(q.key, a) for q, a in joined.pairs] == [("1", "a1"), ("2", "a2"), ("3", "a3")]


def test_e10_a_missing_answer_shifts_nothing(question_file: Path, tmp_path: Path) -> None:
    answers = write_lines(tmp_path / "a.jsonl", [{"question_id": n, "answer": f"a{n}"} for n in (1, 3)])
    questions, rows = read_questions(question_file), read_answers(answers)
    joined = join(questions, rows, "id", "a.jsonl")
    assert [a for _, a in joined.pairs] == ["a1", None, "a3"]
    assert joined.counts()["missing"] == 1
    with pytest.raises(DataError, match="2 answers for 3 questions"):
        join(questions, rows, "line", "a.jsonl")


def test_two_answers_and_orphans_are_counted(question_file: Path, tmp_path: Path) -> None:
    rows = [{"question_id": 1, "answer": t} for t in ("Yes", "No")]
    rows += [{"question_id": 2, "answer": "No"}] * 2 + [{"question_id": 9, "answer": "No"}]
    answers = write_lines(tmp_path / "a.jsonl", list(rows))
    joined = join(read_questions(question_file), read_answers(answers), "id", "a.jsonl")
    assert [a for _, a in joined.pairs] == [None, "No", None]
    assert joined.counts() == {"missing": 1, "answers_without_question": 1, "contradicted": 1}


def test_answers_of_other_questions_are_refused(question_file: Path, tmp_path: Path) -> None:
    answers = write_lines(tmp_path / "a.jsonl", [{"question_id": 77, "answer": "No"}])
    with pytest.raises(DataError, match="none of the 1 answers"):
        join(read_questions(question_file), read_answers(answers), "id", "a.jsonl")


def test_rows_without_id_are_recognised_by_image_and_wording(question_file: Path, tmp_path: Path) -> None:
    row = {"category": "random", "image": "2.jpg", "question": "Is there a dog 2?", "answer": "No"}
    joined = join(read_questions(question_file), read_answers(write_lines(tmp_path / "a.jsonl", [row])), "id", "a")
    assert joined.pairs[1][1] == "No"


def test_ids_that_splits_share_are_told_apart(question_file: Path) -> None:
    other = question_file.with_name("coco_pope_popular.json")
    other.write_text(question_file.read_text())
    assert [q.key for q in read_questions(question_file.parent)][:2] == ["popular/1", "popular/2"]


def test_a_question_with_two_right_answers_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one split or, as when files were mixed up, in two."""
    rows = [{"question_id": n, "image": "1.jpg", "text": "Is there a dog?", "label": "yes"} for n in (1, 2)]
    write_lines(tmp_path / "coco_pope_random.json", list(rows))
    write_lines(tmp_path / "coco_pope_popular.json", [{**rows[0], "label": "no"}])
    assert len(read_questions(tmp_path / "coco_pope_random.json")) == 2
    assert capsys.readouterr().err == ""
    read_questions(tmp_path)
    said = "2 questions are to be answered yes and no, first 'Is there a dog?' on 1.jpg: no model can be right there"
    assert said in capsys.readouterr().err


def test_bad_label_and_unknown_layout_name_the_line(tmp_path: Path) -> None:
    bad = write_lines(tmp_path / "q_random.json", [{"question_id": 1, "text": "?", "label": "perhaps"}])
    with pytest.raises(DataError, match=r"q_random.json:1: label is 'perhaps'"):
        read_questions(bad)
    with pytest.raises(DataError, match="known layouts have one of answer, response"):
        read_answers(write_lines(tmp_path / "a.jsonl", [{"question_id": 1, "said": "yes"}]))
    with pytest.raises(DataError, match="no label"):
        self_contained(read_answers(write_lines(tmp_path / "b.jsonl", [{"question": "?", "answer": "yes"}])))


@pytest.fixture
def annotations() -> CocoAnnotations:
    """Thirty images; dogs are everywhere, forks stand beside knives."""
    found = CocoAnnotations()
    for i in range(30):
        found.file_names[i] = f"{i}.jpg"
        found.instances[i] = ["dog", "dog", "car", "knife", "boat"] if i % 2 else ["fork", "knife", "bird", "apple"]
    return found


def test_built_splits_are_balanced_true_and_seeded(annotations: CocoAnnotations) -> None:
    questions = build_questions(annotations, images=10, seed=3)
    assert [len([q for q in questions if q.group == split]) for split in SPLITS] == [60, 60, 60]
    assert sum(q.label == "yes" for q in questions) == len(questions) / 2
    for question in questions:
        present = set(annotations.instances[int(question.image.split(".")[0])])
        named = next(n for n in ("dog", "car", "knife", "boat", "fork", "bird", "apple") if f" {n} " in question.text)
        assert (named in present) == (question.label == "yes")
    assert questions == build_questions(annotations, images=10, seed=3)
    assert questions != build_questions(annotations, images=10, seed=4)


def test_popular_asks_about_the_most_frequent_absent_object() -> None:
    """ "cup" is in 9 of 10 images, "bed" in one; the image without either is asked about the cup first."""
    found = CocoAnnotations()
    for i in range(10):
        found.instances[i] = ["dog", "car", "cat", "bed" if i == 0 else "cup"]
    found.instances[10] = ["dog", "car", "cat"]
    found.instances[11] = ["kite", "bird", "sheep"]
    questions = [q for q in build_questions(found, 12, 0) if q.group == "popular" and q.image == "10"]
    assert questions[1].text == "Is there a cup in the image?"


def test_adversarial_asks_about_what_stands_beside() -> None:
    """Forks go with knives; cups are more frequent but never beside a knife."""
    found = CocoAnnotations()
    for i in range(4):
        found.instances[i] = ["knife", "fork", f"other{i}"]
    for i in range(4, 12):
        found.instances[i] = ["cup", "dog", "cat"]
    found.instances[12] = ["knife", "sink", "oven"]
    asked = [q for q in build_questions(found, 13, 0) if q.group == "adversarial" and q.image == "12"]
    after = asked[[q.text for q in asked].index("Is there a knife in the image?") + 1]
    assert after.text == "Is there a fork in the image?"


def test_written_questions_read_back(annotations: CocoAnnotations, tmp_path: Path) -> None:
    questions = build_questions(annotations, images=3, seed=0)
    write_questions(tmp_path, questions)
    assert sorted(q.text for q in read_questions(tmp_path)) == sorted(q.text for q in questions)


def test_no_file_is_written_beside_other_questions(annotations: CocoAnnotations, tmp_path: Path) -> None:
    (tmp_path / "pope_adversarial.json").write_text("mine")
    with pytest.raises(DataError, match=r"pope_adversarial\.json .* holds other questions"):
        write_questions(tmp_path, build_questions(annotations, images=3, seed=0))
    assert [p.name for p in tmp_path.iterdir()] == ["pope_adversarial.json"]


def test_too_few_objects_are_refused() -> None:
    found = CocoAnnotations()
    found.instances[1] = ["dog"]
    with pytest.raises(DataError, match="holds 3 kinds"):
        build_questions(found, 5, 0)


def test_article_fits_the_word() -> None:
    assert wording("apple") == "Is there an apple in the image?"
    assert wording("bus") == "Is there a bus in the image?"
