"""POPE, MME and ScienceQA against stored and measured results of the original code; layouts of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluate import eval_amber, eval_mme, eval_pope, eval_sqa
from evaluate.benchmarks.gqa_files import read_questions as read_gqa
from evaluate.eval_qbench import read_questions as read_qbench
from tests.data_folder import real_data


@pytest.fixture
def data() -> Path:
    """The folder of real test data."""
    return real_data()


def result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Any, *argv: str) -> Any:
    """What a script writes with these arguments."""
    path = tmp_path / "result.json"
    monkeypatch.setattr("sys.argv", ["script.py", *argv, "--result_path", str(path)])
    module.main()
    return json.loads(path.read_text())


@pytest.mark.parametrize("with_questions", [False, True])
def test_pope_equals_the_official_script(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, with_questions: bool
) -> None:
    """Labels from the answers themselves, or joined with the question files by split, image and wording."""
    answers = str(data / "pope/answers/llava-v1.5-7b.jsonl")
    more = ["--question_path", str(data / "pope")] if with_questions else []
    found = result(monkeypatch, tmp_path, eval_pope, "--answers_path", answers, *more)
    expected = json.loads((data / "pope/expected.json").read_text())["llava-v1.5-7b"]
    split = found["splits"]["adversarial"]
    assert [split[name] for name in ("tp", "fp", "tn", "fn")] == [1187, 133, 1367, 313]
    assert split["f1"] == pytest.approx(expected["adversarial"]["f1"], abs=1e-5)
    assert split["yes_rate"] == pytest.approx(expected["adversarial"]["yes"], abs=1e-5)
    if not with_questions:
        split = found["splits"]["random"]
        assert [split[name] for name in ("tp", "fp", "tn", "fn")] == [1104, 29, 1285, 294]
        assert split["f1"] == pytest.approx(expected["random"]["f1"], abs=1e-5)


def test_pope_by_line(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The official pairing: the adversarial answers stand in the order of the questions."""
    rows = (data / "pope/answers/llava-v1.5-7b.jsonl").read_text().splitlines()
    answers = tmp_path / "answers.jsonl"
    kept = [json.loads(row) for row in rows if '"adversarial"' in row]
    answers.write_text("\n".join(json.dumps({"question": r["question"], "answer": r["answer"]}) for r in kept))
    questions = str(data / "pope/coco_pope_adversarial.json")
    argv = ("--answers_path", str(answers), "--question_path", questions, "--pairing", "line")
    assert result(monkeypatch, tmp_path, eval_pope, *argv)["counts"]["tp"] == 1187


def test_pope_reads_free_form_answers(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = str(data / "pope/answers/llava-1.5_freeform_chat_351.jsonl")
    counts = result(monkeypatch, tmp_path, eval_pope, "--answers_path", answers)["counts"]
    assert [counts[name] for name in ("tp", "fp", "tn", "fn")] == [142, 8, 167, 34]


@pytest.mark.parametrize("model", ["LaVIN", "llava-v1.5-13b"])
def test_mme_equals_the_official_script(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    found = result(monkeypatch, tmp_path, eval_mme, "--answers_path", str(data / "mme/results" / model))["scores"]
    expected = json.loads((data / "mme/expected.json").read_text())[model]
    assert found["perception"] == pytest.approx(expected["Perception"], abs=0.01)
    assert found["cognition"] == pytest.approx(expected["Cognition"], abs=0.01)
    for subtask, score in expected["categories"].items():
        assert found[subtask] == pytest.approx(score, abs=0.01)


@pytest.mark.parametrize("questions", ["problems.json", "llava_test_CQM-A.derived.json"])
@pytest.mark.parametrize(("model", "right", "with_image"), [("llava_13b_v0", 206, 96), ("gpt3_QCM-ALE", 178, 76)])
def test_scienceqa_counts(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    questions: str,
    model: str,
    right: int,
    with_image: int,
) -> None:
    answers = str(data / f"sqa/{model}.outputs.json")
    argv = ("--question_path", str(data / "sqa" / questions), "--answers_path", answers)
    counts = result(monkeypatch, tmp_path, eval_sqa, *argv)["counts"]
    assert (counts["right"], counts["questions"]) == (right, 238)
    assert (counts["image_right"], counts["image_questions"]) == (with_image, 112)


def test_amber_without_word_vectors_is_near_the_stored_result(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stored: CHAIR 7.5, Cover 50.9, Hal 37.3, Cog 3.2; fewer matches make CHAIR and Hal higher."""
    answers = str(data / "amber/llava-v1.5-7b_responses.jsonl")
    scores = result(monkeypatch, tmp_path, eval_amber, "--amber_path", str(data / "amber"), "--answers_path", answers)[
        "scores"
    ]
    assert 0.075 <= scores["chair"] < 0.10
    assert scores["cover"] == pytest.approx(0.509, abs=0.02)
    assert 0.373 <= scores["hal"] < 0.43
    assert scores["cog"] == pytest.approx(0.032, abs=0.01)


def test_question_files_load(data: Path) -> None:
    gqa = read_gqa(data / "gqa/gqa_val_subset_visual_cot.json")
    assert len(gqa) == 652
    assert (gqa[0].text, gqa[0].label, gqa[0].image) == (
        "What are the tree branches in front of?",
        "window",
        "2316539.jpg",
    )
    qbench = read_qbench(data / "qbench/llvisionqa_dev.json")
    assert len(qbench) == 997
    assert (qbench[0].choices, qbench[0].label) == (("High", "Low", "Medium"), "B")
