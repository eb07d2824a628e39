"""MME's folders: one text file a subtask, lines `image TAB question TAB label` and, in results, `TAB answer`."""

from __future__ import annotations

from pathlib import Path

from common.errors import DataError
from common.files.storage import read_text, require_dir
from common.paths import display
from evaluate.benchmarks.questions import Joined, Question
from evaluate.metrics.mme import SUBTASKS


def read_folder(folder: Path | str, flag: str) -> list[tuple[Question, str | None]]:
    """Questions of every subtask file present, with their answers where the files hold them.

    A tab inside an answer stays part of it. Raises DataError: no subtask file, a line with too few columns, a label
    that is not yes or no.
    """
    folder = require_dir(folder, flag)
    found = []
    for subtask in SUBTASKS:
        path = folder / f"{subtask}.txt"
        if path.is_file():
            found += _read_file(path, subtask)
    if not found:
        raise DataError(f"{display(folder)} (from {flag}) holds none of MME's files: {', '.join(SUBTASKS)} (.txt)")
    return found


def _read_file(path: Path, subtask: str) -> list[tuple[Question, str | None]]:
    rows: list[tuple[Question, str | None]] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        columns = line.split("\t", 3)
        if len(columns) < 3 or columns[2].strip().lower() not in ("yes", "no"):
            raise DataError(f"{display(path)}:{number}: expected image, question, Yes or No, and an answer in results")
        image, text, label = columns[0], columns[1], columns[2].strip().lower()
        question = Question(f"{subtask}/{len(rows)}", text, label, image, subtask)
        rows.append((question, columns[3] if len(columns) == 4 else None))
    return rows


def with_questions(questions: list[tuple[Question, str | None]], rows: list[tuple[Question, str | None]]) -> Joined:
    """Answers of a results folder for all questions of a question folder, found by subtask, image and wording.

    Endings of image names do not matter: published results have `.txt` where the questions have `.jpg`.
    """

    def identity(question: Question) -> tuple[str, str, str]:
        """Subtask, image name without ending, and wording."""
        return question.group, Path(question.image).stem, question.text

    given = {identity(q): answer for q, answer in rows if answer is not None}
    pairs = tuple((q, given.pop(identity(q), None)) for q, _ in questions)
    missing = tuple(q.key for q, answer in pairs if answer is None)
    if len(missing) == len(pairs):
        raise DataError("none of the answers belongs to a question of --question_path")
    return Joined(pairs, missing, tuple(f"{group}/{image}" for group, image, _ in given))
