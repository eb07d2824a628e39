"""MME: scores and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import DataError
from evaluate.answers.questions import Joined
from evaluate.benchmarks.mme_files import read_folder, with_questions
from evaluate.eval_mme import image_verdicts
from evaluate.metrics.mme import ImageVerdict, formulas, image_units
from evaluate.metrics.stats import point_scores
from evaluate.metrics.yes_no import mme_official


def test_score_is_accuracy_plus_accuracy_of_both() -> None:
    """Two images, three of four right, one with both: 75 + 50. The maximum is 200."""
    verdicts = [ImageVerdict("count", (True, True)), ImageVerdict("count", (True, False))]
    scores = point_scores(image_units(["a", "b"], verdicts, ["count"]), formulas(["count"]))
    assert scores["count"] == scores["perception"] == pytest.approx(125.0)
    best = image_units(["a"], verdicts[:1], ["count"])
    assert point_scores(best, formulas(["count"]))["count"] == 200.0


def test_perception_and_cognition_are_sums_over_their_subtasks() -> None:
    verdicts = [ImageVerdict(s, (True, True)) for s in ("count", "color", "code_reasoning")]
    subtasks = ["count", "color", "code_reasoning"]
    scores = point_scores(image_units(list("abc"), verdicts, subtasks), formulas(subtasks))
    assert (scores["perception"], scores["cognition"]) == (400.0, 200.0)


def write(folder: Path, lines: list[str], name: str = "count.txt") -> Path:
    """One subtask file."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def test_a_tab_in_an_answer_stays_in_the_answer(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", ["1.jpg\tAre there two?\tYes\tYes,\ttwo", "1.jpg\tAre there three?\tNo\tno"])
    rows = read_folder(folder, "--answers_path")
    assert rows[0][1] == "Yes,\ttwo"
    _, verdicts = image_verdicts(Joined(tuple(rows)), mme_official)
    assert verdicts[0].right == (True, True)


def test_missing_answers_are_wrong_and_counted(tmp_path: Path) -> None:
    questions = write(tmp_path / "q", ["1.jpg\tA?\tYes", "1.jpg\tB?\tNo"])
    answers = write(tmp_path / "r", ["1.txt\tA?\tYes\tYes"])  # published results name text files
    joined = with_questions(read_folder(questions, "q"), read_folder(answers, "r"))
    _, verdicts = image_verdicts(joined, mme_official)
    assert verdicts == [ImageVerdict("count", (True, False), unparseable=0, missing=1)]


def test_other_answers_are_unparseable(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", ["1.jpg\tA?\tYes\tthe answer is yes", "1.jpg\tB?\tNo\tNone"])
    _, verdicts = image_verdicts(Joined(tuple(read_folder(folder, "r"))), mme_official)
    assert verdicts == [ImageVerdict("count", (False, True), unparseable=1)]


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none of MME's files"):
        read_folder(write(tmp_path / "a", ["x"], "other.txt"), "--answers_path")
    with pytest.raises(DataError, match=r"count.txt:1: expected image, question"):
        read_folder(write(tmp_path / "b", ["1.jpg\tA?\tperhaps"]), "--answers_path")
    with pytest.raises(DataError, match="has 1 questions, expected 2"):
        rows = read_folder(write(tmp_path / "c", ["1.jpg\tA?\tYes\tYes"]), "--answers_path")
        image_verdicts(Joined(tuple(rows)), mme_official)
